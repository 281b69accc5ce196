"""A taught policy does what its planner would do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from agents.planning import AT_THE_WHEEL, Situation
from agents.policies import Policy, PolicyConfig
from envs.context import Context, context_of_windows
from envs.errors import InputError
from mbrl.distill import Distilled
from mbrl.forward_models import Prediction
from mbrl.policy_training import PolicyTraining, Teaching, policy_training_from_dict, policy_training_to_dict
from mbrl.presets import policy_training
from mbrl.progress import Counter
from mbrl.train_policy import train_policy
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from planners.dynamics import Stepwise
from tests.agents.scenes import clean_traffic
from tests.mbrl import linear_world
from tests.mbrl.linear_world import (
    STARTS,
    A,
    B,
    Linear,
    LinearPolicy,
    T,
    context_of,
    lowest,
    riccati,
    stage_costs,
    state,
)
from tests.mbrl.small import VIEW, small_model

TRAFFIC = clean_traffic(num_cars=24)
UNIT = torch.tensor([2.0, 0.01], dtype=torch.float64)  # of the linear world's actions
POLICY = PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(4, 4, 8), hidden=16)


def training(**changes: Any) -> PolicyTraining:
    return PolicyTraining(
        **{
            "method": "distill", "policy": POLICY, "updates": 8, "batch_size": 6, "horizon": 6, "block": 2, "epochs": 2,
            "learning_rate": 5e-3, "cycles": 1, "validations": 1, "validation_cars": 2, "perturbed": 0.0,
            "teaching": Teaching(futures=2, iterations=8, driven=3, followed=3), **changes,
        }
    )  # fmt: skip


def lessons(seed: int = 0, **changes: Any) -> Distilled:
    torch.manual_seed(seed)
    trained = TrainedModel(small_model("separated"), Uncertainty(6))
    distilled = Distilled(training(**changes), Policy(POLICY), trained, [TRAFFIC])
    distilled.generator = torch.Generator().manual_seed(0)
    return distilled


def first_context(distilled: Distilled) -> Context:
    return context_of_windows(distilled.sampler.batch(0))


def test_plans_cost_less_than_what_the_policy_would_do() -> None:
    distilled = lessons(urgent=1.0)
    _, actions, saved = distilled.taught(first_context(distilled))
    assert saved > 0.005
    assert actions.shape == (18, 2)


def test_the_first_lessons_are_about_what_is_seen_now() -> None:
    distilled = lessons()
    context = first_context(distilled)
    states, actions, _ = distilled.taught(context)
    assert torch.equal(states.take(slice(6)).images, context.images)
    dynamics = distilled.foresight.model
    after = dynamics.drive(context.now(), actions[:6])
    np.testing.assert_allclose(states.take(slice(6, 12)).now(), after, atol=1e-5)
    assert not torch.equal(states.take(slice(6, 12)).frames[-1], context.frames[-1])


def test_a_policy_learns_its_lessons() -> None:
    distilled = lessons()
    loss = distilled.prepare(distilled.sampler.batch(0))
    adam = torch.optim.Adam(distilled.policy.parameters(), lr=1e-2)
    errors = []
    for _ in range(200):
        value, metrics = loss()
        adam.zero_grad()
        value.backward()
        adam.step()
        errors.append(metrics["squared_error"])
    assert errors[-1] < 0.1 * errors[0]


class WithoutNoise:
    """The linear world where z = 0, as a foresight and as the one future it draws."""

    def __init__(self, start: Context) -> None:
        self.start, self.world = start, Linear()

    def draw(self, context: Context, seed: int) -> WithoutNoise:
        return WithoutNoise(context)

    def situation(self, context: Context, futures: WithoutNoise) -> Situation:
        of_state, of_action = stage_costs(linear_world.training())

        def step(x: Tensor, action: Tensor) -> Tensor:
            return x @ A.T + action / UNIT @ B.T

        def cost(x: Tensor, actions: Tensor) -> Tensor:
            units = actions / UNIT
            return (x @ of_state * x).sum(-1) + (units @ of_action * units).sum(-1)

        return Situation(Stepwise(step), cost, state(context))

    def of_mask(self, k: int) -> WithoutNoise:
        return self

    def encode(self) -> Context:
        return self.start

    def context(self, h: Context) -> Context:
        return h

    def step(self, h: Context, action: Tensor, z: Tensor) -> tuple[Prediction, Context]:
        return self.world.step(h, action / UNIT, torch.zeros_like(action))


def linear_policy(weight: Tensor) -> Any:
    return LinearPolicy(weight, torch.zeros(2, dtype=torch.float64))


def test_what_is_taught_is_riccati_s_gain() -> None:
    """Along a plan a*_t = G_t s*_t; of first actions alone, the likeliest linear policy has the gain G_0."""
    start = context_of(0.2 * STARTS)
    of_state, of_action = stage_costs(linear_world.training())
    share = 0.8 ** torch.arange(float(T))
    best = riccati([s * of_state for s in share], [s * of_action for s in share])
    nothing_yet = torch.zeros(2, 4, dtype=torch.float64)

    def taught(followed: int) -> tuple[Distilled, Context, Tensor]:
        teaching = Teaching(futures=1, iterations=400, learning_rate=0.03, followed=followed)
        distilled: Any = lessons(horizon=T, gamma=0.8, teaching=teaching)
        distilled.foresight, distilled.policy = WithoutNoise(start), linear_policy(nothing_yet)
        states, actions, _ = distilled.taught(start)
        return distilled, states, actions

    _, states, actions = taught(followed=T)
    wanted = [x @ gain.T for x, gain in zip(state(states).split(len(STARTS)), best, strict=True)]
    np.testing.assert_allclose(actions / UNIT, torch.cat(wanted), atol=2e-3)

    distilled, states, actions = taught(followed=1)

    def loss(weight: Tensor) -> Tensor:
        distilled.policy = linear_policy(weight)
        return distilled._loss(states, actions, 0.0)[0]

    np.testing.assert_allclose(lowest(loss, nothing_yet), F.pad(best[0], (0, 1)), atol=0.02)


def test_lessons_begin_where_the_policy_drives_itself() -> None:
    distilled = lessons()
    context = first_context(distilled)
    states = distilled._driven_on(context, 3)
    assert len(states) == 3
    further = lessons(teaching=Teaching(futures=2, iterations=2, driven=8, followed=3))  # than plans go
    assert len(further._driven_on(context, 8)) == 8
    with torch.no_grad():
        want = distilled.foresight.model.drive(context.now(), distilled.policy(context))
    np.testing.assert_allclose(states[0].now(), want, atol=1e-5)


def test_the_teacher_minds_what_the_config_says() -> None:
    taught = lessons(effort_weight=5.0, progress_weight=3.0, danger_weight=2.0)
    assert taught.foresight.config.weights == taught.config.weights
    assert policy_training("quick", "distill").weights == AT_THE_WHEEL


def test_other_models_are_refused(tmp_path: Any) -> None:
    trained = TrainedModel(small_model("vae"), Uncertainty(6))
    with pytest.raises(InputError, match="separated"):
        train_policy(training(), [TRAFFIC], tmp_path, trained=trained, progress=Counter)


def test_its_config_comes_back() -> None:
    config = training(teaching=Teaching(futures=3))
    assert policy_training_from_dict(policy_training_to_dict(config)) == config
    old = policy_training_to_dict(training())
    del old["teaching"]
    assert policy_training_from_dict(old) == replace(training(), teaching=Teaching())
    with pytest.raises(ValueError, match="positive"):
        Teaching(futures=0)
