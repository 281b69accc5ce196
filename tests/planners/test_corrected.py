"""Choices of a table and corrections are mixed plans of plain actions, and keep to the bounds of each start."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from planners import Box, Corrected, Mixed, MixedConfig
from planners.corrected import _Choices
from tests.planners import linear_quadratic as lq

H = 5
GEARS = torch.tensor([[-0.6], [0.1], [0.9]], dtype=torch.float64)  # m/s^2
GAS = 0.15
CONFIG = MixedConfig(horizon=H, num_choices=3)
WIDE = Box.of([-5.0], [5.0], dtype=torch.float64)
# Lengths of three vehicles, say: what the first can do is far more than what the last can.
SPACE = Box(
    -torch.tensor([6.0, 2.0, 0.1]).view(3, 1, 1),
    torch.tensor([6.0, 1.0, 0.05]).view(3, 1, 1),
    torch.ones(3, 1, 1),
)
TABLE = torch.tensor([[-4.0], [0.0], [1.5]])


def test_it_is_mixed_planning_of_what_is_told() -> None:
    state = lq.starts(4)

    def told(actions: Tensor) -> Tensor:
        return actions[..., :3] @ GEARS + actions[..., 3:]

    space = Box.of([0, 0, 0, -GAS], [1, 1, 1, GAS], [1, 1, 1, GAS], dtype=torch.float64)
    begin = torch.tensor([0.0, 1.0, 0.0, -0.1], dtype=torch.float64).expand(4, H, 4)
    mixed = Mixed(CONFIG).plan(
        lambda s, a: lq.step(s, told(a)),
        lambda s, a: lq.cost(s, told(a)),
        state,
        space,
        init=begin,
        seeds=range(4),
    )
    plain = Corrected(CONFIG, GEARS, [GAS]).plan(
        lq.step, lq.cost, state, WIDE, init=told(begin), seeds=range(4)
    )
    assert torch.allclose(plain.actions, told(mixed.actions))
    assert torch.allclose(plain.cost, mixed.cost)


def test_whatever_is_chosen_mixed_and_corrected_keeps_to_the_bounds_of_its_start() -> None:
    choices, generator = (
        _Choices.within(SPACE, 3, TABLE, torch.tensor([0.75])),
        torch.Generator().manual_seed(0),
    )
    low, high, _ = choices.space().over(3, 200)
    noise = torch.rand(3, 200, 4, generator=generator)
    w = noise[..., :3].pow(4)
    mixed = torch.cat([w / w.sum(-1, keepdim=True), (low + noise * (high - low))[..., 3:]], -1)
    actions = choices.actions(mixed)
    reached = torch.cat([SPACE.high - actions, actions - SPACE.low], -1)
    assert bool((reached > -1e-6).all())
    assert bool((reached.amin((1, 2)) < torch.tensor([2.0, 0.4, 0.02])).all()), "they are reached, or nearly"
    plan = Corrected(CONFIG, TABLE, [0.75]).plan(lq.step, lq.cost, lq.starts(3).float(), SPACE)
    assert bool((plan.actions <= SPACE.high).all() and (plan.actions >= SPACE.low).all())


def test_a_plan_is_taken_apart_into_what_it_was_made_of() -> None:
    """Or into a smaller correction of another choice; what is out of reach, into what is nearest."""
    choices = _Choices.within(Box.of([-9.0], [9.0]), 2, TABLE, torch.tensor([0.75]))
    actions = torch.tensor([[[-4.7], [0.2]], [[0.8], [1.5]]])
    mixed = choices.of(actions)
    assert torch.allclose(choices.actions(mixed), actions)
    assert mixed[..., :3].argmax(-1).tolist() == [[0, 1], [2, 2]]
    assert bool((choices.actions(choices.of(choices.actions(mixed))) == choices.actions(mixed)).all())
    far = choices.actions(choices.of(torch.tensor([[[-9.0]], [[-2.2]]])))
    assert torch.allclose(far, torch.tensor([[[-4.75]], [[-3.25]]]))
    rows = torch.tensor([[0.1], [torch.nan], [-4.1], [1.4]])  # two of each start
    assert torch.allclose(choices.actions(choices.of(rows))[:, 0], torch.tensor([0.1, 0.0, -4.1, 1.4]))


def test_a_table_of_something_else_is_refused() -> None:
    for table, reach in ((TABLE[:2], [0.1]), (TABLE, [0.1, 0.1]), (TABLE[:, 0], [0.1])):
        with pytest.raises(ValueError, match=r"table \(.* is not of 3 choices"):
            Corrected(CONFIG, table, reach)
