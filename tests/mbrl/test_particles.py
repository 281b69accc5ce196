"""Particles against loops and closed forms, and the velocities that block matching gives them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mbrl.forward_models.matching import matched_velocity
from mbrl.forward_models.particles import FAINT, Particles

HEIGHT, WIDTH = 12, 7


def random_particles(num: int = 30, batch: int = 3, seed: int = 0) -> Particles:
    """Some of them outside the picture, in float64."""
    rng = torch.Generator().manual_seed(seed)
    place = torch.rand(num, 2, generator=rng, dtype=torch.float64) * torch.tensor([HEIGHT + 4, WIDTH + 4]) - 2
    return Particles(
        torch.randint(batch, (num,), generator=rng),
        0.2 * torch.rand(num, generator=rng, dtype=torch.float64),
        place,
        torch.randn(num, 2, generator=rng, dtype=torch.float64),
    )


def test_they_draw_what_a_loop_draws() -> None:
    p = random_particles()
    mass, momentum = np.zeros((3, HEIGHT, WIDTH)), np.zeros((3, 2, HEIGHT, WIDTH))
    for example, m, place, velocity in zip(p.example, p.mass, p.place, p.velocity, strict=True):
        for row in range(HEIGHT):
            for column in range(WIDTH):
                near = max(0.0, 1 - abs(float(place[0]) - row)) * max(0.0, 1 - abs(float(place[1]) - column))
                mass[example, row, column] += float(m) * near
                momentum[example, :, row, column] += float(m) * near * velocity.numpy()
    picture, velocity = p.drawn(3, HEIGHT, WIDTH)
    np.testing.assert_allclose(picture[:, 0], np.minimum(mass, 1), atol=1e-12)
    np.testing.assert_allclose(velocity, momentum / (mass[:, None] + FAINT), atol=1e-12)


def test_a_picture_s_particles_draw_it_again() -> None:
    picture = (torch.rand(2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) - 0.4).clamp(0, 1)
    particles = Particles.of(picture, torch.ones(2, HEIGHT, WIDTH))
    np.testing.assert_allclose(particles.drawn(2, HEIGHT, WIDTH)[0][:, 0], picture * (picture > FAINT))
    assert (particles.velocity == torch.tensor([1.0, 0.0])).all()


def test_pictures_are_differentiable_in_place_and_velocity() -> None:
    p = random_particles(num=6)

    def drawn(place: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        return replace(p, place=place, velocity=velocity).drawn(3, HEIGHT, WIDTH)

    assert torch.autograd.gradcheck(drawn, (p.place.requires_grad_(), p.velocity.requires_grad_()))


@pytest.mark.parametrize("px_per_cell", [1.0, 2.0])
def test_fields_are_read_as_grid_sample_reads_them(px_per_cell: float) -> None:
    p = random_particles(batch=1)
    field = torch.randn(1, 2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    size = px_per_cell * torch.tensor([6.0, 4.0], dtype=torch.float64)
    grid = ((p.place + 0.5) / size * 2 - 1).flip(-1)[None, None]  # cells are areas, the first begins at -1
    want = F.grid_sample(field, grid, padding_mode="border", align_corners=False)[0, :, 0].T
    np.testing.assert_allclose(p.at(field, px_per_cell), want, atol=1e-12)


def test_copies_are_independent_examples() -> None:
    p = random_particles()
    picture = p.repeat(2, 3).drawn(6, HEIGHT, WIDTH)[0]
    np.testing.assert_array_equal(picture[:3], p.drawn(3, HEIGHT, WIDTH)[0])
    np.testing.assert_array_equal(picture[3:], picture[:3])


def test_velocity_adds_up_before_the_place() -> None:
    """x_t = x_0 + t v_0 + a t (t + 1) / 2."""
    p = random_particles()
    moved, acceleration = p, torch.full((30, 2), 0.25, dtype=torch.float64)
    for _ in range(4):
        moved = moved.moved(acceleration)
    np.testing.assert_allclose(moved.place, p.place + 4 * p.velocity + 10 * acceleration)


# --- matching --------------------------------------------------------------------------------------------------------

PX_PER_M, STEP = 1.62, 0.2


def frames_of(*cars: tuple[float, int, float], height: int = 90, num: int = 4) -> Tensor:
    """(1, num, height, 16): boxes of 7 by 3 px, each (row of its middle in the last frame, column, px per step)."""
    frames = torch.zeros(1, num, height, 16)
    rows = torch.arange(height, dtype=torch.float32)
    for row, column, velocity in cars:
        for k in range(num):
            middle = row - velocity * (num - 1 - k)
            coverage = (4.0 - (rows - middle).abs()).clamp(0, 1)
            frames[0, k, :, column : column + 3] = torch.maximum(
                frames[0, k, :, column : column + 3], coverage[:, None]
            )
    return frames


@pytest.mark.parametrize("velocity", [-6.0, -2.3, -0.75, -0.1, 0.0, 0.4, 1.5, 3.1])
def test_the_velocity_of_a_car_is_found(velocity: float) -> None:
    found = matched_velocity(frames_of((45.3, 6, velocity)), PX_PER_M, STEP)[0, 42:49, 6:9]
    np.testing.assert_allclose(found, velocity, atol=0.12)


def test_cars_in_lanes_side_by_side_keep_their_own_velocities() -> None:
    frames = frames_of((40.0, 1, 2.0), (42.0, 7, -1.0), (44.0, 13, 0.0))
    found = matched_velocity(frames, PX_PER_M, STEP)[0]
    for row, column, velocity in ((40, 2, 2.0), (42, 8, -1.0), (44, 14, 0.0)):
        assert float(found[row, column]) == pytest.approx(velocity, abs=0.1)


def test_what_tells_nothing_stands() -> None:
    """An empty road, a car that was always there, and one that filled every frame."""
    assert (matched_velocity(torch.zeros(1, 4, 40, 16), PX_PER_M, STEP) == 0).all()
    assert matched_velocity(frames_of((45.0, 6, 0.0)), PX_PER_M, STEP).abs().max() < 1e-3
    assert matched_velocity(torch.ones(1, 4, 40, 16), PX_PER_M, STEP).abs().max() < 1e-3


def test_examples_do_not_mix() -> None:
    frames = torch.cat([frames_of((45.0, 6, v)) for v in np.linspace(-3, 3, 40)])  # more than one chunk
    together = matched_velocity(frames, PX_PER_M, STEP)
    for b in (0, 17, 39):
        np.testing.assert_array_equal(together[b], matched_velocity(frames[b : b + 1], PX_PER_M, STEP)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_nobody_asks_for_a_gradient_the_bits_are_the_same(dtype: torch.dtype) -> None:
    p = random_particles(num=2000)
    places = torch.cat([p.place[:-1] * 1.5 - 3, torch.tensor([[torch.nan, 0.0]])]).to(dtype)
    p = Particles(p.example, p.mass.to(dtype), places, p.velocity.to(dtype))
    field = torch.randn(3, 2, 6, 4, dtype=dtype, generator=torch.Generator().manual_seed(1))
    asked = replace(p, place=places.clone().requires_grad_())
    for ours, theirs in zip(p.drawn(3, HEIGHT, WIDTH), asked.drawn(3, HEIGHT, WIDTH), strict=True):
        np.testing.assert_array_equal(ours, theirs.detach())
    np.testing.assert_array_equal(p.at(field, 2.0), p.at(field.clone().requires_grad_(), 2.0).detach())
    assert float(p.drawn(3, HEIGHT, WIDTH)[0].nansum()) > 10
    assert bool(p.at(field)[-1].isnan().any()), "what is not a number stays so"
