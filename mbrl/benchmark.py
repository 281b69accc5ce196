"""The benchmark: everybody on the same cars, under three kinds of traffic, and in scenes from elsewhere.

Beside each stands what it consumed. What is trained, and what was driven, stays in the folder; the same command goes
on. Test cars are driven once, when all are trained; policies are selected on validation cars while they train.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from agents import Agent
from agents.driving import latest
from agents.evaluate import Evaluation, cars_of
from envs.drives import find_drives
from envs.errors import InputError
from envs.formats import read
from envs.formats.atomic import atomic_path
from envs.recording import Recording, Split
from envs.replay import Replay
from mbrl.agents_by_name import agents_by_name
from mbrl.benchmark_page import write_benchmark
from mbrl.driven import Driver, gathered, still_to_drive
from mbrl.entrants import Entrant, chosen_entrants, entrants, given, trainings
from mbrl.presets import Preset
from mbrl.side_by_side import run_together
from mbrl.trainings import (
    RunJobs,
    Training,
    keep_setting,
    seconds_spent,
    seed_folder,
    train_all,
    with_needs,
)

Condition = Literal["blind", "reactive", "perturbed"]
CONDITIONS: dict[Condition, dict[str, Any]] = {
    "blind": {},
    "reactive": {"traffic": "reactive"},
    "perturbed": {"perturbed": True},
}
SCENES = "scenes"
HUMAN = "human"
LATENCY_FILE = "latency.json"
LATENCY_CALLS = 24


class Setting(NamedTuple):
    """What a benchmark is about."""

    out: Path
    files: tuple[Path, ...]
    preset: Preset = "quick"
    rl_steps: int = 1_000_000
    split: Split = "test"
    max_cars: int | None = None
    device: str = "cpu"
    scenes: tuple[Path, ...] = ()  # of other roads, of any format: nobody learns from them
    agents: tuple[str, ...] = ()  # of the command line, that drive beside the entrants

    def everybody(self) -> list[Entrant]:
        """Who may take part. Raises InputError: an agent is an entrant."""
        known = entrants(self.preset, self.rl_steps)
        return [*known, *given(self.agents, known)]


class Cars(NamedTuple):
    """Some that everybody drives, and among what traffic."""

    files: tuple[Path, ...]
    options: dict[str, Any]  # of agents.evaluate


def benchmark(
    setting: Setting,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    only: Sequence[str] = (),
    conditions: Sequence[Condition] = ("blind", "reactive", "perturbed"),
    run_jobs: RunJobs = run_together,
) -> dict[str, Any]:
    """Train, drive and report in the setting's folder; returns what benchmark.json holds.

    Args:
        only: names of entrants; by default those of Entrant.by_default. The setting's agents always drive, and so does
            the human, who says which cars can be driven.
        run_jobs: what runs independent jobs: side by side on this machine, or on a cluster (mbrl.on_ray).
    Raises:
        InputError: there is no such entrant, the folder holds a run of another setting, or there are no cars to drive.
    """
    recordings = [read(path) for path in setting.files]
    chosen = chosen_entrants(setting.everybody(), [*only, HUMAN, *setting.agents] if only else ())
    agents_by_name(setting.agents)  # that cannot be made are refused now, not after the training
    keep_setting(
        setting.out, recordings, preset=setting.preset,
        rl_steps=setting.rl_steps, split=setting.split, max_cars=setting.max_cars,
    )  # fmt: skip
    cars: dict[str, Cars] = {condition: _recorded(setting, condition) for condition in conditions}
    if setting.scenes:
        cars[SCENES] = _in_scenes(setting)
    plan = {seed_folder(setting.out, seed): _trainings(setting, seed, chosen) for seed in seeds}
    train_all(plan, setting.files, run=run_jobs, device=setting.device, tracking_root=setting.out)
    drivers = [(entrant, seed) for entrant in chosen for seed in entrant.seeds(seeds)]
    driving = {condition: _drivers(setting, drivers, condition) for condition in cars}
    run_jobs([job for condition, (files, options) in cars.items()
              for job in still_to_drive(driving[condition], files, **options)])  # fmt: skip
    for entrant, seed in drivers:  # nothing else runs now
        _time(setting, entrant, seed)
    evaluations: dict[str, Evaluation] = {
        condition: gathered(driving[condition], files, **options)
        for condition, (files, options) in cars.items()
    }
    return write_benchmark(
        setting.out, evaluations, chosen, _costs(setting, drivers), training_frames(recordings)
    )


def training_frames(recordings: Sequence[Recording]) -> int:
    """How long the training cars are recorded, in frames of one car."""
    spans = [r.vehicles.last_frame.astype(np.int64) - r.vehicles.first_frame + 1 for r in recordings]
    return sum(int(span[r.in_split("train")].sum()) for span, r in zip(spans, recordings, strict=True))


def _trainings(setting: Setting, seed: int, chosen: Sequence[Entrant]) -> list[Training]:
    """What has to be trained for a seed, for these entrants."""
    wanted = {entrant.trained for entrant in chosen if entrant.trained}
    return with_needs(trainings(setting.preset, seed, setting.rl_steps), wanted)


def _drivers(setting: Setting, drivers: Sequence[tuple[Entrant, int | None]], condition: str) -> list[Driver]:
    return [
        Driver(
            entrant.name, seed, _drives_folder(setting.out, seed) / f"{entrant.drives}, {condition}.npz",
            partial(_made, setting, entrant.name, seed), entrant.at_once,
        )
        for entrant, seed in drivers
    ]  # fmt: skip


def _recorded(setting: Setting, condition: Condition) -> Cars:
    """Those of the recordings, in a kind of traffic."""
    options = {"split": setting.split, "max_cars": setting.max_cars, **CONDITIONS[condition]}
    return Cars(setting.files, options)


def _in_scenes(setting: Setting) -> Cars:
    """All that scenes have: these are too short for a history.

    Raises:
        InputError: they have none, or frames that are not as far apart as those of the recordings.
    """
    scenes, dt = [read(path) for path in setting.scenes], read(setting.files[0]).dt
    for path, scene in zip(setting.scenes, scenes, strict=True):
        if scene.dt != dt:
            raise InputError(
                f"its frames are {scene.dt:g} s apart, those of the recordings {dt:g} s", path=path
            )
    cars_of(scenes, "all", history=1, names=[path.name for path in setting.scenes])
    return Cars(setting.scenes, {"split": "all", "history": 1, "max_cars": setting.max_cars})


def _drives_folder(out: Path, seed: int | None) -> Path:
    return seed_folder(out, seed) / "drives"


def _made(setting: Setting, name: str, seed: int | None) -> Agent:
    entrant = next(e for e in setting.everybody() if e.name == name)
    return entrant.make(seed_folder(setting.out, seed), 0 if seed is None else seed, setting.device)


def _latency_file(out: Path, entrant: Entrant, seed: int | None) -> Path:
    return _drives_folder(out, seed) / f"{entrant.drives}, {LATENCY_FILE}"


def _time(setting: Setting, entrant: Entrant, seed: int | None) -> None:
    """Measure how long an agent takes for a decision about one car, unless that was done."""
    path = _latency_file(setting.out, entrant, seed)
    if not path.exists():
        seconds = latency(_made(setting, entrant.name, seed), [read(path) for path in setting.files])
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"seconds": seconds}))


def latency(agent: Agent, recordings: Sequence[Recording]) -> float:
    """Seconds from an observation of one car to its action: the third quartile over calls after the first few.

    An agent that decides in every other frame and holds its action in between is thus timed where it decides.
    """
    replay = Replay(recordings, 1, history=max(agent.history, 20))
    drives = find_drives(replay.world, recordings).take(slice(0, 1))
    observation, taken = replay.reset(drives), []
    agent.begin(replay)
    for _ in range(LATENCY_CALLS):
        seen = latest(observation, agent.history)
        begun = time.perf_counter()
        action = agent.act(seen)
        taken.append(time.perf_counter() - begun)
        observation, _ = replay.step(action)
    return float(np.quantile(taken[4:], 0.75))


def _costs(setting: Setting, drivers: Sequence[tuple[Entrant, int | None]]) -> dict[str, dict[str, float]]:
    """Entrant -> seconds per decision, seconds of training (with what it needs), means over seeds."""
    found: dict[str, list[dict[str, float]]] = {}
    for entrant, seed in drivers:
        spent = 0.0
        if seed is not None:
            needed = _trainings(setting, seed, [entrant])
            spent = sum(
                seconds_spent(seed_folder(setting.out, seed) / training.name) or 0.0 for training in needed
            )
        seconds = json.loads(_latency_file(setting.out, entrant, seed).read_text())["seconds"]
        found.setdefault(entrant.name, []).append({"latency_s": seconds, "training_s": spent})
    return {
        name: {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        for name, rows in found.items()
    }
