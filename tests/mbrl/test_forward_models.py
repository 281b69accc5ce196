"""Every forward model has the same face and does what its equations say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from envs.context import Context, Recorded
from envs.units import View
from mbrl.forward_models import (
    ForwardModel,
    ModelConfig,
    PaperConfig,
    PaperModel,
    SeparatedConfig,
    SeparatedModel,
    Timing,
    build,
    config_from_dict,
    config_to_dict,
)
from mbrl.forward_models.base import Bank, kl_between_normals, reparameterise
from mbrl.forward_models.paper import DARKEST
from mbrl.forward_models.particles import FAINT
from mbrl.normaliser import Normaliser
from tests import reference
from tests.agents.scenes import Track, along, recording_of
from tests.mbrl.small import (
    CHANNELS,
    TIMING,
    VARIANTS,
    VIEW,
    context_at,
    random_actions,
    random_context,
    small_model,
    windows_at,
)
from tests.toys import lane_centre

PAPERS = ["deterministic", "vae"]
SEPARATED = ["separated", "separated, no z"]


def unrolled(model: ForwardModel[Any], batch: int = 2, steps: int = 3, z: Tensor | None = None,
             actions: Tensor | None = None) -> tuple[Tensor, Tensor, Any]:  # fmt: skip
    """Images (B, T, 3, H, W), poses (B, T, 4) and the last state of a rollout from `random_context`."""
    context = random_context(batch, model.timing, model.config.view)
    actions = random_actions(batch, steps) if actions is None else actions
    z = (
        model.noise(batch, steps, like=actions, generator=torch.Generator().manual_seed(5))
        if z is None
        else z
    )
    h = model.encode(context)
    images, poses = [], []
    for t in range(steps):
        prediction, h = model.step(h, actions[:, t], z[:, t])
        images.append(prediction.image)
        poses.append(prediction.pose)
    return torch.stack(images, 1), torch.stack(poses, 1), h


# --- one face --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [VIEW, View(), View(height=16, width=23)], ids=["small", "paper", "odd"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_model_has_the_same_face(variant: str, view: View) -> None:
    model = build(replace(VARIANTS[variant], view=view)).eval()
    context = random_context(2, TIMING, view)
    h = model.encode(context)
    assert torch.equal(model.context(h).images, context.images)
    if model.z_dim:
        mu, log_var = model.posterior(
            h, torch.zeros(context.batch_size, 2), context.images[:, -1], context.now()
        )
        assert mu.shape == log_var.shape == (2, model.z_dim)
    for t in range(2):
        before = model.context(h)
        prediction, h = model.step(h, random_actions()[:, t], torch.randn(2, model.z_dim))
        assert prediction.image.shape == (2, 3, view.height, view.width)
        assert prediction.image.min() >= 0
        assert prediction.image.max() <= 1
        seen = model.context(h)
        assert torch.equal(seen.images, torch.cat([before.images[:, 1:], prediction.image[:, None]], 1))
        assert torch.equal(seen.poses, torch.cat([before.poses[:, 1:], prediction.pose[:, None]], 1))
        assert torch.equal(seen.size, context.size)
        assert model.error(h, prediction.image, prediction.pose).shape == (2,)


@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluated_models_are_deterministic_and_dropout_is_not(variant: str) -> None:
    model = small_model(variant)
    one, other = unrolled(model), unrolled(model)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    model.train()
    assert not torch.equal(unrolled(model)[0], one[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_example_alone_equals_itself_in_a_batch(variant: str) -> None:
    model = small_model(variant)
    images, poses, _ = unrolled(model, batch=3)
    h = model.encode(random_context(3).take(slice(1, 2)))
    z = model.noise(3, 3, like=poses, generator=torch.Generator().manual_seed(5))
    for t in range(3):
        prediction, h = model.step(h, random_actions(3)[1:2, t], z[1:2, t])
        np.testing.assert_allclose(prediction.image[0].detach(), images[1, t].detach(), atol=1e-5)
        np.testing.assert_allclose(prediction.pose[0].detach(), poses[1, t].detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("frozen", [True, False])
def test_a_state_of_masks_is_that_of_a_repeated_context(variant: str, frozen: bool) -> None:
    """Over more steps than there are frames of context, and with the same gradient for actions."""
    model = small_model(variant).requires_grad_(not frozen)
    context, z = random_context(2), torch.randn(6, 5, model.z_dim, generator=torch.Generator().manual_seed(0))
    found = []
    for h in (model.encode(context, 3), model.encode(context.repeat(3))):
        actions = random_actions(6, 5).requires_grad_()
        total = torch.zeros(())
        for t in range(5):
            prediction, h = model.step(h, actions[:, t], z[:, t])
            total = total + prediction.image.square().sum() + prediction.pose.sum()
        found.append((total.detach(), *torch.autograd.grad(total, actions)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_going_along_what_was_recorded_changes_no_number(variant: str) -> None:
    model = small_model(variant)
    then = random_context(2, seed=7)
    recorded = Recorded(then.images, then.poses, random_actions(2, 3))
    h, known = model.encode(random_context(2)), model.encode(random_context(2), along=recorded)
    for t in range(3):
        step = recorded.actions[:, t], recorded.images[:, t], recorded.poses[:, t]
        z = torch.zeros(2, 0)
        if model.z_dim:
            z, other = model.posterior(h, *step)[0], model.posterior(known, *step)[0]
            np.testing.assert_allclose(other.detach(), z.detach(), atol=1e-5)
        prediction, h = model.step(h, step[0], z)
        same, known = model.step(known, step[0], z)
        for one, other in zip(same, prediction, strict=True):
            np.testing.assert_allclose(one.detach(), other.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", PAPERS)
def test_a_gradient_for_the_context_s_pictures_is_not_lost(variant: str) -> None:
    """By finite differences."""
    model, context = small_model(variant).double(), random_context(2)
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


@pytest.mark.parametrize("variant", VARIANTS)
def test_z_matters_where_there_is_one(variant: str) -> None:
    model = small_model(variant)
    one, other = (
        unrolled(model, z=torch.full((2, 3, max(model.z_dim, 4)), v)[..., : model.z_dim or 4])[0]
        for v in (-1.0, 1.0)
    )
    assert torch.equal(one, other) == (model.z_dim == 0)


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_the_posterior_sees_what_came_next(variant: str) -> None:
    model = small_model(variant)
    context = random_context()
    h = model.encode(context)
    other = context.images[:, -1].flip(-1)
    assert not torch.equal(
        model.posterior(h, torch.zeros(context.batch_size, 2), other, context.now())[0],
        model.posterior(h, torch.zeros(context.batch_size, 2), context.images[:, -1], context.now())[0],
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_weight(variant: str) -> None:
    config = replace(VARIANTS[variant], dropout=0.0)
    model = build(config)
    for module in model.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.3)
    if isinstance(model, SeparatedModel):
        nn.init.normal_(model.head.weight, std=0.3)
    context = random_context(4)
    h = model.encode(context)
    loss = torch.zeros(())
    for t in range(2):
        z = torch.zeros(4, 0)
        if model.z_dim:
            mu, log_var = model.posterior(
                h, torch.zeros(context.batch_size, 2), context.images[:, 0], context.now()
            )
            z = reparameterise(mu, log_var, torch.randn_like(mu))
            loss = loss + model.divergence(h, mu, log_var).mean()
        _, h = model.step(h, random_actions(4)[:, t], z)
        loss = loss + model.error(h, context.images[:, 0], context.poses[:, 0]).mean()
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert without == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_error_is_zero_only_for_the_truth(variant: str) -> None:
    model = small_model(variant)
    images, poses, h = unrolled(model)
    if isinstance(model, SeparatedModel):
        truth = torch.cat([images[:, -1, :1], h.vehicles[:, -1:], images[:, -1, 2:]], 1)
    else:
        truth = images[:, -1]
    assert model.error(h, truth, poses[:, -1]).abs().max() < 1e-9
    assert model.error(h, 1 - truth, poses[:, -1]).min() > 1e-3


# --- the paper's -----------------------------------------------------------------------------------------------------


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


# --- the separated one -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", SEPARATED)
def test_the_ego_moves_exactly_by_the_kinematics(variant: str) -> None:
    model = small_model(variant)
    _, poses, _ = unrolled(model)
    actions = random_actions().double().numpy()
    for b, start in enumerate(random_context().now().double().numpy()):
        state = start
        for t in range(3):
            for _ in range(TIMING.stride):
                state = reference.step(state, actions[b, t], TIMING.dt)
            np.testing.assert_allclose(poses[b, t].detach(), state, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("variant", SEPARATED)
def test_actions_leave_the_scene_untouched(variant: str) -> None:
    model = small_model(variant)
    z = torch.ones(2, 3, model.z_dim)
    (_, one_poses, one), (_, other_poses, other) = (
        unrolled(model, z=z, actions=random_actions(seed=seed)) for seed in (1, 2)
    )
    assert torch.equal(one.vehicles, other.vehicles)
    assert torch.equal(one.observer, other.observer)
    assert not torch.equal(one_poses, other_poses)


def test_the_observer_goes_straight_on_whatever_the_ego_does() -> None:
    model = build(VARIANTS["separated"]).eval()
    context = random_context()
    h = model.encode(context)
    x, y, heading, speed = context.now().unbind(-1)
    for t in range(1, 4):
        _, h = model.step(h, random_actions()[:, t - 1], torch.randn(2, 3))
        way = speed * t * TIMING.step_seconds
        want = torch.stack([x + way * torch.cos(heading), y + way * torch.sin(heading), heading, speed], -1)
        np.testing.assert_allclose(h.observer, want, rtol=1e-5)


def test_a_straight_ego_sees_what_the_observer_sees() -> None:
    model = small_model("separated")
    images, poses, h = unrolled(model, actions=torch.zeros(2, 3, 2))
    assert isinstance(model, SeparatedModel)
    np.testing.assert_allclose(poses[:, -1].detach(), h.observer.detach(), rtol=1e-5)
    np.testing.assert_allclose(images[:, -1, 1].detach(), h.vehicles[:, -1].detach(), atol=1e-3)


def car_ahead(speed: float = 8.0) -> Any:
    """The ego speeds up from 5 m/s to 8 m/s, then keeps it; a car 12 m ahead of it then keeps `speed` all along."""
    own = np.clip(5 + 0.3 * np.arange(79), 5, 8.0)
    ego, other = along(own, num=80, x0=60.0), along(speed, num=80)
    return recording_of(
        Track(1, ego, lane_centre(1)), Track(2, other - other[20] + ego[20] + 12, lane_centre(1))
    )


def test_the_past_is_seen_by_an_observer_that_came_straight() -> None:
    """Whoever drives at the ego's present speed stands still there, although the ego did not always have it."""
    context = context_at(car_ahead(), 0, 11, timing=Timing(frames=5, stride=2))  # 8 m/s since the tenth frame
    model = build(replace(VARIANTS["separated"], timing=Timing(frames=5, stride=2)))
    assert isinstance(model, SeparatedModel)
    vehicles = model.encode(context).vehicles[0]
    assert vehicles[-1].sum() > 10
    ego_view = (context.images[0, 0, 1] - context.images[0, -1, 1]).abs().sum()
    for k in range(4):
        assert (vehicles[k] - vehicles[-1]).abs().sum() < 0.35 * ego_view
        assert (vehicles[k] - vehicles[-1]).abs().max() < 0.3


def test_a_braking_ego_sees_the_others_draw_away_as_the_renderer_draws_them() -> None:
    """Where nothing moves around the observer the untrained model is right, so its pictures can be checked."""
    recording, frame, steps, view = car_ahead(), 30, 5, View(height=71, width=18)
    model = build(replace(VARIANTS["separated"], view=view)).eval()
    context = context_at(recording, 0, frame, view=view)
    h = model.encode(context)
    for _ in range(steps):
        prediction, h = model.step(h, torch.tensor([[-4.0, 0.01]]), torch.zeros(1, 3))
    x, y, heading, speed = prediction.pose[0].tolist()
    assert speed == pytest.approx(4.0, abs=1e-3)  # the recording's positions are rounded
    other = recording.x[recording.track(1)[frame + 2 * steps]]
    ahead, left = other - x, lane_centre(1) - y
    a = ahead * np.cos(heading) + left * np.sin(heading)
    weight = (prediction.image[0, 1] / prediction.image[0, 1].sum()).detach()
    row, column = weight.sum(1) @ torch.arange(71.0), weight.sum(0) @ torch.arange(18.0)
    assert float(35 - row) / view.px_per_m == pytest.approx(a, abs=0.1)
    side = left * np.cos(heading) - ahead * np.sin(heading)
    assert float(8.5 - column) / view.px_per_m == pytest.approx(side, abs=0.1)


def test_particles_carry_momentum_and_nothing_blurs() -> None:
    """Sped up by one pixel a step: after t steps the scene is t (t + 1) / 2 pixels away, as sharp as ever."""
    model = build(VARIANTS["separated, no z"]).eval()
    assert isinstance(model, SeparatedModel)
    assert model.head.bias is not None
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([-1.0, 0.0]))
    context = random_context()
    h = model.encode(context)
    h = replace(h, particles=replace(h.particles, velocity=torch.zeros_like(h.particles.velocity)))
    seen = context.images[:, -1, 1] * (context.images[:, -1, 1] > FAINT)
    for t in range(1, 5):
        h = model.advance(h, torch.zeros(2, 0))
        moved = t * (t + 1) // 2
        want = torch.zeros(2, VIEW.height, VIEW.width)
        want[:, : VIEW.height - moved] = seen[:, moved:]
        np.testing.assert_allclose(h.vehicles[:, -1].detach(), want, atol=1e-3)


@pytest.mark.parametrize("other_speed", [4.0, 7.5, 12.0])
def test_the_untrained_model_lets_everything_go_on_as_it_did(other_speed: float) -> None:
    """A car at another speed is, three seconds later, where the renderer draws it."""
    frame, steps, view, timing = 20, 15, View(height=117, width=18), Timing(frames=5, stride=2)
    gap = 20.0 if other_speed < 8 else -10.0
    ego = Track(1, along(8.0, num=80), lane_centre(1))
    other = Track(
        2, along(other_speed, num=80, x0=30 + gap - (other_speed - 8) * 0.1 * frame), lane_centre(2)
    )
    recording = recording_of(ego, other)
    model = build(replace(VARIANTS["separated, no z"], view=view, timing=timing, back=(0, 1, 2, 4))).eval()
    windows = windows_at(recording, 0, frame, steps=steps, view=view, timing=timing)
    h = model.encode(context_at(recording, 0, frame, view=view, timing=timing))
    for t in range(steps):
        _, h = model.step(h, torch.zeros(1, 2), torch.zeros(1, 0))
        want = torch.from_numpy(windows.target_images[0, t, 1]).float() / 255
        assert float(h.vehicles[0, -1].detach().sum()) == pytest.approx(float(want.sum()), rel=0.05)
        centres = [
            (picture.sum(1) / picture.sum()) @ torch.arange(117.0)
            for picture in (h.vehicles[0, -1].detach(), want)
        ]
        assert float(centres[0]) == pytest.approx(float(centres[1]), abs=0.1 * (t + 1))


def test_lanes_continue_beyond_what_was_seen() -> None:
    """Far ahead of its last picture the ego still sees markings and the road's edge, but no invented cars."""
    model = build(VARIANTS["separated"]).eval()
    windows = windows_at(car_ahead(), 0, 30)
    context = context_at(car_ahead(), 0, 30)
    h = model.encode(context)
    for _ in range(15):
        prediction, h = model.step(h, torch.tensor([[6.0, 0.0]]), torch.zeros(1, 3))
    truth = (
        torch.from_numpy(windows.images[0, -1, ::2]).float() / 255
    )  # a straight road looks the same everywhere
    np.testing.assert_allclose(prediction.image[0, ::2], truth, atol=0.05)
    assert prediction.image[0, 1, : VIEW.height // 3].max() == 0


def test_velocities_need_two_frames() -> None:
    with pytest.raises(ValueError, match=r"timing\.frames"):
        SeparatedConfig(timing=Timing(frames=1, stride=2), back=(0,))


def test_impossible_sizes_are_refused() -> None:
    for bad in ({"back": (0, 3)}, {"back": (1, 2)}, {"z_dim": -1}, {"dropout": 1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            SeparatedConfig(timing=TIMING, **{"back": (0, 1), **bad})  # type: ignore[arg-type]


# --- z ---------------------------------------------------------------------------------------------------------------


def test_the_divergence_is_torch_s_and_zero_for_the_same() -> None:
    rng = torch.Generator().manual_seed(0)
    mu, log_var, mu_p, log_var_p = torch.randn(4, 7, 5, generator=rng, dtype=torch.float64)
    one, other = Normal(mu, torch.exp(log_var / 2)), Normal(mu_p, torch.exp(log_var_p / 2))
    want = kl_divergence(one, other).sum(-1)
    np.testing.assert_allclose(kl_between_normals(mu, log_var, mu_p, log_var_p), want, rtol=1e-12)
    assert (kl_between_normals(mu, log_var, mu, log_var).abs() < 1e-12).all()


def test_reparameterised_samples_have_the_wanted_moments_and_gradients() -> None:
    """E z^2 = mu^2 + exp(log_var), so its gradients are 2 mu and exp(log_var)."""
    mu, log_var = torch.tensor([0.5, -1.0], requires_grad=True), torch.tensor([-1.0, 0.4], requires_grad=True)
    noise = torch.randn(40_000, 2, generator=torch.Generator().manual_seed(0))
    z = reparameterise(mu.expand(40_000, 2), log_var.expand(40_000, 2), noise)
    np.testing.assert_allclose(z.mean(0).detach(), mu.detach(), atol=0.02)
    np.testing.assert_allclose(z.var(0).detach(), log_var.exp().detach(), rtol=0.03)
    for_mu, for_log_var = torch.autograd.grad(z.square().mean(0).sum(), (mu, log_var))
    np.testing.assert_allclose(for_mu, 2 * mu.detach(), atol=0.03)
    np.testing.assert_allclose(for_log_var, log_var.exp().detach(), atol=0.04)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if "learned" in v])
def test_a_learned_prior_depends_on_the_state_and_moves_the_noise(variant: str) -> None:
    """z = mu + exp(log_var / 2) noise, so that z at two noises tells both; and KL(p || p) = 0."""
    model = small_model(variant)
    h = model.encode(random_context(4))
    mu, log_var = model.prior(h)
    assert mu.std(0).min() > 0
    noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(model.latent(h, torch.zeros(4, 3)).detach(), mu.detach())
    want = mu + torch.exp(log_var / 2) * noise
    np.testing.assert_allclose(model.latent(h, noise).detach(), want.detach(), rtol=1e-6)
    assert (model.divergence(h, mu, log_var).abs() < 1e-6).all()


def test_a_bank_gives_back_what_it_holds_each_as_often() -> None:
    bank = Bank(2, size=8)
    bank.fill(torch.arange(64.0).view(32, 2))  # every fourth is kept
    np.testing.assert_array_equal(bank.z[:, 0], torch.arange(0, 64, 8.0))
    got = bank(torch.randn(40_000, 2, generator=torch.Generator().manual_seed(0)))[:, 0]
    assert sorted(set(got.tolist())) == bank.z[:, 0].tolist()
    counts = torch.stack([(got == z).sum() for z in bank.z[:, 0]])
    np.testing.assert_allclose(counts, 5000, rtol=0.06)
    assert (bank(torch.full((1, 2), 9.0)) == bank.z[-1]).all()
    bank.fill(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert (bank.z[:4] == torch.tensor([1.0, 2.0])).all()
    assert (bank.z[4:] == torch.tensor([3.0, 4.0])).all()


@pytest.mark.parametrize("variant", [v for v in VARIANTS if "error" in v])
def test_an_error_code_tells_the_error_and_nothing_else(variant: str) -> None:
    """phi(s' - f(s, a, 0)): what the model predicts without z is encoded like any other perfect guess."""
    model = small_model(variant)
    actions = random_actions(2)[:, 0]
    h = model.encode(random_context())
    guess, after = model.step(h, actions, torch.zeros(2, 3))
    vehicles = after.vehicles[:, -1] if isinstance(model, SeparatedModel) else guess.image[:, 1]
    image = guess.image.clone()
    image[:, 1] = vehicles
    perfect, log_var = model.posterior(h, actions, image, guess.pose)
    assert (log_var == -torch.inf).all()
    assert torch.equal(reparameterise(perfect, log_var, torch.randn_like(perfect)), perfect)
    assert (model.divergence(h, perfect, log_var) == 0).all()
    wrong, _ = model.posterior(h, actions, image.flip(-1), guess.pose)
    assert not torch.equal(wrong, perfect)
    if isinstance(model, PaperModel):  # whatever the state: the code of no error is the same
        np.testing.assert_allclose(perfect[0].detach(), perfect[1].detach(), atol=1e-5)


def test_the_prior_is_standard_normal_and_seeded() -> None:
    model = build(VARIANTS["vae"])
    like = torch.zeros(1, dtype=torch.float64)
    one, other = (
        model.noise(500, 8, like=like, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(one, other)
    assert one.shape == (500, 8, 3)
    assert one.dtype == torch.float64
    assert abs(float(one.mean())) < 0.03
    assert float(one.std()) == pytest.approx(1, abs=0.03)


# --- configs and normalisers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [*VARIANTS.values(), PaperConfig(), SeparatedConfig()])
def test_a_config_survives_json(config: ModelConfig) -> None:
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_a_foreign_config_is_refused() -> None:
    good = config_to_dict(SeparatedConfig(channels=CHANNELS))
    for bad in ({**good, "kind": "other"}, {k: v for k, v in good.items() if k != "kind"}):
        with pytest.raises(KeyError):
            config_from_dict(bad)
    with pytest.raises(TypeError):
        config_from_dict({**good, "kind": "paper"})
    with pytest.raises(ValueError):
        config_from_dict({**good, "dropout": 2})


def test_normalising_and_back() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(50, 6, 3, generator=rng, dtype=torch.float64) * torch.tensor(
        [1.0, 30, 0.01]
    ) + torch.tensor([0.0, 200, -1])
    normaliser = Normaliser(3).double()
    assert torch.equal(normaliser(x), x)  # not fitted yet
    normaliser.fit(x)
    flat = normaliser(x).reshape(-1, 3)
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(flat.std(0), 1, rtol=1e-9)
    np.testing.assert_allclose(normaliser.inverse(normaliser(x)), x, rtol=1e-12)


def test_a_feature_that_never_changes_is_only_shifted() -> None:
    normaliser = Normaliser(2)
    normaliser.fit(torch.tensor([[5.0, 1.0], [5.0, 3.0]]))
    assert normaliser(torch.tensor([7.0, 2.0])).tolist() == [2.0, 0.0]
