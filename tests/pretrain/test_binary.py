"""States are numbered, and neighbours differ in one unit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pretrain.binary import all_states, flip_energies, number


def test_states_are_all_and_numbered() -> None:
    states = all_states(5)
    assert len({tuple(state) for state in states.tolist()}) == 32
    assert torch.equal(number(states), torch.arange(32))


def test_neighbours_differ_in_the_unit_they_are_named_by() -> None:
    weights = torch.tensor([1.0, 10.0, 100.0])

    def energy(y: Tensor) -> Tensor:
        return y @ weights

    y = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    assert flip_energies(energy, y).tolist() == [[111, 100, 10], [10, 1, 111]]
    assert flip_energies(energy, y, [2, 0]).tolist() == [[10, 111], [111, 10]]
    assert y.tolist() == [[0, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize("units", [0, 21])
def test_only_few_units_are_enumerated(units: int) -> None:
    with pytest.raises(ValueError, match=f"units={units}"):
        all_states(units)
