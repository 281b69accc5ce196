"""What all tests share: where the real recordings are, one thread for each worker, and GPU tests only on GPUs."""

from __future__ import annotations

import gc
import os
from pathlib import Path

# Before torch is imported anywhere. Workers of pytest-xdist share the cores; more threads would only spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a screen
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pytest
from hypothesis import settings

PROJECT = Path(__file__).parents[1]
REAL_DATA = Path(os.environ.get("HEADWAY_DATA") or PROJECT.parent / "shared" / "data")

settings.register_profile("headway", deadline=None)  # the first call of a compiled function takes seconds
settings.load_profile("headway")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real recordings (`commonroad/`, `ngsim/`); they are not ours to ship."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real recordings at {REAL_DATA}; set HEADWAY_DATA to the folder that has them")
    return REAL_DATA


def pytest_collection_finish() -> None:
    """What was imported stays: looking through it for garbage again and again would take a twentieth of the time."""
    gc.freeze()
    gc.set_threshold(50_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
