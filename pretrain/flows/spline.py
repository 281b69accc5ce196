"""Neural spline flow: couplings by monotone rational-quadratic splines.

Source: Durkan, Bekasov, Murray and Papamakarios, "Neural spline flows", arXiv:1906.04032, section 3.1, and Gregory and
Delbourgo 1982. The couplings keep even and odd entries in turn; the paper's linear layers between them are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.flows.coupling import Flow, Monotone, check_flow

MIN_BIN = 1e-3  # of the whole width or height
MIN_SLOPE = 1e-3


@dataclass(frozen=True, kw_only=True)
class SplineFlowConfig:
    """dim: D of y. bound: a spline is one within [-bound, bound], and the identity beyond."""

    dim: int
    num_layers: int = 6
    hidden: tuple[int, ...] = (64, 64)
    num_bins: int = 8
    bound: float = 4.0

    def __post_init__(self) -> None:
        check_flow(self.dim, self.num_layers)
        if not 2 <= self.num_bins < 1 / MIN_BIN:
            raise ValueError(f"num_bins={self.num_bins} must be within [2, {1 / MIN_BIN:.0f})")
        if not self.bound > 0:
            raise ValueError(f"bound={self.bound} must be positive")


class Knots(NamedTuple):
    """Of increasing splines: where they pass, (..., K + 1) each, and how steeply; x and y increase."""

    x: Tensor
    y: Tensor
    slope: Tensor


class Bin(NamedTuple):
    """Of one point each, (...): the lower left knot of its bin, the bin's size, the slopes at its two ends."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    slope: Tensor
    next_slope: Tensor


def rational_quadratic(x: Tensor, knots: Knots) -> tuple[Tensor, Tensor]:
    """The spline at x (...) and the logarithm of its slope there; the identity outside the knots.

    xi = (x - x_k) / w,    s = h / w
    f = y_k + h [s xi^2 + d_k xi (1 - xi)] / [s + (d_k+1 + d_k - 2 s) xi (1 - xi)]
    f' = s^2 [d_k+1 xi^2 + 2 s xi (1 - xi) + d_k (1 - xi)^2] / [s + (d_k+1 + d_k - 2 s) xi (1 - xi)]^2
    """
    inside = (x > knots.x[..., 0]) & (x < knots.x[..., -1])
    at = _bin(torch.where(inside, x, knots.x[..., 0]), knots.x, knots)
    xi = (torch.where(inside, x, at.x) - at.x) / at.width
    value, log_slope = _within(xi, at)
    return torch.where(inside, value, x), torch.where(inside, log_slope, 0.0)


def inverse_rational_quadratic(y: Tensor, knots: Knots) -> Tensor:
    """x (...) at which the spline is y: the root of a quadratic in xi.

    a = h (s - d_k) + (y - y_k) g,    b = h d_k - (y - y_k) g,    c = -s (y - y_k),    g = d_k+1 + d_k - 2 s
    xi = 2 c / (-b - sqrt(b^2 - 4 a c))
    """
    inside = (y > knots.y[..., 0]) & (y < knots.y[..., -1])
    at = _bin(torch.where(inside, y, knots.y[..., 0]), knots.y, knots)
    up = torch.where(inside, y, at.y) - at.y
    s = at.height / at.width
    g = at.next_slope + at.slope - 2 * s
    a, b, c = at.height * (s - at.slope) + up * g, at.height * at.slope - up * g, -s * up
    xi = 2 * c / (-b - torch.sqrt((b.square() - 4 * a * c).clamp(min=0)))
    return torch.where(inside, at.x + xi * at.width, y)


def _bin(value: Tensor, edges: Tensor, knots: Knots) -> Bin:
    """The bin of values (...) between edges (..., K + 1)."""
    k = torch.searchsorted(edges.detach().contiguous(), value.detach()[..., None], right=True) - 1
    k = k.clamp(0, edges.shape[-1] - 2)
    (x, y, d), (x1, y1, d1) = ([part.gather(-1, at)[..., 0] for part in knots] for at in (k, k + 1))
    return Bin(x, y, x1 - x, y1 - y, d, d1)


def _within(xi: Tensor, at: Bin) -> tuple[Tensor, Tensor]:
    """f and log f' at xi within [0, 1] of a bin."""
    s, mixed = at.height / at.width, xi * (1 - xi)
    below = s + (at.next_slope + at.slope - 2 * s) * mixed
    value = at.y + at.height * (s * xi.square() + at.slope * mixed) / below
    above = at.next_slope * xi.square() + 2 * s * mixed + at.slope * (1 - xi).square()
    return value, 2 * torch.log(s) + torch.log(above) - 2 * torch.log(below)


class RationalQuadratic(Monotone):
    """Splines of K bins on [-B, B]: widths and heights by softmax, K - 1 inner slopes by softplus, 1 at both ends."""

    def __init__(self, num_bins: int, bound: float) -> None:
        self.num_bins, self.bound = num_bins, bound
        self.num_parameters = 3 * num_bins - 1

    def forward(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return rational_quadratic(y, self.knots(parameters))

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        return inverse_rational_quadratic(z, self.knots(parameters))

    def knots(self, parameters: Tensor) -> Knots:
        """Of parameters (..., 3 K - 1)."""
        widths, heights, slopes = parameters.split([self.num_bins, self.num_bins, self.num_bins - 1], -1)
        one = math.log(math.expm1(1 - MIN_SLOPE))  # softplus of it makes a slope of 1
        slope = MIN_SLOPE + F.softplus(slopes + one)
        return Knots(self.edges(widths), self.edges(heights), F.pad(slope, (1, 1), value=1.0))

    def edges(self, sizes: Tensor) -> Tensor:
        """(..., K + 1) from -B to B, of unnormalised sizes (..., K)."""
        share = MIN_BIN + (1 - MIN_BIN * self.num_bins) * torch.softmax(sizes, -1)
        inner = self.bound * (2 * share.cumsum(-1)[..., :-1] - 1)
        low = F.pad(inner, (1, 0), value=-self.bound)
        return F.pad(low, (0, 1), value=self.bound)


class SplineFlow(Flow):
    """Rational-quadratic couplings."""

    def __init__(self, config: SplineFlowConfig) -> None:
        monotone = RationalQuadratic(config.num_bins, config.bound)
        super().__init__(monotone, config.dim, config.num_layers, config.hidden)
        self.config = config
