"""A script for the tests that run it on two ranks: torchrun ... parallel_run.py FOLDER [DEVICE]

trains small models and policies, each in a folder of its own. By itself it does so in a single process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from agents.policies import PolicyConfig
from mbrl import loop
from mbrl.cost_training import CostTraining
from mbrl.data_parallel import is_main, joined, num_ranks, rank, seeded, shared
from mbrl.forward_models import Ensemble, EnsembleConfig
from mbrl.model_training import ModelTraining, Stage
from mbrl.policy_training import PolicyTraining
from mbrl.progress import Counter
from mbrl.train_learned_cost import train_learned_cost
from mbrl.train_model import train_model
from mbrl.train_policy import train_policy
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from tests.mbrl.runs import Notebook, interrupting
from tests.mbrl.small import VARIANTS, VIEW, small_model
from tests.toys import orderly_traffic

NUMBERS = "numbers.json"  # what a run logged
SMALL = PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(3, 4, 4), hidden=8)


def learn_model(variant: str, out: Path, device: str, progress: Any = Counter, dropout: float = 0.0) -> None:
    config = ModelTraining(
        model=replace(VARIANTS[variant], dropout=dropout),
        stages=(Stage(steps=2, updates=3, batch_size=4), Stage(steps=3, updates=3, batch_size=2)),
        perturbed=0.5, horizon=3, masks=2, uncertainty_batches=1,
    )  # fmt: skip
    train_model(config, [orderly_traffic()], out, device=device, progress=progress)


def policy_training(**changes: Any) -> PolicyTraining:
    """8 updates, the futures of four drawn at a time; validated at the end."""
    return PolicyTraining(
        **{
            "policy": SMALL, "updates": 8, "batch_size": 4, "horizon": 3, "masks": 2, "block": 2, "epochs": 2,
            "uncertainty_weight": 0.5, "validations": 1, "validation_cars": 2, **changes,
        }
    )  # fmt: skip


def trained_model(variant: str, device: str = "cpu", dropout: float = 0.0) -> TrainedModel:
    """A small model of a variant; an "ensemble" has two members, who disagree without dropout."""
    if variant == "ensemble":
        members = [small_model("vae", seed=k, dropout=dropout) for k in range(2)]
        model: Any = Ensemble(EnsembleConfig(member=members[0].config, members=2), members).eval()
    else:
        model = small_model(variant, dropout=dropout)
    return TrainedModel(model.to(device), Uncertainty(3).to(device))


def learn_policy(
    variant: str, out: Path, device: str, progress: Any = Counter, dropout: float = 0.0, **changes: Any
) -> None:
    trained = trained_model(variant, device, dropout)
    config = policy_training(**changes)
    train_policy(config, [orderly_traffic()], out, trained=trained, device=device, progress=progress)


def learn_cost(out: Path, device: str) -> None:
    config = CostTraining(network=SMALL, updates=3, batch_size=4)
    train_learned_cost(config, [orderly_traffic()], out, device=device, progress=Counter)


CASES: dict[str, Callable[..., None]] = {
    "separated": partial(learn_model, "separated"),
    "vae": partial(learn_model, "vae"),
    "error encoding": partial(learn_model, "error encoding"),
    "imitation": partial(learn_policy, "separated", method="imitation"),
    "mpur, separated": partial(learn_policy, "separated"),
    "mpur, vae": partial(learn_policy, "vae"),
    "mpur, ensemble": partial(learn_policy, "ensemble"),
    "mper": partial(learn_policy, "vae", method="mper"),
    "adversarial": partial(learn_policy, "vae", z="adversarial"),
    "stochastic": partial(learn_policy, "separated", stochastic=True, value_weight=0.5),
    "cost": learn_cost,
}
HALTED = ["separated", "mpur, separated"]
WITH_DROPOUT: dict[str, Callable[..., None]] = {
    "model": partial(learn_model, "separated", dropout=0.3),
    "policy": partial(learn_policy, "separated", dropout=0.3),
}


def halt(run: Callable[..., None], out: Path, device: str) -> None:
    """Interrupt a run, on all ranks, after its fifth update."""
    halting = interrupting(5)
    with patch.object(loop, "Counter", halting), suppress(KeyboardInterrupt):
        run(out, device, progress=halting)


def main(folder: Path, device: str = "cpu") -> None:
    torch.set_num_threads(1)
    with joined(device) as own_device, patch.object(loop, "SAVE_SECONDS", -1.0):
        for name, case in CASES.items():
            book = Notebook()
            with patch.object(loop, "Tracker", book.tracker):
                case(folder / name, own_device)
            if is_main():
                (folder / name / NUMBERS).write_text(json.dumps(book.steps))
        if num_ranks() == 1:
            return
        with patch.object(loop, "Tracker", Notebook().tracker):
            for name in HALTED:
                halt(CASES[name], folder / "halted" / name, own_device)
            for name, run in WITH_DROPOUT.items():
                run(folder / "straight" / name, own_device)
                halt(run, folder / "resumed" / name, own_device)
                torch.rand(3 + rank())
                run(folder / "resumed" / name, own_device)
        generator = seeded(7, own_device)
        alike = shared(lambda num: torch.randn(num, generator=generator, device=own_device), 2)
        drawn = {"alike": alike.tolist(), "apart": torch.rand(4).tolist()}
        (folder / f"rank-{rank()}.json").write_text(json.dumps(drawn))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
