"""Hamiltonian Monte Carlo: throw y in a random direction, follow its flight, keep where it lands.

    H(y, r) = F(y) + |r|^2 / 2,   r ~ N(0, I);   y' is kept with probability min(1, exp(H(y, r) - H(y', r')))

Source: Neal, "MCMC using Hamiltonian dynamics", arXiv:1206.1901, sections 2.3 (leapfrog), 3.2 (random step sizes).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from pretrain.energies import Energy
from pretrain.samplers.chain import Move, Noise, Point, normal, uniform
from pretrain.samplers.metropolis import GradientSampler, choose, evaluated, per_chain, rows


@dataclass(frozen=True, kw_only=True)
class HMCConfig:
    """step: e of the leapfrog, in the unit of y.
    leaps: leapfrog steps of a flight, a gradient each.
    jitter: each flight of a chain has a step size of its own, uniform within (1 +- jitter) e, so that no flight has
        the length of a period of F for ever.
    """

    step: float = 0.1
    leaps: int = 10
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ValueError(f"step={self.step} must be positive")
        if self.leaps < 1:
            raise ValueError(f"leaps={self.leaps} must be at least 1")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter={self.jitter} must be within [0, 1)")


class HMC(GradientSampler):
    """Each chain draws a momentum like y, and uniform numbers for the correction and for its step size."""

    def __init__(self, config: HMCConfig) -> None:
        self.config = config

    @property
    def step(self) -> float:
        return self.config.step

    def with_step(self, step: float) -> Self:
        return type(self)(replace(self.config, step=step))

    def noise(self, energy: Energy, y: Tensor, generator: torch.Generator) -> Noise:
        numbers = y.new_empty(len(y))
        return normal(y, generator), uniform(numbers, generator), uniform(numbers, generator)

    def move(self, energy: Energy, point: Point, noise: Noise) -> Move:
        momentum, chance, u = noise
        steps = self.config.step * (1 + self.config.jitter * (2 * u - 1))
        new, landed = leapfrog(energy, point, momentum, steps, self.config.leaps)
        kinetic = (per_chain(momentum**2) - per_chain(landed**2)) / 2
        return choose(point, new, point.energy - new.energy + kinetic, chance)


def leapfrog(
    energy: Energy, point: Point, momentum: Tensor, steps: Tensor, leaps: int
) -> tuple[Point, Tensor]:
    """The flight of (y, r): half a kick, then drifts and kicks in turn, half a kick last.

    Reversible (the flight of (y', -r') ends at (y, -r)), keeps volumes, and H to the second order of the step.

    Args:
        steps: e (B,), of each chain.
    Returns:
        Point and momentum at the end; not finite where the flight diverged.
    """
    e = rows(steps, momentum)
    momentum = momentum - e / 2 * point.gradient
    for leap in range(1, leaps + 1):
        point = evaluated(energy, point.y + e * momentum)
        momentum = momentum - (e if leap < leaps else e / 2) * point.gradient
    return point, momentum
