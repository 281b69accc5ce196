"""What is timed against pytorch-mppi is the same computation, and the numbers are those of the calls."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.planning import (
    SPACE,
    PlanningBench,
    bench_planning,
    contestants,
    cost,
    starts,
    step,
    theirs,
    unscored_mppi,
)


def test_their_average_is_ours() -> None:
    pytest.importorskip("pytorch_mppi")
    config, state = PlanningBench(horizon=4, num_samples=50_000), starts(1)
    their = theirs(config)
    torch.manual_seed(0)
    their.command(state[0], shift_nominal_trajectory=False)
    plan = unscored_mppi(config).plan(step, cost, state, SPACE)
    away = (plan.actions[0] - their.get_action_sequence()) / SPACE.scale
    assert float(away.abs().max()) < 0.03
    assert float((plan.actions[0] / SPACE.scale).abs().max()) > 0.1, "nothing was to be done"


def test_every_planner_of_the_benchmark_improves_on_doing_nothing() -> None:
    config, state = PlanningBench(horizon=8, num_samples=32), starts(3)
    s, nothing = state, torch.zeros(3)
    for _ in range(8):
        s = step(s, torch.zeros(3, 2))
        nothing = nothing + cost(s, torch.zeros(3, 2))
    for name, contestant in contestants(config).items():
        assert bool((contestant.plan(state, [1, 2, 3]).cost < nothing).any()), name


@pytest.mark.slow
def test_numbers_are_those_of_the_calls() -> None:
    threads = torch.get_num_threads()
    config = PlanningBench(horizon=8, num_samples=16, batch_size=4, repetitions=2, loops=1, threads=1)
    found = json.loads(json.dumps(bench_planning(config)))
    assert torch.get_num_threads() == threads
    assert found["batch4_ratio"] == found["planners"]["mppi"]["ratio"]
    for rates in found["planners"].values():
        assert rates["ratio"] == pytest.approx(4 * rates["one_ms"] / rates["batch_ms"], rel=0.05)
    row = found["planners"]["mppi, not scored"]
    assert row["one_million_steps_per_s"] == pytest.approx(16 * 8 / row["one_ms"] / 1e3, rel=0.05)
