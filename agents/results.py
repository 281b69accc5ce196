"""An evaluation as files and as a table: results.json (a row per agent), cars.csv (a row per agent and car)."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from agents.evaluate import Evaluation, Run
from agents.metrics import NEVER, RULES, SUFFIX, summarise
from envs.errors import InputError
from envs.formats.atomic import atomic_path

MAX_NAMED = 3  # a table's title names no more recordings
WIDEST = 1000  # columns, more than any table needs


def results(evaluation: Evaluation) -> dict[str, Any]:
    """Everything `results.json` holds; plain values, None where a number does not exist.

    Agents come in the order given. Where several share a name and drove with different seeds, `pooled` has one row per
    name over all its seeds, with intervals over cars and seeds.
    """
    scored = np.bincount(evaluation.recording_of, minlength=len(evaluation.names))
    dropped = [car.recording_index for car in evaluation.dropped]
    data = {
        "recording": ", ".join(evaluation.names),
        "split": evaluation.split,
        "traffic": evaluation.traffic,
        "perturbed": evaluation.perturbed,
        "seed": evaluation.seed,
        "cars": len(evaluation.drives),
        "recordings": [
            {"name": name, "cars": int(scored[i]), "dropped": dropped.count(i)}
            for i, name in enumerate(evaluation.names)
        ],
        "dropped": [asdict(car) for car in evaluation.dropped],
        "agents": [
            {"name": run.name, "seed": run.seed} | summarise([run.outcomes], seed=evaluation.seed)
            for run in evaluation.runs
        ],
    }
    pooled = _pooled(evaluation)
    return plain(data | ({"pooled": pooled} if pooled else {}))


def _pooled(evaluation: Evaluation) -> list[dict[str, Any]]:
    by_name: dict[str, list[Run]] = {}
    for run in evaluation.runs:
        by_name.setdefault(run.name, []).append(run)
    return [
        {"name": name, "seeds": [run.seed for run in runs]}
        | summarise([run.outcomes for run in runs], seed=evaluation.seed)
        for name, runs in by_name.items()
        if len({run.seed for run in runs}) == len(runs) > 1
    ]


def row_of(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The numbers of an agent in what `results` returns: over all its seeds, where it has several."""
    rows: list[Mapping[str, Any]] = [*data.get("pooled", []), *data["agents"]]
    return next(row for row in rows if row["name"] == name)


def plain(value: Any) -> Any:
    """The same with NaN and infinities as None, which JSON can hold."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_results(evaluation: Evaluation, folder: str | Path) -> dict[str, Any]:
    """Write `results.json` and `cars.csv` into a folder, which is made if need be; returns what `results` does.

    Raises:
        InputError: the folder cannot be made or written to; no half-written file stays.
    """
    folder = Path(folder)
    data = results(evaluation)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror or error}", path=folder) from error
    with atomic_path(folder / "cars.csv") as path, path.open("w", newline="") as file:
        rows = list(car_rows(evaluation))
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with atomic_path(folder / "results.json") as path:
        path.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n")
    return data


def car_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One flat row per agent and car; None (an empty cell) for what did not happen."""
    recording, start = evaluation.recording_of, evaluation.start_frame
    for run in evaluation.runs:
        out = run.outcomes
        jerk, progress, times = out.jerk(), out.progress_vs_human(), out.times_over_same_stretch()
        by_rule = {rule: (out.ending(rule), out.ended(rule), out.distance(rule)) for rule in RULES}
        for i in range(len(out)):
            row: dict[str, Any] = {
                "agent": run.name,
                "seed": run.seed,
                "recording": evaluation.names[recording[i]],
                "vehicle": int(evaluation.vehicle_id[evaluation.drives.vehicle[i]]),
                "start_frame": int(start[i]),
            }
            for rule, (ending, ended, distance) in by_rule.items():
                contact = out.contacts[rule]
                collided, other = contact.step[i] < NEVER, contact.vehicle[i]
                by_this_rule = {
                    "ending": str(ending[i]),
                    "seconds": float(ended[i] * out.dt),
                    "distance_m": float(distance[i]),
                    "at_fault": bool(contact.at_fault[i]) if ending[i] == "collision" else None,
                    "hit_vehicle": int(evaluation.vehicle_id[other]) if collided and other >= 0 else None,
                }
                row |= {key + SUFFIX[rule]: value for key, value in by_this_rule.items()}
            row |= {
                "min_ttc_s": float(out.min_ttc[i]),
                "jerk": float(jerk[i]),
                "progress_vs_human": float(progress[i]),
                "seconds_for_stretch": float(times[0][i]),
                "human_seconds_for_stretch": float(times[1][i]),
            }
            yield {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in plain(row).items()}


def table(data: Mapping[str, Any], width: int | None = None) -> Table:
    """The agents of a `results` dictionary for the terminal; success and distance with their 95 % intervals.

    Args:
        width: columns of the terminal: as many of the first measures as it has room for; all by default.
    """
    for num in range(len(MEASURES), 0, -1):
        found = _table(data, num)
        if width is None or Console(width=WIDEST).measure(found).maximum <= width:
            break
    return found


def print_table(data: Mapping[str, Any]) -> None:
    """What fits into the terminal; into a file or a pipe, all of it."""
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=WIDEST)
    console.print(table(data, console.width))


def _table(data: Mapping[str, Any], num_measures: int) -> Table:
    """Of the first so many measures."""
    dropped = f", {len(data['dropped'])} dropped (their human fails)" if data["dropped"] else ""
    where = (
        data["recording"] if len(data["recordings"]) <= MAX_NAMED else f"{len(data['recordings'])} recordings"
    )
    title = f"{where}: {data['cars']} cars of split {data['split']}{dropped}"
    out = Table(title=title, title_justify="left")
    out.add_column("agent", no_wrap=True)
    shown = list(MEASURES.items())[:num_measures]
    if len(shown) < len(MEASURES):
        out.caption = "more measures in results.json, or in a wider terminal"
    for heading, _ in shown:
        out.add_column(heading, justify="right", no_wrap=True)
    for row in [*data["agents"], *data.get("pooled", [])]:
        out.add_row(row_label(row), *(measure(row) for _, measure in shown))
    return out


def row_label(row: Mapping[str, Any]) -> str:
    """The agent's name with its seed or seeds, if it has any."""
    if "seeds" in row:
        return f"{row['name']} ({len(row['seeds'])} seeds)"
    return row["name"] if row["seed"] is None else f"{row['name']} (seed {row['seed']})"


def with_interval(value: float, interval: Sequence[float], *, scale: float = 1) -> str:
    """A number and its interval.

    >>> with_interval(0.5, [0.25, 0.625], scale=100)
    '50.0 [25, 62]'
    """
    low, high = (number(bound, 0, scale=scale) for bound in interval)
    return f"{number(value, 1, scale=scale)} [{low}, {high}]"


def number(value: float | None, digits: int, *, scale: float = 1) -> str:
    """A number with so many digits after the point, or a dash for None."""
    return "–" if value is None else f"{value * scale:.{digits}f}"


TIMED = "ms per\naction"
MEASURES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "success %": lambda row: with_interval(row["success"], row["success_ci"], scale=100),
    "distance m": lambda row: with_interval(row["distance_m"], row["distance_ci"]),
    "hits (at\nfault)": lambda row: f"{row['collisions']} ({row['collisions_at_fault']})",
    "off\nroad": lambda row: str(row["off_road"]),
    "speed vs\nhuman": lambda row: number(row["speed_vs_human"], 2),
    "out of\ntime": lambda row: str(row["out_of_time"]),
    "box less\n1 m %": lambda row: number(row["success_box_less_1m"], 1, scale=100),
    "box %": lambda row: number(row["success_box"], 1, scale=100),
    "min\nTTC s": lambda row: number(row["min_ttc_s"], 1),
    "jerk\nm/s³": lambda row: number(row["jerk"], 1),
    TIMED: lambda row: number(row["seconds_per_action"], 2, scale=1000),
}
