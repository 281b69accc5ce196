"""Steering towards a point ahead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHORTEST_AIM = 8.0  # m ahead ...
AIM_TIME = 1.2  # ... or as far as a car gets in this, s


def aim_distance(speed: NDArray[np.floating]) -> NDArray[np.floating]:
    """How far ahead a car at some speed looks, m: further, the faster it is, so that it does not weave."""
    return np.maximum(SHORTEST_AIM, AIM_TIME * speed)


def pursuit(state: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.floating]:
    """Curvature of the circle that leaves a car along its heading and leads to a point.

        kappa = 2 w / (u^2 + w^2),    the point u metres ahead of the car and w to its left

    Source: pure pursuit, Coulter, CMU-RI-TR-92-01.

    Args:
        state: (B, 4) of x, y, heading, speed.
        target: (B, 2) of x, y.
    Returns:
        kappa (B,) in 1/m; 0 where the target is not finite.
    """
    dx, dy = target[:, 0] - state[:, 0], target[:, 1] - state[:, 1]
    to_left = dy * np.cos(state[:, 2]) - dx * np.sin(state[:, 2])
    squared = np.maximum(dx**2 + dy**2, 1e-6)
    return np.where(np.isfinite(squared), 2 * to_left / squared, 0.0)
