"""A small training run with every kind of state a checkpoint must keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mbrl.checkpoint import load, restore_training_state, save, training_state

CONFIG = {"width": 16, "lr": 0.01, "seed": 7}


class ToyRun:
    """Regression with dropout (torch's global generator), noise (its own), numpy sampling, Adam and a schedule."""

    def __init__(self, seed: int = CONFIG["seed"]) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 1))
        self.adam = torch.optim.Adam(self.model.parameters(), lr=0.01, amsgrad=True)
        warmup = torch.optim.lr_scheduler.LinearLR(self.adam, 0.1, total_iters=3)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(self.adam, T_max=20)
        self.schedule = torch.optim.lr_scheduler.SequentialLR(self.adam, [warmup, cosine], milestones=[3])
        self.noise = torch.Generator().manual_seed(seed)
        self.sampling = np.random.default_rng(seed)
        self.losses: list[float] = []

    def parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "adam": self.adam,
            "schedule": self.schedule,
            "noise": self.noise,
            "sampling": self.sampling,
            "dropout": torch.default_generator,
        }

    def step(self) -> None:
        x = torch.from_numpy(self.sampling.normal(size=(8, 3))).float()
        target = x.sum(1, keepdim=True) + 0.1 * torch.randn(8, 1, generator=self.noise)
        loss = (self.model(x) - target).square().mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.schedule.step()
        self.losses.append(loss.item())

    def save(self, path: Path) -> None:
        tensors, state = training_state(**self.parts(), counters={"losses": self.losses})
        save(path, tensors=tensors, config=CONFIG, meta={"training": state})

    def resume(self, path: Path) -> None:
        checkpoint = load(path, config=CONFIG)
        counters = restore_training_state(checkpoint.tensors, checkpoint.meta["training"], **self.parts())
        self.losses = counters["losses"]

    def weights(self) -> list[Tensor]:
        return [value.clone() for value in self.model.state_dict().values()]
