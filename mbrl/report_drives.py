"""The parts of the report that show single drives: all of them on the road, and how some of them failed."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from agents.evaluate import Evaluation, Run
from agents.metrics import Outcomes
from agents.results import row_label
from envs.raster import render_range
from envs.units import View
from mbrl.page import card, details, legend, section, table
from mbrl.plots import ENDINGS, Trace, road_chart
from mbrl.strips import strip, times

FAILURE_FRAMES, FAILURE_STEP = 6, 4  # the last frames of a failed drive, and how many apart
MAX_FAILURES = 6  # shown as pictures
MAX_TRACES = 250  # drawn for one agent
BEYOND = 15.0  # m of road drawn before and after the drives
FAILURES_NOTE = "The last moments of failed drives of {}; seconds before the end below each picture."
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


def failures(evaluation: Evaluation, run: Run) -> str:
    """The section with pictures of some of a run's failed drives, and a table of all."""
    failed = np.flatnonzero(~run.outcomes.succeeded())
    if len(failed) == 0:
        return section("Failures", f"<p>{escape(_label(run))} has none.</p>")
    shown = failed[np.linspace(0, len(failed) - 1, min(len(failed), MAX_FAILURES)).astype(int)]
    # Cars that yield to an ego are not where the recording has them, so there is nothing to draw them from.
    drawable = shown if evaluation.traffic == "blind" else shown[:0]
    pictures = [_failure(evaluation, run.outcomes, int(car)) for car in drawable]
    rows = [_failure_row(evaluation, run.outcomes, int(car)) for car in failed]
    header = "vehicle,recording,start frame,cause,whose fault,with vehicle,after s,metres,m/s".split(",")
    grid = f"<div class=grid>{''.join(pictures)}</div>" if pictures else ""
    every = details(f"All {len(failed)} failures of {_label(run)}", card(table(header, rows)))
    return section("Failures", grid, every, note=FAILURES_NOTE.format(_label(run)))


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


def _failure(evaluation: Evaluation, out: Outcomes, car: int) -> str:
    """The last frames of one drive, with what happened."""
    ended = int(out.ended()[car])
    steps = ended - FAILURE_STEP * np.arange(FAILURE_FRAMES)[::-1]
    steps = steps[steps >= 0]
    vehicle = evaluation.drives.vehicle[car]
    images = _views(evaluation, car, out.states[car, steps, :3], steps)
    cause = str(out.ending()[car])
    if cause == "collision":
        with_whom, whose = _hit_vehicle(evaluation, out, car), _whose_fault(out, car)
        cause += f", {'its own fault' if whose == 'its own' else whose}"
        cause += f" (vehicle {with_whom})" if with_whom != "–" else ""
    facts = (
        f"vehicle {evaluation.vehicle_id[vehicle]}, {ended * out.dt:.1f} s, {out.distance()[car]:.0f} m,"
        f" {out.states[car, ended, 3]:.1f} m/s"
    )
    length, width = evaluation.world.size[vehicle].tolist()
    return card(
        f'<figure class=failure><img class=strip alt="last frames" src="{strip(images, (length, width))}">',
        times((steps - ended) * out.dt),
        f"<figcaption><b>{escape(cause)}</b><br>{escape(facts)}</figcaption></figure>",
    )


def _views(
    evaluation: Evaluation, car: int, poses: NDArray[np.float32], steps: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """(T, 3, H, W): what the ego saw from poses (T, 3) at steps (T,) of its drive."""
    view, vehicle = View(), evaluation.drives.vehicle[car]
    images = np.zeros((1, len(steps), 3, view.height, view.width), np.uint8)
    frames = (evaluation.drives.start_frame[car] + steps)[None]
    exclude = np.array([vehicle], np.int64)
    render_range(
        evaluation.world, frames, poses[None].astype(np.float64), exclude, view.px_per_m, images, 0, 1
    )
    return images[0]


def _label(run: Run) -> str:
    return row_label({"name": run.name, "seed": run.seed})
