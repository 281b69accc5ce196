"""What planners mind is what policies are trained to mind: C and U of the same futures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.planning import AT_THE_WHEEL, Driving, at_start
from agents.policies import Policy, PolicyConfig
from envs.context import Context
from envs.replay import Replay
from mbrl.foresight import Imagining, SeparatedForesight, seeds_of
from mbrl.imagination import exact_costs, given, imagine
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty, disagreement
from tests.agents.scenes import clean_traffic
from tests.mbrl.small import VIEW, context_at, random_actions, small_model

M, K, STEPS = 3, 2, 4
TRAFFIC = clean_traffic(num_cars=24)
AS_TRAINED = replace(AT_THE_WHEEL, effort=0.0, progress=0.0)
REPLAY = Replay([TRAFFIC], 4, threads=1)  # nobody looks at it


@pytest.fixture(scope="module")
def context() -> Context:
    """Four egos among the cars of a road."""
    return Context.joined([context_at(TRAFFIC, vehicle, 120) for vehicle in (3, 6, 9, 12)])


def foresight(**changes: Any) -> SeparatedForesight:
    """Of a model with much dropout, whose U was scaled at random."""
    model = small_model("separated", dropout=0.5)
    with torch.no_grad():
        model.head.weight.mul_(3)
    uncertainty = Uncertainty(STEPS)
    uncertainty.std.copy_(0.01 + 0.1 * torch.rand(3, STEPS, generator=torch.Generator().manual_seed(0)))
    uncertainty.std[0] = 0.0  # pictures count nothing
    plain = {
        "futures": M,
        "masks": K,
        "weights": AS_TRAINED,
    }
    return SeparatedForesight(TrainedModel(model, uncertainty), STEPS, Imagining(**plain | changes))


def as_policies_see_it(
    at: SeparatedForesight, context: Context, actions: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """C (K, M, B, T) and U (M, B, T) of driving through the same futures as a policy is trained."""
    drawn = at.draw(context, seed)
    cost = exact_costs("position", at.model.config.view)
    noise = torch.zeros(len(actions), STEPS, at.model.z_dim)
    found: list[tuple[Tensor, Tensor]] = []
    for vehicles in drawn.vehicles.unflatten(0, (K, M)).unbind(1):
        futures = replace(drawn, vehicles=vehicles)
        driven = imagine(futures, given(actions), futures.encode(), noise, STEPS, cost=cost)
        under = futures.under_all_masks(driven)
        u = at.uncertainty(disagreement(under, K))
        total = under.costs.total(at.config.weights.lane, at.config.weights.off_road)
        found.append((total.view(K, -1, STEPS), u))
    costs, us = zip(*found, strict=True)
    return torch.stack(costs, 1), torch.stack(us)


def poses_of(at: SeparatedForesight, context: Context, actions: Tensor) -> Tensor:
    state, poses = at_start(context.now()), []
    dynamics = Driving(at.model.timing.dt, at.model.timing.stride)
    for action in actions.unbind(1):
        state = dynamics.step(state, action)
        poses.append(state)
    return torch.stack(poses, 1)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_c_and_u_are_those_of_policy_training(context: Context, weight: float) -> None:
    actions = random_actions(4, STEPS)
    cost, u = as_policies_see_it(foresight(), context, actions, seed=7)
    at = foresight(uncertainty_weight=weight)
    found = at(context, REPLAY, np.arange(4), 7).cost(poses_of(at, context, actions), actions)
    want = cost.mean((0, 1)) + weight * u.mean(0)
    assert np.corrcoef(found.flatten(), want.flatten())[0, 1] > 0.97
    np.testing.assert_allclose(
        found.mean(), want.mean(), rtol=0.1 + 0.1 * weight
    )  # pictures are interpolated there
    assert float(u.mean()) > 0.05
    assert float(cost.mean()) > 0.05


def test_effort_costs_and_progress_pays(context: Context) -> None:
    actions = random_actions(4, STEPS)
    at = foresight()
    poses = poses_of(at, context, actions)
    plain = at(context, REPLAY, np.arange(4), 7).cost(poses, actions)
    at = foresight(weights=replace(AS_TRAINED, effort=0.3, progress=0.2))
    found = at(context, REPLAY, np.arange(4), 7).cost(poses, actions)
    effort = (actions[..., 0] / 1.5) ** 2 + (actions[..., 1] / 0.005) ** 2
    np.testing.assert_allclose(found - plain, 0.3 * effort - 0.2 * poses[..., 3], rtol=1e-4, atol=1e-4)


def test_what_masks_see_differently_costs_nothing_where_it_does_not_matter(context: Context) -> None:
    """No plan changes what there will be to see, so that pictures differ is no reason to prefer one."""
    actions = random_actions(4, STEPS)
    at, without = foresight(uncertainty_weight=2.0), foresight(uncertainty_weight=0.0)
    at.uncertainty.std[0] = 1e-6
    away = poses_of(at, context, actions) + torch.tensor([0.0, 300.0, 0.0, 0.0, 0.0])
    found, cost = (a(context, REPLAY, np.arange(4), 7).cost(away, actions) for a in (at, without))
    np.testing.assert_array_equal(found, cost)
    assert float(disagreement_of_pictures(at, context)) > 0.1


def disagreement_of_pictures(at: SeparatedForesight, context: Context) -> Tensor:
    vehicles = at.draw(context, 7).vehicles.unflatten(0, (K, M))
    return vehicles.var(0).sum((-2, -1)).mean()


def test_without_u_masks_do_not_matter_but_futures_do(context: Context) -> None:
    actions = random_actions(4, STEPS)
    found = []
    for seed in (7, 7, 8):
        at = foresight(masks=1, uncertainty_weight=0.0)
        situation = at(context, REPLAY, np.arange(4), seed)
        found.append(situation.cost(poses_of(at, context, actions), actions))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_many_plans_at_once_are_each_alone(context: Context) -> None:
    at = foresight()
    situation = at(context, REPLAY, np.arange(4), 7)
    plans = torch.cat([poses_of(at, context, random_actions(4, STEPS, seed=s)) for s in range(3)])
    together = situation.cost(plans, plans[..., :2])
    for n in range(3):
        rows = slice(4 * n, 4 * n + 4)
        np.testing.assert_allclose(situation.cost(plans[rows], plans[rows, :, :2]), together[rows], atol=1e-6)


def test_a_search_may_begin_with_what_a_policy_would_do(context: Context) -> None:
    torch.manual_seed(0)
    policy = Policy(PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(4, 4, 8), hidden=16))
    at = foresight()
    assert at(context, REPLAY, np.arange(4), 7).init is None
    at.policy = policy
    situation, drawn = at(context, REPLAY, np.arange(4), 7), at.draw(context, 7).of_mask(0)
    assert situation.init is not None
    assert situation.init.shape == (4, STEPS, 2)
    with torch.no_grad():
        state = drawn.encode()
        for t in range(STEPS):  # by hand, in the first future
            action = policy(drawn.context(state))
            np.testing.assert_allclose(situation.init[:, t], action, atol=1e-6)
            _, state = drawn.step(state, action, torch.zeros(4, 0))
    assert float(situation.init.std()) > 1e-3


def test_futures_in_bfloat16_are_nearer_than_those_of_another_mask(context: Context) -> None:
    exactly, roughly = foresight().draw(context, 0), foresight(mixed_precision=True).draw(context, 0)

    assert roughly.vehicles.dtype == torch.float32
    by_rounding = (exactly.vehicles - roughly.vehicles).abs().mean()
    by_mask = (exactly.vehicles[0] - exactly.vehicles[M]).abs().mean()
    assert 0 < by_rounding < 0.05 * by_mask
    assert torch.equal(exactly.observer, roughly.observer)


def test_the_global_generator_is_left_alone(context: Context) -> None:
    at = foresight()
    torch.manual_seed(3)
    want = torch.rand(3)
    torch.manual_seed(3)
    at.draw(context, 0)
    assert torch.equal(torch.rand(3), want)


@pytest.mark.parametrize("bad", [{"futures": 0}, {"masks": 0}, {"masks": 1, "uncertainty_weight": 0.05}])
def test_what_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Imagining(**bad)


def test_other_models_are_refused() -> None:
    with pytest.raises(ValueError, match="separated"):
        SeparatedForesight(TrainedModel(small_model("vae"), Uncertainty(STEPS)), STEPS, Imagining())


def test_starts_do_not_matter_to_each_other(context: Context) -> None:
    actions, at = random_actions(4, STEPS), foresight(uncertainty_weight=2.0)
    together = at(context, REPLAY, np.arange(4), 7).cost(poses_of(at, context, actions), actions)
    for b in range(4):
        alone, own = context.take(slice(b, b + 1)), actions[b : b + 1]
        found = at(alone, REPLAY, np.arange(1), 7).cost(poses_of(at, alone, own), own)
        np.testing.assert_allclose(found, together[b : b + 1], rtol=1e-3, atol=1e-3)


def test_u_is_that_of_the_cost_it_was_scaled_for_whatever_else_counts(context: Context) -> None:
    """Danger is ours: it counts in C, and U stays what it was."""
    actions, u = random_actions(4, STEPS), []
    for danger in (0.0, 3.0):
        weights = replace(AS_TRAINED, danger=danger)
        minding, plain = (foresight(weights=weights, uncertainty_weight=w) for w in (2.0, 0.0))
        poses = poses_of(plain, context, actions)
        u.append(minding(context, REPLAY, np.arange(4), 7).cost(poses, actions)
                 - plain(context, REPLAY, np.arange(4), 7).cost(poses, actions))  # fmt: skip
    np.testing.assert_allclose(u[0], u[1], rtol=1e-3, atol=1e-4)
    assert float(u[0].max()) > 0.1


def test_z_and_masks_have_streams_of_their_own() -> None:
    seeds = np.array([seeds_of(seed) for seed in range(200)])
    assert len(np.unique(seeds)) == seeds.size
