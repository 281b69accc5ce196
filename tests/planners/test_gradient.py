"""Gradient descent: torch's own Adam, slopes that break, several beginnings, networks left alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from planners import Box, GradientConfig, GradientPlanner
from planners.adam import Adam
from tests.planners import linear_quadratic as lq
from tests.planners.two_numbers import TARGET, UNITS, quadratic


def test_adam_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    theirs = x.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.9)
    ours = Adam(0.1, 0.9)
    for _ in range(7):
        theirs.grad = torch.randn(3, 4, generator=generator, dtype=torch.float64) * theirs.detach()
        x = x + ours.step(theirs.grad)
        optimiser.step()
        schedule.step()
    assert torch.allclose(x, theirs.detach())


def test_one_step_goes_eta_downhill_in_units_of_the_scale() -> None:
    """The first step of Adam is eta sign(g)."""
    planner = GradientPlanner(GradientConfig(horizon=4, num_iterations=1, learning_rate=0.05))
    plan = planner.plan(lambda s, a: s, quadratic, lq.starts(1), UNITS)
    expected = 0.05 * UNITS.scale * torch.sign(TARGET)
    assert torch.allclose(plan.actions, expected.expand(1, 4, 2), rtol=1e-6)


class Breaking(torch.autograd.Function):
    """The same number, whose slope is NaN between 0.3 and 0.7."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where((x - 0.5).abs() < 0.2, torch.nan, slope)


def test_a_slope_that_breaks_on_the_way_does_not_end_the_descent() -> None:
    def cost(states: Tensor, actions: Tensor) -> Tensor:
        return (Breaking.apply(actions[..., 0]) - 1).square()

    planner = GradientPlanner(GradientConfig(horizon=2, num_iterations=60, decay=0.95))
    plan = planner.plan(lambda s, a: s, cost, torch.zeros(3, 1), lq.FREE)
    assert torch.allclose(plan.actions, torch.ones(3, 2, 1, dtype=torch.float64), atol=0.05)


def test_a_network_is_left_as_it_was_and_planned_through() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 2)).eval()
    planner = GradientPlanner(GradientConfig(horizon=4, num_iterations=3))
    box, state = Box.of([-1.0], [1.0]), torch.randn(2, 2)

    def step(s: Tensor, action: Tensor) -> Tensor:
        return net(torch.cat([s, action], 1))

    plan = planner.plan(step, lambda s, a: s.square().sum(-1), state, box)
    assert plan.actions.dtype == torch.float32
    assert not plan.actions.requires_grad
    assert not net.training
    assert all(parameter.grad is None for parameter in net.parameters())


def test_several_beginnings_reach_the_better_valley() -> None:
    def cost(states: Tensor, actions: Tensor) -> Tensor:
        a = actions[..., 0]
        return (a.square() - 1).square() + 0.3 * a

    init = torch.full((4, 2, 1), 0.9, dtype=torch.float64)
    common = {"horizon": 2, "num_iterations": 40}
    one, many = (
        GradientPlanner(GradientConfig(num_samples=num, std=1.0, **common)).plan(
            lambda s, a: s, cost, torch.zeros(4, 1), lq.FREE, init=init, seeds=range(4)
        )
        for num in (1, 30)
    )
    assert bool((one.actions > 0.8).all())
    assert bool((many.actions < -0.8).all())
