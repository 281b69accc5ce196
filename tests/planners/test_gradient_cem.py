"""CEM with gradients does what neither does alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from planners import CEM, CEMConfig, GradientCEM, GradientCEMConfig, GradientConfig, GradientPlanner, Planner
from tests.planners import linear_quadratic as lq


def test_samples_find_the_valley_and_the_gradient_its_floor() -> None:
    """A shallow valley where the search begins and a deep, narrow one elsewhere: either alone stays short of it."""

    def cost(states: Tensor, actions: Tensor) -> Tensor:
        deep = -4 * torch.exp(-2 * (actions - 2).square().sum((1, 2)))
        return 0.3 * actions[..., 0].square() + deep[:, None] / 2

    def gap(planner: Planner[Any]) -> float:
        plan = planner.plan(lq.step, cost, lq.starts(8), lq.FREE, seeds=range(8))
        return float((plan.cost - least).max())

    a = torch.linspace(1, 3, 20_001, dtype=torch.float64)
    least = float((0.6 * a**2 - 4 * torch.exp(-4 * (a - 2) ** 2)).min())  # both actions alike
    common: dict[str, Any] = {
        "horizon": 2,
        "num_samples": 150,
        "num_elites": 4,
        "num_iterations": 2,
        "std": 1.0,
    }
    hybrid = gap(GradientCEM(GradientCEMConfig(gradient_steps=10, learning_rate=0.1, **common)))
    assert hybrid < 0.02
    assert gap(CEM(CEMConfig(**common))) > 4 * hybrid
    assert gap(GradientPlanner(GradientConfig(horizon=2, num_iterations=200))) > 1
