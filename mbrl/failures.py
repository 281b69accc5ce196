"""Why drives failed: any agent's, car by car, as they came and as a model imagined them (mbrl.forensics), on a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.evaluate import Evaluation
from envs.errors import InputError
from envs.formats import read
from envs.formats.atomic import atomic_path
from envs.recording import Split
from mbrl.agents_by_name import PRETRAINED, agent_by_name
from mbrl.demo import evaluate_with_bars
from mbrl.page import page
from mbrl.report_drives import failures
from mbrl.trained_model import check_dt, load_model

PAGE_FILE = "failures.html"


def explain_failures(
    out: Path,
    files: Sequence[Path],
    agent: str = "pretrained",
    model: Path | None = None,
    *,
    split: Split = "validation",
    vehicles: Sequence[int] = (),
    device: str = "cpu",
) -> str:
    """Drive, write the page into folder `out`, and say in a line what is on it.

    Args:
        agent: as mbrl.agents_by_name has it.
        model: folder of the forward model that imagines; by default the one that ships with headway.
        vehicles: the cars to show, by their numbers in the source; some of those that failed by default.
    Raises:
        InputError: one of them did not fail, or model, agent and recordings do not fit.
    """
    driver, trained = agent_by_name(agent, device), load_model(model or PRETRAINED / "model")
    recordings = [read(path) for path in files]
    check_dt(recordings, trained.model.timing)
    evaluation = evaluate_with_bars([driver], recordings, names=[path.name for path in files], split=split)
    run = evaluation.runs[0]
    failed = np.flatnonzero(~run.outcomes.succeeded())
    shown = _of_vehicles(evaluation, failed, vehicles) if vehicles else None
    title = f"headway: why {driver.name} failed on {len(failed)} of {len(evaluation.drives)} {split} cars"
    with atomic_path(out / PAGE_FILE) as path:
        path.write_text(
            page(title, [f"<h1>{title}</h1>", failures(evaluation, run, trained, shown)]), encoding="utf-8"
        )
    happened = title.removeprefix("headway: why ")
    return f"{happened}; {out / PAGE_FILE} shows why" if len(failed) else happened


def _of_vehicles(
    evaluation: Evaluation, failed: NDArray[np.int64], vehicles: Sequence[int]
) -> NDArray[np.int64]:
    numbers = evaluation.vehicle_id[evaluation.drives.vehicle[failed]]
    for vehicle in vehicles:
        if vehicle not in numbers:
            some = ", ".join(map(str, numbers[:20])) + (", ..." if len(numbers) > 20 else "")
            raise InputError(
                f"vehicle {vehicle} is none of the {len(failed)} that failed: {some or 'there are none'}"
            )
    return failed[np.isin(numbers, vehicles)]
