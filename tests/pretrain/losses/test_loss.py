"""A loss as a module equals its function, keeps its settings, and its terms sum to it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pretrain.energies import QuadraticEnergy
from pretrain.losses import Loss, pairwise, per_answer
from pretrain.losses.additive import additive
from pretrain.losses.group import info_nce, info_nce_in_batch

Case = tuple[
    Callable[..., Tensor], dict[str, Any], str, set[str]
]  # with its settings, its inputs and its terms
PAIR, RIGHT = {"positive", "negative"}, {"right", "offending"}
ANSWERS: list[Case] = [
    (per_answer.energy, {}, "answers", {"energy"}),
    (per_answer.perceptron, {}, "answers", {"perceptron"}),
    (per_answer.hinge, {"margin": 0.3}, "answers", {"hinge"}),
    (per_answer.log, {}, "answers", {"log"}),
    (per_answer.lvq2, {"bound": 0.3}, "answers", {"lvq2"}),
    (per_answer.mce, {}, "answers", {"mce"}),
    (per_answer.square_square, {"margin": 0.3}, "answers", RIGHT),
    (per_answer.square_exp, {"gamma": 0.3}, "answers", RIGHT),
    (per_answer.nll, {"beta": 0.3}, "answers", {"nll"}),
    (per_answer.mee, {"beta": 0.3}, "answers", {"mee"}),
]
CASES: list[Case] = [
    *ANSWERS,
    (pairwise.simple, {"margin": 0.3}, "pairs", PAIR),
    (pairwise.hinge, {"margin": 0.3}, "pairs", {"hinge"}),
    (pairwise.square_square, {"margin": 0.3}, "pairs", PAIR),
    (pairwise.general, {"h": pairwise.simple, "margin": pairwise.distance}, "points", PAIR),
    (additive, {"margins": torch.rand(5, 5), "h": pairwise.square_square}, "answers", PAIR),
    (additive, {"margins": 0.3}, "answers", {"hinge"}),
    (info_nce, {"temperature": 0.3}, "group", {"info_nce"}),
    (info_nce_in_batch, {"temperature": 0.3}, "batch", {"info_nce_in_batch"}),
]
cases = pytest.mark.parametrize(
    ("function", "settings", "takes", "names"), CASES, ids=lambda v: getattr(v, "__name__", "")
)


def inputs(takes: str) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    energies = torch.randn(6, 5, generator=rng)
    return {
        "answers": {"energies": energies, "right": torch.arange(6) % 5},
        "pairs": {"positive": energies[:, 0], "negative": energies[:, 1]},
        "group": {"positive": energies[:, 0], "negatives": energies[:, 1:]},
        "batch": {"energies": energies[:5]},
        "points": {"energy": QuadraticEnergy(5), "y": energies, "contrast": energies.flip(0)},
    }[takes]


def test_every_loss_is_among_the_cases() -> None:
    listed = {function for function, *_ in CASES}
    assert {entry.loss for entry in per_answer.LOSSES.values()} <= listed
    assert set(pairwise.PAIR_LOSSES.values()) <= listed


@cases
def test_the_module_is_the_function_at_its_settings_and_its_terms_sum_to_it(
    function: Callable[..., Tensor], settings: dict[str, Any], takes: str, names: set[str]
) -> None:
    given = inputs(takes)
    loss, want = Loss(function, **settings), function(**given, **settings)
    assert want.shape == (len(want),)
    assert torch.equal(loss(**given), want)
    terms = loss.terms(**given)
    assert set(terms) == names
    assert all(term.shape == want.shape for term in terms.values())
    torch.testing.assert_close(sum(terms.values()), want)
    if settings:
        assert not torch.equal(Loss(function, **_required(settings))(**given), want)


def _required(settings: dict[str, Any]) -> dict[str, Any]:
    return {"h": settings["h"]} if "h" in settings else {}


@cases
def test_it_is_copied_and_pickled_with_its_settings(
    function: Callable[..., Tensor], settings: dict[str, Any], takes: str, names: set[str]
) -> None:
    given = inputs(takes)
    loss = Loss(function, **settings)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(other(**given), loss(**given))
        assert set(other.terms(**given)) == names


def test_energies_are_given_by_place_as_to_the_function() -> None:
    energies, right = inputs("answers").values()
    assert torch.equal(
        Loss(per_answer.hinge, margin=2.0)(energies, right), per_answer.hinge(energies, right, 2.0)
    )


def test_settings_are_shown_and_are_attributes_also_those_not_given() -> None:
    assert repr(Loss(per_answer.nll, beta=2.0)) == "Loss(nll, beta=2.0)"
    assert repr(Loss(per_answer.nll)) == "Loss(nll, beta=1.0)"
    assert Loss(per_answer.nll).beta == 1
    assert repr(Loss(additive, margins=torch.ones(3, 3))) == "Loss(additive, margins=(3, 3), h=hinge)"
    assert repr(Loss(per_answer.log)) == "Loss(log)"


def test_margins_are_saved_and_moved_with_the_module_and_an_energy_is_a_part_of_it() -> None:
    loss = Loss(additive, margins=torch.ones(3, 3)).double()
    assert loss.margins.dtype == torch.float64
    assert set(loss.state_dict()) == {"margins"}
    assert not Loss(per_answer.hinge).state_dict()
    general = Loss(pairwise.general, h=pairwise.hinge, energy=QuadraticEnergy(2))
    assert {name for name, _ in general.named_parameters()} == {"energy.mu", "energy.root"}
    y, contrast = torch.zeros(1, 2), torch.ones(1, 2)
    assert general(y=y, contrast=contrast).tolist() == [0]  # 0 - 1 + 1


def test_a_setting_that_the_function_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="margin"):
        Loss(per_answer.nll, margin=1.0)


def test_each_pair_of_a_broadcast_has_both_terms() -> None:
    terms = Loss(pairwise.simple).terms(torch.ones(2, 1), torch.zeros(1, 3))
    assert {name: term.shape for name, term in terms.items()} == {"positive": (2, 3), "negative": (2, 3)}
