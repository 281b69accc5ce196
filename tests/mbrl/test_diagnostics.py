"""Diagnostics tell a good model from a bad one, and equal their definitions."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from envs.costs import costs, pixel_grid
from envs.errors import InputError
from envs.kinematics import step as drive
from envs.recording import Recording
from mbrl.diagnostics import Calibration, Sensitivity, _examples, calibration, ranks, sensitivity
from mbrl.forward_models import PaperModel
from mbrl.imagination import along, from_prior
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from tests.agents.scenes import clean_traffic
from tests.mbrl.small import VARIANTS, small_ensemble, small_model


@cache
def traffic() -> Recording:
    return clean_traffic(num_cars=60)


def trained(variant: str, horizon: int = 3) -> TrainedModel:
    return TrainedModel(small_model(variant), Uncertainty(horizon))


def test_ranks_are_the_order_and_ties_share() -> None:
    assert ranks(np.array([3.0, 1.0, 2.0])).tolist() == [2, 0, 1]
    assert ranks(np.array([5.0, 5.0, 1.0, 5.0])).tolist() == [2, 2, 0, 2]


def test_calibration_s_numbers_are_their_definitions() -> None:
    rng = np.random.default_rng(0)
    u = rng.random((200, 3)).astype(np.float32)
    u[:, 2] = 0.3
    minded = rng.random((200, 3)).astype(np.float32)
    error = np.stack([np.exp(3 * u[:, 0]), -u[:, 1], rng.random(200)], 1)
    known = Calibration(u, minded, error, minded**2 * [1, -1, 0], -u[:, 1])
    np.testing.assert_allclose(known.rank_correlation(), [1, -1, np.nan], atol=1e-9)
    assert known.rank_correlation_of_traffic()[1] == pytest.approx(1)
    assert abs(known.rank_correlation_of_traffic()[0]) < 0.25
    np.testing.assert_allclose(known.rank_correlation_of_costs(), [1, -1, np.nan], atol=1e-9)
    np.testing.assert_allclose(
        known.reliability_of_costs(0, 200), np.sort(minded[:, :1] ** [1, 2], 0), rtol=1e-5
    )
    noise = Calibration(u, minded, rng.random((200, 3)).astype(np.float32), minded, u[:, 0])
    assert np.abs(noise.rank_correlation()[:2]).max() < 0.25
    for step in (0, 1):
        bins = Calibration(u, minded, u * [2, 3, 0], minded, u[:, 0]).reliability(step, 4)
        np.testing.assert_allclose(bins[:, 1], (2 + step) * bins[:, 0], rtol=1e-5)
        assert (np.diff(bins[:, 0]) > 0).all()
        np.testing.assert_allclose(bins[:, 0].mean(), u[:, step].mean(), rtol=1e-5)


def test_untrained_models_are_uncertain_and_wrong() -> None:
    model, random_state = trained("vae"), torch.get_rng_state()
    found = calibration(model, [traffic()], split="all", num_examples=33, num_masks=3)
    assert found.uncertainty.shape == found.error.shape == (33, 3), "no more and no fewer than asked for"
    assert (found.uncertainty > 0).all()
    assert (found.error > 0).all()
    assert torch.equal(torch.get_rng_state(), random_state)
    seen = [context.frames[-1][:, 1] for context, *_ in _examples(model, [traffic()], "all", 33, seed=0)]
    np.testing.assert_allclose(found.traffic, torch.cat(seen).flatten(1).sum(1), rtol=1e-5)


def test_what_policies_mind_is_compared_with_the_error_of_what_they_pay_for() -> None:
    """U with all its terms, unscaled; costs of predictions, without dropout, and of what came."""
    model = trained("vae")
    found = calibration(model, [traffic()], split="all", num_examples=6, num_masks=3)
    assert (found.minded > found.uncertainty).all()
    certain = calibration(without_dropout(model), [traffic()], split="all", num_examples=6, num_masks=3)
    assert (certain.minded == 0).all()
    [(context, recorded, _, noise)] = _examples(model, [traffic()], "all", 6, seed=0)
    z = from_prior(model.model, noise)
    imagined = along(model.model, context, recorded.actions, z, 1).costs.total().detach()
    view = model.model.config.view
    size = context.size[:, None].expand(-1, 3, -1)
    came = costs(recorded.images, recorded.poses[..., 3], size, *pixel_grid(view, recorded.poses)).total()
    assert float((imagined - came).abs().max()) > 0.01
    np.testing.assert_allclose(certain.cost_error, (imagined - came).abs(), atol=1e-5)


def without_dropout(trained: TrainedModel) -> TrainedModel:
    for module in trained.model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return trained


def test_a_model_without_dropout_has_no_uncertainty_to_rank_by() -> None:
    found = calibration(without_dropout(trained("vae")), [traffic()], split="all", num_examples=8)
    assert (found.uncertainty == 0).all()
    assert np.isnan(found.rank_correlation()).all()


class Knowing(PaperModel):
    """Predicts that the ego moves as its actions say, or goes straight on whatever they say."""

    listens: bool

    def step(self, h: Any, action: Tensor, z: Tensor) -> Any:
        self.told = action if self.listens else torch.zeros_like(action)
        return super().step(h, action, z)

    def _pose(self, u: Tensor, last: Tensor) -> Tensor:
        for _ in range(self.timing.stride):
            last = drive(last, self.told, self.timing.dt)
        return last


@pytest.mark.parametrize("listens", [True, False])
def test_shuffled_actions_hurt_a_model_that_listens(listens: bool) -> None:
    model = small_model("vae")
    model.__class__ = Knowing
    model.listens = listens  # type: ignore[assignment]
    found = sensitivity(TrainedModel(model, Uncertainty(3)), [traffic()], split="all", num_examples=32)
    assert found.prior.place.shape == found.prior.picture.shape == (3,)
    for one, other in ((found.prior, found.posterior), (found.shuffled_prior, found.shuffled)):
        np.testing.assert_allclose(one.place, other.place, rtol=1e-5)  # z matters nothing to it
    if listens:
        assert (found.posterior.place < 0.01).all()
        assert (found.shuffled.place > 5 * found.posterior.place).all()
    else:
        np.testing.assert_allclose(found.shuffled.place, found.posterior.place, rtol=1e-5)


class Oracle(PaperModel):
    """Its posterior hands on where the ego was next, relative to where it is, and its step goes where z says."""

    def posterior(self, h: Any, action: Tensor, image: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        mu = (pose - h.context.now())[:, :3]
        return mu, torch.full_like(mu, -torch.inf)

    def step(self, h: Any, action: Tensor, z: Tensor) -> Any:
        self.told = z
        return super().step(h, action, z)

    def _pose(self, u: Tensor, last: Tensor) -> Tensor:
        return torch.cat([last[:, :3] + self.told, last[:, 3:]], 1)


def test_what_z_is_told_helps_a_model_that_uses_it() -> None:
    model = small_model("vae")
    model.__class__ = Oracle
    found = sensitivity(TrainedModel(model, Uncertainty(3)), [traffic()], split="all", num_examples=32)
    assert (found.posterior.place < 1e-3).all()
    assert (found.prior.place > 0.5).all()
    for one, other in ((found.shuffled, found.posterior), (found.shuffled_prior, found.prior)):
        np.testing.assert_array_equal(one.place, other.place)  # actions matter nothing to it


def test_the_separated_model_s_pictures_are_worse_with_another_s_actions() -> None:
    """Its scene does not depend on the action, but what the ego sees of it does."""
    found = sensitivity(trained("separated", 10), [traffic()], split="all", num_examples=32)
    assert (found.posterior.place < 0.02).all()
    assert found.shuffled.place[-1] > 10 * found.posterior.place[-1]
    assert found.shuffled.picture[-1] > 1.1 * found.posterior.picture[-1]


def test_the_ego_s_view_is_of_the_same_windows() -> None:
    model = trained("separated")
    for context, recorded, seen, _ in _examples(model, [traffic()], "all", 40, seed=3):
        speed = context.now()[:, 3]
        straight_on, driven = (
            (x.poses[:, 0, :2] - context.now()[:, :2]).norm(dim=-1) for x in (recorded, seen)
        )
        np.testing.assert_allclose(straight_on, speed * 0.2, atol=1e-3)
        np.testing.assert_allclose(driven, straight_on, atol=0.1)
    for _, recorded, seen, _ in _examples(trained("vae"), [traffic()], "all", 4, seed=3):
        assert seen is recorded


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_an_ensemble_of_one_and_the_same_model_is_that_model(variant: str) -> None:
    together = TrainedModel(small_ensemble(variant, alike=True), Uncertainty(3))
    alone = TrainedModel(small_ensemble(variant, alike=True).members[0], Uncertainty(3))  # type: ignore[arg-type]
    options: dict[str, Any] = {"split": "all", "num_examples": 10}
    whole, single = (sensitivity(model, [traffic()], **options) for model in (together, alone))
    for case in Sensitivity.__dataclass_fields__:
        np.testing.assert_allclose(getattr(whole, case), getattr(single, case), rtol=1e-4)


def test_an_ensemble_s_uncertainty_is_that_its_members_disagree() -> None:
    """However many masks are asked for: it has its members."""
    for alike in (True, False):
        model = without_dropout(TrainedModel(small_ensemble("vae", alike=alike), Uncertainty(3)))
        found = calibration(model, [traffic()], split="all", num_examples=8, num_masks=7)
        assert found.uncertainty.shape == (8, 3)
        assert (found.uncertainty < 1e-9).all() if alike else (found.uncertainty > 1e-6).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_model_is_examined(variant: str) -> None:
    model = trained(variant)
    found = calibration(model, [traffic()], split="all", num_examples=3, num_masks=2)
    for numbers in (found.error, found.minded, found.cost_error):
        assert np.isfinite(numbers).all()
    errors = sensitivity(model, [traffic()], split="all", num_examples=3)
    assert all(np.isfinite(getattr(errors, case)).all() for case in Sensitivity.__dataclass_fields__)


def test_a_recording_that_is_too_short_is_refused() -> None:
    short = replace(traffic(), site=replace(traffic().site, start=400.0, goal=401.0))
    with pytest.raises(InputError, match="no car of the all split"):
        sensitivity(trained("vae", 400), [short], split="all")
