"""A trained policy at the wheel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.base import check_made_for
from agents.policies import Policy
from envs.context import context_of_observation
from envs.replay import Observation, Replay


class LearnedAgent:
    """Drives by the mean of a policy, all egos in one forward pass."""

    def __init__(self, policy: Policy, name: str, seed: int | None = None, device: str = "cpu") -> None:
        self.policy = policy.to(device).eval()
        self.name, self.seed, self.device = name, seed, device
        self.history = (policy.config.frames - 1) * policy.config.stride + 1
        self._replay: Replay | None = None
        self._actions, self._frame = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)

    def begin(self, replay: Replay) -> None:
        """Forget which drives have ended; the policy has no memory beyond its pictures.

        Raises:
            InputError: it learned from other frames or pictures than these.
        """
        check_made_for(replay, self.name, self.policy.config.dt, self.policy.config.view)
        self._replay = replay
        self._actions = np.zeros((replay.num_egos, 2), np.float32)
        self._frame = np.full(replay.num_egos, -1, np.int64)

    @torch.inference_mode()
    def act(self, observation: Observation) -> NDArray[np.floating[Any]]:
        """Only egos that have moved on since the last call are asked; an ended drive keeps its last action."""
        if self._replay is None or self._replay.num_egos != len(observation.images):
            return self._drive(observation, slice(None))
        moved = self._replay.frame != self._frame
        if moved.any():
            self._actions[moved] = self._drive(observation, moved)
        self._frame = self._replay.frame.copy()
        return self._actions.copy()

    def _drive(self, observation: Observation, egos: NDArray[np.bool_] | slice) -> NDArray[np.floating[Any]]:
        config = self.policy.config
        seen = context_of_observation(observation, config.frames, config.stride, self.device, egos)
        return self.policy(seen).cpu().numpy()
