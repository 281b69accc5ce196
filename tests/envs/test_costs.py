"""The costs against their definition in words, closed forms and finite differences; the compiled ones against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.costs import COLLISION_THRESHOLD, Costs, Weights, costs, costs_of_image, pixel_grid
from envs.units import View
from tests import reference
from tests.envs.test_raster import car, render
from tests.toys import lane_centre

PAPER = View()
SMALL = View(height=15, width=10, px_per_m=1.1)
# length, width, speed: ordinary, standing, a long lorry, less than the metre that may overlap, a motorcycle, a racer
EGOS = [
    (4.6, 1.9, 11.0),
    (4.6, 1.9, 0.0),
    (18.5, 2.6, 5.0),
    (0.8, 0.6, 3.0),
    (2.1, 0.8, 20.0),
    (4.6, 1.9, 60.0),
]


def random_images(seed: int, num: int, view: View) -> NDArray[np.uint8]:
    """(num, 3, H, W): sparse and dense scenes of random brightness."""
    rng = np.random.default_rng(seed)
    lit = rng.random((num, 3, view.height, view.width)) < rng.choice([0.01, 0.1, 1.0], (num, 3, 1, 1))
    return (lit * rng.integers(0, 256, lit.shape)).astype(np.uint8)


def torch_costs(image: Tensor, speed: float, length: float, width: float, view: View) -> Tensor:
    """(3,): the costs of one float image (3, H, W)."""
    size = torch.tensor([length, width], dtype=image.dtype)
    return torch.stack(costs(image, torch.tensor(speed, dtype=image.dtype), size, *pixel_grid(view, image)))


def test_the_grid_holds_the_centres_of_pixels() -> None:
    ahead, left = pixel_grid(PAPER, torch.zeros(1, dtype=torch.float64))
    for row, column in ((0, 0), (58, 11), (116, 23)):
        centre = reference.pixel_centre(PAPER, row, column)
        assert (float(ahead[row, 0]), float(left[0, column])) == pytest.approx(centre, abs=1e-12)


@pytest.mark.parametrize(("length", "width", "speed"), EGOS)
@pytest.mark.parametrize("view", [PAPER, SMALL], ids=["paper", "small"])
def test_costs_equal_their_definition(view: View, length: float, width: float, speed: float) -> None:
    dearest = 0.0
    for image in random_images(int(10 * length), 6, view):
        want = reference.costs(image / 255, view, speed, length, width)
        assert costs_of_image(image, view.px_per_m, speed, length, width) == pytest.approx(want, abs=1e-12)
        got = torch_costs(torch.tensor(image / 255), speed, length, width, view)
        np.testing.assert_allclose(got, want, atol=1e-12)
        dearest = max(dearest, *want)
    assert dearest > 0.1


def test_an_empty_picture_costs_nothing() -> None:
    assert costs_of_image(np.zeros((3, 117, 24), np.uint8), PAPER.px_per_m, 30.0, 4.0, 2.0) == (0, 0, 0)


@pytest.mark.parametrize("speed", [0.0, 4.0, 15.0])
def test_a_single_lit_pixel_costs_what_the_masks_say_there(speed: float) -> None:
    length, width = 4.6, 1.9
    for row in range(0, 117, 4):
        for column in (2, 9, 11, 14):
            image = np.zeros((3, 117, 24), np.uint8)
            image[:, row, column] = 255
            proximity, lane, off_road = costs_of_image(image, PAPER.px_per_m, speed, length, width)
            f, side = (abs(v) for v in reference.pixel_centre(PAPER, row, column))
            gap = f - (length - 1) / 2
            aside = side - (width - 1) / 2
            along = min(max(1 - gap / (1.5 * speed + 1), 0), 1)
            across = min(max(1 - aside / (width - (width - 1) / 2), 0), 1)
            assert proximity == pytest.approx(along * across)
            triangle = max(0.0, 1 - side / 1.85) if f <= length / 2 else 0.0
            assert (lane, off_road) == (pytest.approx(triangle), pytest.approx(triangle))


@pytest.mark.parametrize("gap", [-1.9, 0.0, 4.0, 9.0, 16.0, 30.0])
@pytest.mark.parametrize("side", [1, -1])
def test_a_car_in_the_lane_costs_its_gap_over_the_safe_distance(gap: float, side: int) -> None:
    length, speed, x = 4.6, 12.0, 100.0
    recording = car(x=x + side * (gap + length), length=length)
    image = render(recording, np.array([[x, lane_centre(1), 0.0]]))[0]
    proximity = costs_of_image(image, PAPER.px_per_m, speed, length, 1.9)[0]
    expected = min(max(1 - (gap + 0.5) / (1.5 * speed + 1), 0), 1)
    pixel = 1 / PAPER.px_per_m / (1.5 * speed + 1)
    assert abs(proximity - expected) < pixel + 0.02
    assert (proximity > COLLISION_THRESHOLD) == (gap < -1)


def test_a_car_in_the_next_lane_costs_nothing_and_one_that_swipes_is_a_collision() -> None:
    for lateral, (low, high) in (
        (3.7, (0.0, 0.0)),
        (2.4, (0.05, 0.6)),
        (0.8, (0.99, 1.0)),
        (-0.8, (0.99, 1.0)),
    ):
        image = render(car(x=101.0, y=lane_centre(1) + lateral), np.array([[100.0, lane_centre(1), 0.0]]))[0]
        assert low <= costs_of_image(image, PAPER.px_per_m, 10.0, 4.6, 1.9)[0] <= high


def test_costs_of_a_batch_are_those_of_its_members() -> None:
    images = torch.tensor(random_images(1, 6, SMALL) / 255, dtype=torch.float32).reshape(2, 3, 3, 15, 10)
    speed, size = torch.rand(2, 3) * 20, 1 + torch.rand(2, 3, 2) * 4
    ahead, left = pixel_grid(SMALL, images)
    together = costs(images, speed, size, ahead, left)
    for i in range(2):
        for k in range(3):
            alone = costs(images[i, k], speed[i, k], size[i, k], ahead, left)
            assert torch.equal(torch.stack(alone), torch.stack(together)[:, i, k])


def test_total_weighs_lane_and_off_road_by_a_fifth() -> None:
    each = Costs(torch.tensor(0.5), torch.tensor(0.25), torch.tensor(1.0))
    assert float(each.total()) == pytest.approx(0.5 + 0.2 * 0.25 + 0.2 * 1.0)
    assert float(each.total(lane_weight=0.0, off_road_weight=2.0)) == pytest.approx(2.5)


def test_weights_say_what_counts() -> None:
    """Written out; by default it is the paper's cost, whatever the ego does."""
    each = Costs(torch.tensor([0.5, 1.0]), torch.tensor([0.25, 0.0]), torch.tensor([1.0, 0.5]))
    actions, speed = torch.tensor([[3.0, -0.01], [0.0, 0.005]]), torch.tensor([10.0, 4.0])
    plain = Weights()
    np.testing.assert_allclose(plain.of_scene(each), each.total())
    assert plain.of_driving(actions, speed) == 0
    weights = Weights(lane=0.5, off_road=2.0, danger=3.0, effort=0.1, progress=0.02)
    want = [0.5 + 0.5 * 0.25 + 2 * 1.0 + 3 * 0.5**4, 1.0 + 2 * 0.5 + 3 * 1.0]
    np.testing.assert_allclose(weights.of_scene(each), want, rtol=1e-6)
    np.testing.assert_allclose(
        weights.of_driving(actions, speed), [0.1 * (4 + 4) - 0.2, 0.1 * 1 - 0.08], rtol=1e-5
    )


def test_gradients_agree_with_finite_differences() -> None:
    """Through the image, the ego's speed and size, and where its mask lies."""
    generator = torch.Generator().manual_seed(0)
    view = View(height=9, width=7, px_per_m=1.0)
    image = torch.rand(2, 3, 9, 7, dtype=torch.float64, generator=generator, requires_grad=True)
    speed = torch.tensor([3.0, 8.0], dtype=torch.float64, requires_grad=True)
    size = torch.tensor([[4.6, 1.9], [0.8, 0.7]], dtype=torch.float64, requires_grad=True)
    pose = torch.tensor([[0.13, -0.21, 0.1], [-0.4, 0.3, 1.2]], dtype=torch.float64, requires_grad=True)
    ahead, left = pixel_grid(view, image)

    def of_pose(image: Tensor, speed: Tensor, size: Tensor, pose: Tensor) -> tuple[Tensor, ...]:
        x, y, heading = (v[:, None, None] for v in pose.unbind(-1))
        c, s = torch.cos(heading), torch.sin(heading)
        f = (ahead - x) * c + (left - y) * s
        side = (left - y) * c - (ahead - x) * s
        return tuple(costs(image, speed, size, f, side))

    assert torch.autograd.gradcheck(of_pose, (image, speed, size, pose), eps=1e-6)


def test_driving_on_towards_a_car_costs_and_so_does_drifting_towards_one() -> None:
    ahead, left = pixel_grid(PAPER, torch.zeros(1, dtype=torch.float64))
    pose = np.array([[100.0, lane_centre(1), 0.0]])
    for place, (forth, to_left) in (
        ((112.0, lane_centre(1)), (1, 0)),
        ((88.0, lane_centre(1)), (-1, 0)),
        ((112.0, lane_centre(1) + 2.0), (1, 1)),
        ((112.0, lane_centre(1) - 2.0), (1, -1)),
    ):
        image = torch.tensor(render(car(*place), pose)[0] / 255)
        moved = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        size = torch.tensor([4.6, 1.9], dtype=torch.float64)
        speed = torch.tensor(12.0, dtype=torch.float64)
        costs(image, speed, size, ahead - moved[0], left - moved[1]).proximity.backward()
        assert moved.grad is not None
        assert torch.sign(moved.grad).tolist()[0] == forth
        if to_left:
            assert torch.sign(moved.grad).tolist()[1] == to_left


def test_a_standing_ego_still_keeps_a_metre() -> None:
    image = torch.zeros(3, 117, 24, dtype=torch.float64)
    image[1] = 1.0
    image[1, 54:63] = 0.0  # nothing within 3 m
    assert float(torch_costs(image, 0.0, 4.6, 1.9, PAPER)[0]) == pytest.approx(
        max(0.0, 1 - (5 / 1.62 - 1.8)), abs=1e-12
    )
    image[1, 55] = 1.0
    assert float(torch_costs(image, 0.0, 4.6, 1.9, PAPER)[0]) == pytest.approx(1 - (3 / 1.62 - 1.8))
    assert math.isclose(3 / 1.62, float(pixel_grid(PAPER, image)[0][55, 0]))
