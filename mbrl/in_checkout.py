"""What is measured against stays in benchmarks/ of a checkout, outside the package."""

from __future__ import annotations

import importlib
from types import ModuleType

from envs.errors import InputError


def benchmark_module(name: str) -> ModuleType:
    """benchmarks/NAME.py of the checkout that headway runs from. Raises InputError where there is none."""
    try:
        return importlib.import_module(f"benchmarks.{name}")
    except ModuleNotFoundError as error:
        if error.name is not None and not error.name.startswith("benchmarks"):
            raise
        raise InputError(
            f"what is measured against is benchmarks/{name}.py of a checkout: clone headway, and run this there"
        ) from error
