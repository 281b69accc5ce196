"""What measured numbers depend on: processor, cores, load and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from envs.parallel import available_threads

PACKAGES = (
    "headway", "torch", "numpy", "numba", "gymnasium", "stable-baselines3", "highway-env", "pandas", "pyarrow",
)  # fmt: skip


def machine_facts(threads: int | None = None) -> dict[str, Any]:
    """Everything, as it is now."""
    return {
        "cpu": cpu_model(),
        "cores": available_threads(),
        "threads": threads or available_threads(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": versions(),
    }


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # run from a source tree that was never installed
    return found
