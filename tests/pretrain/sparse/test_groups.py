"""Group and topographic penalties: their closed forms, their ends, and steps that never raise the energy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pretrain.sparse import groups, topographic
from pretrain.sparse.energy import shrink
from pretrain.sparse.fista import fista
from pretrain.sparse.topographic import TopographicConfig
from tests.pretrain.sparse.problems import random_problem


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=2), st.floats(0, 3))
def test_the_pool_s_shrinkage_is_the_minimum_on_a_grid(z: list[float], threshold: float) -> None:
    at = torch.tensor([z], dtype=torch.float64)
    x = torch.linspace(-3, 3, 121, dtype=torch.float64)
    grid = torch.cartesian_prod(x, x)
    best = float(((grid - at).square().sum(1) / 2 + threshold * grid.norm(dim=1)).min())
    got = groups.shrink_groups(at, threshold, 2)
    assert float((got - at).square().sum() / 2 + threshold * got.norm()) <= best + 1e-12


def test_pools_of_one_are_plain_sparse_coding() -> None:
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(groups.shrink_groups(z, 0.5, 1), shrink(z, 0.5), atol=1e-6)


def test_gradients_are_finite_where_pools_are_off() -> None:
    z = torch.zeros(2, 6, requires_grad=True)
    (
        groups.pooled(z, 3).sum()
        + groups.shrink_groups(z, 0.5, 3).sum()
        + groups.shrink_groups(z, 0.0, 3).sum()
    ).backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    z = torch.zeros(2, 9, requires_grad=True)
    config = TopographicConfig(side=3)
    topographic.pooled(z, topographic.pools(config), config.epsilon).sum().backward()
    assert z.grad is not None
    assert (z.grad == 0).all()


def test_the_group_lasso_s_minimum_meets_its_conditions() -> None:
    """Pools that are on: W_P^T r = alpha z_P / ||z_P||; pools that are off: ||W_P^T r|| <= alpha."""
    y, w, _ = random_problem(atoms=15)
    alpha = 0.8
    z = fista(groups.group_lasso(y, w, alpha, 3), 2000)
    match, codes = ((y - z @ w.T) @ w).unflatten(1, (-1, 3)), z.unflatten(1, (-1, 3))
    norm = codes.norm(dim=2, keepdim=True)
    on = norm[..., 0] > 0
    assert 0 < on.float().mean() < 1
    np.testing.assert_allclose(match[on], (alpha * codes / norm)[on], atol=1e-6)
    assert (match[~on].norm(dim=1) <= alpha + 1e-6).all()


def test_a_size_must_divide_the_atoms() -> None:
    with pytest.raises(ValueError, match="size=4"):
        groups.pooled(torch.zeros(1, 6), 4)


# --- the map ---------------------------------------------------------------------------------------------------------


def test_the_map_is_a_torus() -> None:
    distance = topographic.torus_distance(5)
    for i in range(25):
        for j in range(25):
            rows, columns = abs(i // 5 - j // 5), abs(i % 5 - j % 5)
            want = np.hypot(min(rows, 5 - rows), min(columns, 5 - columns))
            assert float(distance[i, j]) == pytest.approx(want)
    pool = topographic.pools(TopographicConfig(side=5, width=0.8))
    np.testing.assert_allclose(pool.sum(1), 1, rtol=1e-6)
    rolled = pool.view(5, 5, 5, 5).roll((1, 2, 1, 2), (0, 1, 2, 3)).reshape(25, 25)
    np.testing.assert_allclose(rolled, pool, atol=1e-7)


def test_no_step_raises_the_energy_and_the_last_ones_rest_on_a_stationary_point() -> None:
    y, w, _ = random_problem(atoms=16)
    pool = topographic.pools(TopographicConfig(side=4)).double()
    energies = []
    for steps in range(25):
        config = TopographicConfig(side=4, alpha=0.5, steps=steps, epsilon=0.1)
        z = topographic.topographic_codes(y, w, pool, config)
        energies.append(topographic.topographic_energy(y, z, w, pool, config))
    assert (torch.stack(energies).diff(dim=0) <= 1e-12).all()
    config = TopographicConfig(side=4, alpha=0.5, steps=3000, epsilon=0.1)
    z = topographic.topographic_codes(y, w, pool, config).requires_grad_()
    (gradient,) = torch.autograd.grad(topographic.topographic_energy(y, z, w, pool, config).sum(), z)
    assert gradient.abs().max() < 1e-6


def test_narrow_pools_are_plain_sparse_coding() -> None:
    y, w, _ = random_problem(atoms=16)
    config = TopographicConfig(side=4, width=0.01, alpha=0.3, epsilon=1e-6, steps=3000)
    z = topographic.topographic_codes(y, w, topographic.pools(config).double(), config)
    np.testing.assert_allclose(z, fista(groups.group_lasso(y, w, 0.3, 1), 500), atol=1e-3)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="epsilon=0"):
        TopographicConfig(epsilon=0)
    with pytest.raises(ValueError, match="side=0"):
        TopographicConfig(side=0)
