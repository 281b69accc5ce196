"""What all signals (N, C, T) have in common: N samples of C channels in T steps."""

from __future__ import annotations

from torch import Tensor


def standardised(train: Tensor, held_out: Tensor) -> tuple[Tensor, Tensor]:
    """Both (N, C, T), each channel with the mean 0 and the variance 1 of the first over samples and time.

    A channel that never changes becomes 0 in the first.
    """
    mean = train.mean((0, 2), keepdim=True)
    std = (train - mean).square().mean((0, 2), keepdim=True).sqrt()
    std = std.where(std > 0, 1.0)
    return (train - mean) / std, (held_out - mean) / std
