"""The Ising model: binary units whose energy is a quadratic form of their spins.

    F(y) = -1/2 s' J s - b' s,    s = 2 y - 1,   J symmetric, its diagonal 0

Every unit may interact with every other: a Boltzmann machine without hidden units. log Z: `exact.log_partition`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class IsingConfig:
    """units: D."""

    units: int

    def __post_init__(self) -> None:
        if self.units < 2:
            raise ValueError(f"units={self.units} must be at least 2")


class Ising(nn.Module):
    """couplings (D (D - 1) / 2,): J above its diagonal, row by row; biases (D,). All 0 at first: independent coins."""

    upper: Tensor

    def __init__(self, config: IsingConfig) -> None:
        super().__init__()
        self.config = config
        self.couplings = nn.Parameter(torch.zeros(config.units * (config.units - 1) // 2))
        self.biases = nn.Parameter(torch.zeros(config.units))
        self.register_buffer("upper", torch.triu_indices(config.units, config.units, 1), persistent=False)

    def matrix(self) -> Tensor:
        """J (D, D)."""
        empty = self.couplings.new_zeros(self.config.units, self.config.units)
        half = empty.index_put((self.upper[0], self.upper[1]), self.couplings)
        return half + half.T

    def forward(self, y: Tensor) -> Tensor:
        """F (N,) of y (N, D), 0 or 1."""
        s = 2 * y - 1
        return -((s @ self.matrix()) * s).sum(1) / 2 - s @ self.biases
