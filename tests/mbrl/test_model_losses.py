"""What a forward model minimises: the error of an unroll, z of the posterior or the prior, and the KL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from envs.context import context_of_windows, scaled
from envs.windows import Windows
from mbrl.forward_models import ForwardModel, build, separated
from mbrl.forward_models.particles import FAINT
from mbrl.model_losses import rollout_error
from tests.mbrl.models import windows_for
from tests.mbrl.small import VARIANTS, small_model


def test_the_error_of_a_model_that_expects_no_motion_is_what_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separated, "matched_velocity", lambda frames, *_: torch.zeros_like(frames[:, -1]))
    model = build(VARIANTS["separated, no z"]).eval()
    windows = windows_for(model)
    error, kl = rollout_error(model, windows, 2, "cpu", None, 0.0)
    now = windows.images[:, -1, 1].astype(np.float64) / 255
    now[now <= FAINT] = 0
    targets = windows.target_images[:, :, 1].astype(np.float64) / 255
    np.testing.assert_allclose(
        error.detach(), ((targets - now[:, None]) ** 2).mean((-2, -1)), rtol=1e-3, atol=1e-6
    )
    assert error.min() > 1e-4
    assert kl == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_errors_are_those_of_steps_along_recorded_actions(variant: str) -> None:
    """By hand, with z from the prior: the actions are the recorded ones, and each step builds on the last."""
    model = small_model(variant)
    windows = windows_for(model, steps=3)
    error, _ = rollout_error(model, windows, 3, "cpu", torch.Generator().manual_seed(1), 1.0)
    noise = torch.Generator().manual_seed(1)
    h = model.encode(context_of_windows(windows))
    truth = scaled(windows.target_images, "cpu")
    poses = context_of_windows(replace_context(windows)).poses
    for t in range(3):
        z = model.latent(h, model.noise(8, 1, like=truth, generator=noise)[:, 0])
        _, h = model.step(h, torch.from_numpy(windows.actions[:, t]), z)
        np.testing.assert_allclose(
            error[:, t].detach(), model.error(h, truth[:, t], poses[:, t]).detach(), rtol=1e-4
        )


def replace_context(windows: Windows) -> Windows:
    """The targets in the place of the context."""
    return replace(
        windows, images=windows.target_images, vectors=windows.target_vectors, heading=windows.target_heading
    )


class Posterior:
    """A posterior that always says the same, and notes which z the model is given."""

    def __init__(
        self, model: ForwardModel[Any], monkeypatch: pytest.MonkeyPatch, mu: float, log_var: float
    ) -> None:
        self.used: list[Tensor] = []
        step = model.step

        def posterior(h: Any, action: Tensor, image: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
            shape = len(image), model.z_dim
            return torch.full(shape, mu), torch.full(shape, log_var)

        def noting(h: Any, action: Tensor, z: Tensor) -> Any:
            self.used.append(z)
            return step(h, action, z)

        monkeypatch.setattr(model, "posterior", posterior)
        monkeypatch.setattr(model, "step", noting)


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_z_comes_from_the_posterior_or_by_z_dropout_from_the_prior(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model(variant)
    spy = Posterior(model, monkeypatch, mu=50.0, log_var=-8.0)
    windows = windows_for(model, steps=6, batch_size=32)
    noise = torch.Generator().manual_seed(0)
    for share, low, high in ((0.0, 0.0, 0.0), (0.5, 0.35, 0.65), (1.0, 1.0, 1.0)):
        spy.used.clear()
        rollout_error(model, windows, 6, "cpu", noise, share)
        from_prior = torch.stack(spy.used, 1).abs() < 25  # (B, T, z_dim)
        assert (from_prior == from_prior[..., :1]).all()  # a step's z as a whole
        assert low <= float(from_prior.float().mean()) <= high
        if share == 0.5:  # independently for each example and each step
            assert 0 < float(from_prior[0].float().mean()) < 1
            assert 0 < float(from_prior[:, 0].float().mean()) < 1


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_full_z_dropout_never_asks_the_posterior(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(variant)

    def forbidden(*_: object) -> None:
        raise AssertionError("the posterior was asked")

    monkeypatch.setattr(model, "posterior", forbidden)
    _, kl = rollout_error(model, windows_for(model), 2, "cpu", torch.Generator().manual_seed(0), 1.0)
    assert kl == 0


def test_the_kl_is_the_mean_over_steps_and_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """KL(N(2, 1) || N(0, 1)) = 2 per dimension of z, of which there are 3."""
    model = small_model("separated")
    Posterior(model, monkeypatch, mu=2.0, log_var=0.0)
    _, kl = rollout_error(model, windows_for(model), 2, "cpu", torch.Generator().manual_seed(0), 0.5)
    assert float(kl) == pytest.approx(6.0)
