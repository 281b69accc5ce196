"""Energies whose moments are known."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.samplers import HMC, HMCConfig, Langevin, LangevinConfig, Sampler

MEAN = torch.tensor([1.0, -2.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
PRECISION = torch.linalg.inv(COVARIANCE)
BEND = 0.5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(y: Tensor) -> Tensor:
    away = y - MEAN.to(y)
    return ((away @ PRECISION.to(y)) * away).sum(1) / 2


def banana(y: Tensor) -> Tensor:
    """y1 ~ N(0, 1), y2 | y1 ~ N(b y1^2, 1): E y2 = b, Var y2 = 1 + 2 b^2, Cov(y1, y2) = 0, E y1^2 y2 = 3 b."""
    return (y[:, 0] ** 2 + (y[:, 1] - BEND * y[:, 0] ** 2) ** 2) / 2


def walled(y: Tensor) -> Tensor:
    """N(0, 1) cut off below 0: NaN where y < -1, infinite where -1 <= y < 0."""
    energy = torch.where(y[:, 0] >= 0, (y**2).sum(1) / 2, torch.inf)
    return torch.where(y[:, 0] >= -1, energy, torch.nan)


def gradient_samplers() -> dict[str, Sampler]:
    return {
        "ULA": Langevin(LangevinConfig(step=0.05, adjust=False)),
        "MALA": Langevin(LangevinConfig(step=0.2)),
        "HMC": HMC(HMCConfig(step=0.3, leaps=8)),
    }
