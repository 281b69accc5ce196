"""Training runs in tests: without MLflow's start-up time, quiet, and interrupted wherever a test likes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import Tensor

from mbrl import loop
from mbrl.checkpoint import load
from mbrl.progress import Counter


def interrupting(after: int) -> type[Counter]:
    """One that is interrupted, as by Ctrl-C, once so many updates are done in all."""

    class Interrupting(Counter):
        def advance(self, count: int = 1, **numbers: float) -> None:
            super().advance(count)
            if self.done == after:
                raise KeyboardInterrupt

    return Interrupting


class Untrained(Counter):
    """One that allows no update at all."""

    def advance(self, count: int = 1, **numbers: float) -> None:
        raise AssertionError("this run must not train any more")


class Notebook:
    """Stands in for MLflow: what was logged, by step, of all runs since it was opened."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, dict[str, float]]] = []

    def tracker(self, *_: Any, **__: Any) -> Notebook:
        return self

    run_id = "notebook"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def flush(self) -> None:
        pass

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.steps.append((step, dict(metrics)))

    def of(self, name: str) -> list[float]:
        """The numbers of one name, in the order logged."""
        return [metrics[name] for _, metrics in self.steps if name in metrics]


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """Runs log here, and save before every update that allows it."""
    book = Notebook()
    monkeypatch.setattr(loop, "Tracker", book.tracker)
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    return book


def assert_same_checkpoint(one: Path, other: Path) -> None:
    """Every tensor bit for bit, the config, and all that is said about the state."""
    a, b = load(one), load(other)
    assert a.config == b.config
    assert a.meta == b.meta
    assert a.tensors.keys() == b.tensors.keys()
    for name, tensor in a.tensors.items():
        assert same_bits(tensor, b.tensors[name]), name


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Also where both are not a number."""
    return one.dtype == other.dtype and torch.equal(one, other)


def interrupted_and_resumed(run: Callable[[Path, type[Counter]], Any], out: Path, *after: int) -> None:
    """Start a run, interrupt it after each of these updates, and let it finish."""
    for updates in after:
        with pytest.raises(KeyboardInterrupt):
            run(out, interrupting(updates))
        torch.rand(3)  # whatever else the process does with its global generator must not matter
    run(out, Counter)
