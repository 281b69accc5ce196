"""What is trained comes after what it needs, is timed over interruptions, and is of one setting in a folder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from envs.errors import InputError
from envs.formats import write_parquet
from mbrl import trainings as module
from mbrl.cost_training import CostTraining
from mbrl.presets import model_training, policy_training
from mbrl.progress import Counter
from mbrl.side_by_side import Job
from mbrl.train_learned_cost import load_learned_cost
from mbrl.train_model import WITHOUT_Z
from mbrl.trained_model import MODEL_FILE
from mbrl.trainings import Training, keep_setting, seconds_spent, train_all, train_one, with_needs
from tests.agents.scenes import clean_traffic

MODEL = Training("model", model_training("debug"))
START = Training("imitation", policy_training("debug", "imitation"))
POLICY = Training("mpur", policy_training("debug"), "model", "imitation")
LATER = Training("later", policy_training("debug"), "model", "mpur")


def test_stages_of_several_folders_run_together(tmp_path: Path) -> None:
    stages: list[list[tuple[str, str]]] = []

    def run(jobs: Any) -> None:
        stages.append([(job.arguments[2].name, job.arguments[0].name) for job in jobs])

    plan = {tmp_path / "a": [MODEL, START, POLICY, LATER], tmp_path / "b": [START, MODEL, POLICY]}
    train_all(plan, [], run=run)
    assert stages == [
        [("a", "model"), ("a", "imitation"), ("b", "imitation"), ("b", "model")],
        [("a", "mpur"), ("b", "mpur")],
        [("a", "later")],
    ]


def test_what_is_needed_is_found_however_far_back() -> None:
    assert with_needs([MODEL, START, POLICY, LATER], {"later"}) == [MODEL, START, POLICY, LATER]
    assert with_needs([MODEL, START, POLICY, LATER], {"imitation"}) == [START]


def test_time_is_added_up_over_interruptions_but_not_for_finding_it_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic, clock = tmp_path / "traffic.parquet", iter([0.0, 40.0, 100.0, 107.0, 200.0, 203.0])
    write_parquet(clean_traffic(num_cars=20), traffic)
    interruptions = iter([True, False, False])

    def train(_: Any, __: Any, out: Path, **___: Any) -> None:
        out.mkdir(exist_ok=True)
        if next(interruptions):
            raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(module, "train_model", train)
    assert seconds_spent(tmp_path / "model") is None
    with pytest.raises(KeyboardInterrupt):
        train_one(MODEL, [traffic], tmp_path, "cpu", None, Counter)
    spent = [seconds_spent(tmp_path / "model")]
    for _ in range(2):
        train_one(MODEL, [traffic], tmp_path, "cpu", None, Counter)
        spent.append(seconds_spent(tmp_path / "model"))
    assert spent == [40.0, 47.0, 47.0]


@pytest.mark.slow
def test_runs_without_rl_do_not_import_stable_baselines3() -> None:
    code = "import sys, mbrl.demo, mbrl.reproduce; sys.exit('stable_baselines3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_is_of_one_setting(tmp_path: Path) -> None:
    one, other = clean_traffic(num_cars=20), clean_traffic(num_cars=21)
    out = tmp_path / "out"
    keep_setting(out, [one], preset="debug")
    keep_setting(out, [one], preset="quick")  # nothing was done in it yet
    (out / "model").mkdir()
    keep_setting(out, [one], preset="quick")
    with pytest.raises(InputError, match=r"out: .* has preset quick, not debug: choose another folder"):
        keep_setting(out, [one], preset="debug")
    with pytest.raises(InputError, match="has other recordings"):
        keep_setting(out, [other], preset="quick")


def test_a_model_begins_with_another_training_s(tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.parquet"
    write_parquet(clean_traffic(num_cars=60), traffic)
    warm = replace(MODEL.config, warm_start=MODEL.config.stages[:1])
    known = {"first": warm.without_z(), "second": warm}
    for name, start in (("first", None), ("second", "first")):
        train_one(Training(name, known[name], start=start), [traffic], tmp_path, "cpu", None, Counter)
    assert (tmp_path / "second" / MODEL_FILE).exists()
    assert not (tmp_path / "second" / WITHOUT_Z).exists(), "it is not trained again"


def test_a_policy_is_trained_through_its_model(tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.parquet"
    write_parquet(clean_traffic(num_cars=60), traffic)

    def run(jobs: list[Job]) -> None:
        for job in jobs:
            job.function(*job.arguments, progress=Counter)

    train_all({tmp_path: [MODEL, START, POLICY]}, [traffic], run=run, tracking_root=tmp_path)  # type: ignore[arg-type]
    assert all((seconds_spent(tmp_path / name) or 0) > 0 for name in ("model", "imitation", "mpur"))


def test_a_policy_is_judged_by_the_learned_cost_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic, judges = tmp_path / "traffic.parquet", []
    write_parquet(clean_traffic(num_cars=60), traffic)
    monkeypatch.setattr(module, "train_policy", lambda *_, learned_cost, **__: judges.append(learned_cost))
    cost = Training("cost", CostTraining(network=POLICY.config.policy, updates=2, batch_size=4))  # type: ignore[union-attr]
    judged = replace(START, name="judged", cost="cost")
    assert with_needs([cost, START, judged], {"judged"}) == [cost, judged]
    for training in (cost, START, judged):
        train_one(training, [traffic], tmp_path, "cpu", None, Counter)
    trained = load_learned_cost(tmp_path / "cost").state_dict()
    assert judges[0] is None
    assert all(torch.equal(value, trained[name]) for name, value in judges[1].state_dict().items())
