"""Several sampled futures: J is their mean, each start has its own, and the best plan is that of the mean."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from planners import (
    ILQR,
    BeamConfig,
    BeamSearch,
    ByPolicy,
    ILQRConfig,
    LBFGSConfig,
    LBFGSPlanner,
    RandomShooting,
    RandomShootingConfig,
    SampledFutures,
    Stepwise,
    Table,
)
from tests.planners import linear_quadratic as lq
from tests.planners.cases import CASES, Case, H, acceleration

B, M = 3, 4
several = pytest.mark.parametrize("name", [name for name in CASES if name != "ilqr"])


def draws(num_futures: int = M) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(num_futures, B, H, 2, generator=generator, dtype=torch.float64)


def windy(case: Case) -> Any:
    """The double integrator, pushed and shaken, the more the faster it is."""

    def step(state: Tensor, action: Tensor, z: Tensor) -> Tensor:
        return case.step(state, action) + 0.2 * z * (1 + state[:, 1:].abs())

    return step


def stops(states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    return lq.cost(states, acceleration(actions)), states[..., 0] > 1.2


def beyond(state: Tensor) -> Tensor:
    return 2 * state[:, 0].square()


def mean_cost(case: Case, state: Tensor, actions: Tensor, z: Tensor) -> Tensor:
    """J (B,) of plans (B, H, A), by plain loops over starts, futures and steps."""
    found = torch.zeros(len(state), dtype=torch.float64)
    for b, future in product(range(len(state)), z):
        s, ended = state[b : b + 1], False
        for t in range(H):
            s = windy(case)(s, actions[b : b + 1, t], future[b : b + 1, t])
            c, ends = stops(s, actions[b : b + 1, t])
            found[b] += c[0] / len(z)
            if bool(ends):
                ended = True
                break
        if not ended:
            found[b] += beyond(s)[0] / len(z)
    return found


@several
def test_a_plan_costs_the_mean_of_its_futures(name: str) -> None:
    case, state, z = CASES[name], lq.starts(B), draws()
    options = {"cost": stops, "terminal": beyond, "seeds": [3, 4, 5]}
    plan = case.plan(state, dynamics=SampledFutures(windy(case), z), **options)
    assert torch.allclose(plan.cost, mean_cost(case, state, plan.actions, z))
    alone = case.plan(state[1:2], dynamics=SampledFutures(windy(case), z[:, 1:2]), **options | {"seeds": [4]})
    assert torch.allclose(alone.actions[0], plan.actions[1], rtol=1e-7, atol=1e-9)


def test_the_best_plan_is_that_of_the_mean() -> None:
    """J is quadratic where noise adds to the state: a* = -(d2J/da2)^-1 dJ/da at a = 0, of the mean over futures."""
    state, z = lq.starts(B), draws()

    def step(s: Tensor, action: Tensor, shake: Tensor) -> Tensor:
        return lq.step(s, action) + 0.3 * shake

    def mean(actions: Tensor) -> Tensor:
        j = torch.zeros((), dtype=torch.float64)
        for future in z:
            s = state
            for t in range(H):
                s = step(s, actions[:, t], future[:, t])
                j = j + lq.cost(s, actions[:, t]).sum() / M
        return j

    zero = torch.zeros(B, H, 1, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(mean(zero), zero)
    curvature = torch.autograd.functional.hessian(mean, zero.detach()).view(B * H, B * H)
    best = -torch.linalg.solve(curvature, slope.flatten()).view(B, H, 1)
    planner = LBFGSPlanner(LBFGSConfig(horizon=H, num_iterations=20))
    plan = planner.plan(SampledFutures(step, z), lq.cost, state, lq.FREE)
    assert torch.allclose(plan.actions, best, atol=1e-4)
    one = planner.plan(SampledFutures(step, z[:1]), lq.cost, state, lq.FREE)
    assert not torch.allclose(one.actions, best, atol=0.1)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_wide_beam_finds_the_best_sequence_in_the_mean(depth: int) -> None:
    case, state, z = CASES["random shooting"], lq.starts(B), draws()
    told = torch.tensor([[-0.5], [0.7]], dtype=torch.float64)[:, None].expand(-1, H // depth, -1)
    plans = [
        torch.cat([told[k] for k in order])[None].expand(B, -1, -1)
        for order in product(range(2), repeat=depth)
    ]
    costs = torch.stack([mean_cost(case, state, plan, z) for plan in plans])
    plan = BeamSearch(BeamConfig(horizon=H, width=8), Table(told)).plan(
        SampledFutures(windy(case), z), stops, state, lq.TIGHT, terminal=beyond
    )
    assert torch.allclose(plan.cost, costs.min(0).values)


def home(state: Tensor) -> Tensor:
    return -0.5 * state[:, :1]


def test_a_policy_acts_as_in_the_first_future() -> None:
    """As the beginning of a search, and as a meta-action."""
    case, state, z = CASES["random shooting"], lq.starts(B), draws()
    actions, s = [], state
    for t in range(H):
        actions.append(home(s).clamp(-0.5, 0.8))
        s = windy(case)(s, actions[-1], z[0, :, t])
    driven = mean_cost(case, state, torch.stack(actions, 1), z)
    futures, options = SampledFutures(windy(case), z), {"terminal": beyond}
    shooting = RandomShooting(RandomShootingConfig(horizon=H, num_samples=2))
    assert bool(
        (shooting.plan(futures, stops, state, lq.TIGHT, init=home, **options).cost <= driven + 1e-12).all()
    )
    space = lq.FREE  # the meta-action is not clipped while it is decided upon
    plan = BeamSearch(BeamConfig(horizon=H), ByPolicy([home], H)).plan(
        futures, stops, state, space, **options
    )
    s = state
    for t in range(H):
        assert torch.allclose(plan.actions[:, t], home(s))
        s = windy(case)(s, home(s), z[0, :, t])


def test_what_does_not_fit_the_draws_is_refused() -> None:
    case = CASES["random shooting"]
    for z, state in ((draws()[:, :, :-1], lq.starts(B)), (draws(), lq.starts(B + 1))):
        with pytest.raises(ValueError, match="z is of"):
            case.plan(state, dynamics=SampledFutures(windy(case), z))
    with pytest.raises(ValueError, match="futures, starts"):
        SampledFutures(windy(case), draws()[0])
    twice = Stepwise(lq.step)
    twice.num_futures = 2
    with pytest.raises(ValueError, match="not in 2"):
        ILQR(ILQRConfig(horizon=H)).plan(twice, lq.cost, lq.starts(B), lq.TIGHT)
