"""An ensemble is its members, a chunk of the batch each, and disagrees where they do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agents.policies import Policy, PolicyConfig
from envs.errors import InputError
from mbrl.forward_models import (
    Ensemble,
    ForwardModel,
    config_from_dict,
    config_to_dict,
)
from mbrl.imagination import exact_costs, from_prior, imagine
from mbrl.model_training import ModelTraining, Stage
from mbrl.policy_training import PolicyTraining
from mbrl.progress import Counter
from mbrl.train_model import train_model
from mbrl.train_policy import train_policy
from mbrl.trained_model import load_model
from mbrl.uncertainty import disagreement
from tests.agents.scenes import clean_traffic
from tests.mbrl.runs import Notebook, Untrained, notebook
from tests.mbrl.small import VIEW, ensemble_config, random_context, small_ensemble

__all__ = ["notebook"]  # a fixture

SMALL = PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(3, 4, 4), hidden=8)
CASES = ["vae", "vae, learned prior", "separated"]


@pytest.mark.parametrize("variant", CASES)
def test_each_chunk_is_imagined_by_its_member_alone(variant: str) -> None:
    model, policy = small_ensemble(variant), Policy(SMALL)
    context = random_context(2)
    noise = model.noise(2, 3, like=context.size, generator=torch.Generator().manual_seed(0))
    cost = exact_costs(model.gradient, VIEW)
    many = context.repeat(3)
    together = imagine(
        model, policy, model.encode(many), from_prior(model, noise.repeat(3, 1, 1)), 3, cost=cost, num_masks=3
    )
    actions = iter(together.actions[:2].unbind(1))
    driven = [next(actions) for _ in range(3)]
    for k, member in enumerate(model.members):
        assert isinstance(member, ForwardModel)
        steps = iter(driven)
        alone = imagine(
            member,
            lambda _, s=steps: next(s),
            member.encode(context),
            from_prior(member, noise),
            3,
            cost=cost,
        )
        chunk = slice(2 * k, 2 * k + 2)
        torch.testing.assert_close(together.images[chunk], alone.images)
        torch.testing.assert_close(together.poses[chunk], alone.poses)


@pytest.mark.parametrize("variant", CASES)
def test_it_disagrees_only_if_its_members_do(variant: str) -> None:
    for alike in (True, False):
        model, context = small_ensemble(variant, alike=alike), random_context(2)
        z = torch.zeros(6, 2, model.z_dim)
        trajectory = imagine(
            model, Policy(SMALL), model.encode(context.repeat(3)), z, 2,
            cost=exact_costs(model.gradient, VIEW), num_masks=3,
        )  # fmt: skip
        terms = disagreement(trajectory, 3)
        assert (terms.image.max() == 0) == alike


def test_a_batch_that_is_no_chunks_is_refused() -> None:
    model = small_ensemble("vae")
    with pytest.raises(ValueError, match="4 examples are no 3 chunks"):
        model.encode(random_context(4))


def test_its_config_survives_json() -> None:
    for variant in CASES:
        config = ensemble_config(variant)
        assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config
    with pytest.raises(ValueError, match="at least two"):
        ensemble_config("vae", members=1)


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_it_is_trained_member_by_member_and_a_policy_through_it(
    variant: str, tmp_path: Path, notebook: Notebook
) -> None:
    training = ModelTraining(
        model=ensemble_config(variant, members=2), stages=(Stage(steps=2, updates=2, batch_size=2),),
        masks=2, horizon=3, uncertainty_batches=1,
    )  # fmt: skip
    traffic = clean_traffic(num_cars=40)
    trained = train_model(training, [traffic], tmp_path / "model", progress=Counter)
    model = trained.model
    assert isinstance(model, Ensemble)
    one, other = (member.state_dict() for member in model.members)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    for k, member in enumerate(model.members):
        alone = load_model(tmp_path / "model" / f"member-{k}").model.state_dict()
        assert all(torch.equal(alone[name], value) for name, value in member.state_dict().items())
    assert trained.uncertainty.std.max() > 0
    train_model(training, [traffic], tmp_path / "model", progress=Untrained)
    policy = train_policy(
        PolicyTraining(policy=SMALL, updates=2, batch_size=2, horizon=3, masks=2, block=1, epochs=1, validations=1,
                       validation_cars=2),
        [replace(traffic, site=replace(traffic.site, goal=120.0))], tmp_path / "policy", trained=trained,
        progress=Counter,
    )  # fmt: skip
    assert all(torch.isfinite(p).all() for p in policy.parameters())
    with pytest.raises(InputError, match="set masks to its 2 members"):
        train_policy(
            PolicyTraining(policy=SMALL, masks=3, horizon=3), [traffic], tmp_path / "refused", trained=trained,
            progress=Counter,
        )  # fmt: skip
    with pytest.raises(ValueError, match="masks=3 must be the number of members"):
        train_model(replace(training, masks=3), [traffic], tmp_path / "other", progress=Counter)
