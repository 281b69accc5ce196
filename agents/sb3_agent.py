"""A model of stable-baselines3 at the wheel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.base import check_made_for
from agents.sb3_interface import Interface
from agents.sb3_models import load_model
from envs.replay import Observation, Replay


class SB3Agent:
    """Drives by a model's deterministic actions, all egos at once; a recurrent model remembers each drive.

    Args:
        dt: s between the frames that it learned from.
    """

    def __init__(
        self, model: BaseAlgorithm, interface: Interface, name: str, seed: int | None = None, dt: float = 0.1
    ) -> None:
        self.model, self.interface, self.name, self.dt = model, interface, name, dt
        self.seed: int | None = seed
        self.history = max(interface.frames) + 1
        self._in_units: Callable[[NDArray[Any]], NDArray[np.float64]] | None = None
        self._state: tuple[NDArray[Any], ...] | None = None
        self._begins = np.zeros(0, bool)

    @staticmethod
    def load(path: Path, device: str = "cpu") -> SB3Agent:
        """From a file of `headway train-rl`. Raises InputError as `load_model` does."""
        model, facts = load_model(path, device)
        return SB3Agent(
            model, facts["interface"], facts["algorithm"], facts.get("seed"), facts.get("dt", 0.1)
        )

    def begin(self, replay: Replay) -> None:
        """Forget the last drives. Raises InputError if it learned from other frames than these."""
        check_made_for(replay, self.name, self.dt)
        self._in_units = self.interface.actions(replay)
        self._state, self._begins = None, np.ones(replay.num_egos, bool)

    def act(self, observation: Observation) -> NDArray[np.float64]:
        """(B, 2), in m/s^2 and 1/m."""
        if self._in_units is None:
            raise RuntimeError("begin(replay) comes before act")
        seen = self.interface.observation(self.interface.shown(observation))
        chosen, self._state = self.model.predict(
            seen, state=self._state, episode_start=self._begins, deterministic=True
        )
        self._begins = np.zeros_like(self._begins)
        return self._in_units(chosen)
