"""That the losses of policies teach what they should."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.policies import PolicyConfig
from envs.context import context_of_windows
from envs.kinematics import straight_on
from envs.recording import Recording
from envs.units import View
from envs.warp import resample
from envs.windows import WindowConfig, WindowSampler
from mbrl.forward_models import SeparatedConfig, SeparatedModel, Timing
from mbrl.forward_models.separated import Scene
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from tests.agents.scenes import Track, along, recording_of, still
from tests.mbrl.policies import ids, train, training
from tests.mbrl.runs import Notebook, notebook
from tests.mbrl.small import CHANNELS
from tests.toys import lane_centre, straight_site

__all__ = ["notebook"]  # a fixture


@cache
def drivers_of_ten() -> Recording:
    """Everybody drives by a = 0.1 (10 - v): a mapping from what they see of themselves to what they do."""
    tracks = []
    for car in range(48):
        v = 10 + (3 if car % 3 else -3) * 0.99 ** np.arange(199)
        first = 45 * (car // 4)
        tracks.append(Track(car + 1, along(v, num=200, x0=-15.0), lane_centre(car % 4), first=first))
    return recording_of(*tracks, site=straight_site(start=25.0, goal=100.0))


@pytest.mark.slow
def test_imitation_recovers_how_the_humans_drive(tmp_path: Path, notebook: Notebook) -> None:
    view = View(height=16, width=8)
    config = training(
        "imitation",
        policy=PolicyConfig(
            frames=1, stride=1, back=(0,), view=view, channels=(2, 2, 2), hidden=16, acceleration=0.2
        ),
        updates=150, batch_size=32, learning_rate=1e-2, cycles=1, validations=1,
    )  # fmt: skip
    policy = train(config, tmp_path, recordings=[drivers_of_ten()])
    windows = WindowConfig(context=(0,), targets=(1,), view=view)
    batch = WindowSampler([drivers_of_ten()], windows, batch_size=300, split="all", seed=9).batch(0)
    context = context_of_windows(batch)
    did = policy(context).detach()
    want = 0.1 * (10 - context.now()[:, 3])
    np.testing.assert_allclose(batch.actions[:, 0, 0], want, atol=0.02)
    assert want.std() > 0.1
    assert (did[:, 0] - want).square().mean().sqrt() < 0.3 * want.std()
    assert did[:, 1].abs().max() < 0.001  # nobody steers
    assert notebook.of("loss")[-1] < notebook.of("loss")[0] - 1


class StandingTraffic(SeparatedModel):
    """Knows that whatever is seen stands still on the road."""

    def advance(self, h: Scene, z: Tensor) -> Scene:
        observer = straight_on(h.observer, self.timing.step_seconds)
        seen = resample(h.vehicles[:, -1:], self.view, h.observer, observer)
        return replace(h, vehicles=torch.cat([h.vehicles[:, 1:], seen], 1), observer=observer)


LONG = View(height=81, width=12)  # 25 m ahead


@cache
def parked_car() -> Recording:
    """Cars that come at 8 m/s towards one that is parked at x = 150 m, and some with a free lane."""
    coming = [
        Track(k, along(8.0, num=340, x0=60.0 - 45 * i), lane_centre(1))
        for i, k in enumerate(ids("train")[:5])
    ]
    parked = Track(ids("test")[0], 150 + still(340), lane_centre(1))
    free = [
        Track(k, along(7.0, num=300, x0=60.0 - 20 * i), lane_centre(3))
        for i, k in enumerate(ids("validation")[:2])
    ]
    return recording_of(*coming, parked, *free, site=straight_site(start=100.0, goal=140.0))


def test_it_learns_in_imagination_to_brake_for_a_parked_car(tmp_path: Path, notebook: Notebook) -> None:
    timing = Timing(frames=2, stride=2)
    model = StandingTraffic(
        SeparatedConfig(timing=timing, view=LONG, channels=CHANNELS, back=(0, 1), z_dim=0)
    )
    config = training(
        "mpur-no-uncertainty",
        policy=PolicyConfig(frames=2, stride=2, back=(0,), view=LONG, channels=(4, 4, 4), hidden=16),
        updates=30, batch_size=6, learning_rate=1e-2, cycles=1, horizon=8, perturbed=0.0, block=10, epochs=2,
        validations=1,
    )  # fmt: skip
    policy = train(
        config, tmp_path, recordings=[parked_car()], trained=TrainedModel(model.eval(), Uncertainty(8))
    )
    windows = WindowConfig(context=(2, 0), targets=(), view=LONG)
    context = context_of_windows(WindowSampler([parked_car()], windows, batch_size=200).batch(99))
    close = context.now()[:, 0] > 128  # 18 m or less to its bumper
    assert close.sum() > 20
    assert policy(context)[close, 0].max() < -1.0
    proximity = notebook.of("cost_proximity")
    assert np.mean(proximity[-10:]) < 0.8 * np.mean(proximity[:10])
