"""Small forward models in training, and the traffic they are trained on."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from envs.recording import Recording
from envs.windows import Windows
from mbrl.forward_models import ForwardModel
from mbrl.model_losses import model_windows
from mbrl.model_training import ModelTraining, Stage
from tests.agents.scenes import Track, along, recording_of
from tests.mbrl.small import VARIANTS
from tests.toys import lane_centre


@cache
def lanes() -> Recording:
    """Lanes at 8 and 12 m/s by turns, cars 14 to 24 m apart: to each, its neighbours drift by at a constant speed."""
    rng = np.random.default_rng(0)
    tracks = []
    for lane in range(4):
        x = -60.0
        while x < 250:
            tracks.append(
                Track(len(tracks) + 1, along(8.0 + 4 * (lane % 2), num=150, x0=x), lane_centre(lane))
            )
            x += rng.uniform(14, 24)
    return recording_of(*tracks)


def training(variant: str = "separated", **changes: Any) -> ModelTraining:
    return ModelTraining(
        **{
            "model": VARIANTS[variant],
            "stages": (Stage(steps=1, updates=3, batch_size=3), Stage(steps=2, updates=3, batch_size=2)),
            "perturbed": 0.5,
            "horizon": 3,
            "masks": 2,
            "uncertainty_batches": 1,
            **changes,
        }
    )


def windows_for(model: ForwardModel[Any], steps: int = 2, batch_size: int = 8) -> Windows:
    return model_windows(model, [lanes()], steps, batch_size, seed=3).batch(0)
