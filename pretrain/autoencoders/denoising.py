"""Denoising auto-encoder: points off the manifold are mapped back to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.autoencoders.autoencoder import AutoEncoder, squared_distance
from pretrain.learner import Terms


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig:
    """noise: sigma of the Gaussian corruption, in the unit of y."""

    noise: float = 0.1

    def __post_init__(self) -> None:
        if not self.noise > 0:
            raise ValueError(f"noise={self.noise} must be positive")


class DenoisingAutoEncoder(AutoEncoder):
    """Reconstructs y from y + noise.

        loss = ||y - r(y + sigma eps)||^2,    eps ~ N(0, I),    r = g o f

    The best r is the mean of y given what is seen, so r(y) - y is sigma^2 times the score of the data's density blurred
    by the noise: a vector field that points to the manifold. Source: Vincent et al. 2008; Alain and Bengio,
    arXiv:1211.4246 (the score).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, config: DenoisingConfig) -> None:
        super().__init__(encoder, decoder)
        self.config = config

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        noise = torch.randn(y.shape, generator=generator, dtype=y.dtype, device=y.device)
        return {"denoising": squared_distance(y, self.reconstruct(y + self.config.noise * noise))}

    def score(self, y: Tensor) -> Tensor:
        """The estimate (r(y) - y) / sigma^2 of grad log p, like y (N, ...), p the blurred density."""
        return (self.reconstruct(y) - y) / self.config.noise**2
