"""A policy at the wheel does what the policy says about what it sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from agents import Agent, NoAction
from agents.evaluate import evaluate
from agents.learned import LearnedAgent
from agents.policies import Policy, PolicyConfig
from envs.context import context_of_windows
from envs.drives import Drives
from envs.errors import InputError
from envs.recording import Recording
from envs.replay import Replay
from envs.units import View
from envs.windows import WindowConfig, WindowSampler
from tests.agents.scenes import clean_traffic

CONFIG = PolicyConfig(
    frames=3, stride=2, back=(0, 2), view=View(height=24, width=16), channels=(3, 4, 5), hidden=6
)
VEHICLE, FRAME = np.array([3, 9, 14]), np.array([80, 95, 100])


@pytest.fixture(scope="module")
def traffic() -> Recording:
    return clean_traffic(num_cars=24)


def policy(seed: int = 0) -> Policy:
    torch.manual_seed(seed)
    return Policy(CONFIG)


def test_it_acts_as_the_policy_says_about_the_same_moment(traffic: Recording) -> None:
    pilot = policy()
    agent = LearnedAgent(pilot, "mpur", seed=7)
    assert isinstance(agent, Agent)
    assert (agent.name, agent.seed, agent.history) == ("mpur", 7, 5)
    replay = Replay([traffic], 3, history=agent.history, view=CONFIG.view, threads=1)
    observation = replay.reset(Drives(VEHICLE, FRAME, FRAME, FRAME + 100))
    agent.begin(replay)
    actions = agent.act(observation)
    config = WindowConfig(context=(4, 2, 0), targets=(), view=CONFIG.view)
    sampler = WindowSampler([traffic], config, batch_size=3, split="all", threads=1)
    windows = sampler.render(sampler.world.row(VEHICLE, FRAME), np.random.default_rng(0))
    np.testing.assert_array_equal(actions, pilot(context_of_windows(windows)).detach().numpy())
    assert actions.shape == (3, 2)
    assert len(np.unique(actions[:, 0])) == 3


def test_it_remembers_nothing(traffic: Recording) -> None:
    agent = LearnedAgent(policy(), "mpur")
    replay = Replay([traffic], 3, history=agent.history, view=CONFIG.view, threads=1)
    drives = Drives(VEHICLE, FRAME, FRAME, FRAME + 100)

    def first_actions() -> list[np.ndarray]:
        observation, actions = replay.reset(drives), []
        for _ in range(3):
            actions.append(agent.act(observation))
            observation, _ = replay.step(actions[-1])
        return actions

    np.testing.assert_array_equal(first_actions(), first_actions())


def test_an_ended_drive_is_not_asked_again_and_changes_nothing_for_the_others(traffic: Recording) -> None:
    pilot = policy()
    asked: list[int] = []
    pilot.register_forward_pre_hook(lambda _, arguments: asked.append(arguments[0].batch_size))
    agent = LearnedAgent(pilot, "mpur")
    replay = Replay([traffic], 3, history=agent.history, view=CONFIG.view, threads=1)
    drives = Drives(VEHICLE, FRAME, FRAME, FRAME + 100)

    def driven(active: np.ndarray) -> np.ndarray:
        observation = replay.reset(drives)
        agent.begin(replay)
        for _ in range(3):
            observation, _ = replay.step(agent.act(observation), active)
        return replay.state.copy()

    everybody = driven(np.ones(3, bool))
    assert asked == [3, 3, 3]
    asked.clear()
    without = driven(np.array([True, False, True]))
    assert asked == [3, 2, 2]
    np.testing.assert_allclose(without[[0, 2]], everybody[[0, 2]], rtol=1e-6)


def test_a_policy_that_does_nothing_drives_like_no_action(traffic: Recording) -> None:
    idle = policy()
    last = idle.head[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    evaluation = evaluate(
        [LearnedAgent(idle, "idle"), NoAction()],
        [traffic],
        split="all",
        max_cars=5,
        view=CONFIG.view,
        threads=1,
    )
    one, other = (run.outcomes for run in evaluation.runs)
    np.testing.assert_array_equal(one.states, other.states)
    np.testing.assert_array_equal(one.ending(), other.ending())


def test_it_does_not_drive_among_frames_or_pictures_it_has_not_learned_from(traffic: Recording) -> None:
    slow, fine = replace(CONFIG, dt=0.2), replace(CONFIG, view=View(height=24, width=16, px_per_m=2.0))
    for config, said in (
        (slow, "mpur learned from frames 0.2 s apart"),
        (fine, "mpur learned from pictures of"),
    ):
        with pytest.raises(InputError, match=said):
            evaluate([LearnedAgent(Policy(config), "mpur")], [traffic], split="all", view=CONFIG.view)
