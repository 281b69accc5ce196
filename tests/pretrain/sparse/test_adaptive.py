"""Steps of each sample's own length: the same minimum, in fewer steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.sparse.adaptive import sparse_codes
from pretrain.sparse.energy import energy, lasso, violation
from pretrain.sparse.fista import fista
from tests.pretrain.sparse.problems import random_problem


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 30), st.floats(0.02, 2.0))
def test_every_sample_reaches_the_minimum(seed: int, atoms: int, alpha: float) -> None:
    y, w, alpha = random_problem(seed, atoms=atoms, alpha=alpha)
    z = sparse_codes(y, w, alpha, tolerance=1e-6, max_steps=20_000)
    assert violation(y, z, w, alpha).max() < 1e-4 * alpha


@pytest.mark.parametrize("block", [1, 4, 100])
def test_blocks_and_neighbours_change_nothing(block: int) -> None:
    """Rows that are done leave their block, and the rest go on as if alone."""
    y, w, alpha = random_problem(num=9)
    y[4] = 0
    z = sparse_codes(y, w, alpha, tolerance=1e-3, block=block)
    alone = torch.cat([sparse_codes(one[None], w, alpha, tolerance=1e-3) for one in y])
    np.testing.assert_allclose(z, alone, atol=1e-10)
    assert (z[4] == 0).all()


def test_it_takes_fewer_steps_than_fista() -> None:
    y, w, alpha = random_problem(num=50, inputs=30, atoms=60, alpha=0.4)
    w = (w + 0.15 * w.mean(1, keepdim=True).sign()).div(w.norm(dim=0))  # a mean makes L large
    best = energy(y, sparse_codes(y, w, alpha, tolerance=1e-6, max_steps=5000), w, alpha)
    ours = energy(y, sparse_codes(y, w, alpha, tolerance=0, max_steps=48), w, alpha) - best
    fixed = energy(y, fista(lasso(y, w, alpha), 48), w, alpha) - best
    assert ours.mean() < 0.2 * fixed.mean()


def test_a_penalty_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match="alpha=0"):
        sparse_codes(torch.zeros(1, 2), torch.eye(2), 0)
