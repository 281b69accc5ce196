"""Who drove, kept: every agent's drives are a job of their own, with a file of their own.

What was driven is not driven again; the same command goes on where it was interrupted, within a drive too: what is
driven batch by batch is kept in a file beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from agents import Agent, Human
from agents.driving import check_same_cars
from agents.evaluate import Evaluation, Run, evaluate
from agents.outcome_files import load_outcomes
from envs.formats import read
from mbrl.progress import MakeCounter
from mbrl.side_by_side import Job


class Driver(NamedTuple):
    """Somebody to drive."""

    name: str
    seed: int | None
    file: Path  # of the drives
    make: Callable[[], Agent]  # importable by name, with its arguments (functools.partial)
    at_once: int = 256  # cars


def still_to_drive(drivers: Sequence[Driver], files: Sequence[Path], **options: Any) -> list[Job]:
    """A job for each whose drives are not there yet.

    Args:
        files: the recordings, of any format.
        options: of agents.evaluate.
    """
    return [Job(_drive, (driver, files, options)) for driver in drivers if not driver.file.exists()]


def gathered(drivers: Sequence[Driver], files: Sequence[Path], **options: Any) -> Evaluation:
    """Everybody's drives as one evaluation; the human says once more which cars can be driven.

    Raises:
        InputError: somebody drove other cars.
    """
    human = _evaluate(Human(), files, options)
    runs = []
    for driver in drivers:
        outcomes = load_outcomes(driver.file)
        check_same_cars(outcomes, human.world, human.drives, driver.file)
        runs.append(Run(driver.name, driver.seed, outcomes))
    return replace(human, runs=runs)


def _drive(driver: Driver, files: Sequence[Path], options: dict[str, Any], progress: MakeCounter) -> None:
    agent = driver.make()
    with progress(f"driving: {driver.file.stem}", 100, unit="%") as bar:

        def report(what: str, done: int, total: int) -> None:
            if what == agent.name:  # not the human, who says which cars can be driven
                bar.reach(100 * done // total)

        driver.file.parent.mkdir(parents=True, exist_ok=True)
        part = driver.file.with_suffix(".part.npz")
        _evaluate(agent, files, {**options, "num_egos": driver.at_once, "progress": report, "kept": [part]})
    part.replace(driver.file)


def _evaluate(agent: Agent, files: Sequence[Path], options: dict[str, Any]) -> Evaluation:
    recordings = [read(path) for path in files]
    return evaluate([agent], recordings, names=[path.name for path in files], **options)
