"""Two actions in the units of traffic, whose best values are known; nothing moves."""

from __future__ import annotations

import torch
from torch import Tensor

from planners import Box

TARGET = torch.tensor([0.6, -0.02], dtype=torch.float64)  # m/s^2, 1/m
UNITS = Box.of([-2.0, -0.05], [2.0, 0.05], dtype=torch.float64)


def quadratic(states: Tensor, actions: Tensor) -> Tensor:
    """Least at the target, in the units of traffic; the two numbers pull at each other."""
    x = (actions - TARGET) / torch.tensor([2.0, 0.05], dtype=torch.float64)
    return x.square().sum(-1) + x[..., 0] * x[..., 1] + 3


def still(state: Tensor, action: Tensor) -> Tensor:
    return state
