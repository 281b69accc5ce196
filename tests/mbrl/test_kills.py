"""Training that is killed again and again ends bit for bit like one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mbrl.checkpoint import load
from mbrl.loop import TRAINING_FILE
from mbrl.train_policy import POLICY_FILE
from mbrl.trained_model import MODEL_FILE
from tests.mbrl import killed_run

PROJECT = Path(__file__).parents[2]
KILLS = 20
FILES = (Path("model") / MODEL_FILE, Path("policy") / POLICY_FILE)


def run(folder: Path, kill_after: float | None = None) -> int:
    """The exit status of a run; killed so many seconds after its first saving."""
    env = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, killed_run.__file__, str(folder)], env=env)
    try:
        if kill_after is not None:
            before = saved(folder)
            while process.poll() is None and saved(folder) == before:
                time.sleep(0.005)
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        return process.wait(timeout=300)
    finally:
        process.kill()


def saved(folder: Path) -> list[int]:
    """When each of the run's states was written."""
    return [path.stat().st_mtime_ns for path in sorted(folder.glob(f"*/{TRAINING_FILE}"))]


@pytest.mark.slow
def test_twenty_kills_twenty_exact_resumes(tmp_path: Path) -> None:
    assert run(tmp_path / "calm") == 0
    delays, kills = random.Random(0), 0
    while kills < KILLS and not (tmp_path / "rough" / FILES[1]).exists():
        kills += run(tmp_path / "rough", delays.uniform(0.0, 0.25)) == -signal.SIGKILL
    assert kills == KILLS, "the run is too short to be killed that often"
    assert run(tmp_path / "rough") == 0
    for file in FILES:
        calm, rough = (load(tmp_path / name / file) for name in ("calm", "rough"))
        assert calm.meta == rough.meta
        assert calm.tensors.keys() == rough.tensors.keys()
        for name, tensor in calm.tensors.items():
            assert torch.equal(tensor, rough.tensors[name]), name
