"""InfoNCE against its formula, its bound of the mutual information, and contrasts that are missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.losses.group import BilinearEnergy, all_pairs, info_nce, info_nce_in_batch

INF = math.inf


def some(num: int = 6, contrasts: int = 4) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    positive = torch.randn(num, generator=rng, dtype=torch.float64)
    return positive, torch.randn(num, contrasts, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_it_is_the_formula(temperature: float) -> None:
    positive, negatives = some()
    p, n = np.exp(-positive.numpy() / temperature), np.exp(-negatives.numpy() / temperature)
    np.testing.assert_allclose(
        info_nce(positive, negatives, temperature), -np.log(p / (p + n.sum(1))), rtol=1e-8
    )
    pair = (positive.requires_grad_(), negatives.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, temperature), pair)


def test_in_a_batch_the_other_answers_are_the_contrasts() -> None:
    rng = torch.Generator().manual_seed(0)
    energies = torch.randn(7, 7, generator=rng, dtype=torch.float64)
    want = torch.nn.functional.cross_entropy(-energies / 0.3, torch.arange(7), reduction="none")
    np.testing.assert_allclose(info_nce_in_batch(energies, 0.3), want, rtol=1e-12)
    assert info_nce_in_batch(energies[:1, :1]).tolist() == [0]


def test_all_pairs_has_x_along_rows() -> None:
    x, y = torch.arange(3.0)[:, None], torch.arange(2.0)[:, None]
    assert all_pairs(lambda x, y: (10 * x + y).squeeze(1), x, y).tolist() == [[0, 1], [10, 11], [20, 21]]


def test_with_the_true_density_ratio_it_bounds_the_mutual_information() -> None:
    """x, y normal of correlation rho: I = -1/2 log(1 - rho^2), and F = -log p(y | x) / p(y) is the best energy."""
    rho, num, batches = 0.8, 128, 40
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batches, num, 1, generator=rng, dtype=torch.float64)
    y = rho * x + math.sqrt(1 - rho**2) * torch.randn(batches, num, 1, generator=rng, dtype=torch.float64)

    def bound(scale: float) -> float:
        def energy(x: Tensor, y: Tensor) -> Tensor:
            return (((y - rho * x) ** 2 / (1 - rho**2) - y**2) / 2).squeeze(1) * scale

        losses = [info_nce_in_batch(all_pairs(energy, *pair)).mean() for pair in zip(x, y, strict=True)]
        return math.log(num) - float(torch.stack(losses).mean())

    truth = -math.log(1 - rho**2) / 2
    assert bound(1.0) == pytest.approx(truth, abs=0.03)
    assert bound(0.5) < bound(1.0)
    assert bound(2.0) < bound(1.0)
    assert bound(0.0) == pytest.approx(0)


def test_a_bilinear_energy_learns_what_goes_with_what() -> None:
    """y is a turned and stretched x of two dimensions: the best W maps x near y, and the bound rises from 0."""
    rng = torch.Generator().manual_seed(0)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    energy = BilinearEnergy(2, 2)
    optimiser = torch.optim.Adam(energy.parameters(), 0.1)
    bounds = []
    for _ in range(60):
        x = torch.randn(64, 2, generator=rng)
        y = x @ turn.T + 0.3 * torch.randn(64, 2, generator=rng)
        loss = info_nce_in_batch(all_pairs(energy, x, y)).mean()
        bounds.append(math.log(64) - float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert bounds[0] == pytest.approx(0, abs=1e-5)
    assert bounds[-1] > 0.5
    weight = energy.weight.detach()
    np.testing.assert_allclose(weight / weight.norm() * math.sqrt(2), turn, atol=0.2)


def test_masked_contrasts_are_absent_and_none_leave_nothing_to_tell_apart() -> None:
    positive, negatives = some()
    masked = torch.cat([negatives, torch.full((6, 2), INF)], 1).requires_grad_()
    loss = info_nce(positive, masked)
    np.testing.assert_allclose(loss.detach(), info_nce(positive, negatives))
    (slope,) = torch.autograd.grad(loss.sum(), masked)
    assert (slope[:, 4:] == 0).all()
    alone = positive.detach().requires_grad_()
    for nothing in (negatives[:, :0], torch.full((6, 2), INF)):
        loss = info_nce(alone, nothing)
        np.testing.assert_allclose(loss.detach(), 0, atol=1e-12)
        (slope,) = torch.autograd.grad(loss.sum(), alone)
        np.testing.assert_allclose(slope, 0, atol=1e-12)


def test_minus_infinity_is_no_energy() -> None:
    positive, negatives = torch.tensor([-INF, 1.0]), torch.tensor([[1.0, INF], [1.0, -INF]])
    assert info_nce(positive, negatives).isnan().all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, INF])
def test_temperatures_that_are_none_are_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature="):
        info_nce(*some(), temperature)
