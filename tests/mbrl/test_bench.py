"""The benchmark: that it counts what it says, on traffic as dense as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from envs.drives import find_drives
from envs.errors import InputError
from envs.formats import write_parquet
from envs.replay import Replay
from envs.world import build_world
from mbrl import bench
from mbrl.bench import (
    BENCHES,
    ReplayBench,
    as_text,
    replay_rates,
    replay_rss_mb,
    run_bench,
    stand_in,
    tiled,
)
from mbrl.bench_memory import peak_rss_mb
from tests.toys import random_traffic

TINY = ReplayBench(
    num_egos=16, num_steps=4, repetitions=2, settling_steps=2, batch_size=4, num_rows=4000, highway_vehicles=3,
    highway_steps=1,
)  # fmt: skip


def test_the_object_holds_every_number_and_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "traffic", lambda: random_traffic(num_vehicles=60))
    monkeypatch.setattr(bench, "replay_rss_mb", lambda path, egos: path.stat().st_size / 1e3 + egos)
    results = json.loads(json.dumps(bench.bench_replay(TINY)))
    rates = ["replay_steps_per_s", "vector_env_steps_per_s", "windows_per_s", "highway_env_steps_per_s"]
    for name in rates:
        assert results[name] >= results["spread"][name]["median"] >= results["spread"][name]["worst"] > 0
        assert results["spread"][name]["repetitions"] == 2
    assert 0 < results["import_s"] < 60
    assert 4000 <= results["import_rows"] < 4300
    assert 16 < results["rss_mb"] < 1000
    assert {"cpu", "cores", "threads", "load_before", "versions"} <= results["machine"].keys()


def test_a_rate_is_egos_times_steps_over_the_time_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def clock() -> Iterator[float]:
        now = 0.0
        while True:
            yield now  # a step begins,
            now += 0.5
            yield now  # and ends half a second later
            now += 100.0  # which nobody pays for

    ticks = clock()
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(ticks))
    rates = replay_rates(random_traffic(num_vehicles=60), TINY)
    assert rates == [pytest.approx(16 / 0.5)] * 2


def test_the_stand_in_is_as_dense_as_i80_and_drivable() -> None:
    recording = stand_in(num_frames=400)
    assert recording.num_rows / recording.num_frames == pytest.approx(190, abs=6)
    drives = find_drives(build_world([recording]), [recording])
    assert len(drives) > 30
    replay = Replay([recording], len(drives))
    replay.reset(drives)
    for _ in range(20):
        _, step = replay.step(replay.human_actions())
    assert step.hit.max() == -1


def test_tiling_repeats_the_traffic_and_stops_at_the_wanted_size() -> None:
    recording = random_traffic(num_vehicles=20, num_frames=200)
    long = tiled(recording, int(2.5 * recording.num_rows))
    assert 0 <= long.num_rows - int(2.5 * recording.num_rows) < np.diff(recording.frame_offsets).max()
    for copy in range(2):
        rows = slice(*(long.frame_offsets[[copy * recording.num_frames, (copy + 1) * recording.num_frames]]))
        assert np.array_equal(long.x[rows], recording.x)
        assert np.array_equal(long.speed[rows], recording.speed)
    assert len(np.unique(long.vehicles.id)) == len(long.vehicles)


@pytest.mark.slow
def test_memory_is_that_of_a_fresh_process(tmp_path: Path) -> None:
    write_parquet(random_traffic(num_vehicles=60), tmp_path / "traffic.parquet")
    ballast = np.ones(800 << 17)  # 800 MiB here must not count there
    pictures = 512 * 40 * 3 * 117 * 24 / 2**20
    assert pictures + 100 < replay_rss_mb(tmp_path / "traffic.parquet", 512) < 800
    assert ballast[0] == 1
    assert peak_rss_mb() > 800


def test_an_unknown_benchmark_is_refused_with_the_names_there_are() -> None:
    names = "imagination, planning, pretrain, replay"
    with pytest.raises(InputError, match=f"unknown benchmark 'speed'; there is: {names}"):
        run_bench("speed")
    assert set(BENCHES) == {"imagination", "planning", "pretrain", "replay"}


def test_pretrain_is_measured_beside_its_references(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import chains, fista

    monkeypatch.setattr(fista, "fista_vs_sklearn", lambda: {"ratio": 5.0})
    monkeypatch.setattr(chains, "chains_ratio", lambda: {"hmc_chains_ratio": 60.0, "mala_chains_ratio": 70.0})
    results = json.loads(json.dumps(run_bench("pretrain")))
    assert (results["fista_vs_sklearn"], results["chains_ratio"]) == (5.0, 60.0)
    assert results["fista"] == {"ratio": 5.0}
    assert {"cpu", "cores", "versions"} <= results["machine"].keys()


def test_results_read_as_lines() -> None:
    results = {
        "steps": 1234567,
        "import_s": 4.2,
        "machine": {"cpu": "x", "versions": {"numpy": "2"}},
        "load": None,
    }
    assert as_text(results).splitlines() == [
        "steps: 1,234,567",
        "import_s: 4.2",
        "machine.cpu: x",
        "machine.versions.numpy: 2",
        "load: None",
    ]
