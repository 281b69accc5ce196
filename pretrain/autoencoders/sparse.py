"""Sparse auto-encoder: few units of the code are on, so that few directions are reconstructed at any point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.autoencoders.autoencoder import AutoEncoder, squared_distance
from pretrain.learner import Terms


@dataclass(frozen=True, kw_only=True)
class SparseConfig:
    """dim: D of y. num_units: K of the code, often more than D. sparsity: lambda."""

    dim: int
    num_units: int
    sparsity: float = 0.1

    def __post_init__(self) -> None:
        if self.num_units < 1:
            raise ValueError(f"num_units={self.num_units} must be at least 1")
        if not self.sparsity > 0:
            raise ValueError(f"sparsity={self.sparsity} must be positive")


class SparseAutoEncoder(AutoEncoder):
    """One layer of rectified units, and a linear decoder whose columns have length 1.

        z = relu(V (y - b) + c),    loss = ||y - b - W z||^2 + lambda ||z||_1,    ||w_k|| = 1

    Without unit columns the code would shrink and W grow, and the sparsity would cost nothing; they are restored after
    every step. V starts as W^T. Source: Olshausen and Field 1997 (the terms); Ranzato et al. 2007 (encoders for them).
    """

    def __init__(self, config: SparseConfig) -> None:
        super().__init__(nn.Linear(config.dim, config.num_units), nn.Linear(config.num_units, config.dim))
        self.config = config
        self.after_step()
        assert isinstance(self.encoder, nn.Linear)
        self.encoder.weight.data.copy_(self.dictionary.T)
        nn.init.zeros_(self.encoder.bias)

    @property
    def dictionary(self) -> Tensor:
        """W (D, K)."""
        return self.decoder.get_parameter("weight")

    def encode(self, y: Tensor) -> Tensor:
        """z (N, K) of y (N, D)."""
        return F.relu(self.encoder(y - self.decoder.get_parameter("bias")))

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        z = self.encode(y)
        return {
            "reconstruction": squared_distance(y, self.decoder(z)),
            "sparsity": self.config.sparsity * z.sum(1),
        }

    @torch.no_grad()
    def after_step(self, player: str = "model") -> None:
        self.dictionary.copy_(F.normalize(self.dictionary, dim=0))
