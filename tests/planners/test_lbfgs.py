"""L-BFGS against dense matrices and known minima."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from planners import Box, GradientConfig, GradientPlanner, LBFGSConfig, LBFGSPlanner
from planners.lbfgs import direction
from tests.planners import linear_quadratic as lq


@pytest.mark.parametrize("steps", [1, 4])
def test_two_loops_are_the_dense_bfgs_matrix(steps: int) -> None:
    """H <- (I - rho s y') H (I - rho y s') + rho s s', from s'y / y'y of the last pair (Nocedal, Wright, 7.16)."""
    generator = torch.Generator().manual_seed(0)
    n = 6
    g, s = (torch.randn(*shape, n, generator=generator, dtype=torch.float64) for shape in ((2,), (steps, 2)))
    y = s + 0.3 * torch.randn(steps, 2, n, generator=generator, dtype=torch.float64)
    found = direction(g, s, y)
    eye = torch.eye(n, dtype=torch.float64)
    for p in range(2):
        assert bool(((s * y).sum(-1)[:, p] > 0).all())
        h = (s[-1, p] @ y[-1, p]) / (y[-1, p] @ y[-1, p]) * eye
        for a, b in zip(s[:, p], y[:, p], strict=True):
            rho = 1 / (a @ b)
            h = (eye - rho * torch.outer(a, b)) @ h @ (eye - rho * torch.outer(b, a)) + rho * torch.outer(
                a, a
            )
        assert torch.allclose(found[p], h @ g[p])


def test_pairs_of_negative_curvature_do_not_count_and_without_pairs_nothing_moves_by_more_than_1() -> None:
    g = torch.tensor([[3.0, -0.5], [0.2, 0.1]], dtype=torch.float64)
    s = torch.ones(1, 2, 2, dtype=torch.float64)
    y = torch.stack([-s[0, 0], 2 * s[0, 1]])[None]
    found = direction(g, s, y)
    assert torch.allclose(found[0], g[0] / 3)
    assert torch.allclose(found[1], g[1] / 2)
    assert torch.allclose(direction(g, s[:0], y[:0]), g / torch.tensor([[3.0], [0.2]], dtype=torch.float64))


def test_lbfgs_solves_a_quadratic_of_n_numbers_in_about_n_steps() -> None:
    n, generator = 6, torch.Generator().manual_seed(1)
    m = torch.randn(n, n, generator=generator, dtype=torch.float64)
    q, target = m @ m.T + 0.5 * torch.eye(n), torch.randn(n, generator=generator, dtype=torch.float64)

    def cost(states: Tensor, actions: Tensor) -> Tensor:
        off = actions[..., 0] - target
        return torch.diag_embed((off @ q * off).sum(-1, keepdim=True).expand(-1, n) / n).sum(-1)

    planner = LBFGSPlanner(LBFGSConfig(horizon=n, num_iterations=2 * n))
    plan = planner.plan(lambda s, a: s, cost, torch.zeros(1, 1), lq.FREE)
    assert torch.allclose(plan.actions[0, :, 0], target, atol=1e-4)


def test_lbfgs_goes_down_a_curved_valley_where_adam_crawls() -> None:
    """Rosenbrock's, from several starts at once."""

    def cost(states: Tensor, actions: Tensor) -> Tensor:
        x, y = actions[..., 0], actions[..., 1]
        return (1 - x).square() + 100 * (y - x.square()).square()

    space = Box.unbounded([1.0, 1.0], dtype=torch.float64)
    init = torch.tensor([[[-1.2, 1.0]], [[0.0, 0.0]], [[2.0, -1.0]]], dtype=torch.float64)
    config = LBFGSConfig(horizon=1, num_iterations=60)
    plan = LBFGSPlanner(config).plan(lambda s, a: s, cost, torch.zeros(3, 1), space, init=init)
    assert torch.allclose(plan.actions, torch.ones(3, 1, 2, dtype=torch.float64), atol=1e-4)
    slow = GradientPlanner(GradientConfig(horizon=1, num_iterations=60)).plan(
        lambda s, a: s, cost, torch.zeros(3, 1), space, init=init
    )
    assert bool((slow.cost > 1e3 * plan.cost.clamp(min=1e-9)).all())


def test_it_never_goes_on_from_a_worse_point() -> None:
    """J where gradients are asked for, of a cost with valleys beside each other."""
    asked: list[Tensor] = []

    def cost(states: Tensor, actions: Tensor) -> Tensor:
        a = actions[..., 0]
        j = 0.1 * a.square() + torch.sin(5 * a) + (3 * a).cos().abs()
        if actions.requires_grad:
            asked.append(j.detach().sum(1))
        return j

    init = torch.linspace(-2, 2, 20, dtype=torch.float64)[:, None, None].expand(20, 3, 1)
    LBFGSPlanner(LBFGSConfig(horizon=3, num_iterations=12)).plan(
        lambda s, a: s, cost, torch.zeros(20, 1), lq.FREE, init=init
    )
    assert len(asked) == 12
    assert bool((torch.stack(asked).diff(dim=0) <= 0).all())


def test_planning_for_an_early_end_is_planning_with_a_shorter_horizon() -> None:
    state = lq.starts(3)

    def cost(states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        ends = torch.zeros(actions.shape[:2], dtype=torch.bool)
        if ends.shape[1] > 2:
            ends[:, 2:4] = True  # ending twice is ending once
        return lq.cost(states, actions) + ends.cumsum(1) * 100, ends

    best = lq.least_squares(state, 3, lq.TIGHT)
    plan = LBFGSPlanner(LBFGSConfig(horizon=6, num_iterations=10)).plan(lq.step, cost, state, lq.TIGHT)
    assert torch.allclose(plan.actions[:, :3], best, atol=1e-5)
    assert torch.allclose(plan.cost, lq.total_cost(state, best) + 100), "the step that ends counts"
