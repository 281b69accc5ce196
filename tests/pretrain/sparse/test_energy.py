"""Closed forms of sparse coding: shrinkage, orthonormal dictionaries, the conditions of the minimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pretrain.sparse.energy import Step, energy, lasso, lipschitz, shrink, unit_norm, violation
from pretrain.sparse.fista import fista
from tests.pretrain.sparse.problems import optimum, random_problem


@given(st.floats(-5, 5), st.floats(0, 3))
def test_shrinkage_is_the_minimum_in_one_dimension(z: float, threshold: float) -> None:
    grid = torch.linspace(-5, 5, 20_001, dtype=torch.float64)
    best = float(((grid - z) ** 2 / 2 + threshold * grid.abs()).min())
    for form in (threshold, torch.tensor(threshold, dtype=torch.float64)):
        got = float(shrink(torch.tensor(z, dtype=torch.float64), form))
        assert (got - z) ** 2 / 2 + threshold * abs(got) <= best + 1e-12


def test_shrinkage_has_a_finite_gradient_everywhere() -> None:
    z = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
    threshold = torch.ones(7, requires_grad=True)
    shrink(z, threshold).sum().backward()
    assert z.grad is not None
    assert threshold.grad is not None
    assert z.grad[[0, 2, 3, 4, 6]].tolist() == [1, 0, 0, 0, 1]
    assert threshold.grad[[0, 2, 3, 4, 6]].tolist() == [1, 0, 0, 0, -1]
    assert torch.isfinite(z.grad).all()
    assert torch.isfinite(threshold.grad).all()
    assert shrink(torch.tensor([0.5]), torch.tensor([-1.0])).item() == 0.5


def test_an_orthonormal_dictionary_needs_one_shrinkage() -> None:
    y = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w = torch.linalg.qr(random_problem(atoms=8).dictionary).Q
    want = shrink(y @ w, 0.4)
    np.testing.assert_allclose(
        optimum(random_problem()._replace(y=y, dictionary=w, alpha=0.4)), want, atol=1e-12
    )
    assert violation(y, want, w, 0.4).max() < 1e-12
    np.testing.assert_allclose(fista(lasso(y, w, 0.4), 60), want, atol=1e-6)


def test_the_conditions_hold_at_the_minimum_and_not_beside_it() -> None:
    y, w, alpha = problem = random_problem()
    z = optimum(problem)
    assert violation(y, z, w, alpha).max() < 1e-10
    rng = torch.Generator().manual_seed(1)
    for _ in range(20):
        other = z + 0.05 * torch.randn(z.shape, generator=rng, dtype=z.dtype)
        assert (energy(y, other, w, alpha) > energy(y, z, w, alpha)).all()
        assert violation(y, other, w, alpha).min() > 1e-4


def test_the_constant_is_the_square_of_the_largest_singular_value() -> None:
    for atoms in (3, 8, 14):
        w = random_problem(atoms=atoms).dictionary
        assert lipschitz(w) == pytest.approx(float(torch.linalg.matrix_norm(w, 2)) ** 2, rel=1e-4)
        assert lipschitz(w) >= float(torch.linalg.matrix_norm(w, 2)) ** 2
    assert lipschitz(torch.zeros(3, 4)) == 1


def test_atoms_are_scaled_and_an_empty_one_is_left() -> None:
    w = torch.tensor([[3.0, 0.0], [4.0, 0.0]])
    np.testing.assert_allclose(unit_norm(w), [[0.6, 0], [0.8, 0]], rtol=1e-6)
    filters = torch.ones(2, 1, 2, 2)
    np.testing.assert_allclose(unit_norm(filters), torch.full((2, 1, 2, 2), 0.5))


def test_descending_is_a_gradient_step_and_stays_one_near_a_target() -> None:
    y, w, alpha = random_problem()
    target = torch.ones(6, 14, dtype=y.dtype)
    for problem in (lasso(y, w, alpha), lasso(y, w, alpha).near(target, 0.7)):
        z = torch.full((6, 14), 0.2, dtype=y.dtype, requires_grad=True)
        smooth = problem.energy(z).sum() - alpha * z.abs().sum()
        (gradient,) = torch.autograd.grad(smooth, z)
        np.testing.assert_allclose(
            problem.descend(z).detach(), (z - gradient / problem.lipschitz).detach(), atol=1e-12
        )


def test_a_penalty_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match="alpha=0"):
        Step.of(torch.eye(2), 0)
