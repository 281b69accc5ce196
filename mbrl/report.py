"""report.html: what was driven, how well, where it failed and how it was made, in one file that needs no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.evaluate import Evaluation, Run
from agents.results import number, results, row_label, row_of
from envs.formats.atomic import atomic_path
from mbrl.checkpoint import flatten
from mbrl.machine import versions
from mbrl.page import card, details, interval_bar, legend, page, section, table, video
from mbrl.plots import Points, line_chart, series_colour
from mbrl.report_drives import failures, roads
from mbrl.strips import strip, times
from mbrl.trained_model import TrainedModel

BASELINES = ("human", "no-action", "imitation")
STRIP_FRAMES = 8  # of an imagined future
IMAGINED_NOTE = (
    "What the car (yellow) sees, heading up, 72 m from top to bottom: other vehicles blue, markings white, beside the"
    " road brown. Above as it came, below as the model imagined it from the past alone; seconds from now."
)


class Imagined(NamedTuple):
    """A future as a model imagined it and as it came."""

    title: str
    imagined: NDArray[np.uint8]  # (T, 3, H, W)
    real: NDArray[np.uint8]  # (T, 3, H, W)
    dt: float = 0.1  # s between frames; the first is dt after the last seen one


class ExtraTable(NamedTuple):
    """Anything else that is worth a table."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


class ExtraChart(NamedTuple):
    """Anything else that is worth a chart."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Points]


def write_report(
    path: str | Path,
    evaluation: Evaluation,
    *,
    curves: Mapping[str, Mapping[str, Points]] | None = None,
    imagined: Sequence[Imagined] = (),
    tables: Sequence[ExtraTable] = (),
    charts: Sequence[ExtraChart] = (),
    facts: Mapping[str, Any] | None = None,
    video_path: str | Path | None = None,
    trained: TrainedModel | None = None,
    title: str = "headway: driving among recorded cars",
    chosen: str | None = None,
) -> None:
    """Write one self-contained page.

    Args:
        path: of the page; its folder must exist.
        curves: run -> measure -> (step, value); one chart per measure, one line per run.
        facts: how it was made: command, configuration, seeds, durations; may nest.
        video_path: an MP4, carried inside the page unless it is large.
        trained: a model, to show what it imagined of the failures.
        chosen: the agent the page is about; "mpur" if there is one, else the first that is no baseline.
    Raises:
        InputError: it cannot be written; no part of it stays behind.
    """
    data = results(evaluation)
    run = evaluation.runs[_chosen(evaluation.runs, chosen)]
    row = row_of(data, run.name)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=headline>{escape(headline(data, row, _has_goal(evaluation)))}</p>",
        _tiles(row),
        section(
            "Agents on the same cars",
            card(_agents_table(data, row)),
            _dropped(data),
            note=_rules_note(evaluation),
        ),
        section("One drive", video(Path(video_path)) if video_path is not None else ""),
        roads(evaluation),
        failures(evaluation, run, trained),
        section("Imagined and real", _imagined(imagined), note=IMAGINED_NOTE),
        section("Training", *_curves(curves or {})),
        *(section(t.title, _extra(t), note=t.note) for t in tables),
        *(section(chart.title, *_chart(chart)) for chart in charts),
        section("How it was made", card(_facts(evaluation, facts or {}))),
    ]
    with atomic_path(path) as temporary:
        temporary.write_text(page(title, [part for part in parts if part]), encoding="utf-8")


def headline(data: Mapping[str, Any], row: Mapping[str, Any], has_goal: bool) -> str:
    """The result in one sentence."""
    low, high = (f"{100 * bound:.0f}" for bound in row["success_ci"])
    whose = "unseen cars" if data["split"] == "test" else "cars"
    where = "to the end of the road" if has_goal else "to the end of their recording"
    share = f"{100 * row['success']:.0f} %"
    sentence = f"{row['name']} drives {share} of {data['cars']} {whose} {where} without a collision"
    sentence += f" (95 % interval {low} to {high} %)"
    if row["speed_vs_human"] is not None:
        sentence += f", at {row['speed_vs_human']:.2f} times the speed of their human drivers"
    nothing = next((r for r in data["agents"] if r["name"] == "no-action" and r["name"] != row["name"]), None)
    sentence += f"; doing nothing gets {100 * nothing['success']:.0f} % there." if nothing else "."
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def _chosen(runs: Sequence[Run], name: str | None) -> int:
    """Index of the run the page is about."""
    names = [run.name for run in runs]
    if name is not None:
        if name not in names:
            raise ValueError(f"chosen={name!r} must be one of {', '.join(names)}")
        return names.index(name)
    if "mpur" in names:
        return names.index("mpur")
    return next((i for i, n in enumerate(names) if n not in BASELINES), len(names) - 1)


def _has_goal(evaluation: Evaluation) -> bool:
    return all(np.isfinite(r.site.goal) for r in evaluation.recordings)


def _tiles(row: Mapping[str, Any]) -> str:
    passive = row["collisions"] - row["collisions_at_fault"]
    entries = [
        (
            "success",
            f"{100 * row['success']:.1f} %",
            "[{:.1f}, {:.1f}]".format(*(100 * b for b in row["success_ci"])),
        ),
        ("mean distance", f"{row['distance_m']:.1f} m", "[{:.1f}, {:.1f}]".format(*row["distance_ci"])),
        ("speed against the human", number(row["speed_vs_human"], 2), "over the same metres"),
        ("collisions", str(row["collisions"]), f"of {row['cars']} drives; hit from behind: {passive}"),
    ]
    tiles = (
        f'<div class="card tile"><span class=note>{name}</span><b>{value}</b><span class=note>{note}</span></div>'
        for name, value, note in entries
    )
    return f"<div class=tiles>{''.join(tiles)}</div>"


def _agents_table(data: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    header = ["agent", "success %", "distance m", "box less 1 m %", "box %", "collisions (at fault)", "off road",
              "out of time", "speed vs human", "progress", "min TTC s", "jerk m/s³", "ms per action"]  # fmt: skip
    rows = [*data["agents"], *data.get("pooled", [])]

    def share(row: Mapping[str, Any], suffix: str) -> str:
        value, (low, high) = row["success" + suffix], row["success_ci" + suffix]
        interval = f"<span class=note>{100 * low:.0f} – {100 * high:.0f}</span>"
        return f"{100 * value:.1f}{interval_bar(value, low, high)}{interval}"

    def distance(row: Mapping[str, Any]) -> str:
        low, high = row["distance_ci"]
        return f"{row['distance_m']:.1f}<br><span class=note>{low:.0f} – {high:.0f}</span>"

    cells = [
        [
            escape(row_label(row)),
            share(row, ""),
            distance(row),
            share(row, "_box_less_1m"),
            share(row, "_box"),
            f"{row['collisions']} ({row['collisions_at_fault']})",
            str(row["off_road"]),
            str(row["out_of_time"]),
            number(row["speed_vs_human"], 2),
            number(row["progress_vs_human"], 2),
            number(row["min_ttc_s"], 1),
            number(row["jerk"], 1),
            number(row["seconds_per_action"], 3, scale=1000),
        ]
        for row in rows
    ]
    return table(header, cells, chosen=next(i for i, row in enumerate(rows) if row is chosen))


def _rules_note(evaluation: Evaluation) -> str:
    goal = "reaches the goal" if _has_goal(evaluation) else "lasts until its recording ends"
    others = (
        "do not react to the car" if evaluation.traffic == "blind" else "brake for the car when it cuts in"
    )
    starts = " Every drive starts a little off the recording." if evaluation.perturbed else ""
    return (
        f"Success: {goal} before a collision (proximity cost over 0.99, the paper's rule) and without leaving the road."
        " Box: the same with overlapping boxes as the collision; box less 1 m: with the car 1 m shorter and narrower."
        f" The others {others}.{starts} Small numbers: 95 % bootstrap intervals over cars (and seeds)."
    )


def _dropped(data: Mapping[str, Any]) -> str:
    """Where the cars come from, and those that were left out."""
    parts = []
    if len(data["recordings"]) > 1:
        rows = [[escape(r["name"]), str(r["cars"]), str(r["dropped"])] for r in data["recordings"]]
        parts.append(details(f"{data['cars']} cars of {len(rows)} recordings",
                             table(["recording", "cars", "dropped"], rows)))  # fmt: skip
    if data["dropped"]:
        rows = [
            [
                str(d["vehicle"]),
                escape(d["recording"]),
                str(d["start_frame"]),
                d["reason"],
                f"{d['seconds']:.1f}",
            ]
            for d in data["dropped"]
        ]
        cars = f"{len(rows)} car{'s' if len(rows) > 1 else ''}"
        summary = f"{cars} dropped for everybody, because the human's own recorded actions fail"
        parts.append(
            details(summary, table(["vehicle", "recording", "start frame", "reason", "after s"], rows))
        )
    return "".join(parts)


def _imagined(futures: Sequence[Imagined]) -> str:
    cards = []
    for future in futures:
        num = min(len(future.imagined), len(future.real))
        at = np.unique(np.linspace(0, num - 1, min(num, STRIP_FRAMES)).round().astype(int))
        rows = "".join(
            f'<div class=row><span>{name}</span><img alt="{name} frames" src="{strip(images[at])}"></div>'
            for name, images in (("real", future.real), ("imagined", future.imagined))
        )
        cards.append(
            card(f"<figure class=strips>{rows}{times((at + 1) * future.dt)}</figure>", title=future.title)
        )
    return f"<div class=grid>{''.join(cards)}</div>" if cards else ""


def _curves(curves: Mapping[str, Mapping[str, Points]]) -> list[str]:
    """A chart for every measure, with a line for every run that has it."""
    colours = {run: series_colour(i) for i, run in enumerate(curves)}
    measures = dict.fromkeys(measure for of_run in curves.values() for measure in of_run)
    charts = [
        card(
            line_chart(
                {run: of_run[measure] for run, of_run in curves.items() if measure in of_run}, colours
            ),
            title=measure,
        )
        for measure in measures
    ]
    return [legend(colours.items()), f"<div class=grid>{''.join(charts)}</div>"] if charts else []


def _chart(chart: ExtraChart) -> tuple[str, str]:
    colours = {name: series_colour(i) for i, name in enumerate(chart.lines)}
    drawn = line_chart(chart.lines, colours, x_label=chart.x_label, y_label=chart.y_label, is_log=False)
    return legend(colours.items()), card(drawn)


def _extra(extra: ExtraTable) -> str:
    return card(table(extra.header, [[escape(str(cell)) for cell in row] for row in extra.rows]))


def _facts(evaluation: Evaluation, facts: Mapping[str, Any]) -> str:
    scored = {
        "recording": ", ".join(evaluation.names),
        "split": evaluation.split,
        "traffic": evaluation.traffic,
        "bootstrap seed": evaluation.seed,
    }
    everything = flatten({**facts, "evaluation": scored, "versions": versions()})
    rows = [[escape(key), escape(_as_text(value))] for key, value in everything.items()]
    return table(["", ""], rows, text_columns=(0, 1))


def _as_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
