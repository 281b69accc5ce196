"""ISTA and FISTA: the minimum they reach, the rates they are proven to have, and other people's solvers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import Lasso

from pretrain.sparse.energy import Step, energy, lasso, violation
from pretrain.sparse.fista import fista
from pretrain.sparse.ista import ista
from tests.pretrain.sparse.problems import optimum, random_problem


@pytest.mark.parametrize(
    ("solve", "steps"),
    [(ista, 4000), (fista, 500), (lambda p, k: fista(p, k, restart=False), 3000)],
)
def test_the_minimum_is_reached(solve: Any, steps: int) -> None:
    y, w, alpha = problem = random_problem()
    z = solve(lasso(y, w, alpha), steps)
    assert violation(y, z, w, alpha).max() < 1e-5
    np.testing.assert_allclose(energy(y, z, w, alpha), energy(y, optimum(problem), w, alpha), rtol=1e-9)


def test_the_minimum_is_scikit_learn_s_at_equal_scale() -> None:
    """Its Lasso divides the squared error by the number of inputs, sparse_encode scales back."""
    y, w, alpha = random_problem(num=20, inputs=10, atoms=25)
    z = fista(lasso(y, w, alpha), 3000).numpy()
    theirs = sparse_encode(y.numpy(), w.T.numpy(), algorithm="lasso_cd", alpha=alpha)
    np.testing.assert_allclose(z, theirs, atol=1e-5)
    one = Lasso(alpha=alpha / 10, fit_intercept=False, tol=1e-10).fit(w.numpy(), y[0].numpy())
    np.testing.assert_allclose(z[0], one.coef_, atol=1e-5)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 20), st.floats(0.01, 2.0))
def test_the_proven_bounds_hold(seed: int, atoms: int, alpha: float) -> None:
    y, w, alpha = random_problem(seed, atoms=atoms, alpha=alpha)
    problem = lasso(y, w, alpha)
    best = fista(problem, 1500)
    away = best.square().sum(1) * problem.lipschitz
    for k in (1, 2, 3, 5, 10, 30, 100):
        slow = problem.energy(ista(problem, k)) - problem.energy(best)
        fast = problem.energy(fista(problem, k, restart=False)) - problem.energy(best)
        assert (slow <= away / (2 * k) + 1e-9).all()
        assert (fast <= 2 * away / (k + 1) ** 2 + 1e-9).all()


def test_fista_is_its_equations_one_sample_at_a_time() -> None:
    y, w, alpha = random_problem()
    w_np, constant = w.numpy(), lasso(y, w, alpha).lipschitz
    for one, got in zip(y.numpy(), fista(lasso(y, w, alpha), 9, restart=False), strict=True):
        before = at = np.zeros(14)
        t = 1.0
        for _ in range(9):
            x = at - w_np.T @ (w_np @ at - one) / constant
            z = np.sign(x) * np.maximum(np.abs(x) - alpha / constant, 0)
            longer = (1 + np.sqrt(1 + 4 * t**2)) / 2
            at, before, t = z + (t - 1) / longer * (z - before), z, longer
        np.testing.assert_allclose(got, before, atol=1e-12)


def test_ista_s_energy_never_rises() -> None:
    problem = lasso(*random_problem())
    energies = torch.stack([problem.energy(ista(problem, k)) for k in range(40)])
    assert (energies.diff(dim=0) <= 1e-12).all()


def test_momentum_wins_and_near_the_minimum_restarting_wins_more() -> None:
    y, w, alpha = random_problem(num=30, inputs=20, atoms=40, alpha=0.2)
    problem = lasso(y, w, alpha)
    best = problem.energy(fista(problem, 3000))
    gaps = [
        float((problem.energy(z) - best).mean())
        for z in (ista(problem, 600), fista(problem, 600, restart=False), fista(problem, 600))
    ]
    assert gaps[1] < 0.1 * gaps[0]
    assert gaps[2] < 0.1 * gaps[1]


def test_samples_do_not_know_of_each_other() -> None:
    """Momentum is restarted for each sample alone."""
    y, w, alpha = random_problem()
    together = fista(lasso(y, w, alpha), 37)
    alone = torch.cat([fista(lasso(one[None], w, alpha), 37) for one in y])
    np.testing.assert_allclose(together, alone, atol=1e-12)


def test_permuted_and_flipped_atoms_permute_and_flip_the_code() -> None:
    y, w, alpha = random_problem()
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    sign = torch.tensor([1.0, -1.0] * 7, dtype=y.dtype)
    for solve in (ista, fista):
        want = solve(lasso(y, w, alpha), 50)[:, order] * sign
        np.testing.assert_allclose(solve(lasso(y, w[:, order] * sign, alpha), 50), want, atol=1e-10)


def test_a_large_penalty_leaves_nothing_and_no_nan() -> None:
    y, w, _ = random_problem()
    y[0] = 0
    silent = float((y @ w).abs().max())
    assert (fista(lasso(y, w, 1.001 * silent), 50) == 0).all()
    assert (fista(lasso(y, w, 0.99 * silent), 50) != 0).sum() == 1


def test_matrices_can_be_shared_between_batches() -> None:
    y, w, alpha = random_problem()
    step = Step.of(w, alpha)
    np.testing.assert_allclose(fista(lasso(y, w, alpha, step), 20), fista(lasso(y, w, alpha), 20), atol=1e-12)


def test_the_code_is_differentiable_through_the_steps() -> None:
    y, w, alpha = random_problem(num=2, inputs=3, atoms=4)
    y.requires_grad_()
    assert torch.autograd.gradcheck(lambda y: fista(lasso(y, w, alpha), 5), y)
    zero = torch.zeros(1, 3, dtype=y.dtype, requires_grad=True)
    fista(lasso(zero, w, alpha), 5).sum().backward()
    assert zero.grad is not None
    assert (zero.grad == 0).all()
