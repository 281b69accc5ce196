"""iCEM: how many are sampled, what is remembered, and how smooth it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from planners import CEM, ICEM, CEMConfig, ICEMConfig
from planners.sampling import cheapest, elites
from tests.planners import linear_quadratic as lq
from tests.planners.recorder import Recorder, costs_of

H = 4


def test_icem_samples_less_each_time_and_keeps_elites() -> None:
    state, record = lq.starts(2), Recorder(2, H)
    config = ICEMConfig(horizon=H, num_samples=100, num_elites=10, num_iterations=6, decay=1.5, keep=0.3)
    plan = ICEM(config).plan(record, lq.cost, state, lq.FREE, seeds=[1, 2])
    assert [len(candidates) for candidates in record.rounds] == [100, 66 + 3, 44 + 3, 29 + 3, 20 + 3, 20 + 3]
    for last, candidates in zip(record.rounds, record.rounds[1:], strict=False):
        assert torch.equal(candidates[-3:], elites(last, costs_of(last, state), 3)[0])
    assert torch.equal(plan.actions, cheapest(record.rounds[-1], costs_of(record.rounds[-1], state))[0])
    assert plan.info.evaluations == 100 + 69 + 47 + 32 + 23 + 23


def test_icem_passes_its_elites_on_shifted_with_a_new_last_action() -> None:
    state, record = lq.starts(2), Recorder(2, H)
    planner = ICEM(ICEMConfig(horizon=H, num_samples=30, num_elites=10, num_iterations=2, keep=0.5))
    plan = planner.plan(record, lq.cost, state, lq.FREE, seeds=[1, 2])
    kept = plan.info.kept["elites"]
    assert torch.equal(kept, elites(record.rounds[-1], costs_of(record.rounds[-1], state), 5)[0])
    again = Recorder(2, H)
    planner.plan(again, lq.cost, state, lq.FREE, previous=plan, seeds=[3, 4])
    assert torch.equal(again.rounds[0][0], plan.shifted())
    passed_on = again.rounds[0][-5:]
    assert torch.equal(passed_on[:, :, :-1], kept[:, :, 1:])
    assert not torch.equal(passed_on[:, :, -1], kept[:, :, -1])


def test_icem_moves_slowly_where_cem_jitters() -> None:
    """Correlation of neighbouring actions in the first round, against that of the noise in closed form."""
    horizon, smooth, rough = 20, [], []

    def step(into: list[Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda state, action: into.append(action) or lq.step(state, action)

    state = lq.starts(1)
    common = {"horizon": horizon, "num_samples": 2000, "num_elites": 10, "num_iterations": 1}
    ICEM(ICEMConfig(noise_beta=2.0, **common)).plan(step(smooth), lq.cost, state, lq.FREE)
    CEM(CEMConfig(**common)).plan(step(rough), lq.cost, state, lq.FREE)

    def correlation(actions: list[Tensor]) -> float:
        a, b = torch.cat(actions[:-1]).flatten(), torch.cat(actions[1:]).flatten()
        return float((a * b).mean() / (a * a).mean())

    f = torch.arange(11, dtype=torch.float64)
    weight = f.clamp(min=1) ** -2.0 * torch.where((f == 0) | (f == 10), 1.0, 2.0)
    expected = float((weight * torch.cos(2 * torch.pi * f / 20)).sum() / weight.sum())
    assert correlation(smooth) == pytest.approx(expected, abs=0.03)
    assert abs(correlation(rough)) < 0.03
