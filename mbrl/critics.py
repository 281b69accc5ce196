"""Networks that judge a scene: what it costs, and what it will cost.

    LearnedCost    (proximity, lane, off_road) of one picture, trained to equal envs.costs
    ValueFunction  V(s) ~ sum_k gamma^k C_t+k, the discounted cost of driving on

Source: the public code of Henaff, Canziani, LeCun, arXiv:1901.02705, has both as options.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agents.policies import Perception, PolicyConfig
from envs.context import Context
from envs.costs import Costs


class LearnedCost(nn.Module):
    """The three costs of single pictures, by a network that sees what envs.costs is told."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.perception = Perception(replace(config, back=(0,)))
        self.head = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(config.hidden, 3), nn.Sigmoid())

    def forward(self, images: Tensor, poses: Tensor, size: Tensor) -> Costs:
        """Costs (B, T) of pictures (B, T, 3, H, W) seen from poses (B, T, 4) by egos of size (B, 2)."""
        shape = images.shape[:2]
        sizes = size[:, None].expand(*shape, 2).flatten(0, 1)
        pictures = Context((images.flatten(0, 1),), poses.flatten(0, 1)[:, None], sizes)
        out = self.head(self.perception(pictures))
        return Costs(*out.view(*shape, 3).unbind(-1))


class ValueFunction(nn.Module):
    """V(s) >= 0 of a context."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.perception = Perception(config)
        self.head = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(config.hidden, 1))

    def forward(self, context: Context) -> Tensor:
        """(B,)."""
        out = self.head(self.perception(context))
        return F.softplus(out[:, 0])

    def fixed(self, context: Context) -> Tensor:
        """The same, differentiable in the context alone."""
        parameters = {name: p.detach() for name, p in self.named_parameters()}
        value: Tensor = torch.func.functional_call(self, parameters, (context,))
        return value
