"""Pictures moved to another pose: against plain trigonometry, shifts, and the renderer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from envs.units import View
from envs.warp import pixel_coordinates, resample, sampling_grid
from tests import reference
from tests.envs.test_raster import car, render
from tests.toys import lane_centre

VIEW = View(height=9, width=6, px_per_m=1.3)
SQUARE = View(height=12, width=12, px_per_m=2.0)


def poses(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def noise(view: View, seed: int = 0, channels: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(1, channels, view.height, view.width, generator=rng, dtype=torch.float64)


def test_pixels_lie_where_trigonometry_says() -> None:
    """A pixel's point on the site, and from there back into the other pose's frame."""
    seen_from, relative_to = (105.0, -4.0, 0.3), (102.0, -6.0, -0.2)
    ahead, left = pixel_coordinates(VIEW, poses(seen_from), poses(relative_to))
    assert ahead.shape == left.shape == (1, 9, 6)
    for row in range(VIEW.height):
        for column in range(VIEW.width):
            x, y = reference.seen_from(seen_from, *reference.pixel_centre(VIEW, row, column))
            back = reference.seen_from(relative_to, float(ahead[0, row, column]), float(left[0, row, column]))
            assert back == pytest.approx((x, y), abs=1e-9)


def test_coordinates_have_the_gradient_of_finite_differences() -> None:
    rng = torch.Generator().manual_seed(2)
    seen = torch.randn(2, 3, 4, dtype=torch.float64, generator=rng)
    relative = (seen + 0.1 * torch.randn(2, 3, 4, dtype=torch.float64, generator=rng)).requires_grad_()
    tiny = View(height=3, width=2)
    assert torch.autograd.gradcheck(lambda r: pixel_coordinates(tiny, seen, r), (relative,))
    ahead, left = pixel_coordinates(tiny, seen, relative)
    assert ahead.shape == (2, 3, 3, 2)
    (gradient,) = torch.autograd.grad((ahead + left).sum(), relative)
    assert (gradient[..., 3] == 0).all()  # speed is no place


def test_an_own_pixel_is_where_the_view_says() -> None:
    pose = poses((480.0, -13.0, 1.0))
    ahead, left = pixel_coordinates(VIEW, pose, pose)
    assert (float(ahead[0, 0, 0]), float(left[0, 0, 0])) == pytest.approx((VIEW.top, VIEW.left))
    grid = sampling_grid(VIEW, ahead, left)
    corners = grid[0, [0, 0, -1, -1], [0, -1, 0, -1]].numpy()  # of grid_sample: x to the right, y down
    np.testing.assert_allclose(corners, [[-1, -1], [1, -1], [-1, 1], [1, 1]], atol=1e-12)


@pytest.mark.parametrize("view", [VIEW, View(), View(height=8, width=1), View(height=1, width=5)])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_the_same_pose_sees_the_same_picture(view: View, padding: str) -> None:
    image, pose = noise(view), poses((480.0, -13.0, 0.7))
    if min(view.height, view.width) > 1:
        np.testing.assert_allclose(resample(image, view, pose, pose, padding=padding), image, atol=1e-9)
    else:
        assert resample(image, view, pose, pose, padding=padding).isfinite().all()
    single = resample(image.float(), view, pose.float(), pose.float(), padding=padding)
    assert single.dtype == torch.float32


@pytest.mark.parametrize("heading", [0.0, 2.1])
@pytest.mark.parametrize(("rows", "columns"), [(3, 0), (-2, 0), (0, 2), (0, -1), (2, -3)])
def test_moving_by_whole_pixels_shifts_the_picture(rows: int, columns: int, heading: float) -> None:
    """Going ahead moves everything down, going left moves everything to the right."""
    image, source = noise(VIEW), (100.0, -3.0, heading)
    ahead, left = rows / VIEW.px_per_m, columns / VIEW.px_per_m
    target = (*reference.seen_from(source, ahead, left), heading)
    for padding in ("zeros", "border"):
        got = resample(image, VIEW, poses(source), poses(target), padding=padding)
        for r in range(VIEW.height):
            for c in range(VIEW.width):
                inside = 0 <= r - rows < VIEW.height and 0 <= c - columns < VIEW.width
                at = (min(max(r - rows, 0), VIEW.height - 1), min(max(c - columns, 0), VIEW.width - 1))
                want = image[0, :, at[0], at[1]] * (1 if inside or padding == "border" else 0)
                np.testing.assert_allclose(got[0, :, r, c], want, atol=1e-9)


def test_turning_left_turns_the_picture_clockwise() -> None:
    image = noise(SQUARE)
    got = resample(
        image, SQUARE, poses((3.0, 4.0, 0.2)), poses((3.0, 4.0, 0.2 + math.pi / 2)), padding="border"
    )
    np.testing.assert_allclose(got[0], np.rot90(image[0], -1, axes=(1, 2)), atol=1e-9)


def test_there_and_back() -> None:
    """Bilinear reading twice blurs a smooth picture only a little, where both pictures show it."""
    view = View(height=40, width=40)
    rows = torch.arange(40, dtype=torch.float64)
    image = (torch.sin(rows / 5)[:, None] * torch.cos(rows / 6)[None, :])[None, None]
    here, there = poses((0.0, 0.0, 0.0)), poses((2.3, -1.1, 0.2))
    back = resample(resample(image, view, here, there), view, there, here)
    np.testing.assert_allclose(back[..., 8:32, 8:32], image[..., 8:32, 8:32], atol=0.03)


def test_a_moved_picture_is_what_the_renderer_draws_from_there() -> None:
    scene = car(x=112.0, y=lane_centre(1) + 1.0, heading=0.15, length=9.0, width=2.4)
    source, target = (100.0, lane_centre(1), 0.0), (103.3, lane_centre(1) - 1.2, 0.06)
    drawn = torch.from_numpy(render(scene, np.array([source, target]))).float() / 255
    view = View()
    moved = resample(drawn[:1], view, poses(source).float(), poses(target).float())[0]
    error = (moved - drawn[1])[1:, 6:-6, 4:-4].abs()  # vehicles and off-road area
    unmoved = (drawn[0] - drawn[1])[1:, 6:-6, 4:-4].abs()
    assert drawn[1, 1].sum() > 30
    assert error.mean() < 0.1 * unmoved.mean()
    assert error[0].max() < 0.5  # of a pixel at an edge
