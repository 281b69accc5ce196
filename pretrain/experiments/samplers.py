"""A Gaussian ten times wider in one direction than in another: what is a gradient worth in each sampler?

Langevin steps walk at random and need about (widest / narrowest)^2 of them; a flight of HMC goes across in one. Steps
are set by acceptance (MALA 0.57, HMC 0.8) on other chains than those that are judged; unadjusted Langevin takes MALA's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.experiments.figures import pixels
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.samplers import (
    HMC,
    DualAveragingConfig,
    HMCConfig,
    Langevin,
    LangevinConfig,
    adapted,
    effective_sample_size,
)
from pretrain.samplers.metropolis import GradientSampler

CHAINS = 32
LEAPS = 15


@dataclass(frozen=True, kw_only=True)
class World:
    """A Gaussian of 10 dimensions, its deviations from 0.1 to 1 along axes that are turned at random."""

    axes: Tensor  # (10, 10), orthonormal columns
    scales: Tensor  # (10,)

    def energy(self, y: Tensor) -> Tensor:
        """-log p up to a constant, (N,) of y (N, 10)."""
        return ((y @ self.axes / self.scales) ** 2).sum(1) / 2

    def start(self, generator: torch.Generator) -> Tensor:
        """Exact draws (CHAINS, 10)."""
        white = torch.randn(CHAINS, len(self.scales), generator=generator, dtype=torch.float64)
        return (white * self.scales) @ self.axes.T


def run(seed: int, quick: bool) -> Outcome:
    """numbers: "<sampler> ess per 1000 gradients" of the mean along the widest axis, "<sampler> variance error", the
    largest relative error of an axis's variance, "<sampler> acceptance"; "hmc over mala", the ratio of the first.
    """
    gradients = 600 if quick else 7500
    generator = torch.Generator().manual_seed(seed)
    turned, _ = torch.linalg.qr(torch.randn(10, 10, generator=generator, dtype=torch.float64))
    world = World(axes=turned, scales=torch.logspace(-1, 0, 10, dtype=torch.float64))
    samplers = found(world, 60 if quick else 300, generator)
    numbers: dict[str, float] = {}
    paths: dict[str, NDArray] = {}
    for name, sampler in samplers.items():
        each = LEAPS if name == "hmc" else 1
        chain = sampler.sample(world.energy, world.start(generator), gradients // each, generator, keep=1)
        along = chain.samples @ world.axes
        ess = float(effective_sample_size(along[..., -1]))
        variance = along.flatten(0, 1).var(0) / world.scales**2
        numbers[f"{name} ess per 1000 gradients"] = 1000 * ess / (CHAINS * gradients)
        numbers[f"{name} variance error"] = float((variance - 1).abs().max())
        numbers[f"{name} acceptance"] = float(chain.acceptance.mean())
        paths[name] = along[: 300 // each, 0][:, [-1, 0]].numpy()
    ess_of = "{} ess per 1000 gradients".format
    numbers["hmc over mala"] = numbers[ess_of("hmc")] / numbers[ess_of("mala")]
    return Outcome(numbers, {"chains": draw_chains(paths, numbers)})


def found(world: World, steps: int, generator: torch.Generator) -> dict[str, GradientSampler]:
    """The samplers, their steps set in `steps` steps of chains of their own."""

    def tuned(sampler: GradientSampler, target: float) -> GradientSampler:
        config = DualAveragingConfig(target=target)
        return adapted(sampler, world.energy, world.start(generator), steps, generator, config).sampler

    mala = tuned(Langevin(LangevinConfig(step=0.01)), 0.57)
    hmc = tuned(HMC(HMCConfig(step=0.1, leaps=LEAPS, jitter=0.2)), 0.8)
    return {"ula": Langevin(LangevinConfig(step=mala.step, adjust=False)), "mala": mala, "hmc": hmc}


def draw_chains(paths: dict[str, NDArray], numbers: dict[str, float]) -> NDArray:
    """One chain of each for 300 gradients, along the widest and the narrowest axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), dpi=110, layout="constrained")
    circle = np.linspace(0, 2 * np.pi, 200)
    for k, (name, path) in enumerate(paths.items()):
        axes = figure.add_subplot(1, 3, k + 1)
        for radius in (1, 2):
            axes.plot(radius * np.cos(circle), 0.1 * radius * np.sin(circle), color="0.7", linewidth=1)
        axes.plot(path[:, 0], path[:, 1], ".-", color=f"C{k}", linewidth=0.6, markersize=4, alpha=0.8)
        worth = numbers[f"{name} ess per 1000 gradients"]
        axes.set_title(f"{name.upper()}: {worth:.1f} samples per 1000 gradients", fontsize=10)
        axes.set(xlim=(-3, 3), ylim=(-0.4, 0.4))
        axes.set(xlabel="widest axis", ylabel="narrowest axis" if k == 0 else "")
        axes.grid(alpha=0.3)
    return pixels(figure)


EXPERIMENT = Experiment(
    name="samplers",
    question="How many independent samples is a gradient worth in Langevin dynamics, MALA and HMC?",
    run=run,
    claims=(
        Claim("hmc ess per 1000 gradients", "above", "mala ess per 1000 gradients", 2.0),
        Claim("hmc variance error", "below", "ula variance error"),
        Claim("mala variance error", "below", "ula variance error"),
        Claim("hmc variance error", "below", 0.1),
    ),
)
