"""The one face of everything that drives."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from envs.errors import InputError
from envs.replay import Observation, Replay
from envs.units import View

DT_TOLERANCE = 1e-6  # s


@runtime_checkable
class Agent(Protocol):
    """Drives B egos at once. B is that of the replay it was last begun with.

    Attributes:
        name: what tables call it, e.g. "mpur"; agents that differ only in their seed share it.
        history: frames of observation it needs, the present one included; `act` is given exactly as many.
        seed: of its training (or of its own randomness); None where there is none.
    """

    name: str
    history: int
    seed: int | None

    def begin(self, replay: Replay) -> None:
        """A batch of drives has just been reset in `replay`: forget the last one.

        Where a batch is not full, some egos have no drive; their observations and actions mean nothing.
        """

    def act(self, observation: Observation) -> NDArray[np.floating[Any]]:
        """Actions of all egos.

        Args:
            observation: of B egos, with T = `history` frames. Its arrays are views that the next step overwrites.
        Returns:
            (B, 2): acceleration in m/s^2, curvature in 1/m; the replay clips them to what each vehicle can do.
        """


def check_made_for(replay: Replay, name: str, dt: float, view: View | None = None) -> None:
    """Raise InputError if a replay's frames (s apart), or its pictures, are not those that an agent learned from."""
    if abs(replay.world.dt - dt) > DT_TOLERANCE:
        raise InputError(
            f"{name} learned from frames {dt:g} s apart and cannot drive where they are {replay.world.dt:g} s apart"
        )
    if view is not None and replay.view != view:
        raise InputError(f"{name} learned from pictures of {view}, and is shown those of {replay.view}")
