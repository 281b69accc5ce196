"""Pairwise losses against their formulas, their margins, and margins that depend on the answers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pretrain.energies import QuadraticEnergy
from pretrain.losses.pairwise import PAIR_LOSSES, PairLoss, distance, general, hinge, square_square

INF = math.inf
FORMULAS: dict[str, Callable[[float, float, float], float]] = {
    "simple": lambda p, n, m: max(0, p) + max(0, m - n),
    "hinge": lambda p, n, m: max(0, p - n + m),
    "square-square": lambda p, n, m: max(0, p) ** 2 + max(0, m - n) ** 2,
}
energies_of_all_sizes = st.floats(-5, 5)


def slopes(h: PairLoss, positive: Tensor, negative: Tensor, margin: Tensor | float) -> tuple[Tensor, Tensor]:
    positive, negative = positive.detach().requires_grad_(), negative.detach().requires_grad_()
    up, down = torch.autograd.grad(h(positive, negative, margin).sum(), (positive, negative))
    return up, down


@pytest.mark.parametrize("name", FORMULAS)
@given(p=energies_of_all_sizes, n=energies_of_all_sizes, m=st.floats(0, 3))
@settings(deadline=None, max_examples=30)
def test_each_is_its_formula_and_pushes_the_right_way(name: str, p: float, n: float, m: float) -> None:
    positive, negative = torch.tensor([p], dtype=torch.float64), torch.tensor([n], dtype=torch.float64)
    loss = PAIR_LOSSES[name](positive, negative, m)
    assert float(loss) == pytest.approx(FORMULAS[name](p, n, m), abs=1e-12)
    up, down = slopes(PAIR_LOSSES[name], positive, negative, m)
    assert float(up) >= 0
    assert float(down) <= 0
    if n - p < m:  # the condition on H: some push, where the margin is not kept
        assert float(up - down) > 0 or math.isclose(n - p, m, abs_tol=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_agree_with_differences(name: str) -> None:
    rng = torch.Generator().manual_seed(0)
    pair = [torch.randn(4, generator=rng, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda p, n: PAIR_LOSSES[name](p, n, 0.7), pair)


@pytest.mark.parametrize("name", FORMULAS)
@given(margin=st.floats(0.1, 3), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=5)
def test_where_each_is_least_the_pair_stands_the_margin_apart(name: str, margin: float, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    positive, negative = 2 * torch.randn(2, 20, generator=rng, dtype=torch.float64)
    for k in range(150):
        up, down = slopes(PAIR_LOSSES[name], positive, negative, margin)
        rate = 0.3 * 0.97**k
        positive, negative = positive - rate * up, negative - rate * down
    assert float((negative - positive).min()) >= margin - 0.03
    if name != "hinge":  # these hold the level too
        assert float(positive.max()) < 0.02
        assert float(negative.min()) > margin - 0.03


def test_each_pair_may_have_its_margin_and_contrasts_broadcast() -> None:
    positive, negative = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0, 2.0, 3.0]])
    margin = torch.tensor([[1.0, 1.0, 1.0], [1.0, 2.0, 4.0]])
    assert hinge(positive, negative, margin).tolist() == [[1, 0, 0], [2, 1, 2]]


@pytest.mark.parametrize("name", FORMULAS)
def test_a_forbidden_contrast_costs_nothing_and_a_forbidden_observation_everything(name: str) -> None:
    positive, negative = torch.tensor([-1.0, INF, INF]), torch.tensor([INF, 0.0, INF])
    assert PAIR_LOSSES[name](positive, negative, 1.0).tolist() == [0, INF, INF]
    up, down = slopes(PAIR_LOSSES[name], positive[:1], negative[:1], 1.0)
    assert up.tolist() == down.tolist() == [0]


@pytest.mark.parametrize("name", FORMULAS)
def test_minus_infinity_is_no_energy(name: str) -> None:
    positive, negative = torch.tensor([-INF, 0.5, -INF]), torch.tensor([2.0, -INF, -INF])
    both = math.nan if name == "hinge" else INF
    np.testing.assert_array_equal(PAIR_LOSSES[name](positive, negative, 1.0), [0, INF, both])
    up, down = slopes(PAIR_LOSSES[name], positive[:1], negative[:1], 1.0)
    assert up.tolist() == down.tolist() == [0]


@pytest.mark.parametrize("name", FORMULAS)
def test_at_a_kink_the_gradient_is_0(name: str) -> None:
    for margin in (0.0, 1.5):
        positive, negative = torch.zeros(1), torch.full((1,), margin)
        up, down = slopes(PAIR_LOSSES[name], positive, negative, margin)
        assert up.tolist() == down.tolist() == [0]


def test_nothing_in_nothing_out() -> None:
    assert hinge(torch.zeros(0), torch.zeros(0)).shape == (0,)


def test_the_general_loss_takes_any_h_any_energy_and_a_margin_of_the_two_answers() -> None:
    energy = QuadraticEnergy(2)
    y, contrast = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert distance(y, contrast).tolist() == [5, 0]
    # energies 0 and 12.5, 0.5 and 0.5
    got = general(lambda p, n, m: p + 10 * n + 100 * m, energy, y, contrast, distance)
    np.testing.assert_allclose(got.detach(), [125 + 500, 0.5 + 5])
    np.testing.assert_allclose(general(square_square, energy, y, contrast, 1.0).detach(), [0, 0.25 + 0.25])
    x = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    conditional = general(hinge, lambda x, y: energy(y - x), y, contrast, 2.0, x)
    np.testing.assert_allclose(conditional.detach(), [0, 2])  # 1 - 6.5 + 2, 2.5 - 2.5 + 2


def test_a_margin_of_distance_learns_the_distance() -> None:
    """Free energies of a data point and of contrasts around it: each ends as far up as it is away."""
    contrast = torch.linspace(0, 2, 9, dtype=torch.float64)[:, None]
    origin = torch.zeros(9, 1, dtype=torch.float64)
    table = torch.zeros(9, dtype=torch.float64)
    for _ in range(100):
        _, down = slopes(square_square, origin[:, 0], table, distance(origin, contrast))
        table = table - 0.1 * down
    np.testing.assert_allclose(table, contrast[:, 0], atol=1e-3)
