"""Doing nothing: the baseline that says how hard the traffic is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.replay import Observation, Replay


class NoAction:
    """Keeps speed and heading; elsewhere this is called constant velocity."""

    history = 1
    seed: int | None = None

    def __init__(self, name: str = "no-action") -> None:
        self.name = name

    def begin(self, replay: Replay) -> None:
        """Nothing to prepare."""

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """(B, 2) zeros."""
        return np.zeros((len(observation.size), 2), np.float32)
