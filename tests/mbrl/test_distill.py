"""A taught policy does what its planner would do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agents.planning import AT_THE_WHEEL
from agents.policies import Policy, PolicyConfig
from envs.context import Context, context_of_windows
from envs.errors import InputError
from mbrl.distill import Distilled
from mbrl.policy_training import PolicyTraining, Teaching, policy_training_from_dict, policy_training_to_dict
from mbrl.presets import policy_training
from mbrl.progress import Counter
from mbrl.train_policy import train_policy
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from tests.agents.scenes import clean_traffic
from tests.mbrl.small import VIEW, small_model

TRAFFIC = clean_traffic(num_cars=24)
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


def context_of(distilled: Distilled) -> Context:
    return context_of_windows(distilled.sampler.batch(0))


def test_plans_cost_less_than_what_the_policy_would_do() -> None:
    distilled = lessons(urgent=1.0)
    _, actions, saved = distilled.taught(context_of(distilled))
    assert saved > 0.005
    assert actions.shape == (18, 2)


def test_the_first_lessons_are_about_what_is_seen_now() -> None:
    distilled = lessons()
    context = context_of(distilled)
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


def test_lessons_begin_where_the_policy_drives_itself() -> None:
    distilled = lessons()
    context = context_of(distilled)
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
