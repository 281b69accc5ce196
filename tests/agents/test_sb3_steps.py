"""The benchmark of how fast SB3 is served: that it counts what it says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from agents.sb3_interface import Interface
from agents.sb3_vec_env import SB3VecEnv
from benchmarks import sb3_steps
from benchmarks.sb3_steps import SB3Bench, Stub, _rates, bench_sb3
from envs.units import View
from tests.agents.scenes import clean_traffic

SMALL = View(height=27, width=8, px_per_m=1.0)


@pytest.mark.parametrize("sees", ["pictures", "cells"])
def test_a_rate_is_cars_times_steps_over_the_time_of_collecting(
    sees: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clock() -> Iterator[float]:
        now = 0.0
        while True:
            yield now  # collecting begins,
            now += 2.0
            yield now  # and ends two seconds later
            now += 100.0  # which nobody pays for

    ticks = clock()
    interface = Interface(sees=sees)  # type: ignore[arg-type]
    cars = SB3VecEnv(3, clean_traffic(num_cars=20), interface=interface, split="all", view=SMALL, threads=1)
    driven: list[np.ndarray] = []
    step = cars.cars.step
    monkeypatch.setattr(cars.cars, "step", lambda actions: driven.append(actions) or step(actions))
    monkeypatch.setattr(sb3_steps.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(cars, "_tell", lambda *_: None)
    assert _rates(cars, Stub, rollout=4, repetitions=2) == [3 * 4 / 2.0] * 2
    assert len(driven) == 4 * 3  # one repetition more, to warm up
    assert not np.any(driven)


@pytest.mark.slow
def test_the_object_holds_every_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sb3_steps, "traffic", lambda: clean_traffic(num_cars=60))
    results = bench_sb3(SB3Bench(num_egos=8, rollout=4, repetitions=1, highway_vehicles=3, highway_rollout=2))
    ours, theirs = results["sb3_env_steps_per_s"], results["sb3_highway_env_steps_per_s"]
    assert results["ratio_to_highway_env"] == pytest.approx(ours / theirs, abs=0.1)
    assert results["ratio_of_simulated_time"] == pytest.approx(0.1 * ours / theirs, abs=0.1)
    assert results["sb3_steps_with_network_per_s"] > 0
    assert results["sb3_cells_steps_per_s"] > 0
    assert results["machine"]["versions"]["highway-env"]
