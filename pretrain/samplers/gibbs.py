"""Gibbs sampling of binary units, 0 or 1: one after the other, or all at once that are independent given the rest.

    p(flip unit i | rest) = sigmoid(F(y) - F(y with unit i flipped))

Source: Geman and Geman, "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images" (1984).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pretrain.binary import flip_energies
from pretrain.energies import Energy
from pretrain.samplers.chain import Move, Noise, Point, Sampler, uniform


@dataclass(frozen=True, kw_only=True)
class GibbsConfig:
    """blocks: units drawn at once, in this order; the units of a block must be independent of each other given the
    rest (a colour of a chessboard, for neighbours that interact). None: each unit alone, in its order.
    """

    blocks: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        units = sorted(unit for block in self.blocks or () for unit in block)
        if self.blocks is not None and units != list(range(len(units))):
            raise ValueError(f"blocks={self.blocks} must hold each unit once")


class Gibbs(Sampler):
    """A systematic scan: a step draws every unit (B, D) once. Works on any energy; a unit costs one evaluation.

    Each chain draws one uniform number per unit. A flip to an energy that is not finite is not made, and counts as
    broken. The acceptance is the share of flipped units' probabilities: small where chains are stuck.
    """

    def __init__(self, config: GibbsConfig | None = None) -> None:
        self.config = config or GibbsConfig()

    def begin(self, energy: Energy, y: Tensor) -> Point:
        """As of any sampler. Raises ValueError if the blocks are of another number of units."""
        blocks = self.config.blocks
        if blocks is not None and sum(map(len, blocks)) != y.shape[1]:
            raise ValueError(f"blocks={blocks} must hold each of {y.shape[1]} units once")
        with torch.no_grad():
            point = Point(y, energy(y), y.new_empty(0))
        if not point.energy.isfinite().all():
            raise FloatingPointError("Gibbs: the energy of a start is not finite")
        return point

    def noise(self, energy: Energy, y: Tensor, generator: torch.Generator) -> Noise:
        return (uniform(y, generator),)

    @torch.no_grad()
    def move(self, energy: Energy, point: Point, noise: Noise) -> Move:
        (chance,) = noise
        y, now = point.y.clone(), point.energy
        flips, broken = torch.zeros_like(now), torch.zeros_like(now, dtype=torch.bool)
        blocks = self.config.blocks
        for block in [(unit,) for unit in range(y.shape[1])] if blocks is None else blocks:
            units = list(block)
            near = flip_energies(energy, y, units)
            fine = near.isfinite()
            probability = torch.where(fine, torch.sigmoid(now[:, None] - near), 0)
            flipped = chance[:, units] < probability
            y[:, units] = torch.where(flipped, 1 - y[:, units], y[:, units])
            now = torch.where(flipped[:, 0], near[:, 0], now) if len(units) == 1 else energy(y)
            flips, broken = flips + probability.sum(1), broken | ~fine.all(1)
        return Move(Point(y, now, point.gradient), flips / y.shape[1], broken)


@runtime_checkable
class Bipartite(Protocol):
    """An energy with hidden units: those seen are independent given the hidden ones, and the other way round."""

    def hidden_logits(self, y: Tensor) -> Tensor:
        """log p(h = 1 | y) / p(h = 0 | y), (B, H)."""

    def visible_logits(self, h: Tensor) -> Tensor:
        """log p(y = 1 | h) / p(y = 0 | h), (B, D)."""


class BlockGibbs(Sampler):
    """h ~ p(h | y), then y ~ p(y | h), each at once: a step of a restricted Boltzmann machine.

    Each chain draws one uniform number per unit, hidden and seen. Always accepted, unless a logit is not finite: then
    the chain stays and counts as broken.

    Raises:
        TypeError: the energy is not Bipartite.
    """

    def begin(self, energy: Energy, y: Tensor) -> Point:
        return Point(y, y.new_empty(0), y.new_empty(0))

    def noise(self, energy: Energy, y: Tensor, generator: torch.Generator) -> Noise:
        with torch.no_grad():
            hidden = bipartite(energy).hidden_logits(y)
        return uniform(hidden, generator), uniform(y, generator)

    @torch.no_grad()
    def move(self, energy: Energy, point: Point, noise: Noise) -> Move:
        for_h, for_y = noise
        model = bipartite(energy)
        hidden = model.hidden_logits(point.y)
        h = (for_h < torch.sigmoid(hidden)).to(point.y)
        visible = model.visible_logits(h)
        y = (for_y < torch.sigmoid(visible)).to(point.y)
        broken = ~(hidden.isfinite().all(1) & visible.isfinite().all(1))
        return Move(point._replace(y=torch.where(broken[:, None], point.y, y)), (~broken).to(point.y), broken)


def bipartite(energy: object) -> Bipartite:
    """The energy, if it has hidden units of that kind."""
    if not isinstance(energy, Bipartite):
        raise TypeError(f"{type(energy).__name__} has no hidden_logits and visible_logits: use Gibbs")
    return energy
