"""What a learner of stable-baselines3 sees of the traffic, and what its actions mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.cells import features, num_features
from agents.meta_actions import NUM_ACTIONS, MetaActions
from envs.replay import Observation, Replay
from envs.vector_environment import Arrays, check_choice

Sees = Literal["cells", "pictures"]
Acts = Literal["continuous", "discrete"]


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What stands between the traffic and stable-baselines3; whoever drives a trained model needs the same.

    sees: "pictures", the environment's own observation, or "cells", one vector (agents.cells).
    acts: "continuous", shares in [-1, 1] of `full_action`, or "discrete", one of agents.meta_actions.
    full_action: acceleration (m/s^2) and curvature (1/m) of 1. Less than cars can do: a learner that begins with noise
        over all they can do leaves the road in a second, and nobody who drives along a motorway needs it.
    frames: shown, in steps back from the present, 0 among them.
    """

    sees: Sees = "pictures"
    acts: Acts = "continuous"
    full_action: tuple[float, float] = (3.0, 0.02)
    frames: tuple[int, ...] = (0, 2, 4, 6)

    def __post_init__(self) -> None:
        check_choice("sees", self.sees, get_args(Sees))
        check_choice("acts", self.acts, get_args(Acts))
        if len(self.full_action) != 2 or not min(self.full_action) > 0:
            raise ValueError(f"full_action={self.full_action} must be two positive numbers")
        if 0 not in self.frames or min(self.frames) < 0 or len(set(self.frames)) < len(self.frames):
            raise ValueError(f"frames={self.frames} must be different steps back, 0 among them")

    def observation(self, seen: Arrays, threads: int = 1) -> Arrays | NDArray[np.float32]:
        """What the learner sees of an environment's observation."""
        return features(seen, threads) if self.sees == "cells" else seen

    def observation_space(self, shown: gym.Space[Any]) -> gym.Space[Any]:
        """Of one car, from the environment's."""
        if self.sees == "pictures":
            return shown
        assert isinstance(shown, gym.spaces.Dict)
        frames, _, height, width = shown["images"].shape or ()
        return gym.spaces.Box(-np.inf, np.inf, (num_features(frames, height, width),), np.float32)

    def action_space(self) -> gym.Space[Any]:
        """Of one car."""
        return (
            gym.spaces.Discrete(NUM_ACTIONS)
            if self.acts == "discrete"
            else gym.spaces.Box(-1, 1, (2,), np.float32)
        )

    def actions(self, replay: Replay) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
        """What turns the learner's actions, (B,) or (B, 2), into m/s^2 and 1/m (B, 2) for the cars of a replay."""
        full = np.array(self.full_action)
        return MetaActions(replay) if self.acts == "discrete" else lambda shares: shares * full

    def shown(self, observation: Observation) -> Arrays:
        """The environment's observation (envs.vector_environment) from one with all frames up to the oldest shown."""
        last = observation.images.shape[1] - 1
        kept = [last - back for back in sorted(self.frames, reverse=True)]
        return {
            "images": observation.images[:, kept],
            "vectors": observation.vectors[:, kept],
            "heading": observation.heading[:, kept],
            "size": observation.size,
        }
