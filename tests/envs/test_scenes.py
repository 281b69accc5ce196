"""Scenes against the pictures they were made of, pictures drawn anew, finite differences and loops."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from envs.context import scaled
from envs.costs import LANE_WIDTH, costs, pixel_grid
from envs.raster import render
from envs.scenes import FAINT, Scenes
from envs.units import View
from envs.world import World, build_world
from tests.toys import random_traffic

VIEW = View(height=61, width=24, px_per_m=1.62)
FRAME, STEPS = 200, 3


@pytest.fixture(scope="module")
def world() -> World:
    return build_world([random_traffic(num_vehicles=160)])


def egos(world: World, num: int = 6) -> tuple[np.ndarray, Tensor, Tensor]:
    """Vehicles of a frame, their poses (B, 4) and sizes (B, 2)."""
    rows = slice(world.frame_offsets[FRAME], world.frame_offsets[FRAME + 1])
    inside = (world.state[rows, 0] > 80) & (world.state[rows, 0] < 420)
    vehicle = world.vehicle[rows][inside][:num].astype(np.int64)
    return vehicle, torch.from_numpy(world.state[rows][inside][:num]), torch.from_numpy(world.size[vehicle])


def drawn(world: World, vehicle: np.ndarray, poses: Tensor) -> Tensor:
    """Pictures (B, T, 3, H, W) in the frames after FRAME, from poses (B, T, 4)."""
    frames = np.broadcast_to(FRAME + 1 + np.arange(poses.shape[1]), poses.shape[:2]).copy()
    return scaled(render(world, frames, poses.numpy(), vehicle, VIEW), "cpu")


def from_first(poses: Tensor) -> Tensor:
    """The steps (N, B, T) of plans that begin with the scenes."""
    return torch.arange(poses.shape[2]).expand(poses.shape[:3])


def scenes_of(world: World) -> tuple[Scenes, np.ndarray, Tensor]:
    """One future under one mask, seen by an observer that stands; and whose scenes they are."""
    vehicle, start, size = egos(world)
    poses = start[:, None].expand(-1, STEPS, 4)
    pictures = drawn(world, vehicle, poses)
    static = drawn(world, vehicle, start[:, None])[:, 0, ::2]
    return Scenes.of(pictures[None, None, :, :, 1], poses, static, start, size, VIEW), vehicle, start


def test_seen_by_the_observer_they_cost_what_its_pictures_cost(world: World) -> None:
    scenes, vehicle, start = scenes_of(world)
    poses = start[:, None].expand(-1, STEPS, 4)
    pictures = drawn(world, vehicle, poses)
    pictures[pictures <= FAINT] = 0
    want = costs(
        pictures, poses[..., 3], scenes.size[:, None].expand(-1, STEPS, -1), *pixel_grid(VIEW, poses)
    )
    found = scenes.costs(poses[None], from_first(poses[None])).proximity
    assert found.shape == (1, 1, 1, 6, STEPS)
    assert float(want.proximity.max()) > 0.3
    np.testing.assert_allclose(found[0, 0, 0], want.proximity, atol=1e-6)


def test_seen_from_elsewhere_they_cost_nearly_what_a_picture_from_there_costs(world: World) -> None:
    scenes, vehicle, start = scenes_of(world)
    moved = start[:, None] + torch.tensor(
        [[4.0, 0.6, 0.02, 1.0], [-3.0, -0.8, -0.03, 0.0], [7.0, 1.5, 0.0, 0.0]]
    )
    want = costs(
        drawn(world, vehicle, moved), moved[..., 3], scenes.size[:, None].expand(-1, STEPS, -1),
        *pixel_grid(VIEW, moved),
    )  # fmt: skip
    twice = torch.stack([moved, moved])
    found = scenes.costs(twice, from_first(twice))
    assert float((found.proximity[0, 0, 1] - want.proximity).abs().mean()) < 0.03
    assert float(want.proximity.max()) > 0.3
    column = (
        1 / VIEW.px_per_m / (LANE_WIDTH / 2)
    )  # is what the edge of the road may be off by, where it is drawn
    assert float((found.off_road[1] - want.off_road).abs().max()) < 1.1 * column
    assert float((found.off_road[1] - want.off_road).abs().mean()) < 0.06
    assert float(want.off_road.max()) > 0.3


def test_nobody_hides_on_a_line() -> None:
    """Lines are thin: a grid without a column in the middle would find them cheapest right under the ego."""
    still, size = torch.tensor([[0.0, 0, 0, 10]]), torch.tensor([[4.0, 2.0]])
    static = torch.zeros(1, 2, VIEW.height, VIEW.width)
    line = (VIEW.width - 1) // 2
    static[:, 0, :, line] = 1.0
    empty = torch.zeros(1, 1, 1, 1, VIEW.height, VIEW.width)
    scenes = Scenes.of(empty, still[:, None], static, still, size, VIEW)
    under = ((VIEW.width - 1) / 2 - line) / VIEW.px_per_m  # metres to the left of the start
    aside = torch.tensor([0.0, 0.3, 0.6, 1.2])
    poses = still + torch.stack([torch.zeros(4), under + aside, torch.zeros(4), torch.zeros(4)], 1)
    lane, _ = scenes.standing(poses[:, None, None])
    assert float(lane[0]) == pytest.approx(1.0, abs=1e-3)
    assert (lane.flatten()[1:] < 0.8).all()


def test_what_stands_is_read_around_each_pose(world: World) -> None:
    """Against loops over points, and a picture interpolated by hand."""
    scenes, _, start = scenes_of(world)
    static = torch.rand(scenes.static.shape, generator=torch.Generator().manual_seed(0))
    scenes = replace(scenes, static=static)
    poses = (start + torch.tensor([3.0, 0.7, 0.05, 0.0])).expand(1, -1, 4)[:, :, None]
    rows, columns = (np.arange(-6, 7) / VIEW.px_per_m, np.arange(-2, 3) / VIEW.px_per_m)
    assert rows[-1] > float(scenes.size[:, 0].max()) / 2
    want = np.zeros((2, len(start)))
    for b, pose in enumerate(poses[0, :, 0].numpy()):
        x0, y0, h0, _ = start[b].numpy()
        for f, aside in product(rows, columns):
            if abs(f) > scenes.size[b, 0] / 2:
                continue
            dx = pose[0] + f * np.cos(pose[2]) - aside * np.sin(pose[2]) - x0
            dy = pose[1] + f * np.sin(pose[2]) + aside * np.cos(pose[2]) - y0
            row = (VIEW.height - 1) / 2 - (dx * np.cos(h0) + dy * np.sin(h0)) * VIEW.px_per_m
            column = (VIEW.width - 1) / 2 - (dy * np.cos(h0) - dx * np.sin(h0)) * VIEW.px_per_m
            read = interpolated(static[b].numpy(), row, column)
            want[:, b] = np.maximum(want[:, b], max(1 - abs(aside) / (LANE_WIDTH / 2), 0) * read)
    found = scenes.standing(poses)
    np.testing.assert_allclose(torch.stack(found)[:, 0, :, 0], want, atol=1e-3)


def interpolated(images: np.ndarray, row: float, column: float) -> np.ndarray:
    """Of pictures (2, H, W), bilinear, their edges continued."""
    return np.array(
        [map_coordinates(image, [[row], [column]], order=1, mode="nearest")[0] for image in images]
    )


def test_gradients_are_those_of_the_pose_and_have_gradients(world: World) -> None:
    """Slopes and curvatures against differences, in what moves and in what stands."""
    scenes, _, start = scenes_of(world)
    draw = torch.Generator().manual_seed(0)
    shape = 2, len(start), STEPS, 4
    poses = (start[None, :, None] + 0.1 * torch.rand(shape, generator=draw)).double().requires_grad_()
    scenes = Scenes(
        *(x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in vars(scenes).values())
    )
    scenes = replace(scenes, static=torch.rand(scenes.static.shape, generator=draw).double())
    towards = torch.randn(shape, dtype=torch.float64, generator=draw)
    towards[..., 3] = 0

    def total(poses: Tensor, part: str) -> Tensor:
        return getattr(scenes.costs(poses, from_first(poses)), part).sum()

    def slope(poses: Tensor, part: str) -> Tensor:
        return torch.autograd.grad(total(poses, part), poses, create_graph=True)[0]

    for part in ("proximity", "lane", "off_road"):
        found = slope(poses, part)
        assert float(found.detach()[..., :3].abs().max()) > 0.01
        assert (found[..., 3] == 0).all(), "speed is held fixed"
        before, after = ((poses + sign * 1e-6 * towards).detach().requires_grad_() for sign in (-1, 1))
        change = total(after, part) - total(before, part)
        along = float((found.detach() * towards).sum())
        assert along == pytest.approx(float(change.detach()) / 2e-6, rel=1e-4)
        (curved,) = torch.autograd.grad((found * towards).sum(), poses)
        bent = (slope(after, part) - slope(before, part)) / 2e-6
        np.testing.assert_allclose(curved, bent.detach(), rtol=1e-4, atol=1e-4)
        assert float(curved.abs().max()) > 0.01


def test_each_future_and_mask_is_its_own() -> None:
    """One car ahead, further off in each future, fainter under each mask."""
    vehicles = torch.zeros(2, 3, 1, 2, VIEW.height, VIEW.width)
    for k in range(2):
        for m in range(3):
            vehicles[k, m, :, 0, 20 - 5 * m, 11:13] = 1.0 - 0.5 * k
    still, size = torch.tensor([[[0.0, 0, 0, 10]]]).expand(1, 2, 4), torch.tensor([[4.0, 2.0]])
    scenes = Scenes.of(vehicles, still, torch.zeros(1, 2, VIEW.height, VIEW.width), still[:, 0], size, VIEW)
    near = scenes.costs(still[None], from_first(still[None])).proximity[:, :, 0, 0]
    np.testing.assert_allclose(near[1], near[0] / 2)
    assert near[0, 0, 0] > near[0, 1, 0] > near[0, 2, 0] > 0
    assert (near[:, :, 1] == 0).all(), "nobody is there in the second step"


def test_loops_find_what_torch_finds_at_once(world: World) -> None:
    """Two futures under three masks, seen from many places."""
    scenes, vehicle, start = scenes_of(world)
    poses = start[:, None].expand(-1, STEPS, 4)
    pictures = drawn(world, vehicle, poses)[:, :, 1]
    draw = torch.Generator().manual_seed(0)
    futures = torch.stack([pictures, pictures.roll(7, -2)])
    masked = futures * torch.rand(3, *futures.shape, generator=draw)
    scenes = Scenes.of(masked, poses, scenes.static, start, scenes.size, VIEW)
    seen_from = poses + torch.randn(40, *poses.shape, generator=draw) * torch.tensor([9.0, 3.0, 0.1, 2.0])
    step = torch.randint(STEPS, seen_from.shape[:3], generator=draw)
    found = (
        scenes.nearest(seen_from, step),
        scenes._found_at_once(seen_from, step),
    )  # ties may be broken otherwise
    near = [scenes._proximity(seen_from, step, nearest) for nearest in found]
    np.testing.assert_allclose(*near, atol=1e-6)
    assert 0.2 < float((near[0] > 0).float().mean()) < 1


def test_a_step_costs_the_same_whenever_it_is_asked_for(world: World) -> None:
    """Whole plans, their steps backwards, and one step at a time."""
    scenes, _, start = scenes_of(world)
    poses = start[None, :, None].expand(2, -1, STEPS, 4) + torch.randn(2, len(start), STEPS, 4)
    step = from_first(poses)
    whole = scenes.costs(poses, step)
    assert float(whole.proximity.std(-1).max()) > 0.05, "steps do not differ"
    for one, backwards in zip(whole, scenes.costs(poses.flip(2), step.flip(2)), strict=True):
        np.testing.assert_array_equal(one, backwards.flip(-1))
    for t in range(STEPS):
        for one, alone in zip(whole, scenes.costs(poses[:, :, t, None], step[:, :, t, None]), strict=True):
            np.testing.assert_array_equal(one[..., t], alone[..., 0])


def test_steps_that_the_scenes_do_not_have_are_refused(world: World) -> None:
    scenes, _, start = scenes_of(world)
    poses = start[None, :, None].expand(1, -1, STEPS + 1, 4)
    with pytest.raises(ValueError, match="3 steps, the plan for 4"):
        scenes.costs(poses, from_first(poses))


def test_an_empty_road_costs_nothing() -> None:
    still, size = torch.tensor([[[0.0, 0, 0, 10]]]), torch.tensor([[4.0, 2.0]])
    static = torch.zeros(1, 2, VIEW.height, VIEW.width)
    scenes = Scenes.of(
        torch.zeros(1, 1, 1, 1, VIEW.height, VIEW.width), still, static, still[:, 0], size, VIEW
    )
    assert all((cost == 0).all() for cost in scenes.costs(still[None], from_first(still[None])))


def test_a_start_alone_is_that_start_in_a_batch(world: World) -> None:
    scenes, vehicle, start = scenes_of(world)
    poses = start[None, :, None].expand(4, -1, STEPS, 4) + torch.linspace(0, 3, 4)[:, None, None, None]
    static = drawn(world, vehicle, start[:, None])[:, 0, ::2]
    pictures = drawn(world, vehicle, start[:, None].expand(-1, STEPS, 4))[None, None, :, :, 1]
    alone = Scenes.of(
        pictures[:, :, 2:3], scenes.observer[2:3], static[2:3], start[2:3], scenes.size[2:3], VIEW
    )
    step = from_first(poses)
    for own, among in zip(alone.costs(poses[:, 2:3], step[:, 2:3]), scenes.costs(poses, step), strict=True):
        np.testing.assert_allclose(own, among[..., 2:3, :], atol=1e-6)
    assert float(scenes.size[2, 0]) < float(scenes.size[:, 0].max())  # nor on who is longer
