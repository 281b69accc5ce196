"""Gibbs sampling against distributions that can be enumerated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.binary import all_states, number
from pretrain.samplers import BlockGibbs, Gibbs, GibbsConfig
from tests.pretrain.samplers.toys import generator

UNITS = 4
STATES = all_states(UNITS, torch.float64)


def ring(y: Tensor) -> Tensor:
    """A ring of four spins with unequal couplings and fields; opposite spins do not interact."""
    s = 2 * y - 1
    couplings = torch.tensor([0.8, -0.5, 0.3, 0.6], dtype=y.dtype)
    fields = torch.tensor([0.2, -0.4, 0.0, 0.5], dtype=y.dtype)
    return -(couplings * s * s.roll(-1, 1)).sum(1) - s @ fields


class Machine:
    """Three seen and two hidden units."""

    weights = torch.tensor([[1.5, -1.0], [0.5, 2.0], [-2.0, 0.3]], dtype=torch.float64)
    seen, hidden = torch.tensor([0.3, -0.6, 0.1]).double(), torch.tensor([-0.2, 0.4]).double()

    def hidden_logits(self, y: Tensor) -> Tensor:
        return y @ self.weights + self.hidden

    def visible_logits(self, h: Tensor) -> Tensor:
        return h @ self.weights.T + self.seen

    def __call__(self, y: Tensor) -> Tensor:
        return -y @ self.seen - torch.nn.functional.softplus(self.hidden_logits(y)).sum(1)


def assert_distributed(y: Tensor, probabilities: Tensor) -> None:
    """Pearson's chi-square of independent states stays within five standard deviations of its mean."""
    expected = probabilities * len(y)
    counts = torch.bincount(number(y), minlength=len(probabilities))
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    freedom = len(probabilities) - 1
    assert abs(chi2 - freedom) < 5 * math.sqrt(2 * freedom)


BLOCKS = [None, ((0, 2), (1, 3)), ((3,), (2,), (1,), (0,))]


@pytest.mark.parametrize("blocks", BLOCKS, ids=["scan", "checkerboard", "backwards"])
def test_the_exact_distribution_is_left_alone(blocks: tuple[tuple[int, ...], ...] | None) -> None:
    """Chains that begin in p stay in p."""
    p = torch.softmax(-ring(STATES), 0)
    start = STATES[torch.multinomial(p, 20_000, replacement=True, generator=generator(1))]
    last = Gibbs(GibbsConfig(blocks=blocks)).sample(ring, start, 1, generator()).last
    assert_distributed(last, p)
    assert (last != start).any(1).double().mean() > 0.2


@pytest.mark.parametrize("blocks", BLOCKS, ids=["scan", "checkerboard", "backwards"])
def test_chains_find_the_exact_distribution_from_one_state(
    blocks: tuple[tuple[int, ...], ...] | None,
) -> None:
    start = torch.zeros(20_000, UNITS, dtype=torch.float64)
    last = Gibbs(GibbsConfig(blocks=blocks)).sample(ring, start, 25, generator()).last
    assert_distributed(last, torch.softmax(-ring(STATES), 0))


def test_one_scan_moves_as_the_product_of_its_conditionals() -> None:
    """The exact kernel: unit after unit, each drawn from its conditional."""
    kernel = torch.eye(2**UNITS, dtype=torch.float64)
    for unit in range(UNITS):
        flipped = STATES.clone()
        flipped[:, unit] = 1 - flipped[:, unit]
        to = number(flipped)
        flip = 1 / (1 + torch.exp(ring(flipped) - ring(STATES)))
        one = torch.diag(1 - flip)
        one[torch.arange(2**UNITS), to] += flip
        kernel = kernel @ one
    for begun in (0, 5, 11):
        start = STATES[begun].expand(20_000, UNITS)
        assert_distributed(Gibbs().sample(ring, start, 1, generator(begun)).last, kernel[begun])


def test_the_energy_kept_is_that_of_the_state() -> None:
    for blocks in BLOCKS:
        sampler = Gibbs(GibbsConfig(blocks=blocks))
        point = sampler.begin(ring, STATES)
        for seed in range(3):
            point = sampler.move(ring, point, sampler.noise(ring, point.y, generator(seed))).point
        np.testing.assert_allclose(point.energy, ring(point.y), atol=1e-12)


def test_a_flip_to_a_broken_energy_is_not_made() -> None:
    def energy(y: Tensor) -> Tensor:
        broken = torch.where(y.sum(1) > 3, torch.nan, torch.inf)
        return torch.where(y.sum(1) > 2, broken, 0.0)

    chain = Gibbs().sample(energy, torch.zeros(500, UNITS), 20, generator(), keep=1)
    assert chain.samples.sum(-1).max() == 2
    assert chain.broken.mean() > 0.1


def test_a_machine_s_blocks_leave_its_free_energy_s_distribution() -> None:
    states = all_states(3, torch.float64)
    start = torch.zeros(20_000, 3, dtype=torch.float64)
    p = torch.softmax(-Machine()(states), 0)
    assert_distributed(BlockGibbs().sample(Machine(), start, 25, generator()).last, p)


def test_blocks_need_hidden_units() -> None:
    with pytest.raises(TypeError, match="use Gibbs"):
        BlockGibbs().sample(ring, STATES, 1, generator())


@pytest.mark.parametrize("blocks", [((0, 1), (1,)), ((0,), (2,))])
def test_blocks_must_hold_each_unit_once(blocks: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="each unit once"):
        GibbsConfig(blocks=blocks)


@pytest.mark.parametrize("blocks", [(), ((0,), (1,))])
def test_blocks_must_hold_all_units(blocks: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="must hold each of 4 units once"):
        Gibbs(GibbsConfig(blocks=blocks)).sample(ring, STATES, 1, generator())


def test_a_machine_with_a_broken_hidden_unit_moves_nobody() -> None:
    machine = Machine()
    machine.hidden = torch.tensor([math.nan, 0.4]).double()
    start = all_states(3, torch.float64)
    chain = BlockGibbs().sample(machine, start, 3, generator())
    assert torch.equal(chain.last, start)
    assert chain.broken.tolist() == [1.0] * 8
    assert chain.acceptance.tolist() == [0.0] * 8
