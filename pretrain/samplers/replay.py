"""Chains that go on from one batch to the next, some of which begin anew.

Sources: Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient" (ICML
2008), persistent chains; Du and Mordatch, arXiv:1903.08689, section 3.1, a buffer of them with restarts (5 of 100).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

Fresh = Callable[[int, torch.Generator], Tensor]  # (num, generator) to starts (num, ...)


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """size: chains that are kept.
    restart: probability that a drawn chain begins anew. 0 are persistent chains.
    """

    size: int = 1000
    restart: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size={self.size} must be at least 1")
        if not 0 <= self.restart <= 1:
            raise ValueError(f"restart={self.restart} must be within [0, 1]")


class Draw(NamedTuple):
    """Chains taken out to be continued."""

    where: Tensor  # (num,) their rows in the buffer
    y: Tensor  # (num, ...)


class Replay(nn.Module):
    """The states of chains, saved with the model. fresh: where chains begin, at first and at a restart."""

    chains: Tensor  # (size, ...)

    def __init__(self, config: ReplayConfig, fresh: Fresh, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.fresh = config, fresh
        self.register_buffer("chains", fresh(config.size, generator).detach().clone())

    def draw(self, num: int, generator: torch.Generator) -> Draw:
        """`num` different chains, each begun anew with the probability of a restart.

        Raises:
            ValueError: there are fewer chains than that.
        """
        if num > self.config.size:
            raise ValueError(f"num={num} must be at most size={self.config.size}")
        device = self.chains.device
        where = torch.randperm(self.config.size, generator=generator, device=device)[:num]
        y = self.chains[where]
        if self.config.restart:
            anew = torch.rand(num, generator=generator, device=device) < self.config.restart
            y[anew] = self.fresh(int(anew.sum()), generator).to(y)
        return Draw(where, y)

    def put(self, where: Tensor, y: Tensor) -> None:
        """Where the drawn chains are now."""
        self.chains[where] = y.detach()
