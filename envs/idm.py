"""The Intelligent Driver Model: how hard a driver accelerates behind another.

    s* = s_0 + max(v T + v (v - v_leader) / (2 sqrt(a b)), 0)         dv/dt = a (1 - (v / v_0)^4 - (s* / s)^2)

Source: Treiber, Hennecke, Helbing, Phys. Rev. E 62, 2000.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from envs.compiled import compiled

HARDEST_BRAKING = 8.0  # m/s^2


class Driver(NamedTuple):
    """Someone's habits; a tuple, which compiled code can take."""

    acceleration: float = 1.5  # a, m/s^2
    deceleration: float = 2.0  # b, m/s^2, comfortable
    headway: float = 0.8  # T, s
    gap: float = 2.0  # s_0, m, at standstill


@compiled
def urge(speed: float, wanted: float, gap: float, leader_speed: float, driver: Driver) -> float:
    """dv/dt in m/s^2 by the equation above, whether a car can brake that hard or not.

    Args:
        speed, wanted: v and v_0, m/s.
        gap: s in m, bumper to bumper, at least 0; inf with nobody ahead, whatever leader_speed is.
    """
    free = 1 - (speed / max(wanted, 0.1)) ** 4
    if gap == math.inf:
        return driver.acceleration * free
    approach = speed * (speed - leader_speed) / (2 * math.sqrt(driver.acceleration * driver.deceleration))
    desired = driver.gap + max(speed * driver.headway + approach, 0.0)
    return driver.acceleration * (free - (desired / max(gap, 0.1)) ** 2)


@compiled
def idm(speed: float, wanted: float, gap: float, leader_speed: float, driver: Driver) -> float:
    """The same, not below -HARDEST_BRAKING."""
    return max(urge(speed, wanted, gap, leader_speed, driver), -HARDEST_BRAKING)
