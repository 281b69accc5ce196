"""The gymnasium environments: their contract, and that one car and many drive alike."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import envs
from envs.buffers import BufferPool
from envs.ending import ending
from envs.environment import ReplayEnv, ReplayVectorEnv, Reward
from envs.errors import InputError
from envs.recording import Recording
from envs.replay import Step
from tests.toys import lane_centre, random_traffic, straight_site

STEPS = 90


@pytest.fixture(scope="module")
def traffic() -> Recording:
    return random_traffic(seed=3, num_vehicles=60, num_frames=700)


def two_cars(gap: float, speed: float = 10.0, leader_speed: float = 5.0, num_frames: int = 200) -> Recording:
    """Vehicle 1, and vehicle 2 `gap` metres ahead of it, bumper to bumper, at constant speeds; boxes of 4 m by 2 m."""
    t = np.arange(num_frames)
    x = np.concatenate([30 + speed * 0.1 * t, 30 + gap + 4 + leader_speed * 0.1 * t])
    return Recording.from_tracks(
        site=straight_site(start=40.0, goal=150.0),
        vehicle_id=np.repeat([1, 2], num_frames),
        frame=np.tile(t, 2),
        x=x,
        y=np.full(2 * num_frames, lane_centre(1)),
        length=4.0,
        width=2.0,
    )


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(np.array_equal(a, b))


def actions_for(num: int, seed: int = 0) -> NDArray[np.float32]:
    """Gentle shares of the limits, (STEPS, num, 2)."""
    return np.random.default_rng(seed).uniform(-0.15, 0.15, (STEPS, num, 2)).astype(np.float32) * (1, 0.05)


def rollout(env: ReplayVectorEnv, seed: int = 0) -> list[tuple[Any, ...]]:
    steps: list[tuple[Any, ...]] = [env.reset(seed=seed)]
    steps += [env.step(action) for action in actions_for(env.num_envs)]
    return steps


@pytest.mark.parametrize("name", ["headway/Replay-v0", "headway/ReplayReactive-v0"])
def test_both_checkers_pass_without_a_warning_but_sb3s_about_unusual_shapes(
    name: str, traffic: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = gym.make(name, recordings=traffic, split="all").unwrapped
    check_env(env)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Your observation (images|vectors) has an unconventional shape"
        )
        check_env_sb3(env)


def test_reactive_traffic_brakes_for_the_ego_that_blind_traffic_runs_into() -> None:
    def is_hit(name: str) -> bool:
        env = gym.make(name, recordings=two_cars(12.0, 10.0, 10.0), split="all", collision="box")
        env.reset(options={"drive": 1})
        for _ in range(60):
            _, _, terminated, _, info = env.step(np.array([-0.2, 0], np.float32))
            if terminated:
                assert not info["at_fault"]
                return True
        return False

    assert is_hit("headway/Replay-v0")
    assert not is_hit("headway/ReplayReactive-v0")


def test_a_rollout_depends_on_the_seed_alone(traffic: Recording) -> None:
    first = rollout(ReplayVectorEnv(6, traffic, split="all", threads=1), seed=7)
    again = rollout(ReplayVectorEnv(6, traffic, split="all", threads=2), seed=7)
    other = rollout(ReplayVectorEnv(6, traffic, split="all"), seed=70)
    assert all(same(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True))
    assert not same(first[0][0], other[0][0])


def test_each_car_of_many_drives_as_it_does_alone(traffic: Recording) -> None:
    many = rollout(ReplayVectorEnv(5, traffic, split="all"), seed=20)
    assert sum(np.sum(step[2] | step[3]) for step in many[1:]) >= 2, "the test needs drives that end"
    for car in range(5):
        env = ReplayEnv(traffic, split="all")
        observation, info = env.reset(seed=20 + car)
        ended = False
        for k, action in enumerate(actions_for(5)):
            expected = many[k]
            assert all(np.array_equal(expected[0][name][car], observation[name]) for name in observation)
            assert all(expected[-1][f"_{name}"][car] for name in info)
            assert all(np.array_equal(expected[-1][name][car], value) for name, value in info.items())
            if ended:
                observation, info = env.reset()
                ended = False
                assert not many[k + 1][2][car]
                assert not many[k + 1][3][car]
                assert many[k + 1][1][car] == 0
                continue
            observation, reward, terminated, truncated, info = env.step(action[car])
            ended = terminated or truncated
            assert [many[k + 1][i][car] for i in (1, 2, 3)] == [reward, terminated, truncated]


def test_next_step_and_same_step_see_the_same_drives(traffic: Recording) -> None:
    later = ReplayVectorEnv(4, traffic, split="all")
    at_once = ReplayVectorEnv(4, traffic, split="all", autoreset_mode=AutoresetMode.SAME_STEP)
    later.reset(seed=1)
    at_once.reset(seed=1)
    zero, num_ended = np.zeros((4, 2), np.float32), 0
    for _ in range(300):
        seen, rewards, terminated, truncated, infos = later.step(zero)
        ended = terminated | truncated
        seen_at_once, rewards_at_once, terminated_at_once, truncated_at_once, infos_at_once = at_once.step(
            zero
        )
        assert same(
            [rewards, terminated, truncated], [rewards_at_once, terminated_at_once, truncated_at_once]
        )
        assert ("final_obs" in infos_at_once) == ended.any()
        if not ended.any():
            assert same(seen, seen_at_once)
            continue
        num_ended += 1
        assert same(infos_at_once["_final_obs"], ended)
        assert same(infos_at_once["_final_info"], ended)
        for car in np.flatnonzero(ended):
            assert same({k: v[car] for k, v in seen.items()}, infos_at_once["final_obs"][car])
            assert infos_at_once["final_info"]["progress"][car] == infos["progress"][car]
            assert infos_at_once["progress"][car] == 0
        begun, rewards, terminated, truncated, infos = later.step(zero)
        for car in np.flatnonzero(ended):
            assert same({k: v[car] for k, v in begun.items()}, {k: v[car] for k, v in seen_at_once.items()})
            assert [rewards[car], terminated[car], truncated[car], infos["progress"][car]] == [
                0,
                False,
                False,
                0,
            ]
        later.reset(seed=num_ended)  # its other cars are a step ahead
        at_once.reset(seed=num_ended)
    assert num_ended >= 3
    assert later.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_without_autoreset_only_the_masked_cars_begin_again(traffic: Recording) -> None:
    env = ReplayVectorEnv(3, traffic, split="all", autoreset_mode="Disabled")
    with pytest.raises(ResetNeeded):
        env.step(np.zeros((3, 2)))
    env.reset(seed=1)
    zero, ended = np.zeros((3, 2)), np.zeros(3, bool)
    while not ended.any():
        _, _, terminated, truncated, infos = env.step(zero)
        ended = terminated | truncated
    with pytest.raises(ResetNeeded):
        env.step(zero)
    _, reset_infos = env.reset(options={"reset_mask": ended})
    assert (reset_infos["progress"][ended] == 0).all()
    assert same(reset_infos["progress"][~ended], infos["progress"][~ended])
    assert same(reset_infos["_costs"], ended)
    env.step(zero)
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(options={"reset_mask": np.zeros(3, bool)})


def test_observations_are_kept_and_their_memory_comes_back() -> None:
    env = ReplayVectorEnv(2, random_traffic(num_vehicles=40), split="all")
    observation, _ = env.reset(seed=0)
    part, whole = observation["images"][1, 0], {k: v.copy() for k, v in observation.items()}
    kept_part = part.copy()
    for _ in range(12):
        env.step(np.full((2, 2), 0.3))
    assert same(observation, whole)
    del observation
    for _ in range(12):
        env.step(np.full((2, 2), 0.3))
    assert np.array_equal(part, kept_part), "a view keeps the whole array"


def test_a_pool_hands_out_what_nobody_holds() -> None:
    pool = BufferPool((4,), np.uint8)
    first, second = pool.take(), pool.take()
    assert first is not second
    address, view = first.__array_interface__["data"], first[1:]
    del first
    assert pool.take().__array_interface__["data"] != address
    del view
    assert pool.take().__array_interface__["data"] == address


def test_the_picture_history_is_the_past_steps() -> None:
    env = ReplayEnv(two_cars(60.0), split="all", frames=(3, 0))
    seen = [env.reset(seed=2)[0]]
    seen += [env.step(np.array([0.1, 0.02], np.float32))[0] for _ in range(6)]
    assert seen[0]["images"].shape == (2, 3, 117, 24)
    assert all(np.array_equal(seen[k + 3]["images"][0], seen[k]["images"][1]) for k in range(4))
    assert all(np.array_equal(seen[k + 3]["vectors"][0], seen[k]["vectors"][1]) for k in range(4))


def test_normalised_and_physical_actions_agree(traffic: Recording) -> None:
    shares = ReplayVectorEnv(8, traffic, split="all", end_off_road=False, action="normalised")
    physical = ReplayVectorEnv(8, traffic, split="all", end_off_road=False, action="physical")
    shares.reset(seed=4)
    physical.reset(seed=4)
    limit = physical.replay.action_limit.copy()
    assert (limit < physical.single_action_space.high - 1e-6).any(), "long vehicles have tighter limits"
    for action in actions_for(8)[:20].astype(np.float64):
        seen = shares.step(action)
        assert all(same(a, b) for a, b in zip(seen, physical.step(action * limit), strict=True))
        shares.reset(seed=5)
        physical.reset(seed=5)
        limit = physical.replay.action_limit.copy()


def test_observations_stay_within_their_space(traffic: Recording) -> None:
    env = ReplayVectorEnv(6, traffic, split="all", end_off_road=False, collision="box_less_1m")
    env.reset(seed=0)
    for _ in range(120):
        seen, *_ = env.step(np.tile(np.array([1.0, 1.0], np.float32), (6, 1)))
        assert seen in env.observation_space


def test_reward_of_a_free_drive_is_what_the_formula_says() -> None:
    weights = Reward(progress=0.5, proximity=2.0, lane=3.0, off_road=5.0, collision=7.0, arrival=11.0)
    env = ReplayEnv(two_cars(30.0, 10.0, 10.0), split="all", reward=weights)
    env.reset(options={"drive": 0})
    terminated = False
    while not terminated:
        x, speed = env.replay.state[0, 0], env.replay.state[0, 3]
        _, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
        proximity, lane, off_road = (float(c) for c in info["costs"])
        expected = 0.5 * speed * 0.1 - 2 * proximity - 3 * lane - 5 * off_road + 11 * info["arrived"]
        assert reward == pytest.approx(expected, abs=1e-6)
        assert info["progress"] == pytest.approx(env.replay.state[0, 0] - 40, abs=1)
        assert x < env.replay.state[0, 0]
        assert not truncated
    assert info["arrived"]
    assert env.replay.state[0, 0] >= 150
    assert info["progress"] == pytest.approx(info["human_progress"], abs=0.01)


@pytest.mark.parametrize(
    ("rule", "first", "last"),
    # At a gap of 0; at an overlap of half a metre; at half a metre as well, but seen in pixels of 0.6 m.
    [("box", 30, 31), ("box_less_1m", 31, 32), ("proximity", 29, 33)],
)
def test_running_into_a_slower_car_ends_the_drive_by_each_rule(rule: Any, first: int, last: int) -> None:
    env = ReplayEnv(two_cars(20.0), split="all", collision=rule)
    env.reset(options={"drive": 0})
    # Taken over after 1 s at x = 40, 15 m behind the leader, on which it gains 0.5 m a step.
    step, terminated = 0, False
    while not terminated:
        _, reward, terminated, _, info = env.step(np.zeros(2, np.float32))
        step += 1
    assert first <= step <= last
    assert reward < -15
    if rule != "proximity":
        assert info["hit"] == 1
        assert info["at_fault"]


def test_leaving_the_road_ends_a_drive_unless_told_otherwise() -> None:
    def steps(**settings: Any) -> tuple[int, dict[str, Any]]:
        env = ReplayEnv(two_cars(100.0), split="all", **settings)
        env.reset(options={"drive": 0})
        for step in range(1, 200):
            _, _, terminated, truncated, info = env.step(np.array([0.0, 0.5], np.float32))
            if terminated or truncated:
                return step, info
        raise AssertionError("the drive never ended")

    step, info = steps()
    assert info["off_road"]
    assert not info["arrived"]
    longer, info = steps(end_off_road=False)
    assert longer > step


def test_standing_still_is_truncated_at_the_time_limit() -> None:
    env = ReplayEnv(two_cars(100.0), split="all", traffic="blind")
    env.reset(options={"drive": 0})
    drives, steps, terminated, truncated = env.drives, 0, False, False
    while not (terminated or truncated):
        _, _, terminated, truncated, info = env.step(np.array([-1.0, 0.0], np.float32))
        steps += 1
    assert truncated
    assert not terminated
    assert info["out_of_time"]
    assert steps == drives.limit_frame[0] - drives.start_frame[0]


def test_bad_input_is_refused_by_name(traffic: Recording, tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="action='metres'"):
        ReplayEnv(traffic, action="metres")
    with pytest.raises(ValueError, match="frames"):
        ReplayEnv(traffic, frames=(1, 2))
    with pytest.raises(ValueError, match=r"frames=4 must be different steps back, .* as \(0, 2, 4, 6\)"):
        ReplayEnv(traffic, frames=4)
    with pytest.raises(ValueError, match="history=0 must be at least 1"):
        ReplayEnv(traffic, history=0)
    with pytest.raises(ValueError, match="render_mode"):
        ReplayEnv(traffic, render_mode="ascii")
    with pytest.raises(InputError, match="no such file"):
        ReplayEnv(tmp_path / "missing.parquet")
    with pytest.raises(ValueError, match="2 seeds for 3 cars"):
        ReplayVectorEnv(3, traffic, split="all").reset(seed=[1, 2])
    env = ReplayVectorEnv(2, traffic, split="all")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.full((2, 2), np.nan))


def test_a_recording_is_read_from_its_file(traffic: Recording, tmp_path: Any) -> None:
    envs.write_parquet(traffic, tmp_path / "traffic.parquet")
    env = gym.make_vec(
        "headway/Replay-v0", num_envs=2, recordings=str(tmp_path / "traffic.parquet"), split="all"
    )
    assert isinstance(env.unwrapped, ReplayVectorEnv)
    seen, _ = env.reset(seed=1)
    expected, _ = ReplayVectorEnv(2, traffic, split="all").reset(seed=1)
    assert same(seen, expected)


@pytest.mark.skipif(not envs.SAMPLE.exists(), reason="the sample recording is not part of this checkout")
def test_the_default_recording_is_the_sample() -> None:
    env = gym.make("headway/Replay-v0")
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space


def test_importing_envs_registers_and_brings_nothing_heavy() -> None:
    code = (
        "import sys, envs, gymnasium; assert 'headway/Replay-v0' in gymnasium.registry;"
        "heavy = {'numba', 'torch', 'pygame', 'pandas', 'pyarrow'} & set(sys.modules); assert not heavy, heavy;"
        "assert 'Recording' in dir(envs)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(getattr(envs, name) is not None for name in envs.__all__)
    with pytest.raises(AttributeError):
        envs.nothing_of_the_kind  # noqa: B018


@pytest.mark.parametrize("drive", [-1, 2.7, 10**6])
def test_a_drive_that_is_not_there_is_named(drive: Any, traffic: Recording) -> None:
    env = gym.make("headway/Replay-v0", recordings=traffic, split="all")
    with pytest.raises(ValueError, match=rf"drive={drive}: whole numbers from 0 to"):
        env.reset(options={"drive": drive})


def test_a_car_that_may_leave_the_road_arrives() -> None:
    step = Step.empty(1)
    step.off_road[0] = step.arrived[0] = True
    assert ending(step) == "off road"
    assert ending(step, end_off_road=False) == "arrived"
