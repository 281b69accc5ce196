"""Who fails: drives by the lane in which they began and by what their human did, and how those that failed ended.

By the paper's rule. Lanes are known on the sites of envs.sites; elsewhere they are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.evaluate import Evaluation, Run
from agents.metrics import Outcomes
from envs.sites import LAYOUTS


class Part(NamedTuple):
    """Some of the drives; those that failed are counted by how they ended."""

    name: str
    drives: int
    collisions: int
    hit_from_behind: int  # of the collisions, those that are not the ego's fault
    off_road: int
    out_of_time: int

    @property
    def failed(self) -> int:
        return self.collisions + self.off_road + self.out_of_time


def breakdown(evaluation: Evaluation, runs: Sequence[Run]) -> list[Part]:
    """All drives of some runs, added up, then parts of them; a part without a drive is left out.

    A car may be in different parts for different runs: what its human did counts up to the end of the drive.
    """
    counted = [
        np.array([_count(run.outcomes, chosen) for _, chosen in _parts(evaluation, run)]) for run in runs
    ]
    names = [name for name, _ in _parts(evaluation, runs[0])]
    parts = [
        Part(name, *numbers.tolist()) for name, numbers in zip(names, np.sum(counted, axis=0), strict=True)
    ]
    return [part for part in parts if part.drives]


HEADER = ("drives", "number", "fail %", "collisions (hit from behind)", "off road", "out of time")


def cells(part: Part) -> list[str]:
    """What a table says of a part, under HEADER."""
    return [
        part.name,
        str(part.drives),
        f"{100 * part.failed / part.drives:.1f}",
        f"{part.collisions} ({part.hit_from_behind})",
        str(part.off_road),
        str(part.out_of_time),
    ]


class Ending(NamedTuple):
    """Failed drives that ended alike."""

    name: str
    drives: int
    avoidable: int  # of them, those of cars that somebody brought home


ENDINGS = ("collision, at fault", "collision, hit from behind", "off road", "out of time")
ENDINGS_HEADER = ("failed drives", "number", "avoidable")


def endings(runs: Sequence[Run], driven_home: NDArray[np.bool_]) -> list[Ending]:
    """How the failed drives of some runs ended, added up, and which of them were avoidable.

    Args:
        driven_home: (D,) cars that somebody else brought home; what one of the runs brought home counts anyway.
    """
    home = brought_home(runs, driven_home)
    ended = np.array([_ended(run.outcomes) for run in runs])  # (runs, D)

    def counted(name: str, which: NDArray[np.bool_]) -> Ending:
        return Ending(name, int(which.sum()), int((which & home).sum()))

    parts = [counted(name, ended == name) for name in ENDINGS]
    return [counted("all", np.isin(ended, ENDINGS)), *(part for part in parts if part.drives)]


class Failure(NamedTuple):
    """A drive that failed."""

    agent: str
    recording: str
    vehicle: int  # as its source numbers it
    start_frame: int  # of its recording
    lane: int  # see start_lanes
    ending: str  # one of ENDINGS
    seconds: float  # from the start
    avoidable: bool


FAILURES_HEADER = ("agent", "recording", "vehicle", "from frame", "lane", "failed", "after s", "avoidable")


def failures(evaluation: Evaluation, runs: Sequence[Run], driven_home: NDArray[np.bool_]) -> list[Failure]:
    """What `endings` counts, drive by drive: first by car, then by run."""
    home = brought_home(runs, driven_home)
    lane, recording = start_lanes(evaluation)[0], evaluation.recording_of
    number, ended = evaluation.vehicle_id[evaluation.drives.vehicle], [_ended(run.outcomes) for run in runs]
    return [
        Failure(
            run.name, evaluation.names[recording[i]], int(number[i]), int(evaluation.start_frame[i]),
            int(lane[i]), str(how[i]), round(float(run.outcomes.ended()[i] * run.outcomes.dt), 1), bool(home[i]),
        )
        for i in range(len(home))
        for run, how in zip(runs, ended, strict=True)
        if how[i] in ENDINGS
    ]  # fmt: skip


def brought_home(runs: Sequence[Run], driven_home: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(D,): the cars that one of the runs or somebody else brings home, so that failing on them was avoidable."""
    return driven_home | np.any([run.outcomes.succeeded() for run in runs], axis=0)


def _ended(out: Outcomes) -> NDArray[np.str_]:
    """(D,): one of ENDINGS, or what Outcomes.ending says of those that did not fail."""
    fault = np.where(out.contacts["paper"].at_fault, ", at fault", ", hit from behind")
    ending = out.ending()
    return np.where(ending == "collision", np.char.add("collision", fault), ending)


def _count(out: Outcomes, chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    num = {name: int((chosen & (_ended(out) == name)).sum()) for name in ENDINGS}
    at_fault, behind, off_road, late = (num[name] for name in ENDINGS)
    return int(chosen.sum()), at_fault + behind, behind, off_road, late


def _parts(evaluation: Evaluation, run: Run) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Names, and which of the D drives they are."""
    out = run.outcomes
    yield "all", np.ones(len(out), bool)
    lane, through = start_lanes(evaluation)
    known = lane > 0
    for k in range(1, int(lane.max()) + 1):
        yield f"began in lane {k}", lane == k
    yield "began on the ramp or in the lane beside it", known & (lane >= through)
    yield "began in another lane", known & (lane < through)
    left = human_left_lane(evaluation, out)
    yield "their human had left its lane by then", left
    yield "their human had not", ~left


def start_lanes(evaluation: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(D,) each: the lane in which a drive begins, and how many through lanes its site has; 0 where they are not known.

    Lanes count from the left, from 1; the one beyond the through lanes is the ramp.
    """
    layouts = [LAYOUTS.get(recording.site.name) for recording in evaluation.recordings]
    through = np.array([known.lanes if known else 0 for known in layouts])[evaluation.recording_of]
    y = _rows(evaluation)[:, 0]
    lane = np.floor(-y / _lane_widths(evaluation)).astype(np.int64) + 1
    return np.where(through > 0, np.clip(lane, 1, through + 1), 0), through


def human_left_lane(evaluation: Evaluation, out: Outcomes) -> NDArray[np.bool_]:
    """(D,): by the time the drive ended, its human was further than half a lane to the side of where it began."""
    y = _rows(evaluation)
    last = evaluation.drives.human_frame - evaluation.drives.start_frame
    at = y[np.arange(len(y)), np.minimum(out.ended(), last)]
    return np.abs(at - y[:, 0]) > _lane_widths(evaluation) / 2


def _rows(evaluation: Evaluation) -> NDArray[np.float64]:
    """(D, H + 1): y of the humans, m."""
    return evaluation.runs[0].outcomes.human_states[..., 1].astype(np.float64)


def _lane_widths(evaluation: Evaluation) -> NDArray[np.float64]:
    return np.array([r.site.lane_width for r in evaluation.recordings])[evaluation.recording_of]
