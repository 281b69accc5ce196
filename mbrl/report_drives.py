"""The parts of the report that show single drives: all of them on the road, and how some of them failed."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.breakdown import HEADER, breakdown, cells
from agents.evaluate import Evaluation, Run
from agents.metrics import Outcomes
from agents.results import row_label
from envs.units import View
from mbrl.forensics import LookBack, look_back, seen
from mbrl.page import card, details, legend, section, table
from mbrl.plots import ENDINGS, Trace, road_chart
from mbrl.strips import strip, times
from mbrl.trained_model import TrainedModel

FAILURE_FRAMES, FAILURE_STEP = 6, 4  # the last frames of a failed drive, and how many apart
MAX_FAILURES = 6  # shown as pictures
MAX_TRACES = 250  # drawn for one agent
BEYOND = 15.0  # m of road drawn before and after the drives
FAILURES_NOTE = "The last moments of failed drives of {}; seconds before the end below each picture."
LOOK_BACK_NOTE = (
    " Below, what the model imagined for the same actions, from what was seen before the first picture."
)
WORDS = {
    "arrived": "arrived",
    "collision": "collided",
    "off road": "left the road",
    "out of time": "ran out of time",
}


def _busiest(evaluation: Evaluation) -> int:
    """The site (its number in the world) with the most cars."""
    return int(np.bincount(evaluation.world.site[evaluation.recording_of]).argmax())


def roads(evaluation: Evaluation) -> str:
    """The section with every agent's drives on the site."""
    site = _busiest(evaluation)
    cars = np.flatnonzero(evaluation.world.site[evaluation.recording_of] == site)
    drawn = cars[np.linspace(0, len(cars) - 1, min(len(cars), MAX_TRACES)).astype(int)]
    traces = [[_trace(run.outcomes, int(car)) for car in drawn] for run in evaluation.runs]
    xs = np.concatenate([trace.x for of_run in traces for trace in of_run])
    x_range = float(xs.min()) - BEYOND, float(xs.max()) + BEYOND
    road = next(r.site for i, r in enumerate(evaluation.recordings) if evaluation.world.site[i] == site)
    charts = []
    for run, of_run in zip(evaluation.runs, traces, strict=True):
        endings, counts = np.unique(run.outcomes.ending()[cars], return_counts=True)
        counted = dict(zip(endings.tolist(), counts.tolist(), strict=True))
        summary = ", ".join(f"{counted[name]} {WORDS[name]}" for name in ENDINGS if name in counted)
        chart = f'<div class="scroll road">{road_chart(road, of_run, x_range=x_range)}</div>'
        charts.append(card(chart, title=f"{_label(run)}: {summary}", kind="wide"))
    return section("On the road", legend(ENDINGS.items()), *charts, note=_roads_note(evaluation))


def _roads_note(evaluation: Evaluation) -> str:
    site = _busiest(evaluation)
    num = int((evaluation.world.site[evaluation.recording_of] == site).sum())
    where = "" if num == len(evaluation.drives) else f" The site with the most cars ({num}) is shown."
    some = f" {MAX_TRACES} of them are drawn." if num > MAX_TRACES else ""
    return f"Drives up to their first failure, from left to right; a dot is where one failed.{where}{some}"


def _trace(out: Outcomes, car: int) -> Trace:
    states = out.states[car, : out.ended()[car] + 1].astype(np.float64)
    return Trace(states[:, 0], states[:, 1], str(out.ending()[car]))


def failures(
    evaluation: Evaluation,
    run: Run,
    trained: TrainedModel | None = None,
    cars: NDArray[np.int64] | None = None,
) -> str:
    """The section with pictures of some of a run's failed drives, and a table of all.

    Args:
        trained: what it imagined of them is shown beside.
        cars: which of them, by their numbers in the evaluation; a few from first to last by default.
    """
    failed = np.flatnonzero(~run.outcomes.succeeded())
    if len(failed) == 0:
        return section("Failures", f"<p>{escape(_label(run))} has none.</p>")
    few = failed[np.linspace(0, len(failed) - 1, min(len(failed), MAX_FAILURES)).astype(int)]
    shown = few if cars is None else cars
    # Cars that yield to an ego are not where the recording has them, so there is nothing to draw them from.
    drawable = shown if evaluation.traffic == "blind" else shown[:0]
    pictures = [_failure(evaluation, run, int(car), trained) for car in drawable]
    rows = [_failure_row(evaluation, run.outcomes, int(car)) for car in failed]
    header = "vehicle,recording,start frame,cause,whose fault,with vehicle,after s,metres,m/s".split(",")
    grid = f"<div class=grid>{''.join(pictures)}</div>" if pictures else ""
    every = details(f"All {len(failed)} failures of {_label(run)}", card(table(header, rows)))
    parts = [list(map(escape, cells(part))) for part in breakdown(evaluation, [run])]
    who = details(
        "Who fails: by the lane in which they began, and by what their human did", card(table(HEADER, parts))
    )
    note = FAILURES_NOTE.format(_label(run)) + (LOOK_BACK_NOTE if trained is not None else "")
    return section("Failures", grid, who, every, note=note)


def _failure_row(evaluation: Evaluation, out: Outcomes, car: int) -> list[str]:
    ended = int(out.ended()[car])
    return [
        str(evaluation.vehicle_id[evaluation.drives.vehicle[car]]),
        escape(evaluation.names[evaluation.recording_of[car]]),
        str(evaluation.start_frame[car]),
        str(out.ending()[car]),
        _whose_fault(out, car),
        _hit_vehicle(evaluation, out, car),
        f"{ended * out.dt:.1f}",
        f"{out.distance()[car]:.0f}",
        f"{out.states[car, ended, 3]:.1f}",
    ]


def _whose_fault(out: Outcomes, car: int) -> str:
    if out.ending()[car] != "collision":
        return "–"
    return "its own" if out.contacts["paper"].at_fault[car] else "hit from behind"


def _hit_vehicle(evaluation: Evaluation, out: Outcomes, car: int) -> str:
    other = int(out.contacts["paper"].vehicle[car])
    return str(evaluation.vehicle_id[other]) if out.ending()[car] == "collision" and other >= 0 else "–"


def _failure(evaluation: Evaluation, run: Run, car: int, trained: TrainedModel | None) -> str:
    """The last frames of one drive, with what happened."""
    out = run.outcomes
    ended = int(out.ended()[car])
    vehicle = evaluation.drives.vehicle[car]
    cause = str(out.ending()[car])
    if cause == "collision":
        with_whom, whose = _hit_vehicle(evaluation, out, car), _whose_fault(out, car)
        cause += f", {'its own fault' if whose == 'its own' else whose}"
        cause += f" (vehicle {with_whom})" if with_whom != "–" else ""
    facts = (
        f"vehicle {evaluation.vehicle_id[vehicle]}, {ended * out.dt:.1f} s, {out.distance()[car]:.0f} m,"
        f" {out.states[car, ended, 3]:.1f} m/s"
    )
    caption = f"<figcaption><b>{escape(cause)}</b><br>{escape(facts)}</figcaption></figure>"
    back = look_back(evaluation, run, car, trained) if trained is not None else None
    if back is not None:
        return card(*_looked_back(back, evaluation.world.size[vehicle].tolist()), caption)
    steps = ended - FAILURE_STEP * np.arange(FAILURE_FRAMES)[::-1]
    steps = steps[steps >= 0]
    images = seen(evaluation, car, out.states[car, steps, :3], steps, View())
    length, width = evaluation.world.size[vehicle].tolist()
    return card(
        f'<figure class=failure><img class=strip alt="last frames" src="{strip(images, (length, width))}">',
        times((steps - ended) * out.dt),
        caption,
    )


def _looked_back(back: LookBack, size: tuple[float, float]) -> tuple[str, ...]:
    """Real and imagined frames, and the numbers of every step."""
    num = len(back.seconds)
    at = np.unique(np.linspace(0, num - 1, min(num, FAILURE_FRAMES)).round().astype(int))
    rows = "".join(
        f'<div class=row><span>{name}</span><img alt="{name} frames" src="{strip(images[at], size)}"></div>'
        for name, images in (("real", back.real_images), ("imagined", back.imagined_images))
    )
    header = ["s", "proximity", "imagined", "off road", "imagined", "U", "m/s²", "1/km"]
    columns: tuple[Any, ...] = (
        back.real.proximity,
        back.imagined.proximity,
        back.real.off_road,
        back.imagined.off_road,
        back.uncertainty,
        back.actions[:, 0],
        1000 * back.actions[:, 1],
    )
    numbers = [
        [
            f"{back.seconds[t]:+.1f}",
            *(f"{column[t]:.{d}f}" for column, d in zip(columns, (2, 2, 2, 2, 1, 1, 1), strict=True)),
        ]
        for t in range(num)
    ]
    return (
        f"<figure class=strips>{rows}",
        times(back.seconds[at]),
        details("costs as they came and as imagined, U, actions", table(header, numbers)),
    )


def _label(run: Run) -> str:
    return row_label({"name": run.name, "seed": run.seed})
