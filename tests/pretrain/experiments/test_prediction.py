"""Gaps of codes, and the steps that inference from them takes."""

from __future__ import annotations

import pytest
import torch

from pretrain.experiments.prediction import gap, predictions, steps_to
from pretrain.sparse.energy import lasso, random_dictionary
from pretrain.sparse.fista import fista


def test_the_optimum_has_no_gap_and_takes_no_steps_and_a_start_nearer_to_it_takes_fewer() -> None:
    rng = torch.Generator().manual_seed(0)
    w = random_dictionary(12, 20, rng).double()
    problem = lasso(torch.randn(50, 12, generator=rng, dtype=torch.float64), w, 0.2)
    z = fista(problem, 2000)
    best = float(problem.energy(z).mean())
    assert gap(problem, z, best) == 0
    assert gap(problem, problem.start, best) == pytest.approx(
        float(problem.energy(problem.start).mean()) / best - 1
    )
    steps = steps_to(problem, problem.start, best, 0.05)
    assert gap(problem, fista(problem, steps), best) <= 0.05 < gap(problem, fista(problem, steps - 1), best)
    found = predictions(problem, {"z": z, "near": 0.9 * z, "zeros": problem.start}, best, 0.05)
    assert found["steps from z"] == 0
    assert found["steps from near"] < found["steps from zeros"] == steps
    assert found["gap of z"] < found["gap of near"] < found["gap of zeros"]
    assert steps_to(problem, problem.start, best, -1, most=3) == 3
