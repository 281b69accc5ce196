"""What a step of driving is worth to a learner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.replay import Step


@dataclass(frozen=True, kw_only=True)
class Reward:
    """Weights of one step's reward; the costs are within [0, 1], see envs.costs.

        r = progress * (x' - x) - proximity * C_proximity - lane * C_lane - off_road * C_off_road
            - collision * [failed] + arrival * [arrived and not failed]

    where a drive has failed that ends in a collision or off the road. The costs weigh against each other as in the
    paper. On I-80 the 215 metres are worth 21.5 by default, so that no failure pays, wherever it happens.
    """

    progress: float = 0.1  # per metre along the road
    proximity: float = 0.1
    lane: float = 0.02
    off_road: float = 0.02
    collision: float = 20.0
    arrival: float = 5.0

    def __post_init__(self) -> None:
        for name, weight in vars(self).items():
            if not np.isfinite(weight):
                raise ValueError(f"{name}={weight} must be finite")

    def __call__(
        self, advance: NDArray[np.floating], step: Step, failed: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """r (B,) of a step that led `advance` (B,) metres along the road."""
        proximity, lane, off_road = step.costs.astype(np.float64).T
        costs = self.proximity * proximity + self.lane * lane + self.off_road * off_road
        ending = np.where(failed, -self.collision, self.arrival * step.arrived)
        return self.progress * advance - costs + ending
