"""The paper's model: its sizes, what it adds to what was, and that its actions and pictures matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from envs.context import Context
from envs.units import View
from mbrl.forward_models import PaperConfig, PaperModel, build
from mbrl.forward_models.paper import DARKEST
from tests.mbrl.small import random_actions, random_context, small_model, unrolled

PAPERS = ["deterministic", "vae"]


@pytest.mark.parametrize("residual", ["intensity", "logit"])
@pytest.mark.parametrize("variant", PAPERS)
def test_a_gradient_for_the_context_s_pictures_is_not_lost(variant: str, residual: str) -> None:
    """By finite differences."""
    model, context = small_model(variant, residual=residual).double(), random_context(2)
    poses, size, actions = context.poses.double(), context.size.double(), random_actions(2).double()

    def total(images: Tensor) -> Tensor:
        h = model.encode(Context.of(images, poses, size))
        for t in range(3):
            prediction, h = model.step(h, actions[:, t], torch.zeros(2, model.z_dim, dtype=torch.float64))
        return prediction.image.sum()

    images = context.images.double().requires_grad_()
    towards = torch.randn(images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (slope,) = torch.autograd.grad(total(images), images)
    assert (slope.abs().amax((0, 2, 3, 4)) > 0).all()
    change = total((images + 1e-5 * towards).detach()) - total((images - 1e-5 * towards).detach())
    assert float((slope * towards).sum()) == pytest.approx(float(change.detach()) / 2e-5, rel=1e-4)


def test_the_paper_s_sizes() -> None:
    model = build(PaperConfig())
    h = model.encode(random_context(1, PaperConfig().timing, View()))
    assert isinstance(model, PaperModel)
    assert h.encoded.shape == (1, 256, 14, 3)
    assert h.context.images.shape == (1, 20, 3, 117, 24)
    assert model.z_dim == 32
    prediction, _ = model.eval().step(h, torch.zeros(1, 2), torch.zeros(1, 32))
    assert prediction.image.shape == (1, 3, 117, 24)


@pytest.mark.parametrize("variant", PAPERS)
def test_the_action_changes_what_the_paper_s_model_sees(variant: str) -> None:
    model = small_model(variant)
    z = torch.zeros(2, 1, model.z_dim)
    one, other = (unrolled(model, steps=1, z=z, actions=torch.full((2, 1, 2), a))[0] for a in (-1.0, 1.0))
    assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("residual", "kept"),
    [("intensity", torch.sigmoid), ("logit", lambda image: image.clamp(DARKEST, 1 - DARKEST))],
)
def test_a_silent_network_keeps_the_pose_and_what_its_residual_says(
    residual: str, kept: Callable[[Tensor], Tensor]
) -> None:
    """image' = sigmoid(r(image)) and u' = u where the last layers are zero: both are residual."""
    model = small_model("deterministic", residual=residual)
    assert isinstance(model, PaperModel)
    model.vector_normaliser.fit(torch.randn(100, 4) * 20 + 100)
    for layer in (model.deconvs[-1], model.vector_head[-1]):
        nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    images, poses, _ = unrolled(model, steps=1)
    context = random_context()
    assert torch.allclose(images[:, 0], kept(context.images[:, -1]), atol=1e-6)
    assert torch.allclose(poses[:, 0], context.now(), rtol=1e-4)


def test_an_unknown_residual_is_refused() -> None:
    with pytest.raises(ValueError, match="residual='none' must be one of intensity, logit"):
        PaperConfig(residual="none")  # type: ignore[arg-type]


def test_a_standing_car_keeps_its_heading_and_a_finite_gradient() -> None:
    model = small_model("deterministic")
    assert isinstance(model, PaperModel)
    nn.init.zeros_(model.vector_head[-1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(model.vector_head[-1].bias)  # type: ignore[arg-type]
    context = random_context()
    poses = context.poses.clone()
    poses[..., 2], poses[..., 3] = 2.5, 0.0
    prediction, _ = model.step(
        model.encode(replace(context, poses=poses)), torch.ones(2, 2), torch.zeros(2, 0)
    )
    assert torch.equal(prediction.pose[:, 2], poses[:, -1, 2])
    assert prediction.pose[:, 3].abs().max() < 1e-5
    prediction.pose.sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is None or p.grad.isfinite().all(), name


def test_pictures_too_small_to_halve_are_refused() -> None:
    with pytest.raises(ValueError, match="16 px"):
        PaperConfig(view=View(height=117, width=15))
