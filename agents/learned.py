"""A trained policy at the wheel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.policies import Policy
from envs.context import context_of_observation
from envs.replay import Observation, Replay


class LearnedAgent:
    """Drives by the mean of a policy, all egos in one forward pass."""

    def __init__(self, policy: Policy, name: str, seed: int | None = None, device: str = "cpu") -> None:
        self.policy = policy.to(device).eval()
        self.name, self.seed, self.device = name, seed, device
        self.history = (policy.config.frames - 1) * policy.config.stride + 1

    def begin(self, replay: Replay) -> None:
        """Nothing to forget: the policy has no memory beyond its pictures."""

    @torch.inference_mode()
    def act(self, observation: Observation) -> NDArray[np.floating[Any]]:
        config = self.policy.config
        seen = context_of_observation(observation, config.frames, config.stride, self.device)
        return self.policy.drive(seen).cpu().numpy()
