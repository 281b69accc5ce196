"""All rows of the paper's table (mbrl.rows) on any recordings and seeds: trained, driven, written on one page.

Models, imitation, policies and their drives are jobs of their own, run side by side; whatever is finished is kept, so
the same command continues. Policies are selected on validation cars while they train; test cars are driven once, when
all are trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from agents import Agent, Human, NoAction
from agents.learned import LearnedAgent
from agents.results import write_results
from envs.formats import read
from mbrl.driven import Driver, gathered, still_to_drive
from mbrl.model_training import ModelTraining
from mbrl.named import choose
from mbrl.presets import Preset, of_share
from mbrl.rows import Row, cost_of, models, rows, start_of
from mbrl.rows_page import REPORT_FILE, RESULTS_FILE, policy_folder, write_page
from mbrl.side_by_side import run_together
from mbrl.train_policy import load_policy
from mbrl.trainings import RunJobs, Training, keep_setting, seed_folder, train_all, with_needs

LEARNED_COST = "learned-cost"  # its folder; one for all rows, which have one policy's perception


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
        InputError: there is no such row, or the folder holds a run of other recordings or of another preset.
    """
    chosen = choose(rows(preset), only, "row")
    keep_setting(out, [read(path) for path in recordings], preset=preset)
    plan = {seed_folder(out, seed): trainings(preset, seed, only) for seed in seeds}
    train_all(plan, recordings, run=run, device=device, tracking_root=out)
    names = [row.name for row in chosen]
    page = out / REPORT_FILE  # is written last
    if not (page.exists() and _is_driven(out / RESULTS_FILE, names, seeds)):
        drivers = _drivers(out, names, seeds, device)
        run(still_to_drive(drivers, recordings))
        evaluation = gathered(drivers, recordings)
        page.unlink(missing_ok=True)
        write_results(evaluation, out)
        write_page(out, evaluation, chosen, preset, seeds)


def trainings(preset: Preset, seed: int, only: Sequence[str] = ()) -> list[Training]:
    """The models and costs that rows need, the imitations that their policies start from, and the policies."""
    chosen, known = choose(rows(preset, seed), only, "row"), models(preset, seed)
    found = with_needs(
        [_of_model(name, known) for name in known], {_model_folder(row.model) for row in chosen if row.model}
    )
    starts = {_start(row, preset): start_of(row.training, preset) for row in chosen}
    found += [Training(name, config) for name, config in starts.items()]
    judged = [row for row in chosen if row.training.learned_cost]
    found += [Training(LEARNED_COST, cost_of(row.training, preset)) for row in judged[:1]]
    return found + [
        Training(
            f"policies/{row.name}",
            row.training,
            _model_folder(row.model) if row.model else None,
            _start(row, preset),
            LEARNED_COST if row.training.learned_cost else None,
        )
        for row in chosen
        if row.training.method != "imitation"
    ]


def _of_model(name: str, known: Mapping[str, ModelTraining]) -> Training:
    """The training of a model; where its warm start is another row's model, that is trained once for all."""
    alone = known[name].without_z()
    starts = [_model_folder(other) for other, training in known.items() if training == alone]
    return Training(_model_folder(name), known[name], start=starts[0] if starts else None)


def _model_folder(name: str) -> str:
    return f"models/{name}"


def _start(row: Row, preset: Preset) -> str:
    """Name of the imitation that a row's policy starts from; rows of one network and the same cars share it."""
    own = rows(preset)[0].training.policy == row.training.policy
    return of_share(f"policies/imitation{'' if own else '-separated'}", row.training.data_share)


def _is_driven(path: Path, names: Sequence[str], seeds: Sequence[int]) -> bool:
    """Whether the results are those of these rows and seeds."""
    if not path.exists():
        return False
    agents = json.loads(path.read_text())["agents"]
    driven = {(row["name"], row["seed"]) for row in agents if row["seed"] is not None}
    return driven == {(name, seed) for name in names for seed in seeds}


def _drivers(out: Path, names: Sequence[str], seeds: Sequence[int], device: str) -> list[Driver]:
    """Everybody, the seeds of a row together."""
    return [
        Driver("human", None, _drives_file(out, "human"), Human),
        Driver("no-action", None, _drives_file(out, "no-action"), NoAction),
        *(
            Driver(name, seed, _drives_file(out, name, seed), partial(_learned, out, name, seed, device))
            for name in names
            for seed in seeds
        ),
    ]


def _drives_file(out: Path, name: str, seed: int | None = None) -> Path:
    return seed_folder(out, seed) / "drives" / f"{name}.npz"


def _learned(out: Path, name: str, seed: int, device: str) -> Agent:
    return LearnedAgent(load_policy(policy_folder(out, seed, name), device)[0], name, seed, device)
