"""`headway diagnose` end to end, at tiny sizes: what it measures is what it writes, draws and prints."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.policies import Policy, PolicyConfig
from envs.formats import write_parquet
from envs.recording import Recording
from mbrl import diagnose as module
from mbrl.checkpoint import save, training_state
from mbrl.cli import main
from mbrl.diagnose import JSON_FILE, PAGE_FILE, as_text, diagnose
from mbrl.diagnosis_page import diagnosis_page, headline
from mbrl.executed import imagined_against_executed
from mbrl.forward_models import ModelConfig, build
from mbrl.model_training import ModelTraining, Stage, training_to_dict
from mbrl.policy_training import PolicyTraining, policy_training_to_dict
from mbrl.train_policy import POLICY_FILE, load_policy
from mbrl.trained_model import MODEL_FILE, load_model
from mbrl.uncertainty import Uncertainty
from tests.agents.scenes import clean_traffic
from tests.mbrl.small import VARIANTS, VIEW, ensemble_config
from tests.mbrl.test_report import Outline
from tests.toys import lane_centre, straight_site

SMALL = PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(3, 4, 4), hidden=8)
HORIZON = 4
KINDS: dict[str, ModelConfig] = {
    "paper": VARIANTS["vae"], "separated": VARIANTS["separated"], "ensemble": ensemble_config("vae"),
}  # fmt: skip


def write_model(folder: Path, config: ModelConfig) -> Path:
    torch.manual_seed(0)
    training = ModelTraining(model=config, stages=(Stage(steps=1, updates=1, batch_size=1),), horizon=HORIZON)
    tensors, state = training_state(model=build(config), uncertainty=Uncertainty(HORIZON))
    save(folder / MODEL_FILE, tensors=tensors, config=training_to_dict(training), meta={"state": state})
    return folder


def write_policy(folder: Path, config: PolicyConfig = SMALL) -> Path:
    torch.manual_seed(0)
    tensors, state = training_state(policy=Policy(config))
    training = policy_training_to_dict(PolicyTraining(policy=config))
    save(folder / POLICY_FILE, tensors=tensors, config=training, meta={"state": state})
    return folder


@pytest.fixture(scope="module")
def traffic() -> Recording:
    return clean_traffic(num_cars=60)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, traffic: Recording) -> Path:
    """A recording, a policy, and a model of every kind."""
    folder = tmp_path_factory.mktemp("diagnose")
    write_parquet(traffic, folder / "traffic.parquet")
    write_policy(folder / "policy")
    for kind, config in KINDS.items():
        write_model(folder / kind, config)
    return folder


def options(files: Path, kind: str, **others: object) -> list[str]:
    given = {"model": files / kind, "policy": files / "policy", "recording": files / "traffic.parquet",
             "split": "all", "situations": 12, "masks": 4, "seed": 5} | others  # fmt: skip
    return ["diagnose", *(str(word) for name, value in given.items() for word in (f"--{name}", value))]


@pytest.fixture(scope="module")
def data(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return diagnose(
        tmp_path_factory.mktemp("out"), [files / "traffic.parquet"], model=files / "paper",
        policy=files / "policy", split="all", situations=12, masks=3,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_one_command_for_every_model(
    kind: str, files: Path, traffic: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(files, kind, out=tmp_path / "out")) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [PAGE_FILE, JSON_FILE]
    text = (tmp_path / "out" / JSON_FILE).read_text()
    assert "NaN" not in text
    data = json.loads(text)
    said = capsys.readouterr().out
    assert said == as_text(data) + "\n"
    assert max(map(len, said.splitlines())) <= max(80, len(str(files)) * 2 + 60), (
        "no line but that of the names"
    )
    assert data["seconds"] == [0.2, 0.4, 0.6, 0.8]
    doubters = ("members", 3) if kind == "ensemble" else ("dropout masks", 4)
    assert (data["disagreement_of"], data["masks"]) == doubters
    found = imagined_against_executed(
        load_policy(files / "policy")[0].eval(), load_model(files / kind), [traffic], split="all",
        num_examples=12, seed=5,
    )  # fmt: skip
    np.testing.assert_allclose(data["executed"]["executed_cost"], found.executed_cost.mean(0), rtol=1e-4)
    np.testing.assert_allclose(data["executed"]["imagined_m"], found.imagined_way.mean(0), rtol=1e-4)
    assert data["executed"]["correlation"] == pytest.approx(found.correlation, abs=1e-4)
    assert f"{found.correlation:.2f} [" in said


def test_the_page_stands_alone_and_names_units(data: dict[str, Any]) -> None:
    text = diagnosis_page(data | {"model": "<b>&"})
    outline = Outline(text)
    assert outline.links == []
    for fetches in ("http:", "https:", "@import", "url(", "<script", "<link"):
        assert fetches not in text
    said = " ".join(outline.text)
    for words in (
        "<b>&",
        headline(data),
        "seconds ahead",
        "metres from where it began",
        "metres from the recorded place",
        "mean squared error of a pixel (0 to 1)",
        "rank correlation with the error (Spearman's)",
        "error / mean error of that step",
        "U as policies mind it, mean of a part",
        "3 dropout masks",
    ):
        assert words in said
    assert len(re.findall("<circle", text)) == 12, "a dot for each situation"
    assert outline.tags.count("svg") == 8


def test_the_headline_says_in_which_direction_imagination_errs(data: dict[str, Any]) -> None:
    def said(imagined: float, real: float) -> str:
        executed = data["executed"] | {
            "imagined_cost": [imagined],
            "executed_cost": [real],
            "correlation": 0.5,
        }
        return headline(data | {"executed": executed})

    assert "correlate with 0.50" in said(0.1, 0.3)
    assert "too kind: 0.8 s ahead a cost of 0.10, 0.30 when driven" in said(0.1, 0.3)
    assert "too harsh" in said(0.3, 0.1)


def test_a_model_that_never_doubts_is_said_to(data: dict[str, Any]) -> None:
    nothing = data["calibration"] | {"rank_correlation": [None] * HORIZON}
    silent = data | {"calibration": nothing}
    assert "The dropout masks never disagree" in " ".join(Outline(diagnosis_page(silent)).text)
    assert "rank correlation" in as_text(silent)


def test_the_same_seed_gives_the_same_numbers(files: Path, data: dict[str, Any], tmp_path: Path) -> None:
    again, other = (
        diagnose(
            tmp_path, [files / "traffic.parquet"], model=files / "paper", policy=files / "policy", split="all",
            situations=12, masks=3, seed=seed,
        )
        for seed in (0, 1)
    )  # fmt: skip
    assert again == data
    assert other["executed"] != data["executed"]


def test_what_does_not_fit_is_refused_in_one_line(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_policy(tmp_path / "other", replace(SMALL, frames=4))
    slow = tmp_path / "slow.parquet"
    frame = np.arange(100)
    write_parquet(
        Recording.from_tracks(
            site=straight_site(), vehicle_id=np.ones(100, int), frame=frame, x=2.0 * frame,
            y=np.full(100, lane_centre(1)), length=4.0, width=2.0, dt=0.2,
        ),
        slow,
    )  # fmt: skip
    few = tmp_path / "few.parquet"
    write_parquet(clean_traffic(num_cars=3), few)
    out = tmp_path / "out"
    for bad, words in (
        ({"model": files / "none"}, "no such file or folder"),
        ({"model": files / "policy"}, "no trained model here"),
        ({"policy": files / "paper"}, "holds a forward model, not a policy"),
        ({"policy": other}, "the model sees 3 frames"),
        ({"recording": slow}, "a frame every 0.2 s"),
        ({"recording": few, "split": "test"}, "no car of the test split"),
        ({"situations": 1}, "--situations 1: must be at least 2"),
        ({"masks": 1}, "--masks 1: must be at least 2"),
    ):
        assert main(options(files, "paper", out=out, **bad)) == 2
        err = capsys.readouterr().err.splitlines()
        assert err[-1].startswith("headway: error: ")
        assert words in err[-1]
        assert not out.exists() or list(out.iterdir()) == []


def test_a_page_that_fails_leaves_both_old_files(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (JSON_FILE, PAGE_FILE):
        (tmp_path / name).write_text("old")

    def fail(data: object) -> str:
        raise RuntimeError("no page")

    monkeypatch.setattr(module, "diagnosis_page", fail)
    with pytest.raises(RuntimeError, match="no page"):
        main(options(files, "paper", out=tmp_path))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        JSON_FILE: "old",
        PAGE_FILE: "old",
    }
