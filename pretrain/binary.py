"""Binary units, 0 or 1: all states of a few of them, and the neighbours that differ in one unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOST_UNITS = 20  # a million states


def all_states(units: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """Every state (2^units, units); the first unit is the least significant bit of the row's number.

    Raises:
        ValueError: units are more than 20.
    """
    if not 1 <= units <= MOST_UNITS:
        raise ValueError(f"units={units} must be within [1, {MOST_UNITS}] to be enumerated")
    numbers = torch.arange(2**units, device=device)
    return (numbers[:, None] >> torch.arange(units, device=device) & 1).to(dtype)


def number(y: Tensor) -> Tensor:
    """The row (N,) of all_states that each state y (N, units) is."""
    return (y.long() << torch.arange(y.shape[1], device=y.device)).sum(1)


def flip_energies(
    energy: Callable[[Tensor], Tensor], y: Tensor, units: Sequence[int] | None = None
) -> Tensor:
    """The energy (N, n) of each state y (N, D) with one unit flipped, for n units, by default all."""
    chosen = torch.as_tensor(range(y.shape[1]) if units is None else units, device=y.device)
    each = torch.arange(len(chosen), device=y.device)
    near = y[:, None].repeat(1, len(chosen), 1)
    near[:, each, chosen] = 1 - y[:, chosen]
    return energy(near.flatten(0, 1)).view(len(y), -1)
