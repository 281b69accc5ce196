"""How a model of stable-baselines3 is trained: one configuration for all its algorithms."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise

from agents.sb3_interface import Acts, Interface, Sees
from agents.sb3_models import Algorithm, algorithm_class
from agents.sb3_perception import Pictures
from agents.sb3_vec_env import SB3VecEnv
from envs.replay import Traffic
from envs.reward import Reward

ON_POLICY = ("ppo", "a2c", "recurrent-ppo")
MAX_SEED = 2**32  # numpy, and so SB3, takes seeds below it
EXPLORATION = 0.2  # standard deviation of td3's noise, in shares of a full action


@dataclass(frozen=True, kw_only=True)
class RLTraining:
    """How a model is trained; what is not here is as stable-baselines3 has it.

    sees: "cells" or "pictures", see agents.sb3_interface; on a CPU the convolutions over pictures cost PPO far more
        than the traffic does.
    rollout: steps of every car between two updates; on-policy algorithms only.
    reward: what a step is worth; its balance of progress and costs decides between rushing and standing still.
    buffer, updates: transitions kept, and updates for each step of all cars; the others only.
    gamma: 0.98 looks 5 s ahead.
    """

    algorithm: Algorithm = "ppo"
    steps: int = 1_000_000  # of cars, in all
    num_envs: int = 64
    sees: Sees = "cells"
    traffic: Traffic = "blind"
    reward: Reward = Reward()  # noqa: RUF009 (frozen)
    hidden: tuple[int, ...] = (128, 128)
    learning_rate: float = 3e-4
    gamma: float = 0.98
    batch_size: int = 512
    rollout: int = 64
    buffer: int = 50_000
    updates: int = 4
    validations: int = 10  # times the model is tried on validation cars, evenly
    validation_cars: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.algorithm not in get_args(Algorithm):
            raise ValueError(f"algorithm={self.algorithm!r} must be one of {', '.join(get_args(Algorithm))}")
        for name in (
            "steps",
            "num_envs",
            "batch_size",
            "rollout",
            "buffer",
            "updates",
            "validations",
            "validation_cars",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if min(self.hidden, default=1) < 1:
            raise ValueError(f"hidden={self.hidden} must be positive")
        if self.algorithm == "recurrent-ppo" and not self.hidden:
            raise ValueError("hidden must name at least one size, which is that of the recurrent layer too")
        if not 0 <= self.seed < MAX_SEED:
            raise ValueError(
                f"seed={self.seed} must be 0 or more and less than {MAX_SEED}, which numpy takes"
            )
        if not 0 <= self.gamma <= 1 or not self.learning_rate > 0:
            raise ValueError(
                f"gamma={self.gamma} must be within [0, 1], learning_rate={self.learning_rate} above 0"
            )

    @property
    def interface(self) -> Interface:
        """DQN chooses, all others name numbers."""
        acts: Acts = "discrete" if self.algorithm == "dqn" else "continuous"
        return Interface(sees=self.sees, acts=acts, frames=(0, 2, 4))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "hidden": list(self.hidden)}

    def policy(self) -> str:
        """SB3's name of the kind of network."""
        kind = "MultiInput" if self.sees == "pictures" else "Mlp"
        return f"{kind}{'Lstm' if self.algorithm == 'recurrent-ppo' else ''}Policy"

    def policy_settings(self) -> dict[str, Any]:
        """Of the network."""
        settings: dict[str, Any] = {"net_arch": list(self.hidden)}
        if self.sees == "pictures":
            settings["features_extractor_class"] = Pictures
        if self.algorithm in ON_POLICY:
            settings["log_std_init"] = -1.0
        if self.algorithm == "recurrent-ppo":
            settings["lstm_hidden_size"] = self.hidden[0]
        return settings

    def settings(self) -> dict[str, Any]:
        """Of the algorithm."""
        out: dict[str, Any] = {"learning_rate": self.learning_rate, "gamma": self.gamma, "seed": self.seed}
        if self.algorithm in ON_POLICY:
            out["n_steps"] = self.rollout
            if self.algorithm != "a2c":
                out |= {"batch_size": min(self.batch_size, self.rollout * self.num_envs), "n_epochs": 5}
            return out
        out |= {
            "batch_size": self.batch_size,
            "buffer_size": self.buffer,
            "train_freq": 1,
            "gradient_steps": self.updates,
            "learning_starts": min(10_000, self.steps // 10),
        }
        if self.algorithm == "td3":
            out["action_noise"] = NormalActionNoise(np.zeros(2), np.full(2, EXPLORATION))
        return out

    def make(self, cars: SB3VecEnv, device: str) -> BaseAlgorithm:
        """A fresh model."""
        return algorithm_class(self.algorithm)(
            self.policy(), cars, policy_kwargs=self.policy_settings(), device=device, **self.settings()
        )
