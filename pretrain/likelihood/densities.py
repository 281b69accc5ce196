"""Densities that can be drawn from and written down: the noise that a model is told from."""

from __future__ import annotations

import math
from typing import Protocol, Self

import torch
from torch import Tensor

from pretrain.samplers.chain import normal, uniform


class Density(Protocol):
    """Over y (...)."""

    def sample(self, num: int, generator: torch.Generator) -> Tensor:
        """(num, ...)."""

    def log_prob(self, y: Tensor) -> Tensor:
        """log q (N,) of y (N, ...)."""


class Coins:
    """Independent binary units, 1 with probability p (D,) within (0, 1)."""

    def __init__(self, p: Tensor) -> None:
        if not ((p > 0) & (p < 1)).all():
            raise ValueError(f"p={p.tolist()} must be within (0, 1)")
        self.p = p

    @classmethod
    def like(cls, y: Tensor) -> Self:
        """With the data's means, and one 1 and one 0 more of each unit, lest any be certain."""
        return cls((y.sum(0) + 1) / (len(y) + 2))

    def sample(self, num: int, generator: torch.Generator) -> Tensor:
        return (uniform(self.p.expand(num, -1), generator) < self.p).to(self.p)

    def log_prob(self, y: Tensor) -> Tensor:
        return y @ self.p.log() + (1 - y) @ (1 - self.p).log()


class Gaussian:
    """N(mean (D,), covariance (D, D))."""

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean, self.root = mean, torch.linalg.cholesky(covariance)

    @classmethod
    def like(cls, y: Tensor) -> Self:
        """With the data's mean and covariance, of samples y (N, D).

        Raises:
            torch.linalg.LinAlgError: the samples lie in a plane, as D or fewer always do: no density is like them.
        """
        num, dim = y.shape
        if num <= dim:
            raise torch.linalg.LinAlgError(
                f"{num} samples lie in a plane of {dim} dimensions; more than {dim} are needed"
            )
        covariance = y.T.cov().reshape(dim, dim)
        variances = torch.linalg.eigvalsh(covariance)
        if variances[0] <= variances[-1] * torch.finfo(y.dtype).eps:
            raise torch.linalg.LinAlgError("the samples lie in a plane; project them on it first")
        return cls(y.mean(0), covariance)

    def sample(self, num: int, generator: torch.Generator) -> Tensor:
        return self.mean + normal(self.mean.expand(num, -1), generator) @ self.root.T

    def log_prob(self, y: Tensor) -> Tensor:
        away = torch.linalg.solve_triangular(self.root, (y - self.mean).T, upper=False)
        log_scale = self.root.diagonal().log().sum() + len(self.mean) * math.log(2 * math.pi) / 2
        return -(away**2).sum(0) / 2 - log_scale
