"""What the benchmark writes: benchmark.json, benchmark.md and benchmark.html."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from agents.evaluate import Evaluation
from agents.results import MEASURES, TIMED, number, results, row_of, with_interval
from envs.formats.atomic import atomic_path
from envs.parallel import available_threads
from mbrl.entrants import Entrant
from mbrl.machine import cpu_model, versions
from mbrl.page import card, legend, page, section, table
from mbrl.plots import front_chart, line_chart, series_colour

JSON_FILE, TABLE_FILE, PAGE_FILE = "benchmark.json", "benchmark.md", "benchmark.html"
TITLE = "headway: everybody on the same cars"
TRAFFIC = {
    "blind": "The others follow the recording and do not react.",
    "reactive": "The others brake (IDM) when the car cuts in.",
    "perturbed": "As blind, but every drive starts a little ahead, behind or beside, faster or slower than recorded.",
    "scenes": "As blind, with all cars of recordings from which nobody learned.",
}
MEASURES_NOTE = (
    "By the paper's rule (success, distance, hits, off road) and by geometry (boxes, time to collision, jerk); means"
    " over cars and seeds."
)
Data = Mapping[str, Any]


def write_benchmark(
    out: Path,
    evaluations: Mapping[str, Evaluation],
    entrants: Sequence[Entrant],
    costs: Mapping[str, Mapping[str, float]],
    training_frames: int,
) -> dict[str, Any]:
    """Write the three files; returns what the first holds.

    Args:
        evaluations: of each kind of traffic, the first is the main one.
        costs: of each entrant's name: training_s, latency_s.
        training_frames: recorded, of one car each, that those who learn from recordings had, or a share of them.
    """
    data = {
        "conditions": {condition: results(evaluation) for condition, evaluation in evaluations.items()},
        "entrants": [
            {"name": e.name, "kind": e.kind, "method": e.method, "share_of_cars": e.share,
             "recorded_frames": round(e.share * training_frames) if e.data else 0,
             "environment_steps": e.interaction} | dict(costs[e.name])
            for e in entrants
        ],
        "machine": {"cpu": cpu_model(), "cores": available_threads(), "versions": versions()},
    }  # fmt: skip
    with atomic_path(out / JSON_FILE) as path:
        path.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n")
    with atomic_path(out / TABLE_FILE) as path:
        path.write_text(markdown(data))
    with atomic_path(out / PAGE_FILE) as path:
        path.write_text(html(data), encoding="utf-8")
    return data


def cars(data: Data) -> str:
    """Which are driven."""
    conditions = data["conditions"]
    main = next(iter(conditions.values()))
    said = f"{main['cars']} {main['split']} cars of {main['recording']}"
    if scenes := conditions.get("scenes"):
        said += f", and {scenes['cars']} of {len(scenes['recordings'])} scenes"
    return said


def header(data: Data) -> list[str]:
    """Of the table."""
    return [
        "driver", *(f"success %, {condition}" for condition in data["conditions"]),
        *(f"box less 1 m %, {condition}" for condition in data["conditions"]), "at fault",
        "speed vs human", "environment steps", "training", "ms per decision",
    ]  # fmt: skip


def cells(data: Data, entrant: Data) -> list[str]:
    """An entrant's line."""
    rows = [row_of(found, entrant["name"]) for found in data["conditions"].values()]
    main = rows[0]
    return [
        entrant["name"],
        *(with_interval(row["success"], row["success_ci"], scale=100) for row in rows),
        *(
            with_interval(row["success_box_less_1m"], row["success_ci_box_less_1m"], scale=100)
            for row in rows
        ),
        f"{main['collisions_at_fault']} of {main['collisions']}",
        number(main["speed_vs_human"], 2),
        f"{entrant['environment_steps']:,}",
        f"{entrant['training_s'] / 60:.0f} min" if entrant["training_s"] else "–",
        number(entrant["latency_s"], 2, scale=1000),
    ]


def kinds(data: Data) -> dict[str, list[Data]]:
    """The entrants of each kind, in order."""
    found: dict[str, list[Data]] = {}
    for entrant in data["entrants"]:
        found.setdefault(entrant["kind"], []).append(entrant)
    return found


def markdown(data: Data) -> str:
    """The table, a section for each kind of drivers."""
    names = header(data)
    lines = [f"{cars(data)}; 95 % intervals over cars and seeds.", ""]
    lines += [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for kind, entrants in kinds(data).items():
        lines.append(f"| **{kind}** |" + " |" * (len(names) - 1))
        lines += [f"| {' | '.join(cells(data, entrant))} |" for entrant in entrants]
    return "\n".join(lines) + "\n"


def html(data: Data) -> str:
    """The page: the table and three charts."""
    note = " ".join(f"{condition}: {TRAFFIC[condition]}" for condition in data["conditions"])
    tables = [
        card(table(header(data), [[escape(cell) for cell in cells(data, e)] for e in entrants]), title=kind)
        for kind, entrants in kinds(data).items()
    ]
    parts = [
        f"<h1>{TITLE}</h1>",
        f"<p class=headline>{escape(cars(data))}</p>",
        section("Success", *tables, note=note + " Intervals of 95 %, over cars and seeds."),
        section(
            "Success against time per decision",
            card(_by_latency(data)),
            note="One car at a time. The line is the Pareto front: nobody is both faster and better.",
        ),
        section(
            "Success against data used",
            card(_by_data(data)),
            *_by_share(data),
            note="Frames of one car: those recorded of the training cars, for who learned from them, and those driven"
            " in training. The line is the Pareto front: nobody had less and is better.",
        ),
        section("All measures", *_all_measures(data), note=MEASURES_NOTE),
    ]
    return page(TITLE, parts)


def _success(data: Data, name: str) -> float:
    first = next(iter(data["conditions"].values()))
    return 100 * float(row_of(first, name)["success"])


def _by_latency(data: Data) -> str:
    shown = [e for e in data["entrants"] if e["kind"] != "what was recorded" and e["share_of_cars"] == 1]
    points = {e["name"]: (1000 * e["latency_s"], _success(data, e["name"])) for e in shown}
    return front_chart(points, x_label="ms per decision", y_label="success %")


def _by_data(data: Data) -> str:
    points = {
        e["name"]: (float(e["recorded_frames"] + e["environment_steps"]), _success(data, e["name"]))
        for e in data["entrants"]
    }
    return front_chart(points, x_label="frames of one car", y_label="success %")


def _by_share(data: Data) -> list[str]:
    """Success over the share of the training cars, a line for each method that learned from several."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for entrant in data["entrants"]:
        point = 100 * entrant["share_of_cars"], _success(data, entrant["name"])
        lines.setdefault(entrant["method"], []).append(point)
    lines = {method: sorted(line) for method, line in lines.items() if len(line) > 1}
    if not lines:
        return []
    colours = {name: series_colour(k) for k, name in enumerate(lines)}
    chart = line_chart(lines, colours, x_label="% of the training cars", y_label="success %", is_log=False)
    return [legend(colours.items()), card(chart)]


def _all_measures(data: Data) -> list[str]:
    """A table for each kind of traffic."""
    measures = {name: of for name, of in MEASURES.items() if name != TIMED}
    return [
        card(
            table(
                ["driver", *(name.replace("\n", " ") for name in measures)],
                [
                    [escape(e["name"]), *(of(row_of(found, e["name"])) for of in measures.values())]
                    for e in data["entrants"]
                ],
            ),
            title=condition,
        )
        for condition, found in data["conditions"].items()
    ]
