"""Small policies in training, and the traffic they are trained among."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from agents.policies import Policy, PolicyConfig
from envs.recording import Recording, Split
from mbrl import train_policy as trainer
from mbrl.policy_training import Method, PolicyTraining, Teaching
from mbrl.progress import Counter
from mbrl.train_policy import train_policy
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from tests.agents.scenes import Track, clean_traffic, recording_of
from tests.mbrl.small import VIEW, small_model

SMALL = PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(3, 4, 4), hidden=8)
IMAGINED: list[Method] = ["mpur", "mpur-no-uncertainty"]


@cache
def traffic() -> Recording:
    """Cars that keep their distance, on a stretch that is driven in a few seconds."""
    recording = clean_traffic(num_cars=40)
    return replace(recording, site=replace(recording.site, goal=120.0))


@cache
def ids(split: Split) -> list[int]:
    """Numbers of cars that belong to a split."""
    cars = recording_of(*(Track(k, np.array([100.0]), 0.0) for k in range(1, 200)))
    return [int(k) for k in cars.vehicles.id[cars.in_split(split)]]


def of_split(recording: Recording, split: Split) -> Recording:
    """The same cars under other numbers, all of one split."""
    vehicles = recording.vehicles
    renamed = np.array(ids(split)[: len(vehicles)], vehicles.id.dtype)
    return replace(recording, vehicles=replace(vehicles, id=renamed))


TEACHING = Teaching(futures=2, iterations=2, driven=2, followed=2)


def training(method: Method = "mpur", **changes: Any) -> PolicyTraining:
    """8 updates, validated after the sixth and the eighth; imagined futures are drawn for four updates at a time."""
    return PolicyTraining(
        **{
            "method": method, "policy": SMALL, "updates": 8, "batch_size": 3, "horizon": 3, "masks": 2, "block": 2,
            "epochs": 2, "validations": 2, "validation_cars": 2, **changes,
        }
    )  # fmt: skip


def trained(variant: str = "separated", horizon: int = 3) -> TrainedModel:
    uncertainty = Uncertainty(horizon)
    uncertainty.mean.fill_(0.1)
    return TrainedModel(small_model(variant), uncertainty)


def train(config: PolicyTraining, out: Path, progress: type[Counter] = Counter, **options: Any) -> Policy:
    if config.needs_model:
        options.setdefault("trained", trained())
    return train_policy(config, options.pop("recordings", [traffic()]), out, progress=progress, **options)


def driven_as(
    scores: Sequence[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Tensor]]:
    """Let validations come out as (success, distance), one after the other; returns the weights they were about."""
    seen: list[dict[str, Tensor]] = []
    coming: Iterator[tuple[float, float]] = iter(scores)

    def evaluate(agents: Sequence[Any], *_: Any, **__: Any) -> Any:
        seen.append({k: v.clone() for k, v in agents[0].policy.state_dict().items()})
        success, distance = next(coming)
        outcomes = SimpleNamespace(
            succeeded=lambda: np.array([success, success]), distance=lambda: np.array([distance, distance])
        )
        return SimpleNamespace(runs=[SimpleNamespace(outcomes=outcomes)])

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    return seen
