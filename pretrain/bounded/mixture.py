"""Gaussian mixture by expectation maximisation: soft K-means whose low-energy volume is that of a density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pretrain.bounded.kmeans import KMeans, KMeansConfig
from pretrain.energies import free_energy, gibbs
from pretrain.learner import Fitted


@dataclass(frozen=True, kw_only=True)
class GaussianMixtureConfig:
    """dim: D of y. num_components: K. covariance: a full matrix or a diagonal each.

    floor: added to every variance, so that no component shrinks onto one sample; about 1e-2 of the data's variance
        where a component may have few samples for its dimensions.
    tolerance: EM ends when a sample's mean energy falls by less than this.
    """

    dim: int
    num_components: int
    covariance: Literal["full", "diag"] = "full"
    floor: float = 1e-6
    tolerance: float = 1e-5
    num_iterations: int = 200  # at most

    def __post_init__(self) -> None:
        if self.num_components < 1:
            raise ValueError(f"num_components={self.num_components} must be at least 1")
        if self.covariance not in ("full", "diag"):
            raise ValueError(f"covariance='{self.covariance}' must be 'full' or 'diag'")
        if not self.floor > 0:
            raise ValueError(f"floor={self.floor} must be positive")


class GaussianMixture(Fitted):
    """A mixture of K Gaussians.

        E(y, k) = -log pi_k - log N(y; m_k, L_k L_k^T),    F(y) = -logsumexp_k(-E(y, k)) = -log p(y)

    Started from K-means. Source: Dempster, Laird and Rubin 1977.

    Buffers: weights pi (K,); means (K, D); factors L (K, D, D), lower triangular (diagonal for "diag").
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, config: GaussianMixtureConfig) -> None:
        super().__init__()
        self.config = config
        k, d = config.num_components, config.dim
        self.register_buffer("weights", torch.full((k,), 1 / k))
        self.register_buffer("means", torch.zeros(k, d))
        self.register_buffer("factors", torch.eye(d).repeat(k, 1, 1))

    @torch.no_grad()
    def fit(self, y: Tensor, generator: torch.Generator) -> None:
        """To samples y (N, D); float64 is worth its time where a component is flat."""
        start = KMeans(
            KMeansConfig(dim=self.config.dim, num_codes=self.config.num_components, num_restarts=1)
        ).to(y)
        start.fit(y, generator)
        self.maximise(y, torch.nn.functional.one_hot(start.assign(y), self.config.num_components).to(y))
        before = math.inf
        for _ in range(self.config.num_iterations):
            energy = float(self.energy(y).mean())
            if before - energy < self.config.tolerance:
                break
            self.maximise(y, self.responsibilities(y))
            before = energy

    def maximise(self, y: Tensor, responsibilities: Tensor) -> None:
        """The M-step: weights, means and covariances of samples (N, D) that belong to components by (N, K).

        Raises:
            torch.linalg.LinAlgError: a component has fewer samples than dimensions, and the floor is too low for it.
        """
        counts = (
            responsibilities.sum(0) + 10 * torch.finfo(y.dtype).eps
        )  # none is empty, so none divides by 0
        means = responsibilities.T @ y / counts[:, None]
        away = y - means[:, None]  # (K, N, D)
        covariances = torch.einsum("nk,kni,knj->kij", responsibilities, away, away) / counts[:, None, None]
        variances = covariances.diagonal(dim1=1, dim2=2) + self.config.floor
        if self.config.covariance == "diag":
            factors = torch.diag_embed(variances.sqrt())
        else:
            eye = torch.eye(self.config.dim).to(y)
            factors, failed = torch.linalg.cholesky_ex(covariances + self.config.floor * eye)
            if failed.any():
                raise torch.linalg.LinAlgError(
                    f"component {int(failed.nonzero()[0])} is flat to {y.dtype}'s rounding: "
                    f"floor={self.config.floor} must be larger, or fit in float64"
                )
        self.weights.copy_(counts / counts.sum())
        self.means.copy_(means)
        self.factors.copy_(factors)

    def energies(self, y: Tensor) -> Tensor:
        """E (N, K) of y (N, D) and every component."""
        away = (y - self.means[:, None]).mT  # (K, D, N)
        normal = torch.linalg.solve_triangular(self.factors, away, upper=False)
        log_det = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = log_det + self.config.dim / 2 * math.log(2 * math.pi) - self.weights.log()
        return normal.square().sum(1).T / 2 + constant

    def responsibilities(self, y: Tensor) -> Tensor:
        """The E-step: p(k | y) (N, K)."""
        return gibbs(self.energies(y))

    def energy(self, y: Tensor) -> Tensor:
        """-log p (N,) of y (N, D), normalised."""
        return free_energy(self.energies(y), 1.0)

    def sample(self, num: int, generator: torch.Generator) -> Tensor:
        """Points (N, D)."""
        here, device = self.means.device, generator.device
        weights = self.weights.to(device)
        which = torch.multinomial(weights, num, replacement=True, generator=generator).to(here)
        noise = torch.randn(
            num, self.config.dim, generator=generator, dtype=self.means.dtype, device=device
        ).to(here)
        return self.means[which] + (self.factors[which] @ noise[..., None]).squeeze(-1)
