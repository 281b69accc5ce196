"""Mixed planning against all sequences of choices, each with its best continuous actions; what the noise is for."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from planners import Box, Mixed, MixedConfig
from planners.mixed import through_softmax
from tests.planners import linear_quadratic as lq

H = 4
GEARS = torch.tensor([-0.6, 0.1, 0.9], dtype=torch.float64)  # m/s^2
PRICES = torch.tensor([0.0, 0.3, 0.1], dtype=torch.float64)
GAS = 0.15
ORDERS = torch.tensor(list(product(range(3), repeat=H)))
SPACE = Box.of([0, 0, 0, -GAS], [1, 1, 1, GAS], [1, 1, 1, GAS], dtype=torch.float64)
CHOICES = Box.of([0, 0, 0], [1, 1, 1], [1, 1, 1], dtype=torch.float64)


def acceleration(actions: Tensor) -> Tensor:
    return actions[..., :3] @ GEARS[:, None] + actions[..., 3:].sum(-1, keepdim=True)


def step(state: Tensor, action: Tensor) -> Tensor:
    return lq.step(state, acceleration(action))


def cost(states: Tensor, actions: Tensor) -> Tensor:
    return lq.cost(states, acceleration(actions)) + actions[..., :3] @ PRICES


def slope(state: Tensor, accelerations: Tensor) -> Tensor:
    """dJ/da of plans (B, H)."""
    a = accelerations[..., None].clone().requires_grad_()
    return torch.autograd.grad(lq.total_cost(state, a).sum(), a)[0][..., 0]


def exhaustive(start: Tensor, gas: float) -> Tensor:
    """J of all 3^H orders of gears from one start (1, 2), each with its best gas: projected gradient."""
    state, gears = start.expand(len(ORDERS), -1), GEARS[ORDERS]
    unit = torch.eye(H, dtype=torch.float64)
    offset = slope(start, torch.zeros(1, H, dtype=torch.float64))
    curvature = slope(start.expand(H, -1), unit) - offset  # J is quadratic
    largest, u = torch.linalg.eigvalsh(curvature).max(), torch.zeros_like(gears)
    for _ in range(300):
        u = (u - ((gears + u) @ curvature + offset) / largest).clamp(-gas, gas)
    return lq.total_cost(state, (gears + u)[..., None]) + PRICES[ORDERS].sum(-1)


def planner(num_samples: int = 8, noise: float = 1.0) -> Mixed:
    return Mixed(MixedConfig(horizon=H, num_choices=3, num_samples=num_samples, noise=noise))


def is_choice(actions: Tensor) -> bool:
    w = actions[..., :3]
    return bool(((w == 0) | (w == 1)).all()) and bool((w.sum(-1) == 1).all())


def test_choices_and_their_continuous_actions_are_the_best_of_all() -> None:
    state = 2 * lq.starts(30)
    best = torch.stack([exhaustive(s[None], GAS).min() for s in state])
    plan = planner().plan(step, cost, state, SPACE, seeds=range(30))
    assert is_choice(plan.actions)
    assert bool((plan.cost > best - 1e-6).all()), "the reference is not the best"
    excess = plan.cost / best - 1
    assert float((excess < 1e-3).double().mean()) > 0.9
    assert float(excess.max()) < 0.03


def test_choices_alone_are_the_best_of_all() -> None:
    state = 2 * lq.starts(30)
    j = torch.stack([exhaustive(s[None], 0.0) for s in state])
    plan = planner().plan(step, cost, state, CHOICES, seeds=range(30))
    assert torch.equal(plan.actions[..., :3].argmax(-1), ORDERS[j.argmin(1)])
    assert torch.allclose(plan.cost, j.min(1).values)


def test_a_choice_bounded_by_0_is_never_made() -> None:
    """Each start lacks another gear."""
    state = 2 * lq.starts(3)
    high = 1 - torch.eye(3, dtype=torch.float64)[:, None]
    space = Box(torch.zeros_like(high), high, torch.ones_like(high))
    plan = planner().plan(step, cost, state, space)
    for b in range(3):
        without = (b != ORDERS).all(1)
        assert float(plan.cost[b]) == pytest.approx(float(exhaustive(state[b : b + 1], 0.0)[without].min()))


def test_the_slope_through_the_softmax_is_that_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    x, target = (torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    x.requires_grad_()
    w = x.softmax(-1)
    j = (w - target).pow(3).sum()
    by_w, by_x = torch.autograd.grad(j, (w, x))
    assert torch.allclose(through_softmax(w.detach(), by_w), by_x)


@pytest.mark.parametrize(("noise", "most"), [(0.0, None), (3.0, 0.75)])
def test_noise_drives_mixtures_to_choices(noise: float, most: float | None) -> None:
    """(w - 0.4)^2 is least where both choices mix; there they stay, unless noise makes it costly.

    What is nearer to a choice than noise alone would bring w = 0.4 has gone there.
    """
    seen: list[Tensor] = []

    def between(states: Tensor, actions: Tensor) -> Tensor:
        seen.append(actions[..., 0].detach())
        return (actions[..., 0] - 0.4).square()

    num, iterations = 64, 80
    config = MixedConfig(
        horizon=3, num_choices=2, num_samples=num, noise=noise, num_iterations=iterations, held_iterations=0
    )
    space = Box.of([0, 0], [1, 1], dtype=torch.float64)
    Mixed(config).plan(lambda s, a: s, between, torch.zeros(1, 1), space)
    relaxed = torch.stack([w for w in seen if bool(((w - w.round()).abs() > 1e-9).any())][-20:])
    shaken = torch.randn(10_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * noise
    alone = (shaken + torch.tensor([0.4, 0.6]).log()).softmax(-1)[:, 0]
    away, expected = ((w - w.round()).abs().mean() for w in (relaxed, alone))
    if most is None:
        assert torch.allclose(relaxed, torch.tensor(0.4, dtype=torch.float64), atol=0.02)
    else:
        assert float(away) < most * float(expected)


def test_weights_with_other_bounds_are_refused() -> None:
    for low, high in (([-1, 0], [1, 1]), ([0, 0], [2, 1]), ([0, 0], [0, 0])):
        space = Box.of(low, high, [1, 1])
        with pytest.raises(ValueError, match="weights of choices"):
            Mixed(MixedConfig(num_choices=2)).plan(step, cost, lq.starts(1), space)
    with pytest.raises(ValueError, match="weights of choices"):
        planner().plan(step, cost, lq.starts(1), Box.of([0], [1]))
