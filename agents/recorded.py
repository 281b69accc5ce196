"""The recorded human as an agent: what every other one is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.replay import Observation, Replay


class Human:
    """Repeats the recorded actions, open loop: the inverse kinematics of each ego's recording, clipped by the replay.

    Where nothing was clipped it drives the recording again; a car whose recording no kinematics can follow (a lane
    change near standstill) drifts from it, see `agents.evaluate`.
    """

    name = "human"
    history = 1
    seed: int | None = None

    def __init__(self) -> None:
        self._replay: Replay | None = None

    def begin(self, replay: Replay) -> None:
        """Remember whose recording to follow."""
        self._replay = replay

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """(B, 2): the recorded actions of the present frame; 0 after a recording's end."""
        if self._replay is None:
            raise RuntimeError("begin(replay) comes before act")
        return self._replay.human_actions()
