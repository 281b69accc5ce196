"""Two-dimensional toys: a grid to integrate on, and a Gaussian that is longer one way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mass(energy: Callable[[Tensor], Tensor], bound: float, num: int = 400) -> float:
    """The integral of exp(-energy) over [-bound, bound]^2."""
    line = torch.linspace(-bound, bound, num, dtype=torch.float64)
    with torch.no_grad():
        density = torch.exp(-energy(torch.cartesian_prod(line, line)))
    return float(density.sum() * (line[1] - line[0]) ** 2)


def gaussian(num: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Samples (N, D) of mean 1, in float64, and the matrix A of y = 1 + A eps."""
    mixing = torch.randn(dim, dim, generator=generator(seed), dtype=torch.float64)
    eps = torch.randn(num, dim, generator=generator(seed + 1), dtype=torch.float64)
    return 1 + eps @ mixing.T, mixing
