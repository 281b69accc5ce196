"""A handful of things to do, for learners that choose among actions instead of naming numbers.

    0 keep speed and lane    1 faster    2 slower    3 brake    4 towards the left lane    5 towards the right lane

An action lasts one step. Steering is pursuit of a lane's centre (agents.steering): of the car's own, or of the lane to
the left or right of it; so a lane change takes several steps of action 4 or 5, until the car has crossed the marking.
Where there is no such lane, 4 and 5 keep the own one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.lanes import LEFT, OWN, RIGHT, LaneMarkings
from agents.steering import aim_distance, pursuit
from envs.replay import Replay

ACCELERATION = np.array([0.0, 1.5, -1.5, -4.0, 0.0, 0.0])  # m/s^2, of each action
LANE = np.array([OWN, OWN, OWN, OWN, LEFT, RIGHT])
NUM_ACTIONS = len(LANE)


class MetaActions:
    """What the actions mean for the cars of a replay, now."""

    def __init__(self, replay: Replay) -> None:
        self._replay, self._markings = replay, LaneMarkings(replay)

    def __call__(self, chosen: NDArray[np.integer]) -> NDArray[np.float64]:
        """(B, 2): acceleration in m/s^2 and curvature in 1/m of actions (B,)."""
        state = self._replay.state
        lanes = self._markings.around(aim_distance(state[:, 3]), sight=0.0)
        cars = np.arange(len(state))
        lane = np.where(np.isnan(lanes.target[cars, LANE[chosen], 0]), OWN, LANE[chosen])
        return np.stack([ACCELERATION[chosen], pursuit(state, lanes.target[cars, lane])], 1)
