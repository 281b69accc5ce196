"""What a run trains: each thing in a folder of its own, after what it needs; what is finished is kept.

The demo, the rows of the paper's table and the benchmark are all lists of these.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import InputError
from envs.formats import read
from envs.formats.atomic import atomic_path
from envs.formats.fingerprint import fingerprint
from envs.recording import Recording
from mbrl.cost_training import CostTraining
from mbrl.model_training import ModelTraining
from mbrl.policy_training import PolicyTraining
from mbrl.progress import MakeCounter
from mbrl.side_by_side import Job
from mbrl.train_learned_cost import load_learned_cost, train_learned_cost
from mbrl.train_model import train_model
from mbrl.train_policy import load_policy, train_policy
from mbrl.trained_model import load_model

if TYPE_CHECKING:
    from mbrl.rl_training import RLTraining  # brings stable-baselines3, which most runs do without

SETTING_FILE, SPENT_FILE = "setting.json", "seconds.json"
FOUND_WITHIN = 5.0  # s; to find a training finished takes less
RunJobs = Callable[[Sequence[Job]], None]


@dataclass(frozen=True)
class Training:
    """Something to be trained in a folder."""

    name: str  # of its folder, inside the folder of a seed
    config: ModelTraining | PolicyTraining | CostTraining | RLTraining
    model: str | None = None  # the training it goes through ...
    start: str | None = None  # ... the one it begins with ...
    cost: str | None = None  # ... and the learned cost that judges it

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of trainings that come first."""
        return tuple(name for name in (self.model, self.start, self.cost) if name)


def seed_folder(out: Path, seed: int | None) -> Path:
    """Where everything of a seed is."""
    return out / ("no-seed" if seed is None else f"seed-{seed}")


def keep_setting(out: Path, recordings: Sequence[Recording], **facts: Any) -> None:
    """Write down what the run in a folder is about, so that the same command continues and no other one does.

    A folder with nothing but such a note (its run was refused before it began) is free for any run.

    Raises:
        InputError: the folder holds a run of other recordings, or of other facts.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / SETTING_FILE
    setting = {"recordings": [fingerprint(recording) for recording in recordings], **facts}
    if not path.exists() or [*out.iterdir()] == [path]:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(setting, indent=2) + "\n")
    kept = json.loads(path.read_text())
    for what, value in setting.items():
        if what in kept and kept[what] != value:
            was = "other recordings" if what == "recordings" else f"{what} {kept[what]}, not {value}"
            raise InputError(f"the run in this folder has {was}: choose another folder", path=out)


def train_all(
    plan: Mapping[Path, Sequence[Training]],
    files: Sequence[Path],
    *,
    run: RunJobs,
    device: str = "cpu",
    tracking_root: Path | None = None,
) -> None:
    """Train each folder's trainings, those at the same time that do not need each other.

    Args:
        plan: of each folder; what a training needs stands before it.
        run: what runs independent jobs, see mbrl.side_by_side.
    """
    stages: list[list[Job]] = []
    for folder, trainings in plan.items():
        stage_of: dict[str, int] = {}
        for training in trainings:
            stage = stage_of[training.name] = 1 + max((stage_of[need] for need in training.needs), default=-1)
            if stage == len(stages):
                stages.append([])
            stages[stage].append(Job(train_one, (training, tuple(files), folder, device, tracking_root)))
    for jobs in stages:
        run(jobs)


def with_needs(trainings: Sequence[Training], wanted: set[str]) -> list[Training]:
    """Those that are wanted and what they need, in their order."""
    needed = set(wanted)
    for training in reversed(trainings):
        if training.name in needed:
            needed.update(training.needs)
    return [training for training in trainings if training.name in needed]


def train_one(
    training: Training,
    files: Sequence[Path],
    folder: Path,
    device: str,
    tracking_root: Path | None,
    progress: MakeCounter,
) -> None:
    """Train, go on, or find finished, inside a folder.

    The time it takes is added to what it took before it was interrupted; what a killed process spent is lost.
    """
    out, begun, before = folder / training.name, time.monotonic(), seconds_spent(folder / training.name)
    try:
        _train(training, [read(path) for path in files], folder, device, tracking_root, progress)
    finally:
        seconds = time.monotonic() - begun
        if out.is_dir() and (before is None or seconds > FOUND_WITHIN):
            with atomic_path(out / SPENT_FILE) as path:
                path.write_text(json.dumps({"seconds": (before or 0.0) + seconds}))


def _train(
    training: Training,
    recordings: Sequence[Recording],
    folder: Path,
    device: str,
    tracking_root: Path | None,
    progress: MakeCounter,
) -> None:
    out, config = folder / training.name, training.config
    if isinstance(config, ModelTraining):
        train_model(
            config, recordings, out,
            start_from=load_model(folder / training.start, device) if training.start else None,
            device=device, tracking_root=tracking_root, progress=progress,
        )  # fmt: skip
    elif isinstance(config, PolicyTraining):
        train_policy(
            config, recordings, out,
            trained=load_model(folder / training.model, device) if training.model else None,
            start_from=load_policy(folder / training.start, device)[0] if training.start else None,
            learned_cost=load_learned_cost(folder / training.cost, device) if training.cost else None,
            device=device, tracking_root=tracking_root, progress=progress,
        )  # fmt: skip
    elif isinstance(config, CostTraining):
        train_learned_cost(
            config, recordings, out, device=device, tracking_root=tracking_root, progress=progress
        )
    else:
        from mbrl.train_rl import train_rl

        train_rl(config, recordings, out, device=device, tracking_root=tracking_root, progress=progress)


def seconds_spent(out: Path) -> float | None:
    """How long the training in a folder took so far; None where nobody noted it."""
    path = out / SPENT_FILE
    return float(json.loads(path.read_text())["seconds"]) if path.exists() else None
