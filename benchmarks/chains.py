"""Chains as a batch against chains one after the other: what one call of a sampler is worth.

The same sampler, energy, steps and machine; the loop runs a few of the chains and is scaled up to all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pretrain.samplers import HMC, HMCConfig, Langevin, LangevinConfig, Sampler

SAMPLERS: dict[str, Sampler] = {
    "hmc": HMC(HMCConfig(step=0.1, leaps=10)),
    "langevin": Langevin(LangevinConfig(step=0.01)),
}


class Net(nn.Module):
    """F of y (N, 2): a bowl, and a net of two hidden layers."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.Softplus(), nn.Linear(width, width), nn.Softplus(), nn.Linear(width, 1)
        )

    def forward(self, y: Tensor) -> Tensor:
        return self.layers(y)[:, 0] + (y**2).sum(1) / 2


def chains_ratio(chains: int = 1024, steps: int = 20, looped: int = 8, repeats: int = 3) -> dict[str, float]:
    """Seconds of `chains` chains in a loop over seconds in one batch, and both, for HMC and Langevin (MALA).

    On one thread; the best of `repeats` repetitions of each, in turns, so that other work slows both alike.

    Args:
        looped: chains of the loop that are run; its time is multiplied by chains / looped.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _ratios(chains, steps, looped, repeats)
    finally:
        torch.set_num_threads(threads)


def _ratios(chains: int, steps: int, looped: int, repeats: int) -> dict[str, float]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        energy = Net()
    start = torch.randn(chains, 2, generator=torch.Generator().manual_seed(1))
    numbers: dict[str, float] = {}
    for name, sampler in SAMPLERS.items():
        generator = torch.Generator().manual_seed(2)

        def batch(sampler: Sampler = sampler, generator: torch.Generator = generator) -> None:
            sampler.sample(energy, start, steps, generator)

        def loop(sampler: Sampler = sampler, generator: torch.Generator = generator) -> None:
            for one in start[:looped].split(1):
                sampler.sample(energy, one, steps, generator)

        batch(), loop()
        times = [(seconds(batch), seconds(loop)) for _ in range(repeats)]
        together, alone = (min(pair[k] for pair in times) for k in range(2))
        numbers[f"{name}_batch_s"] = together
        numbers[f"{name}_loop_s"] = alone * chains / looped
        numbers[f"{name}_chains_ratio"] = numbers[f"{name}_loop_s"] / together
    return numbers


def seconds(work: Callable[[], None]) -> float:
    """How long it takes once."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    for name, number in chains_ratio().items():
        print(f"{name} {number:.4g}")
