"""Noise: its spectrum and variance in closed form, splines through their knots, seeds that batches do not move."""

from __future__ import annotations

import pytest
import torch

from planners.noise import Coloured, Noise, Spline, White

UNITS = torch.ones(2, dtype=torch.float64)


def expected_power(c: torch.Tensor) -> torch.Tensor:
    """E |sum_t y_t exp(-2 pi i f t)|^2 of y = C e at f = 0, 1/H ... 1/2."""
    return torch.fft.rfft(c, dim=0).abs().square().sum(1)


@pytest.mark.parametrize("horizon", [1, 2, 7, 20, 21])
@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0, 3.5])
def test_coloured_noise_has_its_spectrum_and_variance_1_at_every_step(horizon: int, beta: float) -> None:
    c = Coloured(beta).matrix(horizon)
    covariance = c @ c.T
    assert torch.allclose(covariance.diagonal(), torch.ones(horizon, dtype=torch.float64))
    power = expected_power(c)
    f = torch.arange(len(power), dtype=torch.float64).clamp(min=1)
    assert torch.allclose(power * f**beta, power[:1])
    for lag in range(1, horizon):  # stationary: it does not matter when
        along = covariance.diagonal(lag)
        assert torch.allclose(along, along[:1])
    if beta == 0:
        assert torch.allclose(covariance, torch.eye(horizon, dtype=torch.float64))


def test_drawn_noise_has_the_spectrum_too() -> None:
    samples = Noise([3]).draw(Coloured(2.0), 8000, 32, UNITS)[:, 0]  # (N, H, A)
    power = torch.fft.rfft(samples, dim=1).abs().square().mean((0, 2))
    slope = torch.diff(power[1:].log()) / torch.diff(torch.arange(1, 17, dtype=torch.float64).log())
    assert torch.allclose(slope.mean(), torch.tensor(-2.0, dtype=torch.float64), atol=0.1)
    assert torch.allclose(samples.var((0, 2)), torch.ones(32, dtype=torch.float64), atol=0.1)
    apart = (samples[..., 0] * samples[..., 1]).mean()
    assert abs(float(apart)) < 0.05, "action dimensions are independent"


def test_white_noise_is_normal() -> None:
    samples = Noise([4]).draw(White(), 10_000, 3, UNITS).flatten()
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs(float((samples**power).mean()) - moment) < 0.1


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_spline_goes_through_its_knots_and_keeps_straight_lines(interpolation: str) -> None:
    c = Spline(5, interpolation).matrix(21)  # a knot every 5 steps
    assert torch.allclose(c[::5], torch.eye(5, dtype=torch.float64), atol=1e-12)
    line = c @ torch.arange(5, dtype=torch.float64)
    assert torch.allclose(line, torch.linspace(0, 4, 21, dtype=torch.float64))


def test_a_cubic_spline_bends_without_corners() -> None:
    c = Spline(4, "cubic").matrix(3001)
    corners = c.diff(dim=0).diff(dim=0).abs().max() * 1000**2
    assert float(corners) < 20, "slopes jump"
    assert float(Spline(4, "linear").matrix(3001).diff(dim=0).diff(dim=0).abs().max()) * 1000**2 > 900


def test_a_held_spline_holds_each_knot_as_long() -> None:
    held = Spline(3, "hold").matrix(9) @ torch.tensor([1.0, 2, 3], dtype=torch.float64)
    assert held.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert torch.equal(Spline(1).matrix(4), torch.ones(4, 1, dtype=torch.float64))


def test_a_start_draws_the_same_in_any_batch_and_anew_each_time() -> None:
    alone, batch = Noise([7]), Noise([5, 7, 6])
    drawn = []
    for num in (40, 3):
        one, three = alone.draw(White(), num, 6, UNITS), batch.draw(White(), num, 6, UNITS)
        assert three.shape == (num, 3, 6, 2)
        assert torch.equal(one[:, 0], three[:, 1])
        assert not torch.equal(three[:, 0], three[:, 1])
        drawn.append(one)
    assert not torch.equal(drawn[0][:3], drawn[1])


def test_seeds_one_apart_and_negative_ones_share_nothing() -> None:
    draws = [Noise([seed]).draw(White(), 4, 6, UNITS) for seed in (*range(-50, 200), 2**70)]
    first = torch.stack([draw[0, 0, 0, 0] for draw in draws])
    assert len(first.unique()) > 0.9 * len(first)


def test_a_spline_that_is_none_is_refused() -> None:
    for knots, how in ((0, "cubic"), (3, "quintic")):
        with pytest.raises(ValueError):
            Spline(knots, how)
