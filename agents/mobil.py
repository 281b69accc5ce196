"""MOBIL: change lanes if there is less braking for it, one's own before the others', and nobody is endangered.

    incentive = a' - a + p (a_n' - a_n + a_o' - a_o) > threshold        and        a_n' >= -b_safe

with the own acceleration a, those of the new and the old follower a_n and a_o, a prime after the change, politeness p.

Source: Kesting, Treiber, Helbing, Transportation Research Record 1999, 2007; the rule for roads where one may pass on
both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.following import Following
from agents.lanes import LEFT, OWN, RIGHT

SIDES = (RIGHT, LEFT)


@dataclass(frozen=True, kw_only=True)
class MOBILConfig:
    """politeness: p; 0 thinks of itself alone.
    threshold: m/s^2.
    safe_braking: b_safe, m/s^2, of who would be behind; also of the car itself. Half of the source's 4, since whoever
        follows
        a recording does not brake at all.
    """

    politeness: float = 0.2
    threshold: float = 0.2
    safe_braking: float = 2.0

    def __post_init__(self) -> None:
        if self.politeness < 0 or self.threshold < 0 or not self.safe_braking > 0:
            raise ValueError(
                f"{self}: politeness and threshold must not be negative, safe_braking must be positive"
            )


def incentives(now: Following, politeness: float) -> NDArray[np.float64]:
    """(B, 2): the left side of the rule, for the lanes of SIDES."""
    sides = list(SIDES)
    own = now.ego[:, sides] - now.ego[:, [OWN]]
    new_follower = now.behind_ego[:, sides] - now.behind_leader[:, sides]
    old_follower = now.behind_leader[:, [OWN]] - now.behind_ego[:, [OWN]]
    return own + politeness * (new_follower + old_follower)


def choose(now: Following, is_lane: NDArray[np.bool_], config: MOBILConfig) -> NDArray[np.int64]:
    """(B,): the lane to drive in, RIGHT, OWN or LEFT: the one with the largest incentive of those allowed, else the
    own.

    Args:
        is_lane: (B, 3), whether there is a lane.
    """
    sides = list(SIDES)
    gain = incentives(now, config.politeness)
    safe = (now.behind_ego[:, sides] >= -config.safe_braking) & (now.ego[:, sides] >= -config.safe_braking)
    gain = np.where(safe & is_lane[:, sides], gain, -np.inf)
    best = gain.argmax(1)
    wanted = gain[np.arange(len(gain)), best] > config.threshold
    return np.where(wanted, np.array(SIDES)[best], OWN)
