"""Experiments are kept seed by seed, told as they came out, and judged by their claims."""

from __future__ import annotations

import json
import pkgutil
from pathlib import Path

import numpy as np
import pytest

from envs.errors import InputError
from mbrl import experiments
from mbrl.cli import main
from mbrl.experiments import find_experiments, run_experiment
from mbrl.named import choose
from pretrain import experiments as package
from pretrain.experiments.outcome import Claim, Experiment, Outcome


def toy(runs: list[int], claims: tuple[Claim, ...] = ()) -> Experiment:
    def run(seed: int, quick: bool) -> Outcome:
        runs.append(seed)
        picture = np.full((2, 3, 3), seed, np.uint8)
        return Outcome({"ours": 1.0 + seed, "control": 2.5}, {"a map": picture})

    return Experiment("toy", "Which?", run, claims)


def test_mean_spread_and_claims_of_all_seeds(tmp_path: Path) -> None:
    claims = (Claim("ours", "below", "control"), Claim("ours", "above", 0.5))
    found = run_experiment(toy([], claims), (0, 1, 2), tmp_path)
    told = json.loads((tmp_path / "toy.json").read_text())
    assert told["numbers"]["ours"] == {"mean": 2.0, "std": 1.0, "seeds": [1.0, 2.0, 3.0]}
    assert [claim["holds"] for claim in told["claims"]] == [[True, True, False], [True, True, True]]
    assert found.broken() == ["ours below control"]
    page = (tmp_path / "toy.md").read_text()
    assert "| ours | 2 | 1 | 1 | 2 | 3 |" in page
    assert "| ours below control | holds | holds | **does not hold** |" in page
    assert "(toy/a_map.png)" in page
    from matplotlib.image import imread

    assert imread(tmp_path / "toy" / "a_map.png")[..., :3].max() == 0  # the first seed's


def test_seeds_done_before_are_kept(tmp_path: Path) -> None:
    runs: list[int] = []
    run_experiment(toy(runs), (0, 1), tmp_path)
    run_experiment(toy(runs), (0, 1, 2), tmp_path)
    assert runs == [0, 1, 2]
    run_experiment(toy(runs), (2, 0), tmp_path)  # another first seed, which is to be drawn
    assert runs == [0, 1, 2, 2]


def test_a_page_shows_the_pictures_of_its_own_first_seed(tmp_path: Path) -> None:
    from matplotlib.image import imread

    for seeds in ((0, 1), (3, 4), (0, 1)):
        run_experiment(toy([]), seeds, tmp_path)
        shown = imread(tmp_path / "toy" / "a_map.png")[..., :3]
        assert round(255 * float(shown.max())) == seeds[0]


def test_what_is_not_a_number_is_null_in_json(tmp_path: Path) -> None:
    run_experiment(toy([]), (0,), tmp_path)
    text = (tmp_path / "toy.json").read_text()
    told = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert told["numbers"]["ours"] == {"mean": 1.0, "std": None, "seeds": [1.0]}


def test_a_package_that_is_missing_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(seed: int, quick: bool) -> Outcome:
        raise ModuleNotFoundError("mlxtend is not installed: pip install 'headway[pretrain]'")

    monkeypatch.setattr(experiments, "find_experiments", lambda: [Experiment("toy", "Which?", run, ())])
    assert main(["experiment", "toy", "--out", str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err.strip().endswith("mlxtend is not installed: pip install 'headway[pretrain]'")
    )


def test_a_quick_run_is_no_full_run_and_leaves_it_alone(tmp_path: Path) -> None:
    runs: list[int] = []
    run_experiment(toy(runs), (0,), tmp_path)
    page = (tmp_path / "toy.md").read_text()
    run_experiment(toy(runs), (0,), tmp_path, quick=True)
    assert runs == [0, 0]
    assert "numbers mean nothing" in (tmp_path / "quick" / "toy.md").read_text()
    run_experiment(toy(runs), (0,), tmp_path)
    assert runs == [0, 0]
    assert (tmp_path / "toy.md").read_text() == page


def test_a_run_that_dies_leaves_no_seed_behind(tmp_path: Path) -> None:
    def die(seed: int, quick: bool) -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(toy([])._replace(run=die), (0,), tmp_path)
    assert list((tmp_path / "toy").iterdir()) == []


def test_every_module_that_asks_a_question_is_found() -> None:
    found = find_experiments()
    asking = [
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if "EXPERIMENT = " in (Path(package.__path__[0]) / f"{module.name}.py").read_text()
    ]
    assert len(found) == len(asking) > 10
    with pytest.raises(InputError, match=r"unknown experiment 'nothing'; there are: .*bounded"):
        choose(found, ["bounded", "nothing"], "experiment")


@pytest.mark.parametrize(("quick", "code"), [(False, 1), (True, 0)])
def test_a_claim_that_does_not_hold_is_one_line_and_exit_code_1_and_quick_runs_judge_none(
    quick: bool,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = toy([], (Claim("ours", "above", "control"),))
    monkeypatch.setattr(experiments, "find_experiments", lambda: [one])
    arguments = ["experiment", "toy", "--seeds", "0", "4", "--out", str(tmp_path), *["--quick"] * quick]
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert ("DOES NOT HOLD: ours above control (1 of 2 seeds)" in out) is not quick
    told = tmp_path / "quick" if quick else tmp_path
    assert ("| ours above control |" in (told / "toy.md").read_text()) is not quick
    assert len(json.loads((told / "toy.json").read_text())["claims"]) == (0 if quick else 1)
    assert err == ("" if quick else "headway: error: does not hold for every seed: toy: ours above control\n")


def test_the_docs_have_a_section_for_every_experiment() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pretrain.md").read_text()
    for experiment in find_experiments():
        assert f"### {experiment.name}\n\n{experiment.question}\n" in page
