"""All rows of the paper's table (mbrl.rows) on any recordings and seeds: trained, driven, written on one page.

Models, imitation and policies are jobs of their own, run side by side; whatever is finished is kept, so the same
command continues. Policies are selected on validation cars while they train; test cars are driven once, when all are
trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents import Agent, Human, NoAction
from agents.evaluate import Evaluation
from agents.learned import LearnedAgent
from agents.results import write_results
from envs.errors import InputError
from envs.formats import read_parquet
from mbrl.policy_training import PolicyTraining
from mbrl.presets import Preset
from mbrl.rows import Row, models, rows, start_of
from mbrl.rows_page import RESULTS_FILE, seed_folder, write_page
from mbrl.side_by_side import Job, run_together
from mbrl.train_model import ModelTraining, load_model, train_model
from mbrl.train_policy import load_policy, train_policy

RunJobs = Callable[[Sequence[Job]], None]


def reproduce(
    out: Path,
    recordings: Sequence[Path],
    *,
    preset: Preset = "quick",
    seeds: Sequence[int] = (0, 1),
    only: Sequence[str] = (),
    device: str = "cpu",
    run: RunJobs = run_together,
) -> None:
    """Train, drive and report in folder `out`.

    Args:
        only: names of rows; all by default.
        run: what runs independent jobs: side by side on this machine, or on a cluster (mbrl.on_ray).
    Raises:
        InputError: there is no such row.
    """
    chosen = select(rows(preset), only)
    names = [row.name for row in chosen]
    jobs = [
        Job(_model, (out, tuple(recordings), config, name, device))
        for seed in seeds
        for name, config in models(preset, seed).items()
        if name in {row.model for row in chosen}
    ]
    of_seed = {seed: [row for row in rows(preset, seed) if row.name in names] for seed in seeds}
    starts = {
        (seed, start_folder(row, preset)): start_of(row.training, preset)
        for seed in seeds
        for row in of_seed[seed]
    }
    for (_, folder), training in starts.items():
        jobs.append(Job(_policy, (out, tuple(recordings), training, folder, None, None, device)))
    run(jobs)
    run(
        [
            Job(_policy, (out, tuple(recordings), row.training, row.name, row.model, start_folder(row, preset), device))
            for seed in seeds
            for row in of_seed[seed]
            if row.model is not None
        ]
    )  # fmt: skip
    if not _is_driven(out / RESULTS_FILE, recordings, names, seeds):
        evaluation = _drive(out, recordings, of_seed, device)
        write_results(evaluation, out)
        write_page(out, evaluation, chosen, preset, seeds)


def _is_driven(path: Path, files: Sequence[Path], names: Sequence[str], seeds: Sequence[int]) -> bool:
    """Whether the results are those of these rows, seeds and recordings."""
    if not path.exists():
        return False
    data = json.loads(path.read_text())
    trained = {(row["name"], row["seed"]) for row in data["agents"] if row["seed"] is not None}
    same_files = [row["name"] for row in data["recordings"]] == [path.name for path in files]
    return same_files and trained == {(name, seed) for name in names for seed in seeds}


def select(known: Sequence[Row], only: Sequence[str]) -> list[Row]:
    """The rows of these names, in the table's order; all if there are none."""
    names = [row.name for row in known]
    for name in only:
        if name not in names:
            raise InputError(f"unknown row {name!r}; there are: {', '.join(names)}")
    return [row for row in known if not only or row.name in only]


def start_folder(row: Row, preset: Preset) -> str:
    """Name of the imitation that a row's policy starts from; rows of one network and the same cars share it."""
    own = rows(preset)[0].training.policy == row.training.policy
    share = row.training.data_share
    return ("imitation" if own else "imitation-separated") + (
        "" if share == 1 else f"-data-{100 * share:.0f}"
    )


def _model(
    out: Path, files: tuple[Path, ...], config: ModelTraining, name: str, device: str, progress: Any
) -> None:
    folder = seed_folder(out, config.seed) / "models" / name
    train_model(config, _read(files), folder, device=device, tracking_root=out, progress=progress)


def _policy(
    out: Path,
    files: tuple[Path, ...],
    config: PolicyTraining,
    name: str,
    model: str | None,
    start: str | None,
    device: str,
    progress: Any,
) -> None:
    folder = seed_folder(out, config.seed)
    train_policy(
        config, _read(files), folder / "policies" / name,
        trained=load_model(folder / "models" / model, device) if model else None,
        start_from=load_policy(folder / "policies" / start, device)[0] if start else None,
        device=device, tracking_root=out, progress=progress,
    )  # fmt: skip


def _read(files: Sequence[Path]) -> list[Any]:
    return [read_parquet(path) for path in files]


def _drive(out: Path, files: Sequence[Path], of_seed: Mapping[int, Sequence[Row]], device: str) -> Evaluation:
    """Everybody on the test cars."""
    from mbrl.demo import evaluate_with_bars

    agents: list[Agent] = [Human(), NoAction()]
    for k in range(len(next(iter(of_seed.values())))):  # row by row, the seeds of a row together
        for seed, of in of_seed.items():
            policy, _ = load_policy(seed_folder(out, seed) / "policies" / of[k].name, device)
            agents.append(LearnedAgent(policy, of[k].name, seed, device))
    return evaluate_with_bars(agents, _read(files), names=[path.name for path in files])
