"""A step size from the acceptance it leads to: dual averaging.

    h_m = (1 - 1 / (m + t0)) h_(m-1) + (target - a_m) / (m + t0)
    log e_m = log(10 e_0) - sqrt(m) / gamma h_m
    log e* = m^-kappa log e_m + (1 - m^-kappa) log e*,    a_m: mean acceptance of the chains at step m

Source: Hoffman and Gelman, "The No-U-Turn Sampler", arXiv:1111.4246, section 3.2.1 and algorithm 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from pretrain.energies import Energy
from pretrain.samplers.metropolis import GradientSampler

S = TypeVar("S", bound=GradientSampler)


@dataclass(frozen=True, kw_only=True)
class DualAveragingConfig:
    """target: the mean acceptance wanted; about 0.8 for HMC, 0.57 for MALA in many dimensions.
    gamma, t0, kappa: the paper's: how strongly, how late, and how soon forgotten.
    """

    target: float = 0.8
    gamma: float = 0.05
    t0: float = 10.0
    kappa: float = 0.75

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ValueError(f"target={self.target} must be within (0, 1)")


class Adapted(NamedTuple, Generic[S]):
    """A sampler with its step size found, and where its chains are by then."""

    sampler: S
    last: Tensor  # (B, ...)


def adapted(
    sampler: S,
    energy: Energy,
    start: Tensor,
    steps: int,
    generator: torch.Generator,
    config: DualAveragingConfig | None = None,
) -> Adapted[S]:
    """Run all chains for `steps` steps while one step size for all is sought, beginning at the sampler's.

    Chains whose step size still changes are not those of p: throw their states away, but for the last as a start.

    Raises:
        ValueError: steps is less than 1.
        FloatingPointError: the energy of a start is not finite.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    config = config or DualAveragingConfig()
    point, mu = sampler.begin(energy, start.detach()), math.log(10 * sampler.step)
    h, log_step, log_mean = 0.0, math.log(sampler.step), 0.0
    for m in range(1, steps + 1):
        trial = sampler.with_step(math.exp(log_step))
        point, acceptance, _ = trial.move(energy, point, trial.noise(energy, point.y, generator))
        h += (config.target - float(acceptance.mean()) - h) / (m + config.t0)
        log_step = mu - math.sqrt(m) / config.gamma * h
        log_mean += m**-config.kappa * (log_step - log_mean)
    return Adapted(sampler.with_step(math.exp(log_mean)), point.y)
