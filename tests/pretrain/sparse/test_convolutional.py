"""Convolutional sparse coding is sparse coding with a dictionary of shifted atoms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.learner import step
from pretrain.sparse.convolutional import (
    ConvolutionalPSD,
    ShrinkEncoder,
    convolutional_energy,
    convolutional_lasso,
    convolutional_lipschitz,
    decode,
)
from pretrain.sparse.energy import energy, lasso, lipschitz, unit_norm
from pretrain.sparse.fista import fista
from pretrain.sparse.psd import PSDConfig

SIZE, SHAPE = (6, 5), (3, 2)
PLACES = (SIZE[0] - SHAPE[0] + 1, SIZE[1] - SHAPE[1] + 1)


def images_and_filters(channels: int = 2, num: int = 3) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    y = torch.randn(4, channels, *SIZE, generator=rng, dtype=torch.float64)
    return y, unit_norm(torch.randn(num, channels, *SHAPE, generator=rng, dtype=torch.float64))


def shifted(filters: Tensor) -> Tensor:
    """The dense dictionary (C H W, M places): every filter pasted at every place of an empty image."""
    atoms = []
    for one in filters:
        for top in range(PLACES[0]):
            for left in range(PLACES[1]):
                image = torch.zeros(filters.shape[1], *SIZE, dtype=filters.dtype)
                image[:, top : top + SHAPE[0], left : left + SHAPE[1]] = one
                atoms.append(image.flatten())
    return torch.stack(atoms, 1)


@pytest.mark.parametrize("channels", [1, 2])
def test_it_equals_the_dense_dictionary_of_shifted_atoms(channels: int) -> None:
    y, filters = images_and_filters(channels)
    dense, flat = shifted(filters), y.flatten(1)
    z = torch.randn(4, 3, *PLACES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(decode(z, filters).flatten(1), z.flatten(1) @ dense.T, atol=1e-12)
    got = convolutional_energy(y, z, filters, 0.3)
    np.testing.assert_allclose(got, energy(flat, z.flatten(1), dense, 0.3), rtol=1e-12)
    gradient = z - convolutional_lasso(y, filters, 0.3).descend(z)
    gradient = gradient * convolutional_lasso(y, filters, 0.3).lipschitz
    np.testing.assert_allclose(gradient.flatten(1), (z.flatten(1) @ dense.T - flat) @ dense, atol=1e-10)
    best = fista(convolutional_lasso(y, filters, 0.3), 1500)
    np.testing.assert_allclose(best.flatten(1), fista(lasso(flat, dense, 0.3), 1500), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_step_is_safe_and_not_much_too_short(channels: int) -> None:
    _, filters = images_and_filters(channels)
    exact, bound = lipschitz(shifted(filters)), convolutional_lipschitz(filters, *SIZE)
    assert exact <= bound <= 2 * exact
    assert convolutional_lipschitz(torch.zeros(2, 1, 3, 3), 8, 8) == 1


def test_the_code_moves_with_the_image() -> None:
    _, filters = images_and_filters(1)
    y = torch.zeros(1, 1, 14, 14, dtype=torch.float64)
    y[0, 0, 5:9, 5:8] = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = fista(convolutional_lasso(y, filters, 0.1), 300)
    moved = fista(convolutional_lasso(y.roll((1, 2), (2, 3)), filters, 0.1), 300)
    np.testing.assert_allclose(moved, z.roll((1, 2), (2, 3)), atol=1e-9)


def test_images_must_hold_a_filter() -> None:
    with pytest.raises(ValueError, match="2 x 9 is smaller than filters of 3 x 3"):
        convolutional_lasso(torch.zeros(1, 1, 2, 9), torch.ones(1, 1, 3, 3), 0.1)
    with pytest.raises(ValueError, match="alpha=0"):
        convolutional_lasso(torch.zeros(1, 1, 5, 9), torch.ones(1, 1, 3, 3), 0)


def test_convolutional_psd_learns_filters_and_their_encoder() -> None:
    """Images made of two filters at few places: both terms fall far below their start, on images not trained on."""
    rng = torch.Generator().manual_seed(0)
    truth = unit_norm(torch.randn(2, 1, 4, 4, generator=rng))
    z = torch.randn(70, 2, 9, 9, generator=rng) * 3 * (torch.rand(70, 2, 9, 9, generator=rng) < 0.03)
    y, test = decode(z, truth)[:50], decode(z, truth)[50:]
    guess = unit_norm(truth + 0.2 * torch.randn(2, 1, 4, 4, generator=rng))
    learner = ConvolutionalPSD(guess, ShrinkEncoder(guess, 0.1), PSDConfig(alpha=0.1, steps=20))
    before = learner.terms(test, rng)
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.02)
    for _ in range(40):
        step(learner, optimiser, y, rng)
    after = learner.terms(test, rng)
    for name in ("sparse coding", "prediction"):
        assert after[name].mean() < 0.5 * before[name].mean()
    match = torch.einsum("kchw,mchw->km", truth, learner.dictionary.detach()).abs()
    assert match.diagonal().min() > 0.9 > 0.85 > float((truth * guess).sum((1, 2, 3)).min())
    np.testing.assert_allclose(learner.dictionary.detach().flatten(1).norm(dim=1), 1, rtol=1e-5)
