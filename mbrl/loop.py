"""The training loop that every trainer shares: resume, step, check, log, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from envs.errors import Failed, InputError
from mbrl import data_parallel
from mbrl.checkpoint import Part, load, read_header, restore_training_state, save, training_state
from mbrl.progress import Counter, MakeCounter, Progress
from mbrl.tracking import Tracker, Untracked

TRAINING_FILE = "training.safetensors"  # in a run's folder: all it needs to go on
SAVE_SECONDS = 20.0  # between two savings
CURVE_POINTS = 200  # of each number that are kept with the training state, for reports


class NotFinite(Failed):
    """A term of a loss became NaN or infinite; names the term and the step."""


def train(
    update: Callable[[int], Mapping[str, float]],
    *,
    name: str,
    what: str,
    out: Path,
    config: Mapping[str, Any],
    num_updates: int,
    parts: Mapping[str, Part],
    begin: Callable[[int], None] = lambda step: None,
    may_save: Callable[[int], bool] = lambda step: True,
    fingerprint: str | None = None,
    tracking_root: Path | None = None,
    progress: MakeCounter = Progress,
) -> None:
    """Call update(0) ... update(num_updates - 1), going on where an earlier run of the same config stopped.

    Args:
        update: does one update and returns its numbers; each must be finite.
        name: of the experiment in MLflow.
        what: is being done, for the progress bar.
        out: folder of the run; TRAINING_FILE in it is written every SAVE_SECONDS and at the end.
        config: of the run; a training file of another one is refused.
        parts: everything that decides the next update, see mbrl.checkpoint.training_state.
        begin: called once with the first step, after the parts are restored.
        may_save: whether the state before a step is all in `parts`.
        fingerprint: of what is learned from; a training file of other data is refused.
        tracking_root: folder of the local MLflow store; the run's own by default.
    Raises:
        NotFinite, InputError (see mbrl.checkpoint).
    """
    path = out / TRAINING_FILE
    step, run_id = 0, None
    curves: dict[str, list[tuple[int, float]]] = {}
    if path.exists():
        checkpoint = load(path, config=config)
        if checkpoint.meta.get("data", fingerprint) != fingerprint:
            raise InputError("learned from other data until here: choose another folder", path=path)
        step = int(restore_training_state(checkpoint.tensors, checkpoint.meta["training"], **parts)["step"])
        run_id = checkpoint.meta.get("mlflow_run")
        curves = checkpoint.meta["curves"]
    if data_parallel.agreed(step) != step:
        raise InputError(
            "the ranks read different training files; name a folder that all machines share", path=out
        )
    is_main, root = data_parallel.is_main(), tracking_root or out
    with (
        (Tracker if is_main else Untracked)(
            name, out.name, config, root, run_id=run_id, data_fingerprint=fingerprint
        ) as tracker,
        (progress if is_main else Counter)(what, num_updates, done=step, unit="updates") as bar,
    ):

        def keep(step: int) -> None:
            tracker.flush()  # numbers before the state that follows them: a killed run then lacks none
            tensors, state = training_state(counters={"step": step}, **parts)
            meta = {"training": state, "mlflow_run": tracker.run_id, "curves": curves, "data": fingerprint}
            save(path, tensors=tensors, config=config, meta=meta)

        begin(step)
        saved = time.monotonic()
        for i in range(step, num_updates):
            if is_main and i > step and time.monotonic() - saved > SAVE_SECONDS and may_save(i):
                keep(i)
                saved = time.monotonic()
            metrics = update(i)
            broken = [term for term, value in metrics.items() if not math.isfinite(value)]
            if broken:
                term = next((term for term in broken if term != "loss"), "loss")  # a term before their sum
                raise NotFinite(
                    f"{term} is {metrics[term]} at update {i} of {what}; the last sound state is {path}"
                )
            tracker.log(metrics, i)
            for term, value in metrics.items():
                if i % max(num_updates // CURVE_POINTS, 1) == 0 or term.startswith("validation"):
                    curves.setdefault(term, []).append((i, value))
            bar.advance(loss=metrics["loss"])
        if is_main and step < num_updates:
            keep(num_updates)


def read_curves(out: Path) -> dict[str, list[tuple[int, float]]]:
    """Number -> (step, value) of the run in a folder, thinned to about CURVE_POINTS; empty if untrained."""
    path = out / TRAINING_FILE
    if not path.exists():
        return {}
    _, meta = read_header(path)
    return {term: [(int(i), float(v)) for i, v in points] for term, points in meta.get("curves", {}).items()}
