"""Unrolling: on a three-line system, through every model, through futures drawn once; and what its costs say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from envs.context import Context
from envs.costs import costs, pixel_grid
from envs.raster import render
from envs.recording import Recording
from envs.units import View
from envs.warp import pixel_coordinates
from envs.world import build_world
from mbrl.forward_models import Prediction, SeparatedModel, Timing, build
from mbrl.futures import Futures, foresee
from mbrl.imagination import Trajectory, exact_costs, given, imagine, unroll
from mbrl.imagination import along as along_actions
from mbrl.uncertainty import dropout_on
from tests.agents.scenes import Track, along, recording_of
from tests.mbrl.small import TIMING, VARIANTS, VIEW, context_at, random_actions, random_context, small_model
from tests.toys import lane_centre

ROAD = View(height=81, width=24)  # 50 m by 14.8 m
FINE = View(height=145, width=48, px_per_m=4.0)  # 36 m by 12 m


@dataclass(frozen=True)
class Counted:
    """x' = x + a + z, seen as a picture of one brightness and as a pose; what the actor sees is kept."""

    seen: list[Context]

    def step(self, h: Context, action: Tensor, z: Tensor) -> tuple[Prediction, Context]:
        x = h.now()[:, :1] + action[:, :1] + z
        pose = torch.cat([x, torch.zeros(len(x), 3)], 1)
        image = torch.sigmoid(x)[:, :, None, None].expand(-1, 3, 2, 2)
        return Prediction(image, pose), h.push(image, pose)

    def context(self, h: Context) -> Context:
        return h


def counted_start(batch: int) -> Context:
    poses = torch.zeros(batch, 2, 4)
    poses[:, -1, 0] = torch.arange(batch)
    return Context.of(torch.zeros(batch, 2, 3, 2, 2), poses, torch.tensor([4.0, 2.0]).expand(batch, 2))


def steady(seed: int = 1) -> Any:
    """An actor without eyes: the same random actions whenever it is asked for the same step."""
    actions = random_actions(2, 20, seed)
    calls = iter(range(20))
    return lambda context: actions[: context.batch_size, next(calls)]


# --- unrolling -------------------------------------------------------------------------------------------------------


def test_unroll_adds_up() -> None:
    """x_t = x_0 + sum a + sum z, with actions and z chosen from the state before the step."""
    h = counted_start(3)
    steps = list(
        unroll(
            Counted([]),
            h,
            lambda t, state: torch.cat([state.now()[:, :1], torch.zeros(3, 1)], 1),  # x doubles
            lambda t, state: torch.full((3, 1), float(t)),
            steps=3,
        )
    )
    x0 = torch.arange(3.0)
    assert [prediction.pose[:, 0].tolist() for _, prediction, _ in steps] == [
        (2 * x0).tolist(), (4 * x0 + 1).tolist(), (8 * x0 + 4).tolist()
    ]  # fmt: skip
    assert torch.equal(steps[1][0][:, 0], 2 * x0)


def test_one_actor_drives_under_every_mask() -> None:
    """It sees the first mask's future only, and what it decides is done under all of them."""
    seen: list[Context] = []

    def actor(context: Context) -> Tensor:
        seen.append(context)
        return torch.cat([context.now()[:, :1] + 1, torch.zeros(context.batch_size, 1)], 1)

    z = torch.arange(3.0)[:, None, None].repeat_interleave(2, 0).expand(6, 4, 1)  # mask k drifts by k a step
    trajectory = imagine(
        Counted([]),
        actor,
        counted_start(2).repeat(3),
        z,
        4,
        cost=exact_costs("pixels", View(height=2, width=2)),
        num_masks=3,
    )
    assert [c.batch_size for c in seen] == [2] * 4
    by_mask = trajectory.actions.view(3, 2, 4, 2)
    assert torch.equal(by_mask[1], by_mask[0])
    assert torch.equal(by_mask[2], by_mask[0])
    x = trajectory.poses.view(3, 2, 4, 4)[..., 0]
    assert x[0, 0].tolist() == [1, 3, 7, 15]  # x' = 2 x + 1 from 0
    drift = torch.arange(1.0, 5)
    assert torch.equal(x[1] - x[0], drift.expand(2, 4))
    assert torch.equal(x[2] - x[0], (2 * drift).expand(2, 4))
    assert trajectory.costs.proximity.shape == (6, 4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_imagination_equals_stepping_by_hand(variant: str) -> None:
    model = small_model(variant)
    context = random_context()
    z = model.noise(2, 3, like=context.size, generator=torch.Generator().manual_seed(0))
    got = imagine(model, steady(), model.encode(context), z, 3, cost=exact_costs(model.gradient, VIEW))
    act, h = steady(), model.encode(context)
    for t in range(3):
        action = act(model.context(h))
        prediction, h = model.step(h, action, z[:, t])
        assert torch.equal(got.actions[:, t], action)
        assert torch.equal(got.images[:, t], prediction.image)
        assert torch.equal(got.poses[:, t], prediction.pose)
        want = costs(prediction.image, prediction.pose[:, 3], context.size, *pixel_grid(VIEW, context.size))
        for one, other in zip(got.costs, want, strict=True):
            np.testing.assert_allclose(one[:, t].detach(), other.detach(), atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_masks_without_dropout_are_copies(variant: str) -> None:
    model = small_model(variant)
    many = random_context().repeat(3)
    z = torch.ones(2, 3, model.z_dim).repeat(3, 1, 1)
    got = imagine(
        model, steady(), model.encode(many), z, 3, cost=exact_costs(model.gradient, VIEW), num_masks=3
    )
    for part in (got.images, got.poses, got.actions, *got.costs):
        copies = part.view(3, 2, *part.shape[1:])
        np.testing.assert_allclose(
            copies[1:].detach(), copies[:1].expand_as(copies[1:]).detach(), rtol=1e-6, atol=1e-6
        )


# --- futures ---------------------------------------------------------------------------------------------------------


def same(one: Trajectory, other: Trajectory) -> None:
    for a, b in ((one.images, other.images), (one.poses, other.poses), (one.actions, other.actions)):
        assert torch.equal(a, b)
    for a, b in zip(one.costs, other.costs, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("variant", ["separated", "separated, no z"])
def test_futures_drive_like_the_model_that_drew_them(variant: str) -> None:
    model = small_model(variant)
    assert isinstance(model, SeparatedModel)
    context = random_context()
    z = torch.randn(2, 4, model.z_dim, generator=torch.Generator().manual_seed(0))
    futures = foresee(model, context, z, 4)
    assert not futures.vehicles.requires_grad
    for seed in (1, 2):  # any number of drives through the same futures
        want = imagine(model, steady(seed), model.encode(context), z, 4, cost=exact_costs("position", VIEW))
        got = imagine(futures, steady(seed), futures.encode(), z, 4, cost=exact_costs("position", VIEW))
        same(got, want)


def test_futures_under_all_masks_are_the_model_s_rollouts_under_these_masks() -> None:
    """The same dropout, drawn from the same seed; what the futures drove through mask 0 is looked up in the others."""
    model = small_model("separated")
    assert isinstance(model, SeparatedModel)
    context, actions = random_context(2), random_actions(2, 4)
    z = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), dropout_on(model):
        torch.manual_seed(3)
        want = along_actions(model, context, actions, z.repeat(3, 1, 1), 3)
        torch.manual_seed(3)
        futures = foresee(model, context, z.repeat(3, 1, 1), 4, 3)
    assert not torch.equal(futures.vehicles[0], futures.vehicles[1])
    driven = imagine(futures, given(actions), futures.encode(), z, 4, cost=exact_costs("position", VIEW))
    got = futures.under_all_masks(driven)
    vehicles = want.images[:, :, 1:2]  # what stands is the same under every mask
    for a, b in ((got.images, vehicles), (got.poses, want.poses), (got.actions, want.actions)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for a, b in zip(got.costs, want.costs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    alone = foresee(model, context, z, 4)
    assert alone.under_all_masks(driven) is driven


def test_every_mask_s_costs_reach_the_actions() -> None:
    model = small_model("separated")
    assert isinstance(model, SeparatedModel)
    torch.manual_seed(3)
    with dropout_on(model):
        futures = foresee(model, random_context(2), torch.zeros(6, 3, 3), 3, 3)
    actions = random_actions(2, 3).requires_grad_()
    driven = imagine(
        futures,
        given(actions),
        futures.encode(),
        torch.zeros(2, 3, 3),
        3,
        cost=exact_costs("position", VIEW),
    )
    proximity = futures.under_all_masks(driven).costs.proximity.view(3, 2, 3)
    slopes = [torch.autograd.grad(by_mask.sum(), actions, retain_graph=True)[0] for by_mask in proximity]
    assert all(slope.abs().max() > 0 for slope in slopes)
    assert not torch.equal(slopes[0], slopes[1])


def test_the_gradient_of_futures_is_that_of_the_model() -> None:
    model = small_model("separated")
    assert isinstance(model, SeparatedModel)
    context, z = random_context(), torch.ones(2, 4, 3)
    futures = foresee(model, context, z, 4)

    def gradient(dynamics: Any, h: Any) -> Tensor:
        actions = random_actions(2, 4).requires_grad_()
        calls = iter(range(4))
        trajectory = imagine(
            dynamics, lambda _: actions[:, next(calls)], h, z, 4, cost=exact_costs("position", VIEW)
        )
        return torch.autograd.grad(trajectory.costs.total().sum(), actions)[0]

    want = gradient(model, model.encode(context))
    assert want.abs().max() > 0
    assert torch.equal(gradient(futures, futures.encode()), want)


# --- costs and their gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", ["position", "pixels"])
def test_the_gradient_s_way_does_not_change_the_cost(gradient: Any) -> None:
    context = random_context(5)
    got = exact_costs(gradient, VIEW)(context.images, context.poses, context.size)
    for b in range(5):
        for t in range(TIMING.frames):
            want = costs(
                context.images[b, t], context.poses[b, t, 3], context.size[b], *pixel_grid(VIEW, context.size)
            )
            assert [float(c[b, t]) for c in got] == pytest.approx([float(c) for c in want], abs=1e-5)


@pytest.mark.parametrize("view", [VIEW, View(), View(height=16, width=7)], ids=["small", "paper", "narrow"])
def test_the_gradient_by_position_is_that_of_masks_moving_over_fixed_pictures(view: View) -> None:
    """Against autograd through every pixel's place, on noisy, plain and empty pictures (where many pixels tie)."""
    context = random_context(6, Timing(frames=4), view, seed=3)
    images = context.images.clone()
    images[0], images[1] = 0.0, 0.7
    weights = torch.rand(3, 6, 4, generator=torch.Generator().manual_seed(0))

    def gradient(by_hand: bool) -> Tensor:
        poses = context.poses.clone().requires_grad_()
        if by_hand:
            got = exact_costs("position", view)(images, poses, context.size)
        else:
            points = pixel_coordinates(view, poses.detach(), poses)
            got = costs(images, poses[..., 3].detach(), context.size[:, None].expand(-1, 4, -1), *points)
        return torch.autograd.grad((torch.stack(list(got)) * weights).sum(), poses)[0]

    want = gradient(by_hand=False)
    assert want[2:].abs().max() > 0.1
    np.testing.assert_allclose(gradient(by_hand=True), want, rtol=1e-3, atol=1e-4)


def test_speed_inside_the_mask_is_cut_off_and_position_or_pixels_carry_the_gradient() -> None:
    """With speed inside, crawling would be rewarded for shrinking the mask."""
    context = random_context(5)
    for gradient in ("position", "pixels"):
        poses, images = context.poses.clone().requires_grad_(), context.images.clone().requires_grad_()
        cost = exact_costs(gradient, VIEW)(images, poses, context.size)  # type: ignore[arg-type]
        by_pose, by_image = torch.autograd.grad(cost.total().sum(), (poses, images), allow_unused=True)
        if gradient == "position":
            assert by_image is None
            assert (by_pose[..., 3] == 0).all()
            assert by_pose[..., :3].abs().sum() > 0
        else:
            assert by_pose is None
            assert by_image.abs().sum() > 0


def following(gap: float = 9.0, side: float = 0.0) -> Recording:
    """The ego and a car `gap` metres (bumper to bumper) ahead of it, both at 8 m/s."""
    ego = along(8.0, num=100, x0=60.0)
    return recording_of(Track(1, ego, lane_centre(1)), Track(2, ego + 4 + gap, lane_centre(1) + side))


def imagined(recording: Recording, actions: Tensor, view: View = ROAD) -> Trajectory:
    """Through the untrained separated model, which is right where everyone keeps the ego's initial speed."""
    model = build(replace(VARIANTS["separated, no z"], view=view)).eval()
    assert isinstance(model, SeparatedModel)
    context = context_at(recording, 0, 20, view=view)
    futures = foresee(model, context, torch.zeros(1, actions.shape[1], 0), actions.shape[1])
    calls = iter(range(actions.shape[1]))
    return imagine(
        futures, lambda _: actions[:, next(calls)], futures.encode(), torch.zeros(1, 20, 0), actions.shape[1],
        cost=exact_costs("position", view),
    )  # fmt: skip


def true_cost(recording: Recording, poses: Tensor, mask_speed: Tensor, view: View = ROAD) -> Tensor:
    """Proximity costs (T,) of pictures that the renderer draws from the poses of an imagined drive."""
    steps = poses.shape[1]
    frames = 20 + TIMING.stride * np.arange(1, steps + 1)[None]
    world, ego = build_world([recording]), np.zeros(1, np.int64)
    drawn = torch.from_numpy(render(world, frames, poses.detach().numpy(), ego, view)).float() / 255
    size = torch.tensor([4.0, 2.0]).expand(1, steps, 2)
    return costs(drawn, mask_speed, size, *pixel_grid(view, drawn)).proximity[0]


SCENES = {  # gap and side, whether acceleration or curvature leads towards the other car, and by how much to change it
    "a car ahead": (9.0, 0.0, 0, 0.5),
    "a car ahead, to the left": (5.0, 2.0, 1, 0.003),
    "a car beside": (-6.0, 2.2, 1, 0.004),
}


@pytest.mark.parametrize("scene", SCENES)
def test_the_imagined_gradient_is_that_of_the_true_scene(scene: str) -> None:
    """The action of a whole drive, by finite differences of the costs of re-rendered pictures.

    The speed in the mask is kept, as the gradient ignores it. The cost of a picture climbs in steps as an edge crosses
    pixels, so pixels are small here, and both are averaged over scenes that differ by parts of one.
    """
    gap, side, which, change = SCENES[scene]
    slope, difference = 0.0, 0.0
    for part in np.arange(5) / 5 / FINE.px_per_m:
        recording = following(gap + part * (which == 0), side + part * (which == 1))
        actions = torch.zeros(1, 6, 2, requires_grad=True)
        trajectory = imagined(recording, actions, FINE)
        mask_speed = trajectory.poses[..., 3].detach()
        total = trajectory.costs.proximity.sum()
        want = true_cost(recording, trajectory.poses, mask_speed, FINE).sum()
        assert float(total.detach()) == pytest.approx(float(want), rel=0.03)
        slope += float(torch.autograd.grad(total, actions)[0][..., which].sum())
        for sign in (-1, 1):
            moved = torch.zeros(1, 6, 2)
            moved[..., which] = sign * change
            cost = true_cost(recording, imagined(recording, moved, FINE).poses, mask_speed, FINE).sum()
            difference += sign * float(cost) / (2 * change)
    assert difference > 0
    assert slope == pytest.approx(difference, rel=0.2)


def test_braking_behind_a_car_lowers_the_cost_and_a_free_road_asks_for_nothing() -> None:
    actions = torch.zeros(1, 6, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(imagined(following(), actions).costs.proximity.sum(), actions)
    assert (gradient[0, :-1, 0] > 0).all()  # the last acceleration moves the car only after the horizon ...
    assert gradient[0, -1, 0] < 0.3 * gradient[0, -2, 0]  # ... but for the second half of its step
    brake = imagined(following(), torch.tensor([[[-2.0, 0.0]]]).expand(1, 6, 2)).costs.proximity
    assert (brake[0] < imagined(following(), torch.zeros(1, 6, 2)).costs.proximity[0]).sum() >= 5
    free = imagined(following(gap=60.0), actions).costs.proximity
    assert free.abs().max() == 0


@pytest.mark.parametrize("side", [1, -1])
def test_drifting_over_a_marking_costs_and_steering_back_pays(side: int) -> None:
    ego = along(8.0, num=100, x0=60.0)
    recording = recording_of(Track(1, ego, lane_centre(1) + side * 1.0))
    actions = torch.zeros(1, 5, 2, requires_grad=True)
    trajectory = imagined(recording, actions)
    assert trajectory.costs.lane[0, -1] > 0.3
    (gradient,) = torch.autograd.grad(trajectory.costs.lane[0, -1], actions)
    assert gradient[0, 0, 1] * side > 0  # positive curvature turns left, towards the marking on the left


def test_the_road_s_edge_pushes_back() -> None:
    recording = recording_of(Track(1, along(8.0, num=100, x0=60.0), lane_centre(3) - 1.2))
    actions = torch.zeros(1, 5, 2, requires_grad=True)
    cost = imagined(recording, actions).costs.off_road[0, -1]
    assert cost > 0.2
    (gradient,) = torch.autograd.grad(cost, actions)
    assert gradient[0, 0, 1] < 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_costs_reach_the_actor(variant: str) -> None:
    model = small_model(variant)
    wheel = torch.zeros(2, requires_grad=True)
    context = random_context(4)
    z = torch.zeros(4, 3, model.z_dim)
    trajectory = imagine(
        model,
        lambda c: wheel.expand(c.batch_size, 2),
        model.encode(context),
        z,
        3,
        cost=exact_costs(model.gradient, VIEW),
    )
    (gradient,) = torch.autograd.grad(trajectory.costs.total().sum(), wheel)
    assert gradient.isfinite().all()
    assert (gradient != 0).all()


def test_futures_keep_time_with_their_model() -> None:
    timing = Timing(frames=3, stride=1)
    model = build(replace(VARIANTS["separated, no z"], timing=timing)).eval()
    assert isinstance(model, SeparatedModel)
    futures: Futures = foresee(model, random_context(timing=timing), torch.zeros(2, 4, 0), 4)
    start = random_context(timing=timing).now()
    way = (futures.observer[:, -1, :2] - start[:, :2]).norm(dim=-1)
    np.testing.assert_allclose(way, start[:, 3] * 0.4, rtol=1e-4)
