"""The ego's motion: a unicycle driven by acceleration and curvature, its exact inverse, and the limits of a car.

    p' = p + v d dt
    d' = normalise(d + kappa v dt d_perp)
    v' = max(v + a dt, 0)

with position p, unit heading d, its left normal d_perp, speed v, acceleration a (m/s^2) and curvature kappa (1/m).
Source: Henaff, Canziani, LeCun, arXiv:1901.02705, and its public code. Two choices of ours: a car does not reverse
(v' >= 0), and the inverse uses tan instead of sin of the turned angle, which makes it exact, since normalising
d + q d_perp turns d by atan(q).
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_ACCELERATION = 6.2  # m/s^2
MAX_CURVATURE = 0.065  # 1/m
REFERENCE_LENGTH = 3.9  # m; longer vehicles are limited by (REFERENCE_LENGTH / length)^2
MIN_TURNING_SPEED = 0.1  # m/s; below it the curvature of a recording is undefined and read as 0

Lengths = TypeVar("Lengths", NDArray[np.floating], Tensor)


def limit_scale(length: Lengths) -> Lengths:
    """Factor of (MAX_ACCELERATION, MAX_CURVATURE) for vehicles of these lengths in m: min(1, (3.9 / length)^2)."""
    scale: Lengths = ((REFERENCE_LENGTH / length) ** 2).clip(max=1.0)
    return scale


def action_limit(size: Tensor) -> Tensor:
    """The most acceleration (m/s^2) and curvature (1/m), (..., 2), of vehicles of length and width (..., 2)."""
    scale = limit_scale(size[..., 0].double())
    return torch.stack([scale * MAX_ACCELERATION, scale * MAX_CURVATURE], -1).to(size)


def within_limits(action: Tensor, size: Tensor) -> Tensor:
    """What comes of asking vehicles of size (..., 2) for an `action` (..., 2)."""
    limit = action_limit(size)
    return action.clamp(-limit, limit)


def inverse(
    heading: NDArray[np.floating], speed: NDArray[np.floating], dt: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Acceleration and curvature that lead from each state to the next.

    Args:
        heading: (..., T + 1) rad.
        speed: (..., T + 1) m/s.
        dt: s.
    Returns:
        a (..., T) in m/s^2 and kappa (..., T) in 1/m, unclipped; kappa is 0 below MIN_TURNING_SPEED.
    """
    a = np.diff(speed, axis=-1) / dt
    v = speed[..., :-1]
    turned = np.diff(heading, axis=-1)
    turned = (turned + np.pi) % (2 * np.pi) - np.pi
    turned = np.clip(turned, -1.5, 1.5)  # tan has its pole at pi / 2
    moving = v > MIN_TURNING_SPEED
    kappa = np.where(moving, np.tan(turned) / np.where(moving, v * dt, 1.0), 0.0)
    return a, kappa


def step(state: Tensor, action: Tensor, dt: float) -> Tensor:
    """One step of the equations above, differentiable.

    Args:
        state: (..., 4) of x, y (m), heading (rad), speed (m/s).
        action: (..., 2) of acceleration (m/s^2), curvature (1/m).
        dt: s.
    Returns:
        (..., 4): the next state.
    """
    x, y, heading, speed = state.unbind(-1)
    a, kappa = action.unbind(-1)
    return torch.stack(
        [
            x + speed * torch.cos(heading) * dt,
            y + speed * torch.sin(heading) * dt,
            heading + torch.atan(kappa * speed * dt),
            torch.relu(speed + a * dt),
        ],
        -1,
    )


def drive(state: Tensor, action: Tensor, dt: float, steps: int) -> Tensor:
    """Several steps under one action."""
    for _ in range(steps):
        state = step(state, action, dt)
    return state


def path(state: Tensor, actions: Tensor, dt: float) -> Tensor:
    """All states that some actions lead to, at once: `step` after `step`, but for rounding.

    With S_t = v_0 + dt (a_1 + ... + a_t), the speed that never falls below 0 is S_t - min(0, S_1, ..., S_t).

    Args:
        state: (..., 4).
        actions: (..., T, 2).
    Returns:
        (..., T, 4).
    """
    x, y, heading, speed = (component[..., None] for component in state.unbind(-1))
    a, kappa = actions.unbind(-1)
    free = speed + dt * a.cumsum(-1)
    after = free - free.cummin(-1).values.clamp(max=0)
    before = torch.cat([speed, after[..., :-1]], -1)
    turned = heading + torch.atan(kappa * before * dt).cumsum(-1)
    facing = torch.cat([heading, turned[..., :-1]], -1)
    way = before * dt
    x, y = x + (way * torch.cos(facing)).cumsum(-1), y + (way * torch.sin(facing)).cumsum(-1)
    return torch.stack([x, y, turned, after], -1)


def straight_on(state: Tensor, seconds: Tensor | float) -> Tensor:
    """States (..., 4) after going straight on at constant speed for some time (...)."""
    x, y, heading, speed = state.unbind(-1)
    way = speed * seconds
    x, y = x + way * torch.cos(heading), y + way * torch.sin(heading)
    return torch.stack(torch.broadcast_tensors(x, y, heading, speed), -1)
