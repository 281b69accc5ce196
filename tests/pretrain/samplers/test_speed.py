"""A batch of chains is worth its while: the benchmark, small."""

from __future__ import annotations

import pytest

from benchmarks.chains import chains_ratio


def test_a_batch_of_chains_is_faster_than_a_loop() -> None:
    """Of 256 chains; an idle machine shows over a hundred, a busy one some tens."""
    numbers = chains_ratio(chains=256, steps=2, looped=2, repeats=2)
    for name in ("hmc", "langevin"):
        assert numbers[f"{name}_chains_ratio"] > 5
        ratio = numbers[f"{name}_loop_s"] / numbers[f"{name}_batch_s"]
        assert numbers[f"{name}_chains_ratio"] == pytest.approx(ratio)
