"""The additive margin loss against a double loop, its margins, and answers that are missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pretrain.losses.additive import additive
from pretrain.losses.pairwise import PAIR_LOSSES

INF = math.inf


def some(num: int = 12, answers: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    energies = torch.randn(num, answers, generator=rng, dtype=torch.float64)
    margins = torch.rand(answers, answers, generator=rng, dtype=torch.float64)
    return energies, torch.randint(answers, (num,), generator=rng), margins


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_it_is_a_sum_over_wrong_answers(name: str) -> None:
    energies, right, margins = some()
    h = PAIR_LOSSES[name]
    want = [
        sum(float(h(row[k], row[j], margins[k, j])) for j in range(5) if j != k)
        for row, k in zip(energies, right.tolist(), strict=True)
    ]
    np.testing.assert_allclose(additive(energies, right, margins, h), want, rtol=1e-12)
    assert torch.autograd.gradcheck(
        lambda e: additive(e, right[:3], margins, h), energies[:3].requires_grad_()
    )


def test_with_the_hinge_it_is_the_multi_class_support_vector_machine() -> None:
    energies, right, _ = some()
    want = torch.nn.functional.multi_margin_loss(-energies, right, reduction="none") * 5  # torch divides by Y
    np.testing.assert_allclose(additive(energies, right), want, rtol=1e-12)


@given(seed=st.integers(0, 1000), answers=st.integers(2, 6))
@settings(deadline=None, max_examples=5)
def test_where_it_is_least_every_wrong_answer_keeps_its_own_margin(seed: int, answers: int) -> None:
    energies, right, margins = some(20, answers, seed)
    for k in range(150):
        energies = energies.detach().requires_grad_()
        (slope,) = torch.autograd.grad(additive(energies, right, margins).sum(), energies)
        energies = energies.detach() - 0.1 * 0.97**k * slope
    gaps = energies - energies.gather(1, right[:, None])
    wrong = torch.arange(answers) != right[:, None]
    assert float((gaps - margins[right])[wrong].min()) >= -0.01


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_absent_answers_cost_nothing(name: str) -> None:
    h = PAIR_LOSSES[name]
    assert additive(torch.tensor([[3.0]]), torch.tensor([0]), h=h).tolist() == [0]
    assert additive(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), h=h).shape == (0,)
    energies = torch.tensor([[-1.0, INF, 0.5]], requires_grad=True)
    loss = additive(energies, torch.tensor([0]), 2.0, h)
    np.testing.assert_allclose(loss.detach(), h(torch.tensor([-1.0]), torch.tensor([0.5]), 2.0))
    (slope,) = torch.autograd.grad(loss.sum(), energies)
    assert slope.isfinite().all()
    assert float(slope[0, 1]) == 0


def test_a_forbidden_right_answer_costs_infinity() -> None:
    assert additive(torch.tensor([[INF, 1.0, INF]]), torch.tensor([0])).tolist() == [INF]
