"""Square independent component analysis by maximum likelihood: as many sources as dimensions, and a known volume."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.learner import Fitted


@dataclass(frozen=True, kw_only=True)
class ICAConfig:
    """dim: D of y and number of sources. tolerance: the fit ends when no entry of the gradient is larger."""

    dim: int
    tolerance: float = 1e-4
    num_iterations: int = 500  # at most

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"dim={self.dim} must be at least 1")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance={self.tolerance} must be positive")


class ICA(Fitted):
    """Independent sources s = W (y - m) of known densities.

        F(y) = -sum_i log p_i(s_i) - log |det W| = -log p(y)

    A source has one of two densities, whichever makes it likelier: peaked, 1 / (pi cosh s), or flat,
    (N(s; 1, 1) + N(s; -1, 1)) / 2. Learned by the relative (natural) gradient with a line search,

        W <- W + eta (I - E[phi(s) s^T]) W,    phi = -d log p / ds

    Source: Bell and Sejnowski 1995; Amari, Cichocki and Yang 1996 (the gradient); Lee, Girolami and Sejnowski 1999 (the
    two densities). Sources that are Gaussian cannot be told apart.

    Buffers: mean (D,); unmixing W (D, D); flat (D,), bool.
    """

    mean: Tensor
    unmixing: Tensor
    flat: Tensor

    def __init__(self, config: ICAConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.dim))
        self.register_buffer("unmixing", torch.eye(config.dim))
        self.register_buffer("flat", torch.zeros(config.dim, dtype=torch.bool))

    @torch.no_grad()
    def fit(self, y: Tensor, generator: torch.Generator | None = None) -> None:
        """To samples y (N, D); it starts from their whitening, and nothing is random.

        Raises:
            torch.linalg.LinAlgError: the samples lie in a plane, as D or fewer always do: no square W has a density
                there.
        """
        if len(y) <= self.config.dim:
            raise torch.linalg.LinAlgError(f"{len(y)} samples lie in a plane of {self.config.dim} dimensions")
        self.mean.copy_(y.mean(0))
        variances, directions = torch.linalg.eigh(torch.cov(y.T).reshape(2 * (self.config.dim,)))
        if variances[0] <= variances[-1] * torch.finfo(y.dtype).eps:
            raise torch.linalg.LinAlgError("the samples lie in a plane; project them on it first")
        # 1.5 is about the deviation of both densities
        self.unmixing.copy_(1.5 * directions @ (directions / variances.sqrt()).T)
        rate, eye = 1.0, torch.eye(self.config.dim).to(y)
        for _ in range(self.config.num_iterations):
            s = self.sources(y)
            self.flat.copy_(flat_energy(s).mean(0) < peaked_energy(s).mean(0))
            phi = torch.where(self.flat, s - torch.tanh(s), torch.tanh(s))
            gradient = eye - phi.T @ s / len(s)
            if rate == 0 or gradient.abs().max() < self.config.tolerance:
                break
            rate = self.ascend(y, gradient @ self.unmixing, rate)

    def ascend(self, y: Tensor, direction: Tensor, rate: float) -> float:
        """Go along a direction (D, D) by a rate that is halved until it helps; the rate to try next, 0 if none did."""
        start, before = self.unmixing.clone(), float(self.energy(y).mean())
        while rate > 1e-10:
            self.unmixing.copy_(start + rate * direction)
            if float(self.energy(y).mean()) < before:
                return 1.5 * rate
            rate /= 2
        self.unmixing.copy_(start)
        return 0.0

    def sources(self, y: Tensor) -> Tensor:
        """s (N, D) of y (N, D)."""
        return (y - self.mean) @ self.unmixing.T

    def energy(self, y: Tensor) -> Tensor:
        """-log p (N,) of y (N, D), normalised."""
        s = self.sources(y)
        each = torch.where(self.flat, flat_energy(s), peaked_energy(s))
        return each.sum(-1) - torch.linalg.slogdet(self.unmixing).logabsdet


def peaked_energy(s: Tensor) -> Tensor:
    """-log p of p = 1 / (pi cosh s), elementwise."""
    return math.log(math.pi) + log_cosh(s)


def flat_energy(s: Tensor) -> Tensor:
    """-log p of p = (N(s; 1, 1) + N(s; -1, 1)) / 2, elementwise."""
    return (s.square() + 1 + math.log(2 * math.pi)) / 2 - log_cosh(s)


def log_cosh(s: Tensor) -> Tensor:
    """log cosh s without overflow."""
    return F.softplus(2 * s) - s - math.log(2)


def amari_distance(unmixing: Tensor, mixing: Tensor) -> float:
    """How far P = unmixing @ mixing (D, D) is from a scaled permutation; 0 is perfect, 1 the worst.

        1 / (2 D (D - 1)) sum_i [ (sum_j |P_ij| / max_j |P_ij| - 1) + (sum_j |P_ji| / max_j |P_ji| - 1) ]

    Source: Amari, Cichocki and Yang 1996, scaled to [0, 1].
    """
    p = (unmixing @ mixing).abs()
    rows = p.sum(1) / p.amax(1) - 1
    columns = p.sum(0) / p.amax(0) - 1
    return float((rows + columns).sum() / (2 * len(p) * (len(p) - 1)))
