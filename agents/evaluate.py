"""Score agents: every one drives exactly the same cars, those whose human makes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.base import Agent
from agents.driving import Progress, drive
from agents.metrics import Outcomes
from agents.recorded import Human
from envs.drives import Drives, find_drives
from envs.errors import InputError
from envs.recording import Recording, Split
from envs.replay import Replay, Traffic
from envs.units import View
from envs.world import World, build_world


@dataclass(frozen=True)
class Run:
    """One agent's drives."""

    name: str
    seed: int | None
    outcomes: Outcomes


@dataclass(frozen=True)
class Dropped:
    """A car that nobody is scored on, because its human, replayed through the kinematics, does not make it."""

    recording: str
    recording_index: int
    vehicle: int  # the source's number
    start_frame: int  # of its recording
    reason: str  # "collision", "off road" or "out of time", by the paper's rule
    seconds: float  # after the start
    distance_m: float


@dataclass(frozen=True)
class Evaluation:
    """Agents on the same D cars."""

    recordings: list[Recording]
    names: list[str]  # of the recordings
    split: Split
    traffic: Traffic
    perturbed: bool  # whether the drives start off the recording
    seed: int  # of the bootstrap, of the choice of cars and of perturbed starts
    world: World  # of the recordings
    drives: Drives
    dropped: list[Dropped]
    runs: list[Run]  # in the order given

    @cached_property
    def vehicle_id(self) -> NDArray[np.int64]:
        """(V,) the source's number of every vehicle of the world."""
        return np.concatenate([r.vehicles.id for r in self.recordings])

    @property
    def recording_of(self) -> NDArray[np.int32]:
        """(D,) index of each car's recording."""
        return self.world.recording[self.drives.vehicle]

    @property
    def start_frame(self) -> NDArray[np.int64]:
        """(D,) the frame within its recording in which each drive starts."""
        return self.world.frame_in_recording(self.drives.vehicle, self.drives.start_frame)


def evaluate(
    agents: Sequence[Agent],
    recordings: Sequence[Recording],
    *,
    names: Sequence[str] | None = None,
    split: Split = "test",
    traffic: Traffic = "blind",
    perturbed: bool = False,
    num_egos: int = 256,
    threads: int | None = None,
    seed: int = 0,
    max_cars: int | None = None,
    min_seconds: float = 5.0,
    history: int = 20,
    view: View | None = None,
    progress: Progress | None = None,
    stop_at_failure: bool = False,
    kept: Sequence[Path] | None = None,
) -> Evaluation:
    """Drive every agent on the cars of a split whose human succeeds.

    Args:
        agents: any number, scored in this order; the order does not matter for the numbers.
        recordings: of one dt. Where a site has no goal (short scenes), a car has to last until its recording ends.
        names: of the recordings, for tables; their sites' by default.
        traffic: "blind" as in the paper, or "reactive".
        perturbed: start off the recording, each car in its own way, the same for all agents (see envs.perturbation).
            The cars are still those whose human makes it from where it was.
        num_egos: the most cars driven at once.
        threads: of the replay; all cores by default.
        seed: of the bootstrap, of perturbed starts, and of which cars are taken if `max_cars` leaves some out.
        min_seconds: the shortest drive (of the human) that is scored.
        history: recorded frames a car must have before it is taken over. It decides which cars are scored, so it is not
            taken from the agents; one that looks further back sees the first frame repeated.
        stop_at_failure: end each drive with its first failure by the paper's rule; other rules then miss what follows.
        progress: called with (what is driven, cars done, cars in all).
        kept: a file for each agent, that its drives go on from if they were interrupted (see agents.driving).
    Raises:
        InputError: no car of the split can be scored; history or min_seconds make no sense; drives of other cars are
            kept.
    """
    if history < 1:
        raise InputError(f"history={history} must be at least 1")
    if not 0 <= min_seconds < math.inf:
        raise InputError(f"min_seconds={min_seconds} must be 0 or more, and finite")
    if not agents:
        raise ValueError("at least one agent is needed")
    if names is not None and len(names) != len(recordings):
        raise ValueError(f"{len(names)} names for {len(recordings)} recordings")
    files: Sequence[Path | None] = [None] * len(agents) if kept is None else kept
    if len(files) != len(agents):
        raise ValueError(f"{len(files)} files for the drives of {len(agents)} agents")
    labels = list(names) if names is not None else [r.site.name for r in recordings]
    drives = cars_of(recordings, split, names=labels, history=history, min_seconds=min_seconds)
    drives = _choose(drives, max_cars, seed)
    batch = math.ceil(len(drives) / math.ceil(len(drives) / num_egos))  # batches of one size waste no rows
    longest = max(agent.history for agent in agents)
    replay = Replay(recordings, batch, history=longest, view=view, traffic=traffic, threads=threads)
    human = drive(
        Human(),
        replay,
        drives,
        label="human, to see which cars can be driven",
        progress=progress,
        stop_at_failure=stop_at_failure,
    )
    ok = human.succeeded()
    dropped = _dropped(human, drives, replay.world, recordings, labels)
    if not ok.any():
        raise InputError(
            f"none of the {len(drives)} cars can be scored: their own recorded actions fail on all of them"
        )
    drives = drives.take(np.flatnonzero(ok))
    if perturbed:
        drives = drives.perturbed(replay.world, seed)
    runs = [
        Run(
            agent.name,
            agent.seed,
            drive(agent, replay, drives, progress=progress, stop_at_failure=stop_at_failure, kept=file),
        )
        for agent, file in zip(agents, files, strict=True)
    ]
    return Evaluation(
        list(recordings), labels, split, traffic, perturbed, seed, replay.world, drives, dropped, runs
    )


def cars_of(
    recordings: Sequence[Recording],
    split: Split,
    *,
    names: Sequence[str] | None = None,
    history: int = 20,
    min_seconds: float = 5.0,
) -> Drives:
    """The drives of a split that are scored if their human makes it; see `evaluate`.

    Raises:
        InputError: there are none.
    """
    drives = find_drives(build_world(recordings), recordings, split, history=history, min_seconds=min_seconds)
    if len(drives) == 0:
        where = ", ".join(names or [r.site.name for r in recordings])
        raise InputError(
            f"no car of the {split} split of {where} is recorded for {history} frames and drives the scored stretch for"
            f" {min_seconds:g} s; use a longer recording or another split"
        )
    return drives


def _choose(drives: Drives, max_cars: int | None, seed: int) -> Drives:
    """At most `max_cars` of the drives, at random, in their order."""
    if max_cars is None or max_cars >= len(drives):
        return drives
    if max_cars < 1:
        raise ValueError(f"max_cars={max_cars} must be at least 1")
    chosen = np.random.default_rng(seed).choice(len(drives), max_cars, replace=False)
    return drives.take(np.sort(chosen))


def _dropped(
    human: Outcomes, drives: Drives, world: World, recordings: Sequence[Recording], names: Sequence[str]
) -> list[Dropped]:
    """The cars on which the replayed human fails by the paper's rule."""
    ending, ended, distance = human.ending(), human.ended(), human.distance()
    vehicle_id = np.concatenate([r.vehicles.id for r in recordings])
    recording = world.recording[drives.vehicle]
    start = world.frame_in_recording(drives.vehicle, drives.start_frame)
    return [
        Dropped(
            recording=names[recording[i]],
            recording_index=int(recording[i]),
            vehicle=int(vehicle_id[drives.vehicle[i]]),
            start_frame=int(start[i]),
            reason=str(ending[i]),
            seconds=float(ended[i] * human.dt),
            distance_m=float(distance[i]),
        )
        for i in np.flatnonzero(~human.succeeded())
    ]
