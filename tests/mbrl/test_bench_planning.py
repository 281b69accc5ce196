"""The time of a plan at the wheel: of what, and that the best of several counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from mbrl import bench_planning
from mbrl.bench_planning import gradient_mpc
from mbrl.foresight import Imagining, SeparatedForesight
from planners import GradientConfig, GradientPlanner, Plan

TAKEN = [9.0, 9.0, 0.5, 0.2, 0.3]  # s of each plan; the first two do not count


class Planned(NamedTuple):
    config: GradientConfig
    previous: Plan | None
    plan: Plan


@pytest.mark.slow
def test_the_fastest_of_whole_plans_is_told_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, clock = 0.0, []
    for seconds in TAKEN * 3:
        clock += [now, now := now + seconds]
        now += 100.0  # between two plans, which nobody pays for
    ticks, imagined = iter(clock), []
    plans: list[Planned] = []

    class Foresight(SeparatedForesight):
        def __init__(self, trained: Any, horizon: int, config: Imagining) -> None:
            super().__init__(trained, horizon, config)
            imagined.append((horizon, config.futures, config.masks, config.mixed_precision))

    class Planner(GradientPlanner):
        def plan(self, *arguments: Any, **options: Any) -> Plan:
            plans.append(Planned(self.config, options["previous"], super().plan(*arguments, **options)))
            return plans[-1].plan

    monkeypatch.setattr(bench_planning, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    monkeypatch.setattr(bench_planning, "SeparatedForesight", Foresight)
    monkeypatch.setattr(bench_planning, "GradientPlanner", Planner)
    found = gradient_mpc(repetitions=len(TAKEN) - 2)
    assert found == {
        "gradient_mpc_ms": 200.0,
        "gradient_mpc_float32_ms": 200.0,
        "gradient_mpc_with_u_ms": 200.0,
    }
    assert imagined == [(20, 10, 1, True), (20, 10, 1, False), (20, 10, 2, True)]
    assert len(plans) == 3 * len(TAKEN)
    for k, (config, previous, _) in enumerate(plans):
        assert config == GradientConfig(horizon=20, num_iterations=5)
        assert previous is (None if k % len(TAKEN) == 0 else plans[k - 1].plan), "each begins with the last"
