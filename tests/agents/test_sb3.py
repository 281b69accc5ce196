"""stable-baselines3 among recorded traffic: the environment it steps, the models it saves, and how they drive."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.cells import features
from agents.lanes import LEFT, OWN, RIGHT, LaneMarkings
from agents.meta_actions import ACCELERATION, LANE, NUM_ACTIONS, MetaActions
from agents.sb3_agent import SB3Agent
from agents.sb3_interface import Interface
from agents.sb3_models import load_model, read_facts, save_model
from agents.sb3_perception import Pictures
from agents.sb3_vec_env import SB3VecEnv
from agents.steering import aim_distance
from envs.context import context_of_observation
from envs.drives import find_drives
from envs.errors import InputError
from envs.recording import Recording
from envs.replay import Replay
from envs.units import View
from envs.vector_environment import ReplayVectorEnv
from tests.agents.scenes import clean_traffic
from tests.agents.test_lanes import replay_at
from tests.toys import lane_centre

SMALL = View(height=27, width=8, px_per_m=1.0)
SETTINGS: dict[str, Any] = {"view": SMALL, "split": "all", "threads": 1}
CELLS = Interface(sees="cells", frames=(0, 2))


@pytest.fixture(scope="module")
def traffic() -> Recording:
    return clean_traffic(num_cars=24)


def random_actions(num_steps: int, num: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, (num_steps, num, 2)).astype(np.float32)


# ---- what SB3 steps ----


def test_drives_are_those_of_the_gymnasium_environment(traffic: Recording) -> None:
    """Same seeds, same actions: the same everything, and the last observation of a drive where SB3 looks for it."""
    interface = Interface(full_action=(6.2, 0.065))
    ours = SB3VecEnv(6, traffic, interface=interface, **SETTINGS)
    theirs = ReplayVectorEnv(
        6, traffic, action="physical", autoreset_mode=AutoresetMode.SAME_STEP, **SETTINGS
    )
    ours.seed(5)
    seen, expected = ours.reset(), theirs.reset(seed=5)[0]
    assert isinstance(seen, dict)
    num_ended = 0
    returns, lengths = np.zeros(6), np.zeros(6, int)
    for actions in random_actions(150, 6):
        for name, array in expected.items():
            np.testing.assert_array_equal(seen[name], array)
        seen, rewards, ended, infos = ours.step(actions)
        expected, their_rewards, terminated, truncated, their_infos = theirs.step(
            actions * np.array([6.2, 0.065])
        )
        assert isinstance(seen, dict)
        np.testing.assert_array_equal(rewards, their_rewards.astype(np.float32))
        np.testing.assert_array_equal(ended, terminated | truncated)
        returns, lengths = returns + their_rewards, lengths + 1
        for i in range(6):
            if not ended[i]:
                assert infos[i] == {}
                continue
            num_ended += 1
            for name, array in their_infos["final_obs"][i].items():
                np.testing.assert_array_equal(infos[i]["terminal_observation"][name], array)
            assert infos[i]["TimeLimit.truncated"] == truncated[i]
            assert infos[i]["episode"]["r"] == pytest.approx(returns[i])
            assert infos[i]["episode"]["l"] == lengths[i]
            returns[i], lengths[i] = 0, 0
    assert num_ended > 6


def test_time_is_up_only_where_nothing_else_ends_a_drive(traffic: Recording) -> None:
    cars = SB3VecEnv(4, traffic, interface=CELLS, **SETTINGS)
    cars.set_options({"drive": 0})
    cars.seed(0)
    cars.reset()
    ended = np.zeros(4, bool)
    brake = np.tile([-1.0, 0.0], (4, 1))
    while not ended.any():
        _, _, ended, infos = cars.step(brake)
    assert ended.all()  # one drive, four times
    drives = cars.cars.drives
    assert infos[0]["episode"]["l"] <= drives.limit_frame[0] - drives.start_frame[0]
    stood = infos[0]["terminal_observation"]
    assert infos[0]["TimeLimit.truncated"] == (stood[-5] == 0 and not infos[0]["is_success"])


def test_a_drive_is_chosen_for_all_cars_or_for_none(traffic: Recording) -> None:
    cars = SB3VecEnv(3, traffic, interface=CELLS, **SETTINGS)
    cars.set_options([{"drive": 0}, {}, {}])
    with pytest.raises(ValueError, match="drive is set for 1 of 3 cars"):
        cars.reset()


def test_arriving_is_a_success_and_ends_in_no_bootstrap(traffic: Recording) -> None:
    cars = SB3VecEnv(8, traffic, interface=Interface(full_action=(6.2, 0.065)), **SETTINGS)
    cars.seed(1)
    cars.reset()
    told: list[dict[str, Any]] = []
    while len(told) < 8:
        shares = cars.cars.replay.human_actions() / np.array([6.2, 0.065])
        _, _, ended, infos = cars.step(shares)
        told += [infos[i] for i in np.flatnonzero(ended)]
    assert all(one["is_success"] and not one["TimeLimit.truncated"] for one in told)


def test_cells_are_those_of_the_pictures(traffic: Recording) -> None:
    pictures = SB3VecEnv(4, traffic, interface=Interface(frames=(0, 2)), **SETTINGS)
    cells = SB3VecEnv(4, traffic, interface=CELLS, **SETTINGS)
    for cars in (pictures, cells):
        cars.seed(2)
    shown, seen = pictures.reset(), cells.reset()
    assert isinstance(shown, dict)
    for actions in random_actions(60, 4):
        np.testing.assert_array_equal(seen, features(shown))
        assert cells.observation_space.contains(seen[0])
        shown, _, _, infos = pictures.step(actions)
        seen, _, ended, their_infos = cells.step(actions)
        for i in np.flatnonzero(ended):
            last = {name: array[None] for name, array in infos[i]["terminal_observation"].items()}
            np.testing.assert_array_equal(their_infos[i]["terminal_observation"], features(last)[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sees": "dreams"}, "sees="),
        ({"full_action": (0.0, 1.0)}, "full_action="),
        ({"frames": (1, 2)}, "frames="),
    ],
)
def test_bad_interfaces_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interface(**settings)


# ---- actions to choose from ----


def test_every_action_does_what_the_table_says(traffic: Recording) -> None:
    y = lane_centre(1)
    replay = replay_at(traffic, *[(100.0, y, 0.0, 8.0)] * NUM_ACTIONS)
    actions = MetaActions(replay)(np.arange(NUM_ACTIONS))
    np.testing.assert_array_equal(actions[:, 0], ACCELERATION)
    np.testing.assert_allclose(actions[LANE == OWN, 1], 0.0, atol=1e-9)
    assert (actions[LANE == LEFT, 1] > 0.01).all()
    np.testing.assert_allclose(actions[LANE == RIGHT, 1], -actions[LANE == LEFT, 1])


def test_towards_the_left_leads_into_the_next_lane_and_beyond_the_edge_nowhere(traffic: Recording) -> None:
    replay = replay_at(traffic, (100.0, lane_centre(1), 0.0, 8.0), (100.0, lane_centre(0), 0.0, 8.0))
    actions = MetaActions(replay)
    markings = LaneMarkings(replay)
    for _ in range(80):
        crossed = replay.state[:, 1] > lane_centre(1) + 3.7 / 2
        chosen = np.where(crossed & (np.arange(2) == 0), 0, 4)
        replay.step(actions(chosen))
    np.testing.assert_allclose(replay.state[:, 1], lane_centre(0), atol=0.15)
    assert np.isnan(markings.around(aim_distance(replay.state[:, 3])).offset[:, LEFT]).all()


# ---- models ----


def make(traffic: Recording, kind: str) -> tuple[BaseAlgorithm, Interface]:
    interface = Interface(sees="cells", frames=(0, 2), acts="discrete" if kind == "dqn" else "continuous")
    cars = SB3VecEnv(4, traffic, interface=interface, **SETTINGS)
    small: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "seed": 0, "device": "cpu"}
    if kind == "dqn":
        return DQN("MlpPolicy", cars, buffer_size=100, **small), interface
    return PPO("MlpPolicy", cars, n_steps=8, batch_size=8, **small), interface


@pytest.mark.parametrize("kind", ["ppo", "dqn"])
def test_a_saved_model_acts_as_before(kind: str, traffic: Recording, tmp_path: Path) -> None:
    model, interface = make(traffic, kind)
    path = tmp_path / "model.zip"
    save_model(model, path, kind, interface, seed=7)  # type: ignore[arg-type]
    agent, again = SB3Agent(model, interface, kind), SB3Agent.load(path)
    assert (again.name, again.seed, again.history, again.interface) == (kind, 7, 3, interface)
    replay = Replay([traffic], 5, history=3, view=SMALL, threads=1)
    observation = replay.reset(find_drives(replay.world, [traffic]).take(slice(0, 5)))
    for one in (agent, again):
        one.begin(replay)
    for _ in range(5):
        actions = agent.act(observation)
        np.testing.assert_array_equal(again.act(observation), actions)
        observation, _ = replay.step(actions)
    type(model).load(path)  # the format is SB3's own


def test_the_agent_sees_and_does_what_the_model_was_trained_on(traffic: Recording) -> None:
    """An agent among the evaluation's cars repeats what the model does in the environment it learns in."""
    model, interface = make(traffic, "ppo")
    cars = SB3VecEnv(3, traffic, interface=interface, **SETTINGS)
    for k in range(3):
        cars._options[k] = {"drive": k}
    seen = cars.reset()
    replay = Replay([traffic], 3, history=3, view=SMALL, threads=1)
    observation = replay.reset(cars.cars.drives.take(slice(0, 3)))
    agent = SB3Agent(model, interface, "ppo")
    agent.begin(replay)
    for _ in range(10):
        seen, _, ended, _ = cars.step(model.predict(seen, deterministic=True)[0])
        observation, _ = replay.step(agent.act(observation))
        assert not ended.any()
        np.testing.assert_allclose(replay.state, cars.cars.replay.state, rtol=1e-6)


def test_what_is_no_model_of_ours_is_refused(traffic: Recording, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model"):
        read_facts(tmp_path / "missing.zip")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(InputError, match="not a model saved by"):
        load_model(tmp_path / "text.zip")
    model, _ = make(traffic, "ppo")
    model.save(tmp_path / "foreign.zip")
    with pytest.raises(InputError, match="not a model saved by"):
        load_model(tmp_path / "foreign.zip")


def test_reading_the_facts_runs_nothing(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (exec, ("raise SystemExit",))

    with zipfile.ZipFile(tmp_path / "model.zip", "w") as file:
        file.writestr("data", '{"headway": {"algorithm": "ppo", "interface": {"sees": "cells"}}}')
        file.writestr("policy.pth", pickle.dumps(Bomb()))
    assert read_facts(tmp_path / "model.zip")["interface"] == Interface(sees="cells")


def test_the_extractor_sees_what_a_policy_of_headway_sees(traffic: Recording) -> None:
    """The features of an environment's observation are those of the same moment as a Context."""
    torch.manual_seed(0)
    cars = SB3VecEnv(3, traffic, interface=Interface(frames=(0, 2, 4)), **SETTINGS)
    cars.seed(0)
    seen = cars.reset()
    assert isinstance(seen, dict)
    assert isinstance(cars.observation_space, gym.spaces.Dict)
    extractor = Pictures(cars.observation_space, hidden=6)
    context = context_of_observation(cars.cars.replay.observe(), frames=3, stride=2)
    tensors = {name: torch.from_numpy(array).float() for name, array in seen.items()}
    torch.testing.assert_close(extractor(tensors), torch.relu(extractor.perception(context)))
    PPO(
        "MultiInputPolicy",
        cars,
        policy_kwargs={"features_extractor_class": Pictures},
        n_steps=2,
        batch_size=6,
    )
