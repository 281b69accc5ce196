"""Dictionary learning and PSD find the atoms that made the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.learner import step
from pretrain.sparse.energy import energy, lasso, random_dictionary, unit_norm
from pretrain.sparse.fista import fista
from pretrain.sparse.lcod import coordinate_descent
from pretrain.sparse.learning import DictionaryLearner, Infer
from pretrain.sparse.psd import PSD, PSDConfig, TanhEncoder
from tests.pretrain.sparse.problems import random_problem


def sparse_data(num: int = 500) -> tuple[Tensor, Tensor]:
    """Samples (N, 10) made of two of twelve atoms each, and the atoms."""
    rng = torch.Generator().manual_seed(0)
    truth = random_dictionary(16, 12, rng)
    chosen = torch.rand(num, 12, generator=rng).argsort(1) < 2
    return (chosen * torch.randn(num, 12, generator=rng).sign() * 2) @ truth.T, truth


INFERENCES: dict[str, Infer] = {
    "FISTA": lambda y, w: fista(lasso(y, w, 0.2), 40),
    "coordinate descent": lambda y, w: coordinate_descent(y, w, 0.2, 15),
}


@pytest.mark.parametrize("name", INFERENCES)
def test_the_atoms_that_made_the_data_are_found_by_any_inference(name: str) -> None:
    y, truth = sparse_data()
    rng = torch.Generator().manual_seed(1)
    start = truth + 0.15 * torch.randn(truth.shape, generator=rng)
    learner = DictionaryLearner(start, INFERENCES[name], lambda y, z, w: energy(y, z, w, 0.2))
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.02)
    for _ in range(120):
        step(learner, optimiser, y, rng)
    match = (unit_norm(truth) * learner.dictionary.detach()).sum(0)
    assert (unit_norm(truth) * unit_norm(start)).sum(0).min() < 0.9
    assert match.min() > 0.98
    np.testing.assert_allclose(learner.dictionary.detach().norm(dim=0), 1, rtol=1e-5)


def test_the_gradient_is_that_of_the_free_energy() -> None:
    """min over z of E(y, z; W) by finite differences of W, inference run anew at each."""
    y, w, alpha = random_problem(num=3)
    learner = DictionaryLearner(
        w, lambda y, w: fista(lasso(y, w, alpha), 800), lambda y, z, w: energy(y, z, w, alpha)
    )
    learner.terms(y, torch.Generator())["energy"].sum().backward()
    assert learner.dictionary.grad is not None
    for d, m in ((0, 0), (3, 5), (7, 13)):
        change = torch.zeros_like(w)
        change[d, m] = 1e-5
        up, down = (
            energy(y, fista(lasso(y, v, alpha), 800), v, alpha).sum() for v in (w + change, w - change)
        )
        assert float(learner.dictionary.grad[d, m]) == pytest.approx(float(up - down) / 2e-5, abs=1e-5)


def test_psd_s_code_is_the_minimum_of_its_energy() -> None:
    y, w, alpha = random_problem()
    learner = PSD(w, TanhEncoder(w), PSDConfig(alpha=alpha, beta=0.7, steps=1000))
    z = learner.infer(y)
    prediction = learner.encoder(y).detach()
    match = ((y - z @ learner.dictionary.detach().T) @ learner.dictionary.detach()) - 0.7 * (z - prediction)
    np.testing.assert_allclose(match[z != 0], alpha * z.sign()[z != 0], atol=1e-6)
    assert (match[z == 0].abs() <= alpha + 1e-6).all()
    want = energy(y, z, learner.dictionary, alpha) + 0.35 * (z - prediction).square().sum(1)
    np.testing.assert_allclose(learner.energy(y, z).detach(), want.detach(), rtol=1e-12)


def test_without_the_encoder_s_term_psd_is_sparse_coding() -> None:
    y, w, alpha = random_problem()
    learner = PSD(w, TanhEncoder(w), PSDConfig(alpha=alpha, beta=0.0, steps=1000))
    np.testing.assert_allclose(
        learner.infer(y), fista(lasso(y, learner.dictionary.detach(), alpha), 1000), atol=1e-6
    )


def test_psd_s_encoder_comes_to_predict_codes_of_new_samples() -> None:
    y, truth = sparse_data(700)
    rng = torch.Generator().manual_seed(1)
    learner = PSD(truth, TanhEncoder(truth), PSDConfig(alpha=0.2, beta=1.0, steps=20))
    before = learner.terms(y[500:], rng)
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.01)
    for _ in range(150):
        step(learner, optimiser, y[:500], rng)
    after = learner.terms(y[500:], rng)
    assert after["prediction"].mean() < 0.7 * before["prediction"].mean()
    assert sum(after.values(), torch.zeros(())).mean() < sum(before.values(), torch.zeros(())).mean()


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="alpha=0"):
        PSDConfig(alpha=0)
    with pytest.raises(ValueError, match="beta=-1"):
        PSDConfig(beta=-1)
