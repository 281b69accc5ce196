"""Beam search against all sequences of meta-actions; greedy where it is one wide; endings; closed loops."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from planners import BeamConfig, BeamSearch, Box, ByPolicy, Plan, Table
from tests.planners import linear_quadratic as lq

ACCELERATIONS = torch.tensor(
    [[[-1.0], [-0.5]], [[0.0], [0.0]], [[0.7], [0.9]]], dtype=torch.float64
)  # (M, D, A)
SPACE = Box.of([-1.0], [0.8], dtype=torch.float64)  # clips the third
DEPTH = 4
WIDE = 3 ** (DEPTH - 1)


def stops(states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """The double integrator's cost and 2 per step, until it is close to where it should be."""
    return lq.cost(states, actions) + 2, states[..., 0].abs() < 0.15


def beyond(state: Tensor) -> Tensor:
    return 4 * state[:, 1].square()


def exhaustive(state: Tensor, ending: bool) -> tuple[Tensor, Tensor]:
    """The cheapest of all 3^4 plans, start by start: actions (B, 8, 1) and J (B,), by plain loops."""
    plans = [
        torch.cat([ACCELERATIONS[m] for m in told]).clamp(max=0.8) for told in product(range(3), repeat=DEPTH)
    ]
    best, costs = [], []
    for start in state:
        found = []
        for plan in plans:
            s, j, ended = start[None], 0.0, False
            for t, action in enumerate(plan):
                s = lq.step(s, action[None])
                c, ends = stops(s, action[None])
                j += 0.95**t * float(c)
                if ending and bool(ends):
                    ended = True
                    break
            found.append(j if ended else j + 0.95 ** (2 * DEPTH) * float(beyond(s)))
        k = min(range(len(plans)), key=found.__getitem__)
        best.append(plans[k])
        costs.append(found[k])
    return torch.stack(best), torch.tensor(costs, dtype=torch.float64)


def search(width: int, state: Tensor, ending: bool) -> Plan:
    planner = BeamSearch(BeamConfig(horizon=2 * DEPTH, width=width, gamma=0.95), Table(ACCELERATIONS))
    cost = stops if ending else lambda s, a: stops(s, a)[0]
    return planner.plan(lq.step, cost, state, SPACE, terminal=beyond)


@pytest.mark.parametrize("ending", [False, True])
def test_a_beam_wide_enough_finds_the_best_of_all_sequences(ending: bool) -> None:
    state = lq.starts(6)
    actions, cost = exhaustive(state, ending)
    plan = search(WIDE, state, ending)
    assert torch.allclose(plan.cost, cost)
    if not ending:  # what comes after an end is of no account
        assert torch.equal(plan.actions, actions)
        assert plan.info.evaluations == 3 + 9 + 27 + 81
    else:
        assert bool((cost < exhaustive(state, False)[1]).any()), "the test asks for nothing"


def test_a_beam_of_one_is_greedy_and_a_wider_one_no_worse_here() -> None:
    state = lq.starts(6)
    s, j, told = state, torch.zeros(6, dtype=torch.float64), []
    for k in range(DEPTH):
        options = []
        for meta in ACCELERATIONS.clamp(max=0.8):
            after, cost = s, j
            for d in range(2):
                action = meta[d].expand(6, 1)
                after = lq.step(after, action)
                cost = cost + 0.95 ** (2 * k + d) * stops(after, action)[0]
            options.append((after, cost))
        costs = torch.stack([cost for _, cost in options])
        best = costs.argmin(0)
        told.append(ACCELERATIONS.clamp(max=0.8)[best])
        s = torch.stack([after for after, _ in options])[best, torch.arange(6)]
        j = costs.min(0).values
    greedy, wide = search(1, state, False), search(WIDE, state, False)
    assert torch.equal(greedy.actions, torch.cat(told, 1))
    assert torch.allclose(greedy.cost, j + 0.95 ** (2 * DEPTH) * beyond(s))
    assert bool((greedy.cost > wide.cost + 1e-9).any()), "the test asks for nothing"


def test_plans_that_have_ended_do_not_crowd_the_beam() -> None:
    """Ending at once is cheap at first; going on pays in the end. Two beginnings are enough to see both."""

    def step(s: Tensor, action: Tensor) -> Tensor:
        return torch.stack([action[:, 0], s[:, 1] + 1], 1)

    def cost(states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        told, time = states[..., 0], states[..., 1]
        going_on = torch.tensor([torch.nan, 2.0, 1.0, -5.0])[time.long()]
        return torch.where(told == 0, torch.where(time == 1, 1.0, 4.0), going_on), told == 0

    table = Table(torch.arange(5.0)[:, None, None])  # 0 ends, the others go on
    plan = BeamSearch(BeamConfig(horizon=3, width=2), table).plan(
        step, cost, torch.zeros(1, 2), Box.of([0.0], [4.0])
    )
    assert float(plan.cost) == 2 + 1 - 5
    assert bool((plan.actions > 0).all())


def test_policies_are_driven_for_their_steps() -> None:
    """Two feedback laws for two steps each: all four plans by hand."""

    def brake(s: Tensor) -> Tensor:
        return -0.9 * s[:, 1:]

    def go_home(s: Tensor) -> Tensor:
        return -0.5 * s[:, :1]

    state, plans = lq.starts(5), []
    for told in product((brake, go_home), repeat=2):
        s, actions = state, []
        for policy in told:
            for _ in range(2):
                actions.append(policy(s))
                s = lq.step(s, actions[-1])
        plans.append(torch.stack(actions, 1))
    costs = torch.stack([lq.total_cost(state, plan) for plan in plans])
    best = costs.argmin(0)
    assert len(best.unique()) > 1
    planner = BeamSearch(BeamConfig(horizon=4, width=2), ByPolicy([brake, go_home], 2))
    plan = planner.plan(lq.step, lq.cost, state, lq.FREE)
    assert torch.allclose(plan.cost, costs.min(0).values)
    assert torch.allclose(plan.actions, torch.stack(plans)[best, torch.arange(5)])


def test_closed_loops_see_where_what_is_allowed_leads() -> None:
    """s + a from 3, at most 1 at a time, home by -s: -1, -1, -1. Unclipped it would be home at once and stop there."""
    planner = BeamSearch(BeamConfig(horizon=3), ByPolicy([lambda s: -s], 3))
    state = torch.tensor([[3.0], [0.5]], dtype=torch.float64)
    box = Box.of([-1.0], [1.0], dtype=torch.float64)
    plan = planner.plan(lambda s, a: s + a, lambda s, a: s[..., 0].square(), state, box)
    assert plan.actions[..., 0].tolist() == [[-1, -1, -1], [-0.5, 0, 0]]
    assert plan.cost.tolist() == [5, 0]


def test_with_a_budget_the_beam_widens() -> None:
    state = lq.starts(3)
    planner = BeamSearch(BeamConfig(horizon=2 * DEPTH, width=6, gamma=0.95), Table(ACCELERATIONS))
    plan = planner.plan(lq.step, lambda s, a: stops(s, a)[0], state, SPACE, terminal=beyond, budget=1e9)
    assert plan.info.iterations == 4  # 1, 2, 4, 6
    assert bool((plan.cost <= search(6, state, False).cost).all())


def test_what_makes_no_search_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        BeamSearch(BeamConfig(horizon=5), Table(ACCELERATIONS))
    with pytest.raises(ValueError):
        Table(torch.zeros(3, 2))
