"""The table of losses against its formulas, the margins it states, collapse, and answers that are missing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pretrain.losses import per_answer
from pretrain.losses.per_answer import LOSSES, energy_gap, most_offending

INF = math.inf
Row = NDArray[np.float64]
TABLE: dict[str, Callable[[float, float, Row], float]] = {  # of E, E' and all energies
    "energy": lambda e, o, y: e,
    "perceptron": lambda e, o, y: e - min(y),
    "hinge": lambda e, o, y: max(0, 1 + e - o),
    "log": lambda e, o, y: math.log(1 + math.exp(e - o)),
    "lvq2": lambda e, o, y: min(1, max(0, e - o)),
    "mce": lambda e, o, y: 1 / (1 + math.exp(-(e - o))),
    "square-square": lambda e, o, y: e**2 + max(0, 1 - o) ** 2,
    "square-exp": lambda e, o, y: e**2 + math.exp(-o),
    "nll": lambda e, o, y: e + math.log(np.exp(-y).sum()),
    "mee": lambda e, o, y: 1 - math.exp(-e) / float(np.exp(-y).sum()),
}  # fmt: skip
BOUNDED = {"lvq2", "mce", "mee"}  # at 1


def some(num: int = 30, answers: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    energies = 1.5 * torch.randn(num, answers, generator=rng, dtype=torch.float64)
    return energies, torch.randint(answers, (num,), generator=rng)


def gradient(loss: Callable[[Tensor, Tensor], Tensor], energies: Tensor, right: Tensor) -> Tensor:
    energies = energies.detach().requires_grad_()
    return torch.autograd.grad(loss(energies, right).sum(), energies)[0]


# --- values and gradients --------------------------------------------------------------------------------------------


def test_the_table_is_whole() -> None:
    assert set(LOSSES) == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_each_loss_is_the_formula_of_the_table(name: str) -> None:
    energies, right = some()
    rows = energies.numpy()
    want = [
        TABLE[name](float(row[k]), min(np.delete(row, k)), row)
        for row, k in zip(rows, right.tolist(), strict=True)
    ]
    np.testing.assert_allclose(LOSSES[name].loss(energies, right), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TABLE)
def test_gradients_agree_with_differences(name: str) -> None:
    energies, right = some(3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda e: LOSSES[name].loss(e, right), energies.requires_grad_())


@pytest.mark.parametrize("name", TABLE)
def test_the_right_answer_is_never_pushed_up_nor_a_wrong_one_pulled_down(name: str) -> None:
    energies, right = some(200)
    energies = energies.abs()  # square losses are for energies above 0
    slope = gradient(LOSSES[name].loss, energies, right)
    others = torch.ones_like(slope).scatter(1, right[:, None], 0).bool()
    assert (slope[~others] >= 0).all()
    assert (slope[others] <= 0).all()
    pushes_up = name != "energy"
    assert bool((slope[others] < 0).any()) == pushes_up
    if name not in ("nll", "mee"):
        assert ((slope[others].view(200, 4) != 0).sum(1) <= 1).all()  # the most offending alone


def test_nll_pushes_by_how_probable_an_answer_is() -> None:
    energies, right = some()
    want = torch.nn.functional.one_hot(right, 5) - torch.softmax(-2 * energies, 1)
    np.testing.assert_allclose(
        gradient(lambda e, r: per_answer.nll(e, r, beta=2.0), energies, right), want, atol=1e-12
    )


def test_nll_tends_to_the_perceptron_as_it_gets_cold() -> None:
    energies, right = some()
    np.testing.assert_allclose(
        per_answer.nll(energies, right, beta=1e4), per_answer.perceptron(energies, right), atol=1e-3
    )


# --- margins ---------------------------------------------------------------------------------------------------------


def minimised(loss: Callable[[Tensor, Tensor], Tensor], energies: Tensor, right: Tensor) -> Tensor:
    """Energies of every answer, free to move, after descent."""
    for k in range(150):
        energies = energies - 0.3 * 0.97**k * gradient(loss, energies, right)
    return energies


@pytest.mark.parametrize("name", ["hinge", "square-square"])
@given(margin=st.floats(0.1, 3), answers=st.integers(2, 5), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=5)
def test_where_a_margin_loss_is_least_the_right_answer_lies_below_the_others_by_the_margin(
    name: str, margin: float, answers: int, seed: int
) -> None:
    function = per_answer.hinge if name == "hinge" else per_answer.square_square
    energies, right = some(20, answers, seed)
    assert float(energy_gap(energies, right).min()) < margin
    energies = minimised(lambda e, r: function(e, r, margin), energies, right)
    assert float(energy_gap(energies, right).min()) >= margin - 0.01
    assert float(function(energies, right, margin).max()) < 1e-3


@pytest.mark.parametrize("name", [name for name, entry in LOSSES.items() if entry.margin == "above 0"])
def test_losses_of_an_endless_margin_open_a_gap_and_still_want_more(name: str) -> None:
    energies, right = some(50, seed=2)
    before = energy_gap(energies / 4, right)
    energies = minimised(LOSSES[name].loss, energies / 4, right)
    assert float((energy_gap(energies, right) - before).min()) > 0.5
    assert float(energy_gap(energies, right).min()) > 0
    wider = energies + 1 - torch.nn.functional.one_hot(right, 5)
    assert (LOSSES[name].loss(wider, right) < LOSSES[name].loss(energies, right)).all()


@pytest.mark.parametrize("name", ["perceptron", "lvq2"])
def test_losses_of_margin_0_are_content_with_a_tie(name: str) -> None:
    energies, right = some(50, seed=3)
    energies = minimised(LOSSES[name].loss, energies / 10, right)
    gap = energy_gap(energies, right)
    assert float(gap.min()) > -0.05
    np.testing.assert_allclose(LOSSES[name].loss(torch.ones(3, 4), torch.tensor([0, 1, 2])), 0)


def test_perceptron_and_energy_loss_flatten_an_energy_that_can_be_flat() -> None:
    """E(x, y) = a |x - c_y|, a third of the samples mislabelled: both losses are least at a = 0."""
    rng = torch.Generator().manual_seed(0)
    right = torch.randint(2, (300,), generator=rng)
    x = torch.where(torch.rand(300, generator=rng) < 1 / 3, 1 - right, right).double()
    distance = (x[:, None] - torch.tensor([0.0, 1.0])).abs()
    gaps = {}
    for name in ("energy", "perceptron", "hinge", "nll"):
        a = torch.ones((), dtype=torch.float64, requires_grad=True)
        for _ in range(100):
            (slope,) = torch.autograd.grad(LOSSES[name].loss(a * distance, right).mean(), a)
            a = (a - 0.05 * slope).clamp(min=0).detach().requires_grad_()
        gaps[name] = float(energy_gap(a * distance, right).mean().detach())
    assert gaps["energy"] < 0.01
    assert gaps["perceptron"] < 0.01
    assert gaps["hinge"] > 0.3
    assert gaps["nll"] > 0.2


def test_square_square_raises_the_wrong_answer() -> None:
    """The tutorial prints a minus before the hinge term, which would lower it."""
    energies = torch.tensor([[0.0, 0.4]], dtype=torch.float64)
    assert gradient(per_answer.square_square, energies, torch.tensor([0])).tolist() == [
        [0, pytest.approx(-1.2)]
    ]


# --- edges -----------------------------------------------------------------------------------------------------------


def test_the_most_offending_answer_is_the_lowest_wrong_one() -> None:
    energies = torch.tensor([[1.0, 0.0, 2.0], [1.0, 0.0, 2.0], [1.0, 1.0, 1.0]])
    pair = most_offending(energies, torch.tensor([0, 1, 2]))
    assert pair.right.tolist() == [1, 0, 1]
    assert pair.offending.tolist() == [0, 1, 1]
    assert energy_gap(energies, torch.tensor([0, 1, 2])).tolist() == [-1, 1, 0]


@pytest.mark.parametrize("name", TABLE)
def test_a_forbidden_wrong_answer_is_absent(name: str) -> None:
    energies, right = some(20, 4)
    more = torch.cat([energies, torch.full((20, 1), INF)], 1)
    loss = LOSSES[name].loss
    np.testing.assert_allclose(loss(more, right), loss(energies, right))
    slope = gradient(loss, more, right)
    np.testing.assert_allclose(slope[:, :4], gradient(loss, energies, right))
    assert (slope[:, 4] == 0).all()


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("answers", [1, 3])
def test_without_another_answer_there_is_nothing_to_separate(name: str, answers: int) -> None:
    energies = torch.full((2, answers), INF, dtype=torch.float64)
    energies[:, 0] = torch.tensor([0.5, 2.0])
    right = torch.zeros(2, dtype=torch.int64)
    assert (energy_gap(energies, right) == INF).all()
    want = {"energy": [0.5, 2], "square-square": [0.25, 4], "square-exp": [0.25, 4]}.get(name, [0, 0])
    np.testing.assert_allclose(LOSSES[name].loss(energies, right), want)
    slope = gradient(LOSSES[name].loss, energies, right)
    assert slope.isfinite().all()
    assert (slope[:, 1:] == 0).all()


@pytest.mark.parametrize("name", TABLE)
def test_a_forbidden_right_answer_costs_all_there_is_to_pay(name: str) -> None:
    energies = torch.tensor([[INF, 1.0], [INF, INF]], dtype=torch.float64)
    loss = LOSSES[name].loss(energies, torch.tensor([0, 0]))
    assert loss.tolist() == ([1, 1] if name in BOUNDED else [INF, INF])


def test_answers_that_tie() -> None:
    tie, right = torch.tensor([[2.0, 2.0, 5.0]]), torch.tensor([0])
    assert gradient(per_answer.perceptron, tie, right).tolist() == [[0.5, -0.5, 0]]
    assert gradient(per_answer.lvq2, tie, right).tolist() == [[0, 0, 0]]
    assert gradient(per_answer.hinge, tie + torch.tensor([0.0, 1, 1]), right).tolist() == [[0, 0, 0]]
    most_offending_two = torch.tensor([[2.0, 1.5, 1.5]])
    for loss in (per_answer.perceptron, per_answer.lvq2, per_answer.hinge):
        assert gradient(loss, most_offending_two, right).tolist() == [[1, -0.5, -0.5]]


MINUS_INF = {  # the loss of (-inf, 1), of (1, -inf) and of (-inf, -inf), the right answer first
    "energy": (-INF, 1, -INF),
    "perceptron": (math.nan, INF, math.nan),
    "hinge": (0, INF, math.nan),
    "log": (0, INF, math.nan),
    "lvq2": (0, 1, math.nan),
    "mce": (0, 1, math.nan),
    "square-square": (INF, INF, INF),
    "square-exp": (INF, INF, INF),
    "nll": (math.nan, math.nan, math.nan),
    "mee": (math.nan, math.nan, math.nan),
}


@pytest.mark.parametrize("name", TABLE)
def test_minus_infinity_is_no_energy(name: str) -> None:
    energies = torch.tensor([[-INF, 1.0], [1.0, -INF], [-INF, -INF]])
    loss = LOSSES[name].loss(energies, torch.zeros(3, dtype=torch.int64))
    np.testing.assert_array_equal(loss, MINUS_INF[name])
    slope = gradient(LOSSES[name].loss, energies, torch.zeros(3, dtype=torch.int64))
    if name != "energy":  # which does not read the other
        assert (slope[loss.isfinite()] == 0).all()


@pytest.mark.parametrize("name", TABLE)
def test_where_the_loss_is_finite_so_is_its_gradient(name: str) -> None:
    energies = torch.tensor(list(itertools.product([-INF, 0.0, 1.0, INF], repeat=3)))
    right = torch.zeros(len(energies), dtype=torch.int64)
    finite = LOSSES[name].loss(energies, right).isfinite()
    assert finite.any()
    assert gradient(LOSSES[name].loss, energies, right)[finite].isfinite().all()


@pytest.mark.parametrize("name", TABLE)
def test_a_sample_s_loss_does_not_depend_on_its_batch_nor_on_the_order_of_answers(name: str) -> None:
    energies, right = some(8)
    together = LOSSES[name].loss(energies, right)
    alone = torch.cat([LOSSES[name].loss(energies[i : i + 1], right[i : i + 1]) for i in range(8)])
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    order = torch.tensor([3, 0, 4, 1, 2])
    np.testing.assert_allclose(
        LOSSES[name].loss(energies[:, order], order.argsort()[right]), together, rtol=1e-12, atol=1e-12
    )
    assert LOSSES[name].loss(energies[:0], right[:0]).shape == (0,)


def test_what_is_given_up_has_no_gradient() -> None:
    energies, right = torch.tensor([[5.0, 0.0]]), torch.tensor([0])
    assert (gradient(per_answer.lvq2, energies, right) == 0).all()
    assert (gradient(per_answer.hinge, energies, right) != 0).all()
