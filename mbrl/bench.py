"""How fast headway is on this machine: `headway bench NAME`. What is measured and how is in benchmarks/README.md.

Each rate is the best of several repetitions after a warm-up, since whatever else runs on a machine can only slow it
down; their median and worst are reported beside it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import envs
from envs.drives import find_drives
from envs.environment import ReplayVectorEnv
from envs.errors import InputError
from envs.formats import read, write_parquet
from envs.formats.ngsim_export import write_ngsim
from envs.recording import Recording
from envs.replay import Replay
from envs.sites import I80
from envs.sources import load_recordings
from envs.windows import WindowConfig, WindowSampler
from mbrl.bench_imagination import bench_imagination
from mbrl.bench_planning import bench_planning
from mbrl.bench_pretrain import bench_pretrain
from mbrl.machine import machine_facts


@dataclass(frozen=True, kw_only=True)
class ReplayBench:
    """How much is measured."""

    num_egos: int = 1024
    num_steps: int = 40  # in a repetition
    repetitions: int = 7
    settling_steps: int = 200  # of the vector environment, after which its drives no longer begin all at once
    batch_size: int = 64  # windows
    num_rows: int = 1_400_000  # vehicle-frames of the imported text, as in 15 minutes of I-80
    highway_vehicles: int = 50
    highway_steps: int = 10  # in a repetition; it is thousands of times slower
    threads: int | None = None  # all available


def run_bench(name: str, device: str = "cpu") -> dict[str, Any]:
    """The numbers of one benchmark.

    Raises:
        InputError: there is none of that name, or it is not measured on such a device.
    """
    if name not in BENCHES:
        raise InputError(f"unknown benchmark {name!r}; there is: {', '.join(sorted(BENCHES))}")
    if device == "cpu":
        return BENCHES[name]()
    if name != "imagination":
        raise InputError(f"{name} is measured on the CPU only: leave --device out")
    return bench_imagination(device=device)


def as_text(results: dict[str, Any], prefix: str = "") -> str:
    """A line for each number and word of a benchmark's results."""
    lines = []
    for key, value in results.items():
        if isinstance(value, dict):
            lines.append(as_text(value, f"{prefix}{key}."))
        else:
            lines.append(
                f"{prefix}{key}: {value:,}" if isinstance(value, int | float) else f"{prefix}{key}: {value}"
            )
    return "\n".join(lines)


def bench_replay(config: ReplayBench | None = None) -> dict[str, Any]:
    """Speed of the replay and of everything that feeds on it, and what it costs in memory."""
    config = config or ReplayBench()
    machine = machine_facts(config.threads)
    recording = traffic()
    results: dict[str, Any] = {}
    spread: dict[str, Any] = {}

    def note(name: str, rates: list[float]) -> None:
        best, median, worst = (round(pick(rates), 2) for pick in (max, statistics.median, min))
        results[name] = best
        spread[name] = {"median": median, "worst": worst, "repetitions": len(rates)}
        _say(f"{name}: {best:,} (median {median:,}, worst {worst:,})")

    note("replay_steps_per_s", replay_rates(recording, config))
    note("vector_env_steps_per_s", vector_env_rates(recording, config))
    note("windows_per_s", window_rates(recording, config))
    note("highway_env_steps_per_s", highway_env_rates(config))
    with tempfile.TemporaryDirectory(prefix="headway-bench-") as folder:
        text, parquet = Path(folder) / "traffic.txt", Path(folder) / "traffic.parquet"
        _say(f"writing {config.num_rows:,} rows of NGSIM text")
        write_ngsim(tiled(recording, config.num_rows), text)
        seconds, imported = import_seconds(text)
        results["import_s"], results["import_rows"] = round(seconds, 2), imported.num_rows
        _say(f"import_s: {seconds:.1f} ({imported.num_rows:,} rows)")
        write_parquet(imported, parquet)
        del imported
        results["rss_mb"] = round(replay_rss_mb(parquet, config.num_egos))
        _say(f"rss_mb: {results['rss_mb']:,}")
    vehicles = recording.num_rows / recording.num_frames
    about = {
        "traffic": recording.site.name,
        "vehicles_per_frame": round(vehicles, 1),
        "egos": config.num_egos,
    }
    return {**results, "spread": spread, **about, "machine": machine}


def replay_rates(recording: Recording, config: ReplayBench) -> list[float]:
    """Steps of egos per second of `Replay.step`, driven as their humans did, in every repetition from other starts."""
    replay = Replay([recording], config.num_egos, threads=config.threads)
    drives = find_drives(replay.world, [recording])
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(config.repetitions + 1):
        replay.reset(drives.take(rng.integers(len(drives), size=config.num_egos)))
        seconds = 0.0
        for _ in range(config.num_steps):
            actions = replay.human_actions()
            begin = time.perf_counter()
            replay.step(actions)
            seconds += time.perf_counter() - begin
        rates.append(config.num_egos * config.num_steps / seconds)
    return rates[1:]


def vector_env_rates(recording: Recording, config: ReplayBench) -> list[float]:
    """The same through `headway/Replay-v0` made by `gymnasium.make_vec`, drives that end and begin included."""
    made = gym.make_vec(
        "headway/Replay-v0",
        num_envs=config.num_egos,
        recordings=recording,
        split="all",
        action="physical",
        threads=config.threads,
    )
    env = made.unwrapped
    assert isinstance(env, ReplayVectorEnv)
    env.reset(seed=0)
    for _ in range(config.settling_steps):
        env.step(env.replay.human_actions())
    rates = []
    for _ in range(config.repetitions):
        seconds = 0.0
        for _ in range(config.num_steps):
            actions = env.replay.human_actions()
            begin = time.perf_counter()
            env.step(actions)
            seconds += time.perf_counter() - begin
        rates.append(config.num_egos * config.num_steps / seconds)
    return rates


def window_rates(recording: Recording, config: ReplayBench) -> list[float]:
    """Training windows of 20 + 20 frames per second."""
    sampler = WindowSampler(
        [recording], WindowConfig(), batch_size=config.batch_size, split="all", threads=config.threads
    )
    batches = max(1, config.num_steps // 4)
    rates = []
    for first in range(0, (config.repetitions + 1) * batches, batches):
        begin = time.perf_counter()
        for i in range(first, first + batches):
            sampler.batch(i)
        rates.append(config.batch_size * batches / (time.perf_counter() - begin))
    return rates[1:]


def highway_env_rates(config: ReplayBench) -> list[float]:
    """Steps per second of highway-env's `highway-v0` as it comes, with that many vehicles; a step is one second."""
    import highway_env  # noqa: F401 (registers the environment)

    env = gym.make("highway-v0", config={"vehicles_count": config.highway_vehicles})
    env.reset(seed=0)

    def drive() -> None:
        for _ in range(config.highway_steps):
            _, _, terminated, truncated, _ = env.step(1)  # keep lane and speed
            if terminated or truncated:
                env.reset()

    drive()
    rates = []
    for _ in range(config.repetitions):
        begin = time.perf_counter()
        drive()
        rates.append(config.highway_steps / (time.perf_counter() - begin))
    env.close()
    return rates


def import_seconds(text: Path) -> tuple[float, Recording]:
    """Seconds to read an NGSIM text, and what it holds; the second of two reads, so that all is compiled."""
    read(text, "ngsim")
    begin = time.perf_counter()
    recording = read(text, "ngsim")
    return time.perf_counter() - begin, recording


def replay_rss_mb(parquet: Path, num_egos: int) -> float:
    """Peak resident memory, MiB, of a fresh process that loads a recording and drives in it."""
    command = [sys.executable, "-m", "mbrl.bench_memory", str(parquet), str(num_egos)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def traffic() -> Recording:
    """The sample that ships with headway; a stand-in as dense, without lane changes, where it is missing."""
    return load_recordings()[0] if envs.SAMPLE.exists() else stand_in()


def stand_in(num_frames: int = 1500, gap: float = 15.8, speed: float = 8.0) -> Recording:
    """Platoons on the six lanes of I-80 that breathe a little; with these gaps (m) 190 vehicles at once."""
    site, rng = I80.site(), np.random.default_rng(0)
    reach = speed * 0.1 * num_frames + site.length
    begin = np.arange(-reach, site.length, gap)  # x at frame 0 of one lane's cars
    lane, begin = (grid.ravel() for grid in np.meshgrid(np.arange(I80.lanes), begin, indexing="ij"))
    begin = begin + rng.uniform(-3, 3, len(begin))
    phase, frame = rng.uniform(0, 2 * np.pi, len(begin)), np.arange(num_frames)
    x = begin[:, None] + speed * 0.1 * frame + 2 * np.sin(0.02 * frame + phase[:, None])
    y = -(lane[:, None] + 0.5) * site.lane_width + 0.2 * np.sin(0.05 * frame + phase[:, None])
    vehicle, at = np.nonzero((x >= 0) & (x <= site.length))
    return Recording.from_tracks(
        site=site,
        vehicle_id=vehicle + 1,
        frame=at,
        x=x[vehicle, at],
        y=y[vehicle, at],
        length=rng.uniform(3.6, 5.5, len(begin))[vehicle],
        width=rng.uniform(1.6, 2.1, len(begin))[vehicle],
    )


def tiled(recording: Recording, num_rows: int) -> Recording:
    """The recording again and again, one copy after the other, cut after the frame that completes `num_rows` rows."""
    copies = -(-num_rows // recording.num_rows)
    r = recording
    frame = np.repeat(np.arange(r.num_frames), np.diff(r.frame_offsets))
    frames = np.concatenate([frame + k * r.num_frames for k in range(copies)])
    ids = np.concatenate([r.vehicle + 1 + k * len(r.vehicles) for k in range(copies)])
    kept = frames <= frames[num_rows - 1]

    def column(values: np.ndarray) -> np.ndarray:
        return np.tile(values, copies)[kept]

    return Recording.from_tracks(
        site=r.site,
        vehicle_id=ids[kept],
        frame=frames[kept],
        x=column(r.x),
        y=column(r.y),
        length=column(r.vehicles.length[r.vehicle]),
        width=column(r.vehicles.width[r.vehicle]),
        kind=column(r.vehicles.kind[r.vehicle]),
        dt=r.dt,
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


BENCHES: dict[str, Callable[[], dict[str, Any]]] = {
    "replay": bench_replay,
    "imagination": bench_imagination,
    "planning": bench_planning,
    "pretrain": lambda: {"machine": machine_facts(), **bench_pretrain()},
}
