"""Samplers that follow the energy's gradient: one gradient per point, and the rule by which proposals are taken."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor

from pretrain.energies import Energy
from pretrain.samplers.chain import Move, Point, Sampler


class GradientSampler(Sampler):
    """A sampler of real y that has a step size."""

    @property
    @abstractmethod
    def step(self) -> float:
        """The step size."""

    @abstractmethod
    def with_step(self, step: float) -> Self:
        """The same sampler with another step size."""

    def begin(self, energy: Energy, y: Tensor) -> Point:
        point = evaluated(energy, y)
        if not finite(point).all():
            raise FloatingPointError(f"{type(self).__name__}: the energy of a start is not finite")
        return point


def evaluated(energy: Energy, y: Tensor) -> Point:
    """The energy at y and its gradient there, detached; gradients of parameters are left alone."""
    with torch.enable_grad():
        leaf = y.detach().requires_grad_()
        value = energy(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return Point(leaf.detach(), value.detach(), gradient)


def finite(point: Point) -> Tensor:
    """(B,): y, its energy and its gradient are all finite."""
    flat = torch.cat([point.y.flatten(1), point.gradient.flatten(1), point.energy[:, None]], 1)
    return flat.isfinite().all(1)


def choose(old: Point, new: Point, log_ratio: Tensor, chance: Tensor) -> Move:
    """Take each chain's proposal with probability min(1, exp(log_ratio)), where chance (B,), uniform, falls below it.

    A proposal that is not finite is never taken, nor one whose log_ratio is NaN.
    """
    fine = finite(new)
    ratio = torch.where(fine, log_ratio, -torch.inf).nan_to_num(nan=-torch.inf)
    probability = ratio.clamp(max=0).exp()
    taken = chance < probability
    chosen = (torch.where(rows(taken, b), b, a) for a, b in zip(old, new, strict=True))
    return Move(Point(*chosen), probability, ~fine)


def rows(x: Tensor, like: Tensor) -> Tensor:
    """x (B,) with trailing ones, so that it broadcasts over the rows of `like` (B, ...)."""
    return x.view(-1, *[1] * (like.dim() - 1))


def per_chain(x: Tensor) -> Tensor:
    """The sum (B,) of x (B, ...) over all but chains."""
    return x.flatten(1).sum(1)
