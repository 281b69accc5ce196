"""Zero mean, unit deviation, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from envs.recording import Recording
from envs.units import View
from envs.windows import WindowConfig, Windows, WindowSampler

NUM_WINDOWS = 2048  # that say what is usual


class Normaliser(nn.Module):
    """x -> (x - mean) / std per feature, with its inverse; identity until fitted. mean, std: buffers (features,)."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def fit(self, x: Tensor) -> None:
        """Take mean and deviation of samples (..., features); a constant feature keeps deviation 1."""
        flat = x.reshape(-1, x.shape[-1])
        std = flat.std(0)
        self.mean.copy_(flat.mean(0))
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def inverse(self, x: Tensor) -> Tensor:
        return x * self.std + self.mean


def usual(
    recordings: Sequence[Recording],
    targets: tuple[int, ...],
    *,
    share: float,
    seed: int,
    perturbed: float = 0.0,
    varied: float = 0.0,
) -> Windows:
    """Many training windows, all but without pictures, to fit normalisers of vectors and actions to."""
    windows = WindowConfig(
        context=(0,), targets=targets, perturbed=perturbed, varied=varied, view=View(height=1, width=1)
    )
    return WindowSampler(recordings, windows, batch_size=NUM_WINDOWS, share=share, seed=seed).batch(0)
