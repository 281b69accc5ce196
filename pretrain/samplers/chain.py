"""What samplers share: a batch of Markov chains that settle on p(y) = exp(-F(y)) / Z, and how they are run.

Each row of a batch is a chain of its own; F must treat rows alone (no batch normalisation in training mode). A step
draws its noise for all chains at once and is a function of it: a chain of a batch is repeated alone by its rows of the
noise, not by the seed, because a generator fills a batch in an order that depends on its size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from pretrain.energies import Energy

Noise = tuple[Tensor, ...]  # (B, ...) each


class Point(NamedTuple):
    """Where chains are, with what is worth keeping until the next step."""

    y: Tensor  # (B, ...)
    energy: Tensor  # (B,); empty where the sampler needs none
    gradient: Tensor  # of the energy, like y; empty where the sampler needs none


class Move(NamedTuple):
    """One step of all chains."""

    point: Point
    acceptance: Tensor  # (B,) probability with which the proposal was taken
    broken: Tensor  # (B,) bool: the proposal or its energy was not finite, and was rejected


class Chain(NamedTuple):
    """A run of B chains."""

    last: Tensor  # (B, ...)
    samples: Tensor  # (S, B, ...): every `keep`-th state; S = 0 where none is kept
    acceptance: Tensor  # (B,) mean over steps
    broken: Tensor  # (B,) share of steps whose proposal was not finite


class Sampler(ABC):
    """Runs chains on an energy. Nothing of a run stays in the object."""

    @abstractmethod
    def begin(self, energy: Energy, y: Tensor) -> Point:
        """Chains at y (B, ...).

        Raises:
            FloatingPointError: the energy there is not finite.
        """

    @abstractmethod
    def noise(self, energy: Energy, y: Tensor, generator: torch.Generator) -> Noise:
        """What one step of the chains y draws."""

    @abstractmethod
    def move(self, energy: Energy, point: Point, noise: Noise) -> Move:
        """One step, a function of its noise."""

    def sample(
        self, energy: Energy, start: Tensor, steps: int, generator: torch.Generator, keep: int = 0
    ) -> Chain:
        """`steps` steps from start (B, ...); energies' parameters receive no gradient from it.

        Args:
            keep: every keep-th state becomes a sample; 0 keeps none but the last.

        Raises:
            ValueError: steps is less than 1.
            FloatingPointError: the energy of a start is not finite.
        """
        if steps < 1:
            raise ValueError(f"steps={steps} must be at least 1")
        point, samples = self.begin(energy, start.detach()), []
        acceptance, broken = start.new_zeros(len(start)), start.new_zeros(len(start))
        for t in range(1, steps + 1):
            point, probability, failed = self.move(energy, point, self.noise(energy, point.y, generator))
            acceptance, broken = acceptance + probability, broken + failed
            if keep and t % keep == 0:
                samples.append(point.y)
        kept = torch.stack(samples) if samples else start.new_empty(0, *start.shape)
        return Chain(point.y, kept, acceptance / steps, broken / steps)


def normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers of N(0, 1), as many, where and of what kind `like` is."""
    return torch.empty_like(like).normal_(generator=generator)


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers uniform in [0, 1), as many, where and of what kind `like` is."""
    return torch.empty_like(like).uniform_(generator=generator)
