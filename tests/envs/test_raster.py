"""The picture against a slow reference, and what must not change it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.parallel import for_ranges
from envs.raster import MAX_NEAR, NEAR_FIELDS, gather, is_off_road, render_range
from envs.recording import Recording
from envs.site import Site
from envs.units import View
from envs.world import build_world
from tests import reference
from tests.toys import LANE, lane_centre, random_traffic, straight_site

Pose = tuple[float, float, float]
SMALL = View(height=41, width=30, px_per_m=1.3)
ODD = View(height=24, width=25, px_per_m=3.1)


def render(
    recording: Recording,
    poses: NDArray[np.float64],
    frames: NDArray[np.int64] | int = 0,
    exclude: NDArray[np.int64] | int = 0,
    view: View | None = None,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """Images (B, 3, H, W) at poses (B, 3), drawn as the sampler and the replay draw them."""
    view, num = view or View(), len(poses)
    images = np.full((num, 1, 3, view.height, view.width), 77, np.uint8)
    at = np.broadcast_to(np.asarray(frames, np.int64), num)[:, None].copy()
    without = np.broadcast_to(np.asarray(exclude, np.int64), num).copy()
    poses = np.ascontiguousarray(poses, np.float64)[:, None]
    for_ranges(
        render_range, num, threads, build_world([recording]), at, poses, without, view.px_per_m, images
    )
    return images[:, 0]


def car(
    x: float = 0.0,
    y: float = lane_centre(1),
    heading: float = 0.0,
    length: float = 4.6,
    width: float = 1.9,
    site: Site | None = None,
) -> Recording:
    """Vehicle 0, a dummy far behind, and one car that stands anywhere in any direction."""
    recording = Recording.from_tracks(
        site=site or straight_site(), vehicle_id=[0, 1], frame=[0, 0], x=[-90.0, x], y=[y, y],
        length=[4.0, length], width=[2.0, width],
    )  # fmt: skip
    return dataclasses.replace(recording, heading=np.array([0, heading], np.float32))


def random_poses(rng: np.random.Generator, num: int) -> NDArray[np.float64]:
    """On the road and beside it, in all directions, within the recorded stretch and at both ends of the drawn one."""
    x = np.concatenate([rng.uniform(0, 300, num - 2), [-115.0, 803.0]])
    return np.stack([x, rng.uniform(-18, 3, num), rng.uniform(-math.pi, math.pi, num)], 1)


@pytest.mark.parametrize(
    ("view", "num"), [(SMALL, 12), (ODD, 12), (View(), 4)], ids=["small", "odd", "paper"]
)
def test_pictures_equal_the_reference(view: View, num: int) -> None:
    rng = np.random.default_rng(num)
    recording = random_traffic(1, num_vehicles=60, num_frames=300)
    frames, poses = rng.integers(100, 300, num), random_poses(rng, num)
    rows = rng.integers(recording.num_rows, size=num // 2)  # half of them at a recorded car, slightly off
    poses[: num // 2, :2] = np.stack([recording.x[rows], recording.y[rows]], 1) + rng.normal(
        0, 0.5, (num // 2, 2)
    )
    poses[: num // 2, 2] = rng.normal(0, 0.3, num // 2)
    frames[: num // 2] = np.searchsorted(recording.frame_offsets, rows, "right") - 1
    exclude = rng.integers(len(recording.vehicles), size=num)
    images = render(recording, poses, frames, exclude, view)
    seen = 0
    for image, pose, frame, without in zip(images, poses, frames, exclude, strict=True):
        boxes = reference.boxes_at(recording, frame, without)
        vehicles = reference.vehicle_channel(boxes, tuple(pose), view)
        assert np.abs(image[1] - vehicles).max() <= 0.5 + 1e-6
        seen += int((vehicles > 0).sum())
        static, margin = reference.static_channels(recording.site, tuple(pose), view)
        sure = margin > 1e-6
        assert sure.mean() > 0.99
        np.testing.assert_array_equal(image[[0, 2]][:, sure], static[:, sure])
    assert seen > 100 * num


def test_markings_and_edges_lie_where_the_site_has_them() -> None:
    """Without the raster: from exact distances, to within what half a cell changes."""
    site, view = straight_site(), View()
    pose = (120.0, lane_centre(1) + 0.4, 0.1)
    image = render(car(x=-80.0), np.array([pose]))[0].astype(float)
    for row in range(0, view.height, 5):
        for column in range(view.width):
            p = reference.seen_from(pose, *reference.pixel_centre(view, row, column))
            lane = 255 * max(0.0, 1 - reference.distance_to_marking(site, p) * view.px_per_m)
            assert abs(image[0, row, column] - lane) <= 255 * view.px_per_m / 16 + 1  # half a cell of 1/8 m
            if min(abs(p[1]), abs(p[1] + 4 * LANE)) > 1 / 16:
                assert image[2, row, column] == (255 if p[1] > 0 or p[1] < -4 * LANE else 0)


def test_heading_is_up_and_left_is_left() -> None:
    recording, view = car(x=100.0, y=lane_centre(1)), View()
    row, column = (view.height - 1) / 2, (view.width - 1) / 2
    for heading, place in (
        (0.0, (100 - 20.0, lane_centre(1) - 3.0)),
        (math.pi / 2, (100 + 3.0, lane_centre(1) - 20.0)),
        (math.pi, (100 + 20.0, lane_centre(1) + 3.0)),
    ):  # from each of these the car is 20 m ahead and 3 m to the left
        image = render(recording, np.array([[*place, heading]]))[0, 1].astype(float)
        rows, columns = np.indices(image.shape)
        centre = np.array([(image * rows).sum(), (image * columns).sum()]) / image.sum()
        np.testing.assert_allclose(centre, [row - 20 * view.px_per_m, column - 3 * view.px_per_m], atol=0.02)


def test_one_alone_equals_one_in_a_batch_whatever_the_threads() -> None:
    rng = np.random.default_rng(5)
    recording = random_traffic(2)
    num = 43
    poses, frames = random_poses(rng, num), rng.integers(0, recording.num_frames, num)
    exclude = rng.integers(len(recording.vehicles), size=num)
    together = render(recording, poses, frames, exclude)
    for threads in (2, 5):
        np.testing.assert_array_equal(render(recording, poses, frames, exclude, threads=threads), together)
    for b in range(0, num, 7):
        alone = render(recording, poses[b : b + 1], frames[b : b + 1], exclude[b : b + 1])[0]
        np.testing.assert_array_equal(alone, together[b])


def test_an_ego_does_not_see_itself_but_others_do() -> None:
    recording = car(x=50.0)
    pose = np.array([[50.0, lane_centre(1), 0.0]])
    assert render(recording, pose, exclude=1)[0, 1].max() == 0
    assert render(recording, pose, exclude=0)[0, 1, 58, 11:13].tolist() == [255, 255]


def test_empty_traffic_leaves_the_road() -> None:
    alone = Recording.from_tracks(
        site=straight_site(), vehicle_id=[1], frame=[0], x=[50.0], y=[lane_centre(0)], length=4.0, width=2.0
    )
    image = render(alone, np.array([[50.0, lane_centre(0), 0.0]]))[0]
    assert image[1].max() == 0
    assert image[0].max() > 127  # a marking is shared by two pixels, one has at least half
    assert set(np.unique(image[2])) == {0, 255}


@pytest.mark.parametrize(
    ("heading", "tolerance"), [(0.0, 0.005), (math.pi / 2, 0.005), (0.4, 0.02), (2.5, 0.02)]
)
def test_brightness_is_the_area_wherever_the_pixels_fall(heading: float, tolerance: float) -> None:
    rng = np.random.default_rng(3)
    for length, width in ((4.6, 1.9), (12.3, 2.5), (2.0, 0.7)):
        area = length * width * View().px_per_m ** 2
        recording = car(x=50.0, heading=heading, length=length, width=width)
        shifts = rng.uniform(-1, 1, (20, 2))
        poses = np.concatenate([np.array([45.0, lane_centre(1)]) + shifts, np.zeros((20, 1))], 1)
        brightness = render(recording, poses)[:, 1].astype(float).sum((1, 2)) / 255
        np.testing.assert_allclose(brightness, area, rtol=tolerance + 0.3 / area)


def test_moving_the_world_and_the_pose_together_changes_nothing() -> None:
    recording, shift = random_traffic(4, num_vehicles=50, num_frames=200), np.array([64.0, -32.0])
    site = recording.site
    moved_site = dataclasses.replace(
        site,
        markings=tuple(line + shift for line in site.markings),
        drivable=tuple(polygon + shift for polygon in site.drivable),
    )
    # float32 rounding of the positions is kept out: both are rounded to what float32 holds either way
    coarse = [np.round(v * 2**12) / 2**12 for v in (recording.x, recording.y)]
    still = dataclasses.replace(recording, x=coarse[0], y=coarse[1])
    moved = dataclasses.replace(recording, site=moved_site, x=coarse[0] + shift[0], y=coarse[1] + shift[1])
    rng = np.random.default_rng(0)
    poses = random_poses(rng, 10)
    frames = rng.integers(100, 200, 10)
    before, after = render(still, poses, frames), render(moved, poses + np.array([*shift, 0.0]), frames)
    np.testing.assert_array_equal(before[:, 1], after[:, 1])
    # the last bit of a product may put a point on the other side of a cell's edge
    assert (before != after).mean() < 1e-5


def test_turning_the_world_and_the_pose_together_leaves_the_vehicles() -> None:
    recording, angle = random_traffic(4, num_vehicles=50, num_frames=200), 2.1
    c, s = math.cos(angle), math.sin(angle)
    turned = dataclasses.replace(
        recording,
        x=c * recording.x - s * recording.y,
        y=s * recording.x + c * recording.y,
        heading=recording.heading + np.float32(angle),
    )
    rng = np.random.default_rng(1)
    poses, frames = random_poses(rng, 10), rng.integers(100, 200, 10)
    x, y, heading = poses.T
    there = np.stack([c * x - s * y, s * x + c * y, heading + angle], 1)
    before, after = render(recording, poses, frames)[:, 1], render(turned, there, frames)[:, 1]
    assert before.max() == 255
    assert np.abs(before.astype(int) - after).max() <= 1


def test_a_mirrored_scene_gives_the_mirrored_picture() -> None:
    recording = random_traffic(6, num_vehicles=50, num_frames=200)
    line = np.array([[-100.0, -3.75], [900.0, -3.75]])
    area = np.array([[-100.0, 0], [900, 0], [900, -15], [-100, -15]])  # whole cells, so that the grid mirrors
    site = Site(name="one side", length=500.0, markings=(line,), drivable=(area,))
    flip = np.array([1.0, -1.0])
    other = dataclasses.replace(site, markings=(line * flip,), drivable=(area * flip,))
    here = dataclasses.replace(recording, site=site)
    there = dataclasses.replace(recording, site=other, y=-recording.y, heading=-recording.heading)
    rng = np.random.default_rng(2)
    poses, frames = random_poses(rng, 10), rng.integers(100, 200, 10)
    before, after = render(here, poses, frames), render(there, poses * [1, -1, -1], frames)
    assert before[:, 1].max() == 255
    np.testing.assert_array_equal(before, after[..., ::-1])


def test_overlapping_vehicles_take_the_maximum() -> None:
    site = straight_site()
    both = Recording.from_tracks(
        site=site,
        vehicle_id=[0, 1, 2],
        frame=[0, 0, 0],
        x=[-90.0, 50, 51.3],
        y=[0.0, -5.5, -5.1],
        length=4.6,
        width=1.9,
    )
    pose = np.array([[44.0, -5.0, 0.2]])
    single = [render(car(x=x, y=y), pose)[0, 1] for x, y in ((50.0, -5.5), (51.3, -5.1))]
    np.testing.assert_array_equal(render(both, pose)[0, 1], np.maximum(*single))


def test_gather_finds_who_is_near_and_never_writes_past_the_end() -> None:
    recording = random_traffic(7)
    world, rng = build_world([recording]), np.random.default_rng(0)
    near = np.empty((MAX_NEAR, NEAR_FIELDS))
    for _ in range(50):
        frame, x, y = int(rng.integers(recording.num_frames)), rng.uniform(0, 400), rng.uniform(-15, 0)
        exclude, reach = int(rng.integers(len(recording.vehicles))), rng.uniform(1, 80)
        n = gather(world, frame, x, y, reach, exclude, near)
        rows = np.arange(*recording.frame_offsets[frame : frame + 2])
        expected = [
            recording.vehicle[r]
            for r in rows
            if recording.vehicle[r] != exclude
            and abs(recording.x[r] - x) <= reach
            and abs(recording.y[r] - y) <= reach
        ]
        assert near[:n, 6].tolist() == expected
        few = np.full((5, NEAR_FIELDS), -7.0)
        assert gather(world, frame, x, y, reach, exclude, few[:3]) == min(n, 3)
        assert (few[3:] == -7).all()


def test_off_road_is_what_the_drivable_area_leaves() -> None:
    recording = car()
    world, rng = build_world([recording]), np.random.default_rng(0)
    for x, y in rng.uniform([-130, -20], [830, 5], (300, 2)):
        if min(abs(y), abs(y + 4 * LANE)) > 0.2 and min(abs(x + 100), abs(x - 800)) > 0.6:
            assert is_off_road(world, 0, x, y) == (not reference.is_drivable(recording.site, (x, y)))
    assert is_off_road(world, 0, math.nan, -5.0)
