"""Planning through a model that is unrolled for each candidate: nobody is better by luck, and U is that of policies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.planning import AT_THE_WHEEL, action_space
from agents.policies import Policy, PolicyConfig
from envs.context import Context
from envs.replay import Replay
from mbrl.foresight import Imagining, seeds_of
from mbrl.imagination import exact_costs, from_prior, given, imagine
from mbrl.planners_by_name import PLANNERS
from mbrl.policy_losses import mpur_loss
from mbrl.policy_training import PolicyTraining
from mbrl.thinning import thinned
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from mbrl.unrolled_foresight import UnderMasks, UnrolledForesight
from planners import GradientConfig, GradientPlanner
from planners.dynamics import taken
from planners.problem import Problem
from tests.agents.scenes import clean_traffic
from tests.mbrl.small import VIEW, random_actions, random_context, small_ensemble, small_model

M, K, B, STEPS, SEED = 2, 2, 4, 3, 7
LAMBDA = 0.7
REPLAY = Replay([clean_traffic(num_cars=24)], B, threads=1)  # nobody looks at it


def trained(**changes: Any) -> TrainedModel:
    """A model with much dropout, whose U was scaled at random."""
    uncertainty = Uncertainty(STEPS)
    uncertainty.std.copy_(0.01 + 0.1 * torch.rand(3, STEPS, generator=torch.Generator().manual_seed(0)))
    return TrainedModel(small_model("vae", **{"dropout": 0.3, **changes}), uncertainty)


def foresight(model: TrainedModel | None = None, **changes: Any) -> UnrolledForesight:
    plain = {"futures": M, "masks": K, "uncertainty_weight": LAMBDA}
    return UnrolledForesight(model or trained(), STEPS, Imagining(**plain | changes))


def problem(at: UnrolledForesight, context: Context) -> Problem:
    """What a search would see."""
    situation = at(context, REPLAY, np.arange(context.batch_size), SEED)
    return Problem(
        situation.dynamics, situation.cost, situation.state, action_space(context.size), horizon=STEPS,
        batch_size=context.batch_size,
    )  # fmt: skip


def candidates(num: int) -> Tensor:
    """(N, B, H, A)."""
    return random_actions(num * B, STEPS).unflatten(0, (num, B))


def test_j_is_the_loss_of_policy_training_under_the_same_masks() -> None:
    """1/T sum_t C_t + lambda U_t, of one future, whose masks the loss is given."""
    context, model = random_context(B), trained()
    at = foresight(model, futures=1, weights=replace(AT_THE_WHEEL, effort=0.0, progress=0.0))
    actions = random_actions(B, STEPS)
    of_z, of_masks = seeds_of(SEED)
    noise = model.model.noise(1, STEPS, like=actions, generator=torch.Generator().manual_seed(of_z))
    with thinned(model.model, K, of_masks):
        trajectory = imagine(
            model.model, given(actions), model.model.encode(context, K),
            from_prior(model.model, noise.expand(K * B, -1, -1)), STEPS, cost=exact_costs("pixels", VIEW), num_masks=K,
        )  # fmt: skip
    config = PolicyTraining(gamma=1.0, masks=K, uncertainty_weight=LAMBDA, off_road_weight=1.0)
    loss, numbers = mpur_loss(trajectory, model.uncertainty, config)
    j = problem(at, context).price(actions[None])
    assert float(j.mean()) == pytest.approx(STEPS * float(loss), rel=1e-5)
    assert numbers["uncertainty"] > 0.1
    assert numbers["predicted_cost"] > 0.01


def test_equal_candidates_cost_the_same_and_starts_do_not_matter_to_each_other() -> None:
    context, actions = random_context(B), candidates(1)
    twice = problem(foresight(), context).price(actions.repeat(2, 1, 1, 1))
    torch.testing.assert_close(twice[0], twice[1], rtol=1e-5, atol=1e-6)
    for b in range(B):
        alone = problem(foresight(), context.take(slice(b, b + 1))).price(actions[:, b : b + 1])
        torch.testing.assert_close(alone[0], twice[0, b : b + 1], rtol=1e-4, atol=1e-5)


def test_masks_and_futures_and_u_matter() -> None:
    context, actions = random_context(B), candidates(2)
    plain = problem(foresight(), context).price(actions)
    for other in ({"masks": K + 1}, {"futures": 1}, {"uncertainty_weight": 0.0}):
        assert float((problem(foresight(**other), context).price(actions) - plain).abs().max()) > 1e-3  # type: ignore[arg-type]


def test_driving_step_by_step_ends_where_a_rollout_does() -> None:
    """Without dropout: a mask is drawn for a rollout, however long."""
    context, at = random_context(B), foresight(trained(dropout=0.0))
    situation = at(context, REPLAY, np.arange(B), SEED)
    dynamics, actions = situation.dynamics, random_actions(M * B, STEPS)
    state = dynamics.begin(situation.state).repeat(M)
    _, end = dynamics.rollout(state, actions)
    for action in actions.unbind(1):
        state = dynamics.step(state, action)
    assert end.time == state.time == STEPS
    torch.testing.assert_close(dynamics.seen(state).poses, dynamics.seen(end).poses)
    torch.testing.assert_close(dynamics.seen(state).images, dynamics.seen(end).images)
    with pytest.raises(ValueError, match=f"z is of {STEPS} steps"):
        dynamics.step(state, actions[:, 0])


def test_u_of_a_rollout_in_pieces_is_that_of_the_whole() -> None:
    """Each step has a scale of its own, here ever wider. An ensemble draws no masks, so pieces add up."""
    ensemble = TrainedModel(small_ensemble("vae"), Uncertainty(STEPS))
    ensemble.uncertainty.std.copy_(0.01 * torch.arange(1.0, STEPS + 1).expand(3, -1) ** 2)
    context, at = random_context(B), foresight(ensemble, masks=3)
    situation, actions = at(context, REPLAY, np.arange(B), SEED), random_actions(M * B, STEPS)
    state = situation.dynamics.begin(situation.state).repeat(M)
    piece, _ = situation.dynamics.rollout(state, actions)
    found = []
    for part in (actions[:, :1], actions[:, 1:]):
        pieces, state = situation.dynamics.rollout(state, part)
        found.append(situation.cost(pieces, part))
    torch.testing.assert_close(torch.cat(found, 1), situation.cost(piece, actions), rtol=1e-4, atol=1e-5)


def test_rows_are_chosen_under_all_masks() -> None:
    state = UnderMasks(random_context(2 * 3), masks=2, time=1)
    some = taken(state, torch.tensor([2, 0, 2]))
    assert (some.batch_size, some.masks, some.time) == (3, 2, 1)
    assert torch.equal(some.context.poses, state.context.poses[[2, 0, 2, 5, 3, 5]])
    assert torch.equal(
        state.repeat(2).context.poses, state.context.poses[[0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]]
    )
    assert torch.equal(state.of_first().poses, state.context.poses[:3])


@pytest.mark.parametrize("name", [name for name in PLANNERS if name != "ilqr"])
def test_plans_cost_less_than_doing_nothing(name: str) -> None:
    """iLQR needs a state that is one tensor, see planners.ilqr."""
    context, at, planner = random_context(B), foresight(), PLANNERS[name](STEPS, 1.0)
    situation = at(context, REPLAY, np.arange(B), SEED)
    plan = planner.plan(situation.dynamics, situation.cost, situation.state, action_space(context.size))
    nothing = problem(at, context).price(torch.zeros(1, B, STEPS, 2))[0]
    again = problem(at, context).price(plan.actions[None])[0]
    # of all that a car can do, evenly drawn, nothing may be as cheap as nothing
    if name != "random-shooting":
        assert (plan.cost < nothing).all()
    torch.testing.assert_close(plan.cost, again, rtol=1e-4, atol=1e-5)


def test_a_search_may_begin_with_what_a_policy_would_do() -> None:
    torch.manual_seed(0)
    policy = Policy(PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(4, 4, 8), hidden=16))
    context, at = random_context(B), foresight(trained(dropout=0.0))
    at.policy = policy
    situation = at(context, REPLAY, np.arange(B), SEED)
    config = GradientConfig(horizon=STEPS, num_iterations=1, learning_rate=1e-9)
    plan = GradientPlanner(config).plan(
        situation.dynamics, situation.cost, situation.state, action_space(context.size), init=situation.init
    )
    model = at.model
    noise = model.noise(
        M, STEPS, like=context.size, generator=torch.Generator().manual_seed(seeds_of(SEED)[0])
    )
    with torch.no_grad():
        first = imagine(model, policy, model.encode(context), noise[:1].expand(B, -1, -1), STEPS,
                        cost=exact_costs("pixels", VIEW))  # fmt: skip
    torch.testing.assert_close(plan.actions, first.actions, rtol=1e-4, atol=1e-6)


def test_members_of_an_ensemble_are_its_masks() -> None:
    ensemble = TrainedModel(small_ensemble("vae"), Uncertainty(STEPS))
    with pytest.raises(ValueError, match="masks=2 must be the 3 members"):
        foresight(ensemble)
    j = problem(foresight(ensemble, masks=3), random_context(B)).price(candidates(1))
    alike = TrainedModel(small_ensemble("vae", alike=True), Uncertainty(STEPS))
    plain, minding = (
        problem(foresight(alike, masks=3, uncertainty_weight=w), random_context(B)).price(candidates(1))
        for w in (0.0, LAMBDA)
    )
    assert torch.equal(plain, minding), "who is alike does not disagree"
    assert not torch.equal(j, plain)
