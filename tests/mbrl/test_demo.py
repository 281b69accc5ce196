"""The main job from end to end, small: by the demo, and command by command."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

import envs
from envs.formats import write_parquet
from mbrl import train_policy
from mbrl.cli import main
from mbrl.demo import FOLDERS, run_demo
from tests.toys import orderly_traffic

pytestmark = pytest.mark.slow
NAMES = ["human", "no-action", "imitation", "mpur", "mpur-no-uncertainty"]
KEYS = {
    "name", "cars", "success", "success_ci", "distance_m", "distance_ci", "collisions", "collisions_at_fault",
    "off_road", "speed_vs_human", "progress_vs_human", "min_ttc_s", "jerk", "seconds_per_action", "seed",
}  # fmt: skip


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traffic") / "toy.parquet"
    write_parquet(orderly_traffic(), path)
    return path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, traffic: Path) -> Path:
    out = tmp_path_factory.mktemp("demo")
    run_demo(out, preset="debug", recording=traffic)
    return out


def test_the_demo_writes_all_it_promises(demo: Path) -> None:
    data = json.loads((demo / "results.json").read_text())
    assert [row["name"] for row in data["agents"]] == NAMES
    assert all(row.keys() >= KEYS for row in data["agents"])
    assert len({row["cars"] for row in data["agents"]}) == 1
    human = data["agents"][0]
    assert human["success"] == 1.0
    assert human["speed_vs_human"] == pytest.approx(1, abs=0.02)
    page = (demo / "report.html").read_text()
    assert all(name in page for name in NAMES)
    assert "src=http" not in page.replace('"', "")
    assert (demo / "drive.mp4").stat().st_size > 10_000
    assert all((demo / folder / train_policy.POLICY_FILE).exists() for folder in FOLDERS.values())


def test_every_number_of_every_run_is_in_mlflow(demo: Path) -> None:
    with sqlite3.connect(demo / "mlflow.db") as store:
        experiments = {name for (name,) in store.execute("select name from experiments")}
        keys = {key for (key,) in store.execute("select distinct key from metrics")}
    assert {"train-model", "train-policy", "demo"} <= experiments
    assert {"loss", "kl", "predicted_cost", "uncertainty", "validation_success", "mpur/success"} <= keys


def test_a_finished_demo_is_not_trained_again(demo: Path, traffic: Path) -> None:
    files = [
        demo / "model" / "model.safetensors",
        *(demo / f / train_policy.POLICY_FILE for f in FOLDERS.values()),
    ]
    before = [path.stat().st_mtime_ns for path in files]
    results = json.loads((demo / "results.json").read_text())
    run_demo(demo, preset="debug", recording=traffic)
    assert [path.stat().st_mtime_ns for path in files] == before
    again = json.loads((demo / "results.json").read_text())
    for a, b in zip(results["agents"], again["agents"], strict=True):
        assert {k: v for k, v in a.items() if k != "seconds_per_action"} == {
            k: v for k, v in b.items() if k != "seconds_per_action"
        }


def test_the_same_job_command_by_command(tmp_path: Path, traffic: Path) -> None:
    model, policy, out = (str(tmp_path / name) for name in ("model", "policy", "scores"))
    recording = ["--recording", str(traffic)]
    assert main(["train-model", *recording, "--preset", "debug", "--out", model]) == 0
    assert main(["train-policy", "--model", model, *recording, "--preset", "debug", "--out", policy]) == 0
    agents = ["--agent", policy, "--agent", "no-action", "--agent", "human"]
    assert main(["evaluate", *recording, *agents, "--out", out]) == 0
    data = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert [row["name"] for row in data["agents"]] == ["mpur", "no-action", "human"]
    assert main(["view", str(traffic), "--agent", policy, "--mp4", str(tmp_path / "v.mp4")]) == 0
    assert (tmp_path / "v.mp4").exists()


def test_a_policy_trained_otherwise_is_refused(
    demo: Path, traffic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--model",
        str(demo / "model"),
        "--recording",
        str(traffic),
        "--preset",
        "debug",
        "--seed",
        "5",
    ]
    assert main(["train-policy", *arguments, "--out", str(demo / FOLDERS["mpur"])]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("headway: error:")
    assert "seed expected 5, found 0" in error


def test_the_sample_is_there() -> None:
    assert envs.SAMPLE.stat().st_size <= 6 * 2**20
