"""The separated model: an exact ego among others that it leaves alone, and particles that keep their momentum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from envs.units import View
from mbrl.forward_models import SeparatedConfig, SeparatedModel, Timing, build
from mbrl.forward_models.particles import FAINT
from tests import reference
from tests.agents.scenes import Track, along, recording_of
from tests.mbrl.small import (
    TIMING,
    VARIANTS,
    VIEW,
    context_at,
    random_actions,
    random_context,
    small_model,
    unrolled,
    windows_at,
)
from tests.toys import lane_centre

SEPARATED = ["separated", "separated, no z"]


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
