"""Diagnostics tell a good model from a bad one, and equal their definitions."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.policies import Policy, PolicyConfig
from envs.recording import Recording
from mbrl.diagnostics import Calibration, calibration, imagined_against_executed, ranks, sensitivity
from mbrl.forward_models import PaperModel
from mbrl.train_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from tests.agents.scenes import clean_traffic
from tests.mbrl.small import VIEW, small_model

SMALL = PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(3, 4, 4), hidden=8)


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
    u = rng.random((200, 2)).astype(np.float32)
    known = Calibration(u, np.stack([np.exp(3 * u[:, 0]), -u[:, 1]], 1))
    np.testing.assert_allclose(known.rank_correlation(), [1, -1], atol=1e-9)
    noise = Calibration(u, rng.random((200, 2)).astype(np.float32))
    assert np.abs(noise.rank_correlation()).max() < 0.25
    bins = Calibration(u, 2 * u).reliability(4)
    np.testing.assert_allclose(bins[:, 1], 2 * bins[:, 0], rtol=1e-5)
    assert (np.diff(bins[:, 0]) > 0).all()
    np.testing.assert_allclose(bins[:, 0].mean(), u.mean(), rtol=1e-5)


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_the_ego_goes_where_it_was_imagined_to_go_if_its_motion_is_exact(variant: str) -> None:
    """The separated model integrates it; a network that was never trained does not know it."""
    torch.manual_seed(0)
    found = imagined_against_executed(
        Policy(SMALL), trained(variant), [traffic()], split="all", num_examples=12
    )
    assert found.imagined_cost.shape == found.executed_way.shape == (12, 3)
    apart = np.abs(found.imagined_way - found.executed_way).max()
    assert apart < 0.02 if variant == "separated" else apart > 0.1
    assert (found.executed_way[:, -1] > 1).all()
    assert ((found.executed_cost >= 0) & (found.executed_cost <= 1.4)).all()
    again = imagined_against_executed(
        Policy(SMALL), trained(variant), [traffic()], split="all", num_examples=12
    )
    assert again.executed_cost.shape == (12, 3)


def test_untrained_models_are_uncertain_and_wrong() -> None:
    found = calibration(trained("vae"), [traffic()], split="all", num_examples=10, num_masks=3)
    assert found.uncertainty.shape == found.error.shape
    assert found.uncertainty.shape[1] == 3
    assert (found.uncertainty > 0).all()
    assert (found.error > 0).all()


class Knowing(PaperModel):
    """Predicts that the ego moves as its actions say, or as somebody else's do not."""

    def error(self, h: Any, image: Tensor, pose: Tensor) -> Tensor:
        return (h.context.poses[:, -1, 3] - pose[:, 3]).square()

    def _pose(self, u: Tensor, last: Tensor) -> Tensor:
        return torch.cat([last[:, :3], last[:, 3:] + self.told[:, :1] * self.timing.step_seconds], 1)

    def step(self, h: Any, action: Tensor, z: Tensor) -> Any:
        self.told = action if self.listens else torch.zeros_like(action)
        return super().step(h, action, z)


@pytest.mark.parametrize("listens", [True, False])
def test_shuffled_actions_hurt_a_model_that_listens(listens: bool) -> None:
    model = small_model("vae")
    assert isinstance(model, PaperModel)
    model.__class__ = Knowing
    model.listens = listens  # type: ignore[assignment]
    found = sensitivity(TrainedModel(model, Uncertainty(3)), [traffic()], split="all", num_examples=32)
    assert found.prior.shape == (3,)
    np.testing.assert_allclose(found.prior, found.posterior, rtol=1e-5)  # z matters nothing to it
    if listens:
        assert (found.posterior < 1e-3).all()
        assert (found.shuffled > 5 * found.posterior).all()
    else:
        np.testing.assert_allclose(found.shuffled, found.posterior, rtol=1e-5)
