"""Langevin dynamics: downhill by the gradient, and noise; with or without Metropolis's correction.

    y' = y - e grad F(y) + sqrt(2 e) n,    n ~ N(0, I)

Sources: Roberts and Tweedie, "Exponential convergence of Langevin distributions and their discrete approximations"
(Bernoulli 1996), ULA and MALA; Du and Mordatch, arXiv:1903.08689, for learning energies with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from pretrain.energies import Energy
from pretrain.samplers.chain import Move, Noise, Point, normal, uniform
from pretrain.samplers.metropolis import GradientSampler, choose, evaluated, per_chain


@dataclass(frozen=True, kw_only=True)
class LangevinConfig:
    """step: e, in the unit of y squared.
    adjust: correct each step (MALA). Without (ULA), chains settle near p: on N(0, 1) at variance 1 / (1 - e / 2).
    """

    step: float = 0.01
    adjust: bool = True

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ValueError(f"step={self.step} must be positive")


class Langevin(GradientSampler):
    """One gradient per step. Each chain draws n like y, and a uniform number for the correction."""

    def __init__(self, config: LangevinConfig) -> None:
        self.config = config

    @property
    def step(self) -> float:
        return self.config.step

    def with_step(self, step: float) -> Self:
        return type(self)(replace(self.config, step=step))

    def noise(self, energy: Energy, y: Tensor, generator: torch.Generator) -> Noise:
        return normal(y, generator), uniform(y.new_empty(len(y)), generator)

    def move(self, energy: Energy, point: Point, noise: Noise) -> Move:
        n, chance = noise
        e = self.config.step
        new = evaluated(energy, point.y - e * point.gradient + (2 * e) ** 0.5 * n)
        ratio = log_ratio(point, new, e) if self.config.adjust else torch.zeros_like(new.energy)
        return choose(point, new, ratio, chance)


def log_ratio(old: Point, new: Point, step: float) -> Tensor:
    """log of p(y') q(y | y') / (p(y) q(y' | y)), (B,), q(y' | y) = N(y - e grad F(y), 2 e I)."""

    def log_q(to: Point, at: Point) -> Tensor:
        return -per_chain((to.y - at.y + step * at.gradient) ** 2) / (4 * step)

    return old.energy - new.energy + log_q(old, new) - log_q(new, old)
