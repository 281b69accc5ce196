"""A script for the tests that kill it: python killed_run.py FOLDER

trains a small model and a policy in its imagination, saving as often as it may, and goes on from whatever it finds;
also under torchrun.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from mbrl import loop
from mbrl.data_parallel import joined
from mbrl.model_training import Stage
from mbrl.presets import model_training, policy_training
from mbrl.progress import Counter
from mbrl.train_model import train_model
from mbrl.train_policy import train_policy
from tests.mbrl.runs import Notebook
from tests.toys import orderly_traffic


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    loop.SAVE_SECONDS = 0.0
    loop.Tracker = Notebook().tracker  # type: ignore[assignment, misc]
    recordings = [orderly_traffic()]
    model = replace(
        model_training("debug"),
        stages=(Stage(steps=2, updates=80, batch_size=4), Stage(steps=3, updates=60, batch_size=2)),
    )
    policy = replace(policy_training("debug"), updates=120, epochs=2, validations=3)
    with joined("cpu"):
        trained = train_model(model, recordings, folder / "model", progress=Counter)
        train_policy(policy, recordings, folder / "policy", trained=trained, progress=Counter)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
