"""The spline alone: increasing, through its knots, with its slopes, and zuko's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.flows.spline import (
    Knots,
    RationalQuadratic,
    inverse_rational_quadratic,
    rational_quadratic,
)
from tests.pretrain.toys import generator


def random_knots(num_bins: int = 6, seed: int = 0) -> Knots:
    parameters = torch.randn(3 * num_bins - 1, generator=generator(seed), dtype=torch.float64)
    return RationalQuadratic(num_bins, 2.5).knots(2 * parameters)


def at(knots: Knots, y: Tensor) -> Knots:
    return Knots(*(part.expand(*y.shape, -1) for part in knots))


def test_it_passes_its_knots_at_their_slopes() -> None:
    knots = random_knots()
    x = knots.x[1:-1] + 1e-9
    value, log_slope = rational_quadratic(x, at(knots, x))
    np.testing.assert_allclose(value, knots.y[1:-1], atol=1e-7)
    np.testing.assert_allclose(torch.exp(log_slope), knots.slope[1:-1], rtol=1e-4)


def test_it_increases_and_is_the_identity_outside() -> None:
    x = torch.linspace(-4, 4, 2001, dtype=torch.float64)
    value, log_slope = rational_quadratic(x, at(random_knots(), x))
    assert (value.diff() > 0).all()
    outside = x.abs() > 2.5
    assert torch.equal(value[outside], x[outside])
    assert (log_slope[outside] == 0).all()


def test_gradients_are_finite_on_the_knots_and_outside() -> None:
    parameters = torch.zeros(4, 17, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([-2.5, 0.0, 2.5, 9.0], dtype=torch.float64, requires_grad=True)
    spline = RationalQuadratic(6, 2.5)
    value, log_slope = spline.forward(y, parameters)
    gradients = torch.autograd.grad(
        (value + log_slope + spline.inverse(y, parameters)).sum(), (y, parameters)
    )
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_gradients_are_those_of_differences() -> None:
    spline = RationalQuadratic(4, 2.5)
    parameters = torch.randn(5, 11, generator=generator(), dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, generator=generator(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(spline.forward, (y, parameters))
    assert torch.autograd.gradcheck(spline.inverse, (y, parameters))


def test_it_is_zuko_s() -> None:
    zuko = pytest.importorskip("zuko", reason="zuko is an oracle only")
    knots = random_knots()
    reference = zuko.transforms.MonotonicRQSTransform(
        torch.zeros(6, dtype=torch.float64),
        torch.zeros(6, dtype=torch.float64),
        torch.zeros(5, dtype=torch.float64),
        bound=2.5,
    )
    reference.horizontal, reference.vertical, reference.derivatives = knots
    y = 2 * torch.randn(300, generator=generator(), dtype=torch.float64)
    value, log_slope = rational_quadratic(y, at(knots, y))
    want, want_log_slope = reference.call_and_ladj(y)
    np.testing.assert_allclose(value, want, atol=1e-9)
    np.testing.assert_allclose(log_slope, want_log_slope, atol=1e-9)
    np.testing.assert_allclose(inverse_rational_quadratic(y, at(knots, y)), reference.inv(y), atol=1e-9)
