"""Drive a batch of cars to their ends and write down the first frame of everything that happens on the way.

A drive goes on whatever happens, so that one drive serves every rule of what a failure is (see agents.metrics).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.base import Agent
from agents.metrics import NEVER, RULES, Contact, Outcomes, Rule
from agents.outcome_files import load_outcomes, save_outcomes
from envs.drives import Drives
from envs.ending import collisions
from envs.errors import InputError
from envs.replay import Observation, Replay, Step
from envs.world import World

NUM_WARM_UP = 2  # calls of `act` that are not timed: compilation, allocation
Progress = Callable[[str, int, int], None]  # what is being driven, cars done, cars in all


def drive(
    agent: Agent,
    replay: Replay,
    drives: Drives,
    *,
    label: str | None = None,
    progress: Progress | None = None,
    stop_at_failure: bool = False,
    kept: Path | None = None,
) -> Outcomes:
    """Drive all D drives, `replay.num_egos` at a time.

    Args:
        stop_at_failure: a drive ends with its first failure by the paper's rule: enough for that rule, and faster.
        kept: file that has what was driven so far, written after every batch (agents.outcome_files), so that who was
            killed goes on from there; in the end it has all drives.
    Raises:
        InputError: what is kept are drives of other cars, or it is damaged.
    """
    log = _Log.empty(len(drives), int((drives.limit_frame - drives.start_frame).max()))
    timer, driven = _Timer(), 0
    if kept is not None and kept.exists():
        before = load_outcomes(kept)
        driven = len(before)
        check_same_cars(before, replay.world, drives.take(slice(0, driven)), kept)
        log.restore(before)
        timer.restore(before)
    for begin in range(driven, len(drives), replay.num_egos):
        part = np.arange(begin, min(begin + replay.num_egos, len(drives)))

        def report(done: int, before: int = begin) -> None:
            if progress is not None:
                progress(label or agent.name, before + done, len(drives))

        _drive_batch(agent, replay, drives.take(part), log, part, timer, report, stop_at_failure)
        if kept is not None:
            so_far = drives.take(slice(0, part[-1] + 1))
            save_outcomes(kept, log.outcomes(replay.world, so_far, timer.seconds_per_action))
    return log.outcomes(replay.world, drives, timer.seconds_per_action)


def check_same_cars(outcomes: Outcomes, world: World, drives: Drives, path: Path) -> None:
    """Raise InputError if outcomes that a file keeps are not of these drives."""
    starts = human_states(world, drives)[:, 0]
    if not np.array_equal(outcomes.human_states[:, 0], starts):
        raise InputError("these are drives of other cars; delete it to drive again", path=path)


def _drive_batch(
    agent: Agent,
    replay: Replay,
    drives: Drives,
    log: _Log,
    rows: NDArray[np.int64],
    timer: _Timer,
    report: Callable[[int], None],
    stop_at_failure: bool,
) -> None:
    """Drive up to B drives to their ends; what happens goes to `rows` of the log."""
    num = len(drives)
    observation = replay.reset(drives, np.arange(num))
    agent.begin(replay)
    active = np.arange(replay.num_egos) < num
    log.states[rows, 0] = replay.state[:num]
    contact = _OngoingContact(num)
    step = 0
    report(0)
    while active.any():
        seen = latest(observation, agent.history)
        with timer.of(int(active.sum())):
            actions = agent.act(seen)
        driven = active[:num].copy()
        observation, result = replay.step(actions, active)
        step += 1
        contact.update(result, driven)
        log.record(rows, step, driven, replay.state[:num], result, contact)
        active &= ~(result.arrived | result.out_of_time)
        if stop_at_failure:
            active &= ~(result.collided | result.off_road)
        if (active[:num] != driven).any():
            report(num - int(active.sum()))


def latest(observation: Observation, history: int) -> Observation:
    """The last `history` frames."""
    return Observation(
        observation.images[:, -history:],
        observation.vectors[:, -history:],
        observation.heading[:, -history:],
        observation.size,
    )


class _Timer:
    """Mean wall time of `act` per ego that drives, warm-up left out."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int]] = []
        self.before = np.zeros(2)  # seconds and calls for one ego, of an earlier process

    def restore(self, outcomes: Outcomes) -> None:
        """Count what was driven before."""
        actions = outcomes.num_steps.sum()
        self.before = np.array([outcomes.seconds_per_action * actions, actions])

    @contextmanager
    def of(self, num_egos: int) -> Iterator[None]:
        """Time one call for that many egos."""
        began = time.perf_counter()
        yield
        self.calls.append((time.perf_counter() - began, num_egos))

    @property
    def seconds_per_action(self) -> float:
        seconds, egos = self.before + np.sum(self.calls[NUM_WARM_UP:] or self.calls or [(0.0, 0)], 0)
        return float(seconds / egos)


class _OngoingContact:
    """Which vehicle each ego overlaps now, and whose fault it was when that began.

    Judged later, after boxes have passed through each other, a car hit from behind would seem to have run into it.
    """

    def __init__(self, num: int) -> None:
        self.vehicle = np.full(num, -1, np.int64)
        self.at_fault = np.ones(num, bool)  # also of a proximity collision without contact

    def update(self, result: Step, driven: NDArray[np.bool_]) -> None:
        num = len(self.vehicle)
        hit = np.where(driven, result.hit[:num], self.vehicle)
        begins = (hit >= 0) & (hit != self.vehicle)
        self.at_fault = np.where(begins, result.at_fault[:num], self.at_fault | (hit < 0))
        self.vehicle = hit


@dataclass
class _Log:
    """Outcomes while they are being written."""

    num_steps: NDArray[np.int64]
    arrived: NDArray[np.int64]
    off_road: NDArray[np.int64]
    contacts: dict[Rule, Contact]
    min_ttc: NDArray[np.float64]
    states: NDArray[np.float32]

    @staticmethod
    def empty(num: int, max_steps: int) -> _Log:
        def never() -> NDArray[np.int64]:
            return np.full(num, NEVER, np.int64)

        return _Log(
            num_steps=np.zeros(num, np.int64),
            arrived=never(),
            off_road=never(),
            contacts={r: Contact(never(), np.zeros(num, bool), np.full(num, -1, np.int64)) for r in RULES},
            min_ttc=np.full(num, np.inf),
            states=np.full((num, max_steps + 1, 4), np.nan, np.float32),
        )

    def restore(self, outcomes: Outcomes) -> None:
        """Write down what was driven before, as the first rows."""
        num, width = outcomes.states.shape[:2]
        self.num_steps[:num], self.arrived[:num] = outcomes.num_steps, outcomes.arrived
        self.off_road[:num], self.min_ttc[:num] = outcomes.off_road, outcomes.min_ttc
        self.states[:num, :width] = outcomes.states
        for rule, contact in outcomes.contacts.items():
            for column, values in zip(self.contacts[rule], contact, strict=True):
                column[:num] = values

    def record(
        self,
        rows: NDArray[np.int64],
        step: int,
        driven: NDArray[np.bool_],
        states: NDArray[np.float64],
        result: Step,
        contact: _OngoingContact,
    ) -> None:
        """Write down step `step` of the egos that were driven; the arrays of a batch are longer if it is not full."""
        num = len(rows)
        unfailed = driven & (np.minimum(self.contacts["paper"].step, self.off_road)[rows] == NEVER)
        self.min_ttc[rows[unfailed]] = np.minimum(self.min_ttc[rows], result.ttc[:num])[unfailed]
        self.num_steps[rows[driven]] = step
        self.states[rows[driven], step] = states[driven]
        for first, happened in ((self.arrived, result.arrived), (self.off_road, result.off_road)):
            new = rows[driven & happened[:num]]
            first[new] = np.minimum(first[new], step)
        for rule, event in self.contacts.items():
            touching = collisions(result, "proximity" if rule == "paper" else rule)
            is_first = driven & touching[:num] & (event.step[rows] == NEVER)
            event.step[rows[is_first]] = step
            event.at_fault[rows[is_first]] = contact.at_fault[is_first]
            event.vehicle[rows[is_first]] = contact.vehicle[is_first]

    def outcomes(self, world: World, drives: Drives, seconds_per_action: float) -> Outcomes:
        """Of the first rows, those of `drives`."""
        num = len(drives)
        num_steps = self.num_steps[:num]
        return Outcomes(
            dt=world.dt,
            num_steps=num_steps,
            arrived=self.arrived[:num],
            off_road=self.off_road[:num],
            contacts={
                rule: Contact(step[:num], at_fault[:num], vehicle[:num])
                for rule, (step, at_fault, vehicle) in self.contacts.items()
            },
            min_ttc=self.min_ttc[:num],
            states=self.states[:num, : num_steps.max() + 1].copy(),
            human_states=human_states(world, drives),
            seconds_per_action=seconds_per_action,
        )


def human_states(world: World, drives: Drives) -> NDArray[np.float32]:
    """(D, H + 1, 4): x, y, heading, speed as recorded, from the start to the human's arrival, then NaN."""
    steps = np.arange(int((drives.human_frame - drives.start_frame).max()) + 1)
    frames = drives.start_frame[:, None] + steps
    within = frames <= drives.human_frame[:, None]
    rows = world.row(drives.vehicle[:, None], np.minimum(frames, drives.human_frame[:, None]))
    return np.where(within[..., None], world.state[rows], np.float32(np.nan))
