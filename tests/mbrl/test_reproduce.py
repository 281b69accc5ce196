"""Rows name models that exist and fit; a few of them go from a recording to a table, and are driven once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import Human, NoAction
from agents.evaluate import evaluate
from agents.results import write_results
from envs.errors import InputError
from envs.formats import write_parquet
from mbrl import reproduce as module
from mbrl import rows_page
from mbrl.checkpoint import save
from mbrl.driven import still_to_drive
from mbrl.named import choose
from mbrl.presets import Preset
from mbrl.progress import Counter
from mbrl.reproduce import reproduce, trainings
from mbrl.rows import models, rows, start_of
from mbrl.rows_page import (
    best_on_validation,
    markdown,
    policy_folder,
    summaries,
    sweeps,
    write_page,
)
from mbrl.side_by_side import Job
from mbrl.train_policy import POLICY_FILE
from tests.agents import scenes
from tests.agents.scenes import clean_traffic

ROWS = ("imitation", "mpur-vae", "separated-mpur")


@pytest.mark.parametrize("preset", ["quick", "paper", "debug"])
def test_rows_fit_their_models_and_starts(preset: Preset) -> None:
    known, table = models(preset, 3), rows(preset, 3)
    assert len({row.name for row in table}) == len(table)
    for row in table:
        assert row.training.seed == 3
        assert start_of(row.training, preset).policy == row.training.policy
        if row.model is None:
            continue
        model = known[row.model]
        sees, timing = row.training.policy, model.model.timing
        assert (sees.frames, sees.stride, sees.view) == (timing.frames, timing.stride, model.model.view)
        assert known[row.model].data_share == row.training.data_share
        if row.base and preset != "debug":
            other = known[next(r.model for r in table if r.name == row.base)]  # type: ignore[index]
            own_updates, updates = (
                sum(stage.updates for stage in (*m.warm_start, *m.stages)) for m in (known[row.model], other)
            )
            assert own_updates == row.model_share * updates
        if row.training.counts_uncertainty:
            assert row.training.horizon <= model.horizon
            assert row.training.masks == model.masks
        if row.training.method == "mper" or row.training.z == "adversarial":
            assert not row.model.startswith("separated")
    assert {row.model for row in table} == {None, *known}
    trained = [(row.model, row.training) for row in table]
    assert all(one not in trained[:k] for k, one in enumerate(trained)), "nothing is trained twice"


def test_everything_is_trained_once_after_what_it_needs() -> None:
    for preset in ("quick", "paper"):
        known = trainings(preset, 3)  # type: ignore[arg-type]
        names = [training.name for training in known]
        assert len(set(names)) == len(names)
        assert all(set(training.needs) <= set(names[:k]) for k, training in enumerate(known))
        assert {f"policies/{row.name}" for row in rows(preset)} <= set(names)  # type: ignore[arg-type]
    few = [training.name for training in trainings("quick", 0, ["separated-mpur-data-5", "imitation"])]
    assert few == [
        "models/separated-data-5", "policies/imitation", "policies/imitation-data-5",
        "policies/separated-mpur-data-5",
    ]  # fmt: skip
    judged = trainings("quick", 0, ["mpur-learned-cost"])
    assert [training.name for training in judged] == [
        "models/vae-z-dropout", "policies/imitation", "learned-cost", "policies/mpur-learned-cost",
    ]  # fmt: skip
    assert judged[-1].cost == "learned-cost"


def test_what_warm_starts_have_in_common_is_trained_once() -> None:
    deterministic = "models/deterministic"
    found = {training.name: training for training in trainings("paper", 0)}
    begun = [name for name, training in found.items() if training.start == deterministic]
    assert begun == ["models/vae", "models/vae-z-dropout", "models/learned-prior", "models/ten"]
    few = trainings("paper", 0, ["mpur-ten"])
    assert [training.name for training in few][:2] == [deterministic, "models/ten"]
    fewer_cars = trainings("paper", 0, ["mpur-z-dropout-data-5"])[0]
    assert fewer_cars.start is None, "it begins with a model of the same cars"
    assert deterministic not in {training.name for training in trainings("quick", 0, ["mpur-ten"])}


def in_this_process(jobs: list[Job]) -> None:
    for job in jobs:
        job.function(*job.arguments, progress=Counter)


@pytest.mark.slow
def test_rows_are_trained_driven_once_and_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic, out = tmp_path / "traffic.parquet", tmp_path / "out"
    write_parquet(clean_traffic(num_cars=60), traffic)
    driven: list[str] = []

    def watched(*arguments: Any) -> list[Job]:
        jobs = still_to_drive(*arguments)
        driven.extend(job.arguments[0].name for job in jobs)
        return jobs

    monkeypatch.setattr(module, "still_to_drive", watched)
    for _ in range(2):  # the second time all is there
        reproduce(out, [traffic], preset="debug", seeds=(0, 1), only=ROWS, run=in_this_process)
    everybody = ["human", "no-action", *(name for name in ROWS for _ in range(2))]
    assert driven == everybody
    data = json.loads((out / "results.json").read_text())
    names = [row["name"] for row in data["agents"]]
    assert names == everybody
    found = summaries(data)
    assert found["human"][1] is None
    assert found["mpur-vae"][1] is not None
    text = (out / "results.md").read_text()
    assert text == markdown(data, choose(rows("debug"), ROWS, "row"))
    for name in ("human", *ROWS):
        assert f"| {name} |" in text
    assert (out / "report.html").stat().st_size > 10_000
    (out / "report.html").unlink()  # as if it had been killed before
    reproduce(out, [traffic], preset="debug", seeds=(0, 1), only=ROWS, run=in_this_process)
    assert (out / "report.html").exists()
    assert driven == everybody
    scores = {(row["name"], row["seed"]): row["success"] for row in data["agents"]}
    (out / "seed-0" / "drives" / "imitation.npz").unlink()
    reproduce(out, [traffic], preset="debug", seeds=(0,), only=ROWS[:1], run=in_this_process)
    assert driven == [*everybody, "imitation"], "what was driven is kept"
    data = json.loads((out / "results.json").read_text())
    assert [(row["name"], row["seed"]) for row in data["agents"]][2:] == [("imitation", 0)]
    assert all(row["success"] == scores[row["name"], row["seed"]] for row in data["agents"])


def validated(folder: Path, success: float, distance_m: float) -> None:
    score = {"success": success, "distance_m": distance_m}
    save(folder / POLICY_FILE, tensors={"w": torch.zeros(1)}, config={}, meta={"validation": score})


def test_the_row_to_show_is_chosen_by_validation_cars_over_all_seeds(tmp_path: Path) -> None:
    scores = {
        "lucky-once": ((0.9, 200.0), (0.3, 100.0)),
        "second": ((0.875, 200.0), (0.625, 190.0)),
        "best": ((0.75, 200.0), (0.75, 195.0)),
        "worst": ((0.1, 300.0), (0.1, 300.0)),
    }
    for name, of_seed in scores.items():
        for seed, numbers in enumerate(of_seed):
            validated(policy_folder(tmp_path, seed, name), *numbers)
    assert best_on_validation(tmp_path, list(scores), (0, 1)) == "best", "equal success, further"
    assert best_on_validation(tmp_path, list(scores), (0,)) == "lucky-once"


def test_test_cars_do_not_choose_the_row_to_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second row drives the test cars best, the first did better on validation cars."""
    names = ["imitation", "svg"]
    shown: list[str] = []
    for name, success in zip(names, (0.9, 0.5), strict=True):
        validated(policy_folder(tmp_path, 0, name), success, 100.0)
    bad, good = scenes.constant(-5.0, name="imitation", seed=0), scenes.constant(0.0, name="svg", seed=0)
    evaluation = evaluate(
        [Human(), NoAction(), bad, good],
        [scenes.parked_car_ahead(), clean_traffic(num_cars=20)],
        split="all",
        threads=1,
    )
    monkeypatch.setattr(rows_page, "write_report", lambda *a, **k: shown.append(k["chosen"]))
    data = write_results(evaluation, tmp_path)
    success = {row["name"]: row["success"] for row in data["agents"]}
    assert success["svg"] > success["imitation"], "the scene"
    write_page(tmp_path, evaluation, choose(rows("debug"), names, "row"), "debug", (0,))
    assert shown == ["imitation"]


def test_an_unknown_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown row 'mpurr'; there are: 'imitation', 'svg'"):
        reproduce(tmp_path, [tmp_path / "no.parquet"], only=["mpurr"])


def test_sweeps_lead_to_the_row_they_were_made_from() -> None:
    """Success here tells the row: 1 for the first of the table, 2 for the second, ..."""
    table = rows("quick")
    place = {row.name: k / 100 for k, row in enumerate(table)}
    assert all(row.base in {r.name for r in table} for row in table if row.base)
    charts = {chart.title: chart for chart in sweeps(place, table)}
    of = {name: 100 * k for name, k in place.items()}
    steps = charts["imagined steps"].lines
    assert steps["separated-mpur"] == [
        *((t, of[f"separated-{t}-steps"]) for t in (1, 3, 5, 10)),
        (20, of["separated-mpur"]),
    ]
    assert [x for x, _ in steps["mpur-z-dropout"]] == [1, 3, 5, 10, 12, 20]
    data = charts["U by data"].lines
    assert data["svg"] == [(5, of["svg-data-5"]), (20, of["svg-data-20"]), (100, of["svg"])]
    assert set(data) == {"svg", "mpur-z-dropout", "separated-no-u", "separated-mpur"}
    perturbed = charts["U by perturbation"].lines["separated-no-u"]
    assert [x for x, _ in perturbed] == [0, 50, 100]
    assert perturbed[1][1] == of["separated-no-u"]
    briefer = charts["U by model updates"].lines
    assert briefer["svg"] == [(20, of["svg-brief-model"]), (100, of["svg"])]
    longer = charts["U by policy updates"].lines
    assert longer["mpur-z-dropout"] == [(600, of["mpur-z-dropout"]), (2400, of["mpur-z-dropout-long"])]
    assert sweeps(place, table[:5]) == [], "no sweep was run"
