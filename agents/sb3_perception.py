"""The eyes of agents.policies as a features extractor of stable-baselines3, for learners that see pictures."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from agents.policies import Perception, PolicyConfig
from envs.context import Context
from envs.units import View


class Pictures(BaseFeaturesExtractor):
    """The observation of envs.vector_environment to features (B, hidden).

    Vehicles are seen in every frame shown, lanes and off-road area in the last one.
    """

    def __init__(self, space: gym.spaces.Dict, hidden: int = 128) -> None:
        super().__init__(space, hidden)
        frames, _, height, width = space["images"].shape or ()
        config = PolicyConfig(
            frames=frames, back=tuple(range(frames)), view=View(height=height, width=width), hidden=hidden
        )
        # SB3 initialises weights orthogonally through a view, which torch refuses for channels-last ones.
        self.perception = Perception(config)
        nn.utils.convert_conv2d_weight_memory_format(self.perception, torch.contiguous_format)

    def forward(self, seen: dict[str, Any]) -> Tensor:
        vectors: Tensor = seen["vectors"]
        speed = torch.linalg.vector_norm(vectors[..., 2:], dim=-1)
        poses = torch.stack([vectors[..., 0], vectors[..., 1], seen["heading"], speed], -1)
        return torch.relu(self.perception(Context.of(seen["images"] / 255, poses, seen["size"])))
