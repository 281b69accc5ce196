"""The restricted Boltzmann machine: binary units that interact through hidden ones only.

    E(y, h) = -y' W h - b' y - c' h
    F(y) = -log sum_h exp(-E(y, h)) = -b' y - sum_j softplus(c_j + (W' y)_j)

Source: Hinton, "Training products of experts by minimizing contrastive divergence" (Neural Computation 2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class RBMConfig:
    """units, hidden: D and H. scale: deviation of W at first; 0 would leave the hidden units alike for ever."""

    units: int
    hidden: int
    scale: float = 0.01

    def __post_init__(self) -> None:
        if min(self.units, self.hidden) < 1:
            raise ValueError(f"units={self.units} and hidden={self.hidden} must be at least 1")
        if not self.scale > 0:
            raise ValueError(f"scale={self.scale} must be positive")


class RBM(nn.Module):
    """W (D, H), b (D,), c (H,). Its free energy F is what it is called for; samplers.BlockGibbs draws from it."""

    def __init__(self, config: RBMConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.W = nn.Parameter(config.scale * torch.randn(config.units, config.hidden, generator=generator))
        self.b = nn.Parameter(torch.zeros(config.units))
        self.c = nn.Parameter(torch.zeros(config.hidden))

    def forward(self, y: Tensor) -> Tensor:
        """F (N,) of y (N, D), 0 or 1."""
        return -y @ self.b - F.softplus(self.hidden_logits(y)).sum(1)

    def hidden_logits(self, y: Tensor) -> Tensor:
        """log p(h = 1 | y) / p(h = 0 | y), (N, H)."""
        return y @ self.W + self.c

    def visible_logits(self, h: Tensor) -> Tensor:
        """log p(y = 1 | h) / p(y = 0 | h), (N, D)."""
        return h @ self.W.T + self.b
