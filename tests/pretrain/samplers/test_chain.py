"""What every sampler promises: chains that do not know of each other, seeds, and proposals that are never taken."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pretrain.samplers import BlockGibbs, Gibbs, Sampler
from tests.pretrain.samplers.toys import banana, generator, gradient_samplers, walled

SAMPLERS = gradient_samplers()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def forward(self, y: Tensor) -> Tensor:
        return self.layers(y)[:, 0] + (y**2).sum(1) / 2


class Machine:
    """A tiny machine with one hidden unit per seen one."""

    def __call__(self, y: Tensor) -> Tensor:
        return -nn.functional.softplus(2 * y - 1).sum(1)

    def hidden_logits(self, y: Tensor) -> Tensor:
        return 2 * y - 1

    def visible_logits(self, h: Tensor) -> Tensor:
        return 2 * h


CASES = [(name, sampler, banana) for name, sampler in SAMPLERS.items()]
CASES += [("Gibbs", Gibbs(), Machine()), ("BlockGibbs", BlockGibbs(), Machine())]


def start(name: str, num: int = 5) -> Tensor:
    y = torch.randn(num, 2, generator=generator(1), dtype=torch.float64)
    return (y > 0).double() if "Gibbs" in name else y


@pytest.mark.parametrize(("name", "sampler", "energy"), CASES, ids=[case[0] for case in CASES])
def test_a_chain_alone_moves_as_it_does_in_a_batch(name: str, sampler: Sampler, energy: Machine) -> None:
    y = start(name)
    noise = sampler.noise(energy, y, generator())
    together = sampler.move(energy, sampler.begin(energy, y), noise)
    assert not torch.equal(together.point.y, y)
    for b in range(len(y)):
        one = slice(b, b + 1)
        alone = sampler.move(energy, sampler.begin(energy, y[one]), tuple(part[one] for part in noise))
        torch.testing.assert_close(alone.point.y, together.point.y[one])
        torch.testing.assert_close(alone.acceptance, together.acceptance[one])


@pytest.mark.parametrize(("name", "sampler", "energy"), CASES, ids=[case[0] for case in CASES])
def test_the_same_seed_gives_the_same_chains(name: str, sampler: Sampler, energy: Machine) -> None:
    y = start(name)
    before = y.clone()
    state = torch.get_rng_state()
    runs = [sampler.sample(energy, y, 12, generator(seed), keep=5) for seed in (3, 3, 4)]
    assert torch.equal(runs[0].samples, runs[1].samples)
    assert not torch.equal(runs[0].samples, runs[2].samples)
    assert torch.equal(y, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_are_every_keep_th_state_of_one_run() -> None:
    sampler, y = SAMPLERS["HMC"], start("HMC")
    every = sampler.sample(banana, y, 7, generator(), keep=1).samples
    assert len(every) == 7
    third = sampler.sample(banana, y, 7, generator(), keep=3)
    assert torch.equal(third.samples, every[[2, 5]])
    assert torch.equal(third.last, every[6])
    assert len(sampler.sample(banana, y, 7, generator()).samples) == 0


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_proposal_that_is_not_finite_is_never_taken(name: str) -> None:
    y = torch.rand(200, 1, generator=generator(), dtype=torch.float64)
    chain = SAMPLERS[name].sample(walled, y, 200, generator(), keep=1)
    assert chain.samples.min() >= 0
    assert chain.broken.mean() > 0.05
    assert chain.acceptance.isfinite().all()
    assert (chain.acceptance + chain.broken <= 1 + 1e-9).all()


def test_a_wall_leaves_the_truncated_normal() -> None:
    """Rejection at the wall keeps detailed balance: E y = sqrt(2 / pi) of |N(0, 1)|."""
    y = torch.rand(2000, 1, generator=generator(), dtype=torch.float64)
    last = SAMPLERS["MALA"].sample(walled, y, 150, generator()).last
    assert float(last.mean()) == pytest.approx(math.sqrt(2 / math.pi), abs=4 * 0.6 / math.sqrt(2000))


@pytest.mark.parametrize("name", [*SAMPLERS, "Gibbs"])
def test_a_start_without_an_energy_is_refused(name: str) -> None:
    sampler = Gibbs() if name == "Gibbs" else SAMPLERS[name]
    with pytest.raises(FloatingPointError, match="start is not finite"):
        sampler.sample(walled, torch.tensor([[0.5], [-3.0]]), 1, generator())


def test_parameters_get_no_gradient_from_sampling() -> None:
    net = Net()
    for name in ("ULA", "MALA", "HMC"):
        assert not SAMPLERS[name].sample(net, start(name), 2, generator()).last.requires_grad
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_a_run_has_at_least_one_step() -> None:
    with pytest.raises(ValueError, match="steps=0"):
        SAMPLERS["HMC"].sample(banana, start("HMC"), 0, generator())


@pytest.mark.parametrize("shape", [(6, 1), (6, 3), (6, 2, 3, 4)])
@pytest.mark.parametrize("name", SAMPLERS)
def test_chains_of_any_shape_are_drawn_from_a_standard_normal(name: str, shape: tuple[int, ...]) -> None:
    """Coordinates are independent of how they are laid out: the flat run is the same run."""
    y = torch.randn(shape, generator=generator(1), dtype=torch.float64)

    def energy(y: Tensor) -> Tensor:
        return (y.flatten(1) ** 2).sum(1) / 2

    shaped = SAMPLERS[name].sample(energy, y, 5, generator()).last
    flat = SAMPLERS[name].sample(energy, y.flatten(1), 5, generator()).last
    np.testing.assert_allclose(shaped.flatten(1), flat, rtol=1e-12)
