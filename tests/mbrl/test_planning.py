"""A planner at the wheel, through any trained model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from envs.drives import find_drives
from envs.errors import InputError
from envs.replay import Replay
from mbrl.foresight import Imagining
from mbrl.planning import planning_agent
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from planners import GradientConfig, GradientPlanner
from tests.agents.scenes import clean_traffic
from tests.mbrl.small import VIEW, small_model

STEPS = 4
TRAFFIC = clean_traffic(num_cars=24)


def test_it_plans_among_frames_the_model_has_learned_from() -> None:
    trained, planner = (
        TrainedModel(small_model("separated"), Uncertainty(STEPS)),
        GradientPlanner(GradientConfig()),
    )
    agent = planning_agent(trained, planner, "planner", Imagining())
    slow = Replay([replace(TRAFFIC, dt=0.2)], 1, history=agent.history, view=VIEW)
    with pytest.raises(InputError, match=r"planner learned from frames 0\.1 s apart"):
        agent.begin(slow)


@pytest.mark.parametrize("variant", ["separated", "vae", "deterministic"])
def test_it_drives_through_any_model(variant: str) -> None:
    trained = TrainedModel(small_model(variant, dropout=0.1), Uncertainty(STEPS))
    planner = GradientPlanner(GradientConfig(horizon=STEPS, num_iterations=5, learning_rate=0.03))
    how = Imagining(futures=2, masks=2, uncertainty_weight=0.1)
    agent = planning_agent(trained, planner, "planner", how, seed=0)
    replay = Replay([TRAFFIC], 2, history=agent.history, view=VIEW, threads=1)
    observation = replay.reset(find_drives(replay.world, [TRAFFIC], history=agent.history).take(np.arange(2)))
    agent.begin(replay)
    first = agent.act(observation)
    assert first.shape == (2, 2)
    assert np.isfinite(first).all()
    assert float(np.abs(first).max()) > 1e-3
