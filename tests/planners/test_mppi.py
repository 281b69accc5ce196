"""MPPI against closed forms: its weights, and its average for a quadratic cost, with and without cost of control."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from planners import MPPI, Box, MPPIConfig
from planners.mppi import plan_weights
from tests.planners import linear_quadratic as lq


def test_weights_are_those_of_the_formula() -> None:
    cost = torch.tensor([[1.0, 10], [2, 10], [4, 13]], dtype=torch.float64)
    w = plan_weights(cost, 2.0)
    for b in range(2):
        e = [math.exp(-float(c) / 2) for c in cost[:, b]]
        assert w[:, b].tolist() == pytest.approx([x / sum(e) for x in e])


def test_weights_know_no_offset_reject_and_let_the_best_take_all_when_cold() -> None:
    cost = torch.tensor([[1.0], [2.0], [torch.nan], [-torch.inf], [1.5]], dtype=torch.float64)
    assert torch.allclose(plan_weights(cost, 0.5), plan_weights(cost + 1e6, 0.5))
    assert plan_weights(cost, 0.5)[2:4].tolist() == [[0], [0]]
    assert plan_weights(cost, 1e-3)[:, 0].tolist() == pytest.approx([1, 0, 0, 0, 0])
    assert plan_weights(torch.full((3, 1), torch.inf), 1.0).isnan().all()


TARGET = torch.tensor([0.5, -1.0], dtype=torch.float64)
CURVATURE = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
FREE = Box.unbounded([1.0, 2.0], dtype=torch.float64)


def quadratic(states: Tensor, actions: Tensor) -> Tensor:
    off = actions - TARGET
    return 0.5 * (off @ CURVATURE * off).sum(-1)


@pytest.mark.parametrize("alpha", [1.0, 0.4, 0.0])
def test_the_average_is_the_mean_of_the_posterior(alpha: float) -> None:
    """Normal samples weighed by exp(-quadratic / lambda) are normal again; the cost of control moves their prior:

    mean = (Sigma^-1 + Q / lambda)^-1 (Sigma^-1 alpha u + Q target / lambda)
    """
    u = torch.tensor([[[0.8, 0.3]]], dtype=torch.float64)
    config = MPPIConfig(horizon=1, num_samples=40_000, temperature=1.5, std=0.4, alpha=alpha)
    plan = MPPI(config).plan(lambda s, a: s, quadratic, torch.zeros(1, 1), FREE, init=u)
    inverse = torch.diag((0.4 * FREE.scale) ** -2)
    right = inverse @ (alpha * u[0, 0]) + CURVATURE @ TARGET / 1.5
    expected = torch.linalg.solve(inverse + CURVATURE / 1.5, right)
    assert torch.allclose(plan.actions[0, 0], expected, atol=0.02)
    assert not torch.allclose(u[0, 0], expected, atol=0.1)


def test_the_spread_shrinks_from_one_iteration_to_the_next() -> None:
    seen: list[Tensor] = []
    config = MPPIConfig(horizon=1, num_samples=2000, num_iterations=3, std=0.8, std_decay=0.5, score=False)
    MPPI(config).plan(lambda s, a: seen.append(a) or s, quadratic, torch.zeros(1, 1), FREE)
    spread = torch.stack([a.std(0) for a in seen])
    expected = 0.8 * FREE.scale * torch.tensor([[1.0], [0.5], [0.25]], dtype=torch.float64)
    assert torch.allclose(spread, expected, rtol=0.06)


def test_an_average_that_breaks_gives_way_to_the_best_plan() -> None:
    """Left or right of an obstacle is fine, the average of both is a crash."""

    def cost(states: Tensor, actions: Tensor) -> Tensor:
        a = actions[..., 0]
        return torch.where(a.abs() < 0.4, torch.nan, a.abs())

    box, state = Box.of([-1.0], [1.0], dtype=torch.float64), torch.zeros(6, 1)
    config = MPPIConfig(horizon=1, num_samples=100, temperature=10.0, std=1.0)
    plan = MPPI(config).plan(lambda s, a: s, cost, state, box, seeds=range(6))
    assert not plan.info.failed.any()
    assert torch.allclose(plan.cost, plan.actions[:, 0, 0].abs())
    assert bool(((plan.cost >= 0.4) & (plan.cost < 0.45)).all())


def test_an_average_that_costs_more_than_what_it_averages_gives_way_too() -> None:
    """The same with an obstacle that can be driven through, at a cost."""

    def cost(states: Tensor, actions: Tensor) -> Tensor:
        a = actions[..., 0]
        return 10 * (a.abs() < 0.3) + (a.abs() - 0.6).square()

    box, state = Box.of([-1.0], [1.0], dtype=torch.float64), torch.zeros(6, 1)
    plan = MPPI(MPPIConfig(horizon=1)).plan(lambda s, a: s, cost, state, box, seeds=range(6))
    assert bool((plan.cost < 0.1).all())


def test_an_unscored_average_is_the_same_and_its_cost_a_bound() -> None:
    state, box = lq.starts(4), lq.TIGHT
    config = {"horizon": 5, "num_samples": 50, "temperature": 0.5}
    scored, unscored = (
        MPPI(MPPIConfig(score=score, **config)).plan(lq.step, lq.cost, state, box) for score in (True, False)
    )
    assert torch.equal(scored.actions, unscored.actions)
    assert bool((unscored.cost > scored.cost).all())
    assert unscored.info.evaluations == 50
    broken = MPPI(MPPIConfig(score=False, **config)).plan(
        lq.step, lambda s, a: lq.cost(s, a) * torch.nan, state, box
    )
    assert broken.info.failed.all()
    assert torch.equal(broken.actions, torch.zeros_like(scored.actions))


def test_coloured_noise_moves_slowly() -> None:
    seen: list[Tensor] = []
    config = MPPIConfig(horizon=20, num_samples=500, noise_beta=3.0, score=False)
    MPPI(config).plan(lambda s, a: seen.append(a) or lq.step(s, a), lq.cost, lq.starts(1), lq.FREE)
    actions = torch.cat(seen, 1)
    assert float(actions.diff(dim=1).std()) < 0.5 * float(actions.std())
