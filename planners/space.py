"""What may be done: bounds of an action, and what size of it is ordinary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Box:
    """Actions low <= a <= high of A numbers: (A,) the same for all, (B, 1, A) each start its own.

    Noise and steps of the planners are in units of `scale`, so that an acceleration in m/s^2 and a curvature in 1/m
    are searched alike. Plans have the dtype and device of these tensors.
    """

    low: Tensor  # -inf where there is no bound
    high: Tensor  # +inf where there is no bound
    scale: Tensor  # positive

    def __post_init__(self) -> None:
        if not self.low.shape == self.high.shape == self.scale.shape or self.low.dim() not in (1, 3):
            raise ValueError("low, high and scale must all be (A,) or all be (B, 1, A)")
        if not bool((self.low <= self.high).all()):
            raise ValueError("low must not exceed high")
        if not bool((self.scale.isfinite() & (self.scale > 0)).all()):
            raise ValueError("scale must be positive and finite; give it where there is no bound")

    @staticmethod
    def of(
        low: Sequence[float],
        high: Sequence[float],
        scale: Sequence[float] | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Box:
        """From A numbers each; by default the scale is half the width.

        >>> Box.of([-6.2, -0.065], [6.2, 0.065]).scale  # m/s^2, 1/m
        tensor([6.2000, 0.0650])
        """
        lower, upper = (torch.tensor(list(x), dtype=dtype, device=device) for x in (low, high))
        half = (upper - lower) / 2
        return Box(lower, upper, half if scale is None else torch.tensor(list(scale)).to(half))

    @staticmethod
    def unbounded(
        scale: Sequence[float], *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Box:
        """Any action; `scale` is the size of an ordinary one."""
        infinite = [torch.inf] * len(scale)
        return Box.of([-x for x in infinite], infinite, scale, dtype=dtype, device=device)

    def over(self, batch_size: int, horizon: int) -> tuple[Tensor, Tensor, Tensor]:
        """low, high and scale as (B, H, A), each number in its place.

        Torch is several times slower where a dimension as short as A is all that two tensors share.
        """
        if self.low.dim() == 3 and len(self.low) not in (1, batch_size):
            raise ValueError(f"a space of {len(self.low)} starts does not serve {batch_size}")
        low, high, scale = (
            x.expand(batch_size, horizon, -1).contiguous() for x in (self.low, self.high, self.scale)
        )
        return low, high, scale
