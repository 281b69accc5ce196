"""Boxes on the road: overlap, who hit whom, gap and time to collision."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from envs.compiled import compiled


@compiled
def boxes_overlap(
    x1: float,
    y1: float,
    h1: float,
    l1: float,
    b1: float,
    x2: float,
    y2: float,
    h2: float,
    l2: float,
    b2: float,
) -> bool:
    """Whether two boxes (centre, heading, length, width) share area: no side of either separates them.

    Separating axes, e.g. Ericson, Real-Time Collision Detection, 4.4.1. Touching is not overlap.
    """
    c1, s1, c2, s2 = math.cos(h1), math.sin(h1), math.cos(h2), math.sin(h2)
    dx, dy = x2 - x1, y2 - y1
    c, s = abs(c1 * c2 + s1 * s2), abs(s1 * c2 - c1 * s2)
    return (
        abs(dx * c1 + dy * s1) < (l1 + c * l2 + s * b2) / 2
        and abs(dy * c1 - dx * s1) < (b1 + s * l2 + c * b2) / 2
        and abs(dx * c2 + dy * s2) < (l2 + c * l1 + s * b1) / 2
        and abs(dy * c2 - dx * s2) < (b2 + s * l1 + c * b1) / 2
    )


@compiled
def first_overlap(
    x: float, y: float, heading: float, length: float, width: float, near: NDArray[np.float64], num_near: int
) -> int:
    """Index in `near` (see raster.gather) of the nearest vehicle whose box overlaps the given one, or -1."""
    best, found = math.inf, -1
    for k in range(num_near):
        distance = math.hypot(near[k, 0] - x, near[k, 1] - y)
        if distance < best and distance < (length + width + near[k, 4] + near[k, 5]) / 2:
            o = near[k]
            if boxes_overlap(x, y, heading, length, width, o[0], o[1], o[2], o[4], o[5]):
                best, found = distance, k
    return found


@compiled
def is_hit_from_behind(x: float, y: float, heading: float, speed: float, other: NDArray[np.float64]) -> bool:
    """Whether a contact is the other's doing: its centre is behind the ego's and it is the faster one.

    Everything else (running into a car ahead, swiping one beside, cutting in so that it cannot but touch while the ego
    is faster) counts as the ego's fault.
    """
    behind = (other[0] - x) * math.cos(heading) + (other[1] - y) * math.sin(heading) < 0
    return behind and other[3] > speed


@compiled
def gap_and_ttc(
    x: float,
    y: float,
    heading: float,
    speed: float,
    length: float,
    width: float,
    near: NDArray[np.float64],
    num_near: int,
) -> tuple[float, float]:
    """Bumper-to-bumper gap (m) to who of `near` is next ahead in the ego's straight path, and time to collision (s).

    TTC = gap / (v - v_leader) when closing, else inf (Hayward, 1972); both inf with a free path, 0 when touching.
    """
    c, s = math.cos(heading), math.sin(heading)
    gap, closing = math.inf, 0.0
    for k in range(num_near):
        dx, dy = near[k, 0] - x, near[k, 1] - y
        ahead, left = dx * c + dy * s, dy * c - dx * s
        if ahead <= 0 or abs(left) >= (width + near[k, 5]) / 2:
            continue
        distance = max(ahead - (length + near[k, 4]) / 2, 0.0)
        if distance < gap:
            gap, closing = distance, speed - near[k, 3] * math.cos(near[k, 2] - heading)
    if gap == 0.0:
        return 0.0, 0.0
    return gap, gap / closing if closing > 1e-9 else math.inf
