"""Each example runs as its first lines say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from envs.formats import write_parquet
from tests.toys import random_traffic

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "traffic.parquet"
    write_parquet(random_traffic(seed=4, num_vehicles=40, num_frames=600), path)
    return path


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=EXAMPLES.parent).stdout


@pytest.mark.slow
def test_drive_many_counts_endings(recording: Path) -> None:
    said = run("drive_many.py", recording)
    assert "collision: " in said
    assert "mean distance of" in said


@pytest.mark.slow
def test_replay_to_video_writes_one(recording: Path, tmp_path: Path) -> None:
    said = run("replay_to_video.py", recording, tmp_path / "out.mp4")
    assert "at most 0.0" in said, "the recording's own actions lead along it"
    assert (tmp_path / "out.mp4").stat().st_size > 10_000


@pytest.mark.slow
def test_train_ppo_learns_without_a_hitch(recording: Path) -> None:
    assert "mean reward of the last" in run("train_ppo.py", recording, 2048)


def test_every_example_is_tried_and_short() -> None:
    tried = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in tried, path
        assert len(path.read_text().splitlines()) < 60, path
