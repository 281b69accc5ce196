"""Toy manifolds in the plane."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def parabola(num: int, generator: torch.Generator, noise: float = 0.0) -> Tensor:
    """Points (N, 2) on y2 = y1^2, y1 uniform in [-1, 1]; the lecture's manifold."""
    y1 = 2 * torch.rand(num, generator=generator) - 1
    points = torch.stack([y1, y1**2], 1)
    return points + noise * torch.randn(num, 2, generator=generator)


def spiral(num: int, generator: torch.Generator, noise: float = 0.0) -> Tensor:
    """Points (N, 2) on a spiral of one and a half turns, uniform along it, radius up to 1."""
    t = torch.rand(num, generator=generator).sqrt()  # the length grows as the square of the angle
    angle = 3 * np.pi * t
    points = t[:, None] * torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    return points + noise * torch.randn(num, 2, generator=generator)


def mixture_of_gaussians(num: int, generator: torch.Generator, modes: int = 8, std: float = 0.1) -> Tensor:
    """Points (N, 2) around `modes` centres on the unit circle."""
    angle = torch.randint(modes, (num,), generator=generator) * (2 * np.pi / modes)
    centres = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    return centres + std * torch.randn(num, 2, generator=generator)
