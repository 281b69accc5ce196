"""`headway diagnose`: how far a model can be trusted, as numbers (diagnosis.json), as a page and as lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.results import number, plain
from envs.errors import InputError
from envs.formats import read
from envs.formats.atomic import atomic_path
from envs.recording import Split
from mbrl.agents_by_name import PRETRAINED
from mbrl.diagnosis_page import diagnosis_page
from mbrl.diagnostics import Calibration, Errors, Sensitivity, calibration, sensitivity
from mbrl.executed import Executed, imagined_against_executed
from mbrl.forward_models import Ensemble
from mbrl.forward_models.ensemble import num_disagreeing
from mbrl.progress import Progress
from mbrl.train_policy import check_sees_alike, load_policy
from mbrl.trained_model import check_dt, load_model

JSON_FILE, PAGE_FILE = "diagnosis.json", "diagnosis.html"
Data = dict[str, Any]


def diagnose(
    out: Path,
    files: Sequence[Path],
    *,
    model: Path | None = None,
    policy: Path | None = None,
    split: Split = "validation",
    situations: int = 256,
    masks: int = 8,
    seed: int = 0,
    device: str = "cpu",
) -> Data:
    """Measure, and write both files into folder `out`.

    Args:
        files: recordings.
        model, policy: folders; what ships with headway by default.
        situations: recorded situations for each of the three measurements.
        masks: of dropout, for U; an ensemble has its members instead.
    Returns:
        What diagnosis.json holds.
    Raises:
        InputError: the model and the policy do not fit, or the recordings have no car for them.
    """
    for what, count in (("situations", situations), ("masks", masks)):
        if count < 2:
            raise InputError(f"{what}={count} must be at least 2")
    trained = load_model(model or PRETRAINED / "model", device)
    driver, config = load_policy(policy or PRETRAINED / "policy", device)
    check_sees_alike(config.policy, trained.model)
    recordings = [read([path]) for path in files]
    check_dt(recordings, trained.model.timing)
    chosen: Data = {"split": split, "num_examples": situations, "seed": seed}
    with Progress("examining the model", 3, unit="parts") as progress:
        executed = imagined_against_executed(driver.eval(), trained, recordings, **chosen)
        progress.advance()
        calibrated = calibration(trained, recordings, num_masks=masks, **chosen)
        progress.advance()
        sensitive = sensitivity(trained, recordings, **chosen)
        progress.advance()
    data = plain(
        {
            "model": str(model or "pretrained"),
            "policy": str(policy or "pretrained"),
            "recordings": [path.name for path in files],
            "split": split,
            "seed": seed,
            "situations": situations,
            "cars": len(np.unique(executed.vehicle)),
            "disagreement_of": "members" if isinstance(trained.model, Ensemble) else "dropout masks",
            "masks": num_disagreeing(trained.model, masks),
            "seconds": _ahead(executed.executed_cost.shape[1], trained.model.timing.step_seconds),
            "executed": _of_executed(executed, seed),
            "calibration": _of_calibration(calibrated, trained.model.timing.step_seconds),
            "sensitivity": _of_sensitivity(sensitive),
        }
    )
    with atomic_path(out / JSON_FILE) as json_path, atomic_path(out / PAGE_FILE) as page_path:
        json_path.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n")
        page_path.write_text(diagnosis_page(data), encoding="utf-8")
    return data


def _of_executed(found: Executed, seed: int) -> Data:
    return {
        "correlation": found.correlation,
        "correlation_ci": list(found.correlation_interval(seed)),
        "imagined_cost": _numbers(found.imagined_cost.mean(0)),
        "executed_cost": _numbers(found.executed_cost.mean(0)),
        "imagined_m": _numbers(found.imagined_way.mean(0)),
        "executed_m": _numbers(found.executed_way.mean(0)),
        "situations": {
            "imagined_cost": _numbers(found.imagined_cost.mean(1)),
            "executed_cost": _numbers(found.executed_cost.mean(1)),
        },
    }


def _of_calibration(found: Calibration, step_seconds: float) -> Data:
    horizon = found.error.shape[1]
    steps = sorted({0, horizon // 2 - 1 if horizon > 1 else 0, horizon - 1})
    return {
        "rank_correlation": _numbers(found.rank_correlation()),
        "rank_correlation_of_traffic": _numbers(found.rank_correlation_of_traffic()),
        "rank_correlation_of_costs": _numbers(found.rank_correlation_of_costs()),
        "reliability": [_of_parts(found.reliability(t), t, step_seconds) for t in steps],
        "reliability_of_costs": [_of_parts(found.reliability_of_costs(t), t, step_seconds) for t in steps],
    }


def _of_parts(bins: NDArray[np.float64], step: int, step_seconds: float) -> Data:
    return {
        "seconds": _ahead(step + 1, step_seconds)[-1],
        "uncertainty": _numbers(bins[:, 0]),
        "error": _numbers(bins[:, 1]),
    }


def _of_sensitivity(found: Sensitivity) -> Data:
    def of(errors: Errors) -> Data:
        return {"picture": _numbers(errors.picture), "place_m": _numbers(errors.place)}

    return {name: of(errors) for name, errors in vars(found).items()}


def _ahead(steps: int, step_seconds: float) -> list[float]:
    return [round(step_seconds * (t + 1), 6) for t in range(steps)]


def _numbers(values: NDArray[np.floating[Any]]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def as_text(data: Mapping[str, Any]) -> str:
    """The numbers for a terminal of 80 columns, at some of the steps."""
    seconds, executed, sensitive = data["seconds"], data["executed"], data["sensitivity"]
    num = len(seconds)
    steps = sorted({0, *(max(round(num * k / 4) - 1, 0) for k in range(1, 5))})

    def line(name: str, values: Sequence[float | None], digits: int) -> str:
        return f"  {name:<38}" + "".join(f"{number(values[t], digits):>8}" for t in steps)

    low, high = executed["correlation_ci"]
    said = f"{number(executed['correlation'], 2)} [{number(low, 2)}, {number(high, 2)}]"
    where = f"{data['split']} cars of {', '.join(data['recordings'])}"
    cases = {"recorded actions, z unknown": "prior", "recorded actions, z told": "posterior",
             "another situation's actions, z told": "shuffled",
             "another's actions, z unknown": "shuffled_prior"}  # fmt: skip
    return "\n".join(
        [
            f"model {data['model']}, policy {data['policy']}, seed {data['seed']}",
            f"{data['situations']} situations of {where}",
            line("seconds ahead", seconds, 1),
            f"the same actions imagined and executed: mean costs correlate with {said}",
            line("cost, imagined", executed["imagined_cost"], 3),
            line("cost, executed", executed["executed_cost"], 3),
            line("metres driven, imagined", executed["imagined_m"], 1),
            line("metres driven, executed", executed["executed_m"], 1),
            f"rank correlation with the model's errors (U is of {data['masks']} {data['disagreement_of']})",
            line("U", data["calibration"]["rank_correlation"], 2),
            line("how much traffic is in view", data["calibration"]["rank_correlation_of_traffic"], 2),
            line("U as policies mind it, errors of costs", data["calibration"]["rank_correlation_of_costs"], 2),
            "squared error of the predicted picture, per pixel",
            *(line(name, sensitive[key]["picture"], 4) for name, key in cases.items()),
            "metres from the predicted place to the recorded one",
            *(line(name, sensitive[key]["place_m"], 2) for name, key in cases.items()),
        ]
    )  # fmt: skip
