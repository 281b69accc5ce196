"""Training a model of stable-baselines3 on recorded traffic; the model that drives best on validation cars is kept.

What an interrupted run resumes: the weights, the optimisers, the number of steps (and with it SB3's schedules), the
replay buffer, the best model and its score, and the MLflow run. What it does not: the drives under way begin anew with
other seeds, and so do the generators of exploration and of batches. It goes on from the last saving, but not with the
very numbers an uninterrupted run would have had.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from agents.evaluate import cars_of, evaluate
from agents.sb3_agent import SB3Agent
from agents.sb3_models import load_model, read_facts, save_model
from agents.sb3_vec_env import SB3VecEnv
from envs.errors import InputError
from envs.formats.atomic import atomic_path
from envs.formats.fingerprint import fingerprint_of_all
from envs.recording import Recording
from mbrl.agents_by_name import SB3_MODEL_FILE as MODEL_FILE
from mbrl.agents_by_name import SB3_TRAINING_FILE as TRAINING_FILE
from mbrl.checkpoint import first_difference
from mbrl.progress import Counter, MakeCounter, Progress
from mbrl.rl_training import MAX_SEED, RLTraining
from mbrl.tracking import Tracker

BUFFER_FILE = "replay_buffer.pkl"  # what an interrupted run goes on from, besides TRAINING_FILE
SAVE_SECONDS = 60.0  # between two savings
LOG_INTERVAL = 10  # rollouts or, off policy, drives between two lines of numbers


def train_rl(
    config: RLTraining,
    recordings: Sequence[Recording],
    out: Path,
    *,
    device: str = "cpu",
    tracking_root: Path | None = None,
    progress: MakeCounter = Progress,
) -> SB3Agent:
    """Train (or go on training, or load what is finished) a model in folder `out`.

    Raises:
        InputError: the folder holds another run; sb3-contrib is needed and not installed; there is no validation car.
    """
    data = fingerprint_of_all(recordings)
    facts = _facts_of(out, config, data)
    if facts["done"]:
        return SB3Agent.load(out / MODEL_FILE, device)
    cars_of(recordings, "validation")  # where there are none, say so now
    out.mkdir(parents=True, exist_ok=True)
    cars = SB3VecEnv(
        config.num_envs, recordings, interface=config.interface, traffic=config.traffic, reward=config.reward
    )
    model = _resumed(out, cars, device) if facts["steps"] else config.make(cars, device)
    with (
        Tracker(
            "train-rl",
            out.name,
            config.to_dict(),
            tracking_root or out,
            run_id=facts["mlflow_run"],
            data_fingerprint=data,
        ) as tracker,
        progress(f"training {config.algorithm}", config.steps, done=model.num_timesteps, unit="steps") as bar,
    ):
        model.set_logger(Logger(None, [_Numbers(tracker)]))
        keeper = _Keeper(config, recordings, out, facts, tracker, bar)
        left = config.steps - model.num_timesteps
        try:
            model.learn(left, keeper, log_interval=LOG_INTERVAL, reset_num_timesteps=False)
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C, or terminated
            keeper.save()
            raise
        keeper.finish()
    return SB3Agent.load(out / MODEL_FILE, device)


def _facts_of(out: Path, config: RLTraining, data: str) -> dict[str, Any]:
    """What happened so far in a folder. The best model is saved at once, so its score may be ahead of the rest."""
    facts = {
        "steps": 0,
        "done": False,
        "validated": 0,
        "best": [-1.0, -1.0],
        "mlflow_run": None,
        "data": data,
    }
    if (out / TRAINING_FILE).exists():
        facts = _checked(out / TRAINING_FILE, config, data)
    if (out / MODEL_FILE).exists():
        facts["best"] = max(facts["best"], _checked(out / MODEL_FILE, config, data)["best"])
    return facts


def _checked(path: Path, config: RLTraining, data: str) -> dict[str, Any]:
    """The facts of a saved model of this config and this data. Raises InputError of another one."""
    facts = read_facts(path)
    different = first_difference(config.to_dict(), facts["config"])
    if different is not None:
        key, wanted, found = different
        raise InputError(f"holds a run with {key} = {found}, not {wanted}; choose another folder", path=path)
    if facts.setdefault("data", data) != data:
        raise InputError("learned from other recordings until here; choose another folder", path=path)
    return facts


def _resumed(out: Path, cars: SB3VecEnv, device: str) -> BaseAlgorithm:
    """The model of the last saving, with drives that nobody has driven before."""
    model, facts = load_model(out / TRAINING_FILE, device, env=cars)
    if isinstance(model, OffPolicyAlgorithm):
        model.load_replay_buffer(out / BUFFER_FILE)
    model.set_random_seed((facts["seed"] + model.num_timesteps) % MAX_SEED)
    return model


class _Numbers(KVWriter):
    """SB3's numbers on their way to MLflow."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        numbers = {k: float(v) for k, v in key_values.items() if isinstance(v, int | float | np.number)}
        self._tracker.log(numbers, step)

    def close(self) -> None:
        """The run is closed by its tracker."""


class _Keeper(BaseCallback):
    """Validates and saves between two rollouts, when the model and its optimisers agree."""

    def __init__(
        self,
        config: RLTraining,
        recordings: Sequence[Recording],
        out: Path,
        facts: dict[str, Any],
        tracker: Tracker,
        bar: Counter,
    ) -> None:
        super().__init__()
        self.config, self.recordings, self.out, self.facts = config, recordings, out, facts
        self.tracker, self.bar = tracker, bar
        self._saved = time.monotonic()

    def _on_rollout_start(self) -> None:
        config, steps = self.config, self.model.num_timesteps
        if steps * config.validations >= config.steps * (self.facts["validated"] + 1):
            self.save()  # first: where there is a best model, there is a training to tell that it is not over
            self._validate()
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()
        self.bar.reach(min(steps, config.steps))

    def _on_step(self) -> bool:
        return True

    def finish(self) -> None:
        """The last validation and the last saving, after which the replay buffer is of no use to anybody."""
        self._validate()
        self.save(done=True)
        (self.out / BUFFER_FILE).unlink(missing_ok=True)
        self.bar.reach(self.config.steps)

    def _validate(self) -> None:
        """Drive validation cars; keep the model if it did better than any before."""
        config = self.config
        agent = SB3Agent(self.model, config.interface, config.algorithm, config.seed, self.recordings[0].dt)
        evaluation = evaluate(
            [agent],
            self.recordings,
            split="validation",
            traffic=config.traffic,
            max_cars=config.validation_cars,
            stop_at_failure=True,
        )
        outcomes = evaluation.runs[0].outcomes
        score = [float(outcomes.succeeded().mean()), float(outcomes.distance().mean())]
        self.tracker.log(
            {"validation_success": score[0], "validation_distance_m": score[1]}, self.model.num_timesteps
        )
        self.facts["validated"] += 1
        if score > self.facts["best"]:
            self.facts["best"] = score
            self._write(MODEL_FILE)

    def save(self, done: bool = False) -> None:
        """What another process goes on from."""
        self.tracker.flush()  # numbers before the state that follows them: a killed run then lacks none
        self.facts |= {"steps": self.model.num_timesteps, "done": done, "mlflow_run": self.tracker.run_id}
        if isinstance(self.model, OffPolicyAlgorithm) and not done:
            with atomic_path(self.out / BUFFER_FILE) as temporary:
                self.model.save_replay_buffer(temporary)
        self._write(TRAINING_FILE)
        self._saved = time.monotonic()

    def _write(self, name: str) -> None:
        facts = {
            k: v for k, v in self.facts.items() if k not in ("algorithm", "interface", "config", "seed", "dt")
        }
        config = self.config
        save_model(
            self.model, self.out / name, config.algorithm, config.interface, config=config.to_dict(),
            seed=config.seed, dt=self.recordings[0].dt, **facts,
        )  # fmt: skip
