"""Principal component analysis: codes of few dimensions, so that only a plane has zero energy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.learner import Fitted


@dataclass(frozen=True, kw_only=True)
class PCAConfig:
    """dim: D of y. num_components: K <= D, the dimensions of the plane."""

    dim: int
    num_components: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_components <= self.dim:
            raise ValueError(f"num_components={self.num_components} must be within [1, dim={self.dim}]")


class PCA(Fitted):
    """The plane that is nearest to the data.

        E(y, z) = ||y - m - W z||^2,    F(y) = min_z E(y, z) = ||y - m - W W^T (y - m)||^2

    W (D, K) has orthonormal columns: the K directions of largest variance, largest first. Each is turned so that its
    entry of largest magnitude is positive. Source: Pearson, "On lines and planes of closest fit", 1901.

    Buffers: mean (D,); components W^T (K, D); variances (K,), of the codes, divided by N - 1.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor

    def __init__(self, config: PCAConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.dim))
        self.register_buffer("components", torch.eye(config.num_components, config.dim))
        self.register_buffer("variances", torch.ones(config.num_components))

    @torch.no_grad()
    def fit(self, y: Tensor, generator: torch.Generator | None = None) -> None:
        """To samples y (N, D); nothing is random.

        Raises:
            ValueError: fewer samples than components.
        """
        if len(y) < max(2, self.config.num_components):
            raise ValueError(f"{len(y)} samples do not span num_components={self.config.num_components}")
        mean = y.mean(0)
        _, singular, directions = torch.linalg.svd(y - mean, full_matrices=False)
        directions = directions[: self.config.num_components]
        largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
        self.mean.copy_(mean)
        self.components.copy_(directions * largest.sign())
        self.variances.copy_(singular[: self.config.num_components].square() / (len(y) - 1))

    def encode(self, y: Tensor) -> Tensor:
        """z (N, K) of least energy, of y (N, D)."""
        return (y - self.mean) @ self.components.T

    def decode(self, z: Tensor) -> Tensor:
        """The point (N, D) of the plane at z (N, K)."""
        return self.mean + z @ self.components

    def whiten(self, y: Tensor) -> Tensor:
        """x (N, K) of y (N, D): its code, each number divided by its deviation.

        Raises:
            torch.linalg.LinAlgError: the samples that it was fitted to lie in a plane of fewer than K dimensions.
        """
        if self.variances[-1] <= self.variances[0] * torch.finfo(self.variances.dtype).eps:
            raise torch.linalg.LinAlgError(
                f"the samples lie in a plane of fewer than num_components={self.config.num_components} dimensions"
            )
        return self.encode(y) / self.variances.sqrt()

    def colour(self, x: Tensor) -> Tensor:
        """The point (N, D) of the plane at x (N, K): the inverse of `whiten` there."""
        return self.decode(x * self.variances.sqrt())

    def energy(self, y: Tensor) -> Tensor:
        """F (N,) of y (N, D): the squared distance to the plane."""
        return (y - self.decode(self.encode(y))).square().sum(-1)
