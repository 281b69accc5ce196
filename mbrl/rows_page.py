"""What `headway reproduce` writes of its rows: results.md, and a page with what success depends on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluate import Evaluation
from agents.results import row_of
from envs.formats.atomic import atomic_path
from mbrl.checkpoint import read_header
from mbrl.loop import read_curves
from mbrl.presets import Preset
from mbrl.report import ExtraChart, ExtraTable, write_report
from mbrl.rows import Row
from mbrl.train_policy import POLICY_FILE
from mbrl.trainings import seed_folder

RESULTS_FILE, TABLE_FILE, REPORT_FILE = "results.json", "results.md", "report.html"
SWEEPS: dict[str, tuple[str, Callable[[Row], float]]] = {  # section of rows -> what they differ in
    "imagined steps": ("steps", lambda row: row.training.horizon),
    "U by data": ("% of the training cars", lambda row: 100 * row.training.data_share),
    "U by perturbation": ("% of contexts perturbed", lambda row: 100 * row.training.perturbed),
    "U by model updates": ("% of the model's updates", lambda row: 100 * row.model_share),
    "U by policy updates": ("updates of the policy", lambda row: row.training.updates),
}
Summary = Mapping[str, Any]


def policy_folder(out: Path, seed: int, name: str) -> Path:
    """Where the policy of a row is."""
    return seed_folder(out, seed) / "policies" / name


def summaries(data: Summary) -> dict[str, tuple[Summary, float | None]]:
    """Agent -> its numbers over all seeds, and the standard deviation of success over seeds (None for one)."""
    found: dict[str, tuple[Summary, float | None]] = {}
    for row in data["agents"]:
        name = row["name"]
        by_seed = [r["success"] for r in data["agents"] if r["name"] == name]
        deviation = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None
        found[name] = (row_of(data, name), deviation)
    return found


def markdown(data: Summary, chosen: Sequence[Row]) -> str:
    """The table as Markdown, a section after the other."""
    found = summaries(data)
    sections = {"baselines": ["human", "no-action"]}
    for row in chosen:
        sections.setdefault(row.section, []).append(row.name)
    lines = [f"{data['cars']} test cars of {data['recording']}; 95 % intervals over cars (and seeds)."]
    for title, names in sections.items():
        lines += ["", f"| {title} | success % | over seeds | distance m | at fault | speed vs human |"]
        lines.append("|---|---|---|---|---|---|")
        for name in names:
            of, deviation = found[name]
            low, high = (100 * bound for bound in of["success_ci"])
            over = "" if deviation is None else f"± {100 * deviation:.1f}"
            speed = "" if of["speed_vs_human"] is None else f"{of['speed_vs_human']:.2f}"
            lines.append(
                f"| {name} | {100 * of['success']:.1f} [{low:.0f}, {high:.0f}] | {over} | {of['distance_m']:.0f} |"
                f" {of['collisions_at_fault']} | {speed} |"
            )
    return "\n".join(lines) + "\n"


def best_on_validation(out: Path, names: Sequence[str], seeds: Sequence[int]) -> str:
    """The row whose policies did best on validation cars while they trained, over all seeds: by success, then distance.

    Its drives are the ones to show: test cars must not choose.
    """

    def did(name: str) -> tuple[float, float]:
        paths = [policy_folder(out, seed, name) / POLICY_FILE for seed in seeds]
        scores = [read_header(path)[1]["validation"] for path in paths]
        return (
            float(np.mean([score["success"] for score in scores])),
            float(np.mean([score["distance_m"] for score in scores])),
        )

    return max(names, key=did)


def write_page(
    out: Path, evaluation: Evaluation, chosen: Sequence[Row], preset: Preset, seeds: Sequence[int]
) -> None:
    """results.md and report.html of what results.json in folder `out` holds."""
    data = json.loads((out / RESULTS_FILE).read_text())
    with atomic_path(out / TABLE_FILE) as path:
        path.write_text(markdown(data, chosen))
    found = summaries(data)
    table_rows = [
        (name, f"{100 * row['success']:.1f}", "" if deviation is None else f"{100 * deviation:.1f}")
        for name, (row, deviation) in found.items()
    ]
    write_report(
        out / REPORT_FILE, evaluation,
        curves={row.name: read_curves(policy_folder(out, seeds[0], row.name)) for row in chosen[:8]},
        tables=[ExtraTable("Over seeds", ("agent", "success %", "deviation over seeds"), table_rows)],
        charts=sweeps({name: row["success"] for name, (row, _) in found.items()}, chosen),
        chosen=best_on_validation(out, [row.name for row in chosen], seeds),
        facts={"command": "headway reproduce", "preset": preset, "seeds": list(seeds)},
        title="headway: the rows of the paper's table",
    )  # fmt: skip


def sweeps(success: Mapping[str, float], chosen: Sequence[Row]) -> list[ExtraChart]:
    """Success (agent -> share) over what the rows of a section differ in, a line for each kind of policy.

    A line goes on to the row that the section's were made from.
    """
    charts = []
    for title, (x_label, x_of) in SWEEPS.items():
        lines: dict[str, list[tuple[float, float]]] = {}
        kinds = {row.base for row in chosen if row.section == title}
        for row in chosen:
            kind = row.base if row.section == title else row.name
            if kind in kinds:
                lines.setdefault(kind, []).append((x_of(row), 100 * success[row.name]))
        if lines:
            charts.append(
                ExtraChart(title, x_label, "success %", {kind: sorted(line) for kind, line in lines.items()})
            )
    return charts
