"""Why a drive is over."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from envs.replay import Step

CollisionRule = Literal["proximity", "box", "box_less_1m"]


def collisions(step: Step, rule: CollisionRule = "proximity") -> NDArray[np.bool_]:
    """(B,): whether the step was a collision.

    "proximity": the proximity cost exceeds 0.99, the paper's rule. "box": the ego's box overlaps another.
    "box_less_1m": it does even when it is 1 m shorter and narrower.
    """
    return {"proximity": step.collided, "box": step.hit >= 0, "box_less_1m": step.hit_less}[rule]


def ending(step: Step, car: int = 0, rule: CollisionRule = "proximity", *, end_off_road: bool = True) -> str:
    """Why a car's drive is over after a step, in words; "" if it goes on."""
    if collisions(step, rule)[car]:
        return "collision"
    if end_off_road and step.off_road[car]:
        return "off road"
    if step.arrived[car]:
        return "arrived"
    return "out of time" if step.out_of_time[car] else ""
