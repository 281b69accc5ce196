"""Replay against a slow driver in Python, alone against in a batch, and at the edges of its recordings."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from envs import kinematics
from envs.costs import COLLISION_THRESHOLD
from envs.drives import Drives, find_drives
from envs.kinematics import MAX_ACCELERATION, MAX_CURVATURE, limit_scale
from envs.recording import Recording
from envs.replay import Observation, Replay, Step
from envs.sites import i80
from envs.units import View
from tests import reference
from tests.reference import Box
from tests.toys import lane_centre, random_traffic, straight_site

SMALL = View(height=41, width=24, px_per_m=1.62)


def some_drives(replay: Replay, num: int, seed: int = 0) -> Drives:
    """Random ones, with repetition."""
    drives = find_drives(replay.world, replay.recordings, history=replay.history)
    return drives.take(np.random.default_rng(seed).integers(len(drives), size=num))


def random_actions(num_steps: int, num: int, seed: int = 0) -> NDArray[np.float64]:
    """(T, B, 2), often beyond the limits."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.normal(0, 3, (num_steps, num)), rng.normal(0, 0.02, (num_steps, num))], -1)


def flat(observation: Observation, step: Step) -> dict[str, NDArray[Any]]:
    """Everything a step returns, copied."""
    parts = {**vars(observation), **vars(step)}
    return {name: np.array(value) for name, value in parts.items()}


def run(
    replay: Replay, drives: Drives, actions: NDArray[np.float64], egos: slice | None = None
) -> list[dict[str, NDArray[Any]]]:
    """Drive from a reset; what each step returned for some egos, and the state it led to."""
    replay.reset(drives)
    out = []
    for action in actions:
        result = flat(*replay.step(action)) | {"state": replay.state.copy(), "frame": replay.frame.copy()}
        out.append({name: value[egos or slice(None)] for name, value in result.items()})
    return out


def assert_same(one: list[dict[str, NDArray[Any]]], other: list[dict[str, NDArray[Any]]]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def cars(rows: list[tuple[int, NDArray[np.floating], NDArray[np.floating]]], **options: Any) -> Recording:
    """A recording from (first frame, x, y) of each car, 4.6 m by 1.9 m."""
    frames = [begin + np.arange(len(x)) for begin, x, _ in rows]
    return Recording.from_tracks(
        vehicle_id=np.repeat(np.arange(len(rows)) + 1, [len(f) for f in frames]),
        frame=np.concatenate(frames),
        x=np.concatenate([x for _, x, _ in rows]),
        y=np.concatenate([y for _, _, y in rows]),
        **{"site": straight_site(start=-math.inf, goal=math.inf), "length": 4.6, "width": 1.9, **options},
    )


def lane(
    x: NDArray[np.floating], number: int = 1, begin: int = 0
) -> tuple[int, NDArray[np.floating], NDArray[np.floating]]:
    """One car in the middle of a lane."""
    return begin, x, np.full(len(x), lane_centre(number))


def drive_of(replay: Replay, vehicle: int, start: int) -> Drives:
    """One drive from a frame to the end of the vehicle's recording."""
    last = replay.world.last_frame[vehicle]
    return Drives(*(np.array([v], np.int64) for v in (vehicle, start, last, last)))


# --- against the slow driver -----------------------------------------------------------------------------------------


def test_every_step_equals_the_slow_driver() -> None:
    recording = random_traffic(3)
    replay = Replay([recording], 6, history=4, view=SMALL)
    drives, actions = some_drives(replay, 6), random_actions(50, 6)
    replay.reset(drives)
    states = replay.state.copy()
    seen = {"hit": 0, "hit_less": 0, "at_fault": 0, "off_road": 0, "arrived": 0, "followed": 0}
    for t, action in enumerate(actions):
        observation, step = replay.step(action)
        for b, vehicle in enumerate(drives.vehicle):
            length, width = (float(v) for v in replay.world.size[vehicle])
            limit = float(limit_scale(np.array(length))) * np.array([MAX_ACCELERATION, MAX_CURVATURE])
            states[b] = reference.step(states[b], np.clip(action[b], -limit, limit), recording.dt)
            np.testing.assert_allclose(replay.state[b], states[b], atol=1e-9)
            x, y, heading, v = states[b]
            np.testing.assert_allclose(
                observation.vectors[b, -1],
                [x, y, v * math.cos(heading), v * math.sin(heading)],
                rtol=1e-5,
                atol=1e-5,
            )
            assert observation.heading[b, -1] == pytest.approx(heading, abs=1e-6)
            frame = int(drives.start_frame[b]) + t + 1
            assert replay.frame[b] == frame

            ego, others = (
                Box(x, y, heading, v, length, width),
                reference.boxes_at(recording, frame, int(vehicle)),
            )
            image = observation.images[b, -1]
            if t % 25 == 0:
                vehicles = reference.vehicle_channel(others, (x, y, heading), SMALL)
                assert np.abs(image[1] - vehicles).max() <= 0.5 + 1e-3
            if t % 5 == 0:
                costs = reference.costs(image / 255, SMALL, v, length, width)
                np.testing.assert_allclose(step.costs[b], costs, atol=1e-6)
            assert step.collided[b] == (step.costs[b, 0] > COLLISION_THRESHOLD)

            rows = range(recording.frame_offsets[frame], recording.frame_offsets[frame + 1])
            names = [recording.vehicle[r] for r in rows if recording.vehicle[r] != vehicle]
            close = [k for k, o in enumerate(others) if math.dist((x, y), o[:2]) < 10]
            touched = [k for k in close if reference.overlap_area(ego, others[k]) > 1e-6]
            nearest = min(touched, key=lambda k: math.dist((x, y), others[k][:2]), default=None)
            assert step.hit[b] == (-1 if nearest is None else names[nearest])
            less = ego._replace(length=length - 1, width=width - 1)
            assert step.hit_less[b] == any(reference.overlap_area(less, others[k]) > 1e-6 for k in close)
            if nearest is None:
                assert not step.at_fault[b]
            else:
                o = others[nearest]
                behind = (o.x - x) * math.cos(heading) + (o.y - y) * math.sin(heading) < 0
                assert step.at_fault[b] == (not (behind and o.speed > v))
            gap, closing = reference.gap_ahead(ego, [o for o in others if abs(o.x - x) <= 60])
            assert step.gap[b] == pytest.approx(gap, rel=1e-5, abs=1e-5)
            ttc = 0.0 if gap == 0 else gap / closing if closing > 1e-6 else math.inf
            assert step.ttc[b] == pytest.approx(ttc, rel=1e-3)

            assert step.off_road[b] == (recording.site.raster.sample(np.array(x), np.array(y))[1] > 127)
            assert step.arrived[b] == (x >= recording.site.goal)
            assert step.out_of_time[b] == (frame >= drives.limit_frame[b])
            for name in seen:
                seen[name] += int(
                    gap < 60 if name == "followed" else getattr(step, name)[b] not in (-1, False)
                )
    assert min(seen[k] for k in ("hit", "hit_less", "at_fault", "off_road", "followed")) > 0, seen


def test_compiled_kinematics_are_the_differentiable_ones() -> None:
    replay = Replay([random_traffic(1)], 16, history=2, view=SMALL)
    drives, actions = some_drives(replay, 16), random_actions(30, 16)
    replay.reset(drives)
    state = torch.tensor(replay.state)
    limit = torch.tensor(replay.action_limit)
    for action in actions:
        replay.step(action)
        state = kinematics.step(state, torch.tensor(action).clamp(-limit, limit), 0.1)
        np.testing.assert_allclose(replay.state, state, atol=1e-9)


# --- batches, threads, rings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("traffic", ["blind", "reactive"])
def test_egos_together_equal_each_alone(traffic: Any) -> None:
    recordings = [random_traffic(3, num_vehicles=150), random_traffic(4)]
    together = Replay(recordings, 9, history=3, view=SMALL, traffic=traffic)
    drives, actions = some_drives(together, 9), random_actions(40, 9)
    whole = run(together, drives, actions)
    alone = Replay(recordings, 1, history=3, view=SMALL, traffic=traffic)
    for b in range(9):
        one = run(alone, drives.take(slice(b, b + 1)), actions[:, b : b + 1])
        assert_same([{name: value[b : b + 1] for name, value in step.items()} for step in whole], one)


@pytest.mark.parametrize("traffic", ["blind", "reactive"])
def test_results_do_not_depend_on_threads(traffic: Any) -> None:
    recording = random_traffic(3, num_vehicles=150)
    runs = []
    for threads in (1, 2, 5):
        replay = Replay([recording], 43, history=2, view=SMALL, traffic=traffic, threads=threads)
        runs.append(run(replay, some_drives(replay, 43), random_actions(15, 43)))
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


def test_recordings_of_different_sites_do_not_mix() -> None:
    here = random_traffic(3)
    there = dataclasses.replace(random_traffic(5, num_vehicles=60), site=i80())
    mixed = Replay([here, there, here], 12, history=2, view=SMALL)
    offset = len(here.vehicles), here.num_frames
    both = Replay([here], 6, history=2, view=SMALL), Replay([there], 6, history=2, view=SMALL)
    first, second = some_drives(both[0], 6), some_drives(both[1], 6)
    shifts = {"vehicle": offset[0]} | dict.fromkeys(("start_frame", "human_frame", "limit_frame"), offset[1])
    drives = Drives(
        *(np.concatenate([getattr(first, n), getattr(second, n) + by]) for n, by in shifts.items())
    )
    actions = random_actions(25, 12)
    whole = run(mixed, drives, actions)
    for part, replay, alone in ((slice(0, 6), both[0], first), (slice(6, 12), both[1], second)):
        expected = run(replay, alone, actions[:, part])
        got = [{name: value[part].copy() for name, value in step.items()} for step in whole]
        if part.start:
            for step in got:
                step["hit"][step["hit"] >= 0] -= offset[0]
                step["frame"] -= offset[1]
        assert_same(got, expected)


@pytest.mark.parametrize("history", [1, 2, 5])
def test_history_is_what_was_observed_step_by_step(history: int) -> None:
    replay = Replay([random_traffic(3)], 9, history=history, view=SMALL)
    drives, actions = some_drives(replay, 9), random_actions(12, 9)
    observation = replay.reset(drives)
    assert observation.images.shape == (9, history, 3, 41, 24)
    past = [[np.array(v[:, t]) for t in range(history)] for v in list(vars(observation).values())[:3]]
    for action in actions:
        observation, _ = replay.step(action)
        for memory, value in zip(past, list(vars(observation).values())[:3], strict=True):
            memory.append(np.array(value[:, -1]))
            np.testing.assert_array_equal(value, np.stack(memory[-history:], 1))


def test_a_reset_shows_the_recorded_past() -> None:
    recording = random_traffic(3)
    replay = Replay([recording], 5, history=6, view=SMALL)
    replay.step(random_actions(1, 5)[0], active=np.zeros(5, bool))  # the ring may stand anywhere
    drives = some_drives(replay, 5)
    observation = replay.reset(drives)
    for b, vehicle in enumerate(drives.vehicle):
        for t in range(6):
            frame = drives.start_frame[b] - 5 + t
            x, y, heading, v = replay.world.state[replay.world.row(vehicle, frame)].astype(float)
            wanted = [x, y, v * math.cos(heading), v * math.sin(heading)]
            np.testing.assert_allclose(observation.vectors[b, t], wanted, rtol=1e-6)
            assert observation.heading[b, t] == np.float32(heading)
            vehicles = reference.vehicle_channel(
                reference.boxes_at(recording, frame, vehicle), (x, y, heading), SMALL
            )
            assert np.abs(observation.images[b, t, 1] - vehicles).max() <= 0.5 + 1e-6
    np.testing.assert_array_equal(replay.human_state(), replay.state.astype(np.float32))


def test_a_car_without_enough_past_repeats_its_first_frame() -> None:
    replay = Replay([random_traffic(3)], 1, history=5, view=SMALL)
    first = int(replay.world.first_frame[2])
    observation = replay.reset(drive_of(replay, 2, first + 1))
    assert (observation.vectors[0, :4] == observation.vectors[0, 0]).all()
    assert (observation.images[0, :4] == observation.images[0, 0]).all()
    assert (observation.vectors[0, 4] != observation.vectors[0, 0]).any()


def test_resetting_some_leaves_the_others_untouched() -> None:
    def drive(again: bool) -> tuple[list[dict[str, NDArray[Any]]], Drives]:
        replay = Replay([random_traffic(3)], 10, history=3, view=SMALL, traffic="reactive")
        drives, actions = some_drives(replay, 10), random_actions(20, 10)
        out = run(replay, drives, actions[:10])
        if again:
            observation = replay.reset(some_drives(replay, 3, seed=1), np.array([7, 0, 4]))
            np.testing.assert_array_equal(observation.vectors[[1, 2, 9]], out[-1]["vectors"][[1, 2, 9]])
        return out + [flat(*replay.step(a)) for a in actions[10:]], some_drives(replay, 3, seed=1)

    plain, fresh = drive(False)[0], drive(True)
    others = [1, 2, 3, 5, 6, 8, 9]
    assert_same(*([{n: v[others] for n, v in s.items()} for s in steps] for steps in (plain, fresh[0])))
    replay = Replay([random_traffic(3)], 3, history=3, view=SMALL, traffic="reactive")
    replay.reset(fresh[1])
    alone = [flat(*replay.step(a[[7, 0, 4]])) for a in random_actions(20, 10)[10:]]
    assert_same([{n: v[[7, 0, 4]] for n, v in s.items()} for s in fresh[0][10:]], alone)


def test_inactive_egos_stay_where_and_when_they_are() -> None:
    replay = Replay([random_traffic(3)], 10, history=3, view=SMALL)
    drives, actions = some_drives(replay, 10), random_actions(12, 10)
    run(replay, drives, actions[:4])
    active = np.arange(10) % 3 != 0
    before, frames = replay.state.copy(), replay.frame.copy()
    actions[4:, ~active] = np.nan  # nobody asks
    for action in actions[4:]:
        observation, step = replay.step(action, active)
    np.testing.assert_array_equal(replay.state[~active], before[~active])
    np.testing.assert_array_equal(replay.frame[~active], frames[~active])
    assert (replay.frame[active] == frames[active] + 8).all()
    assert (step.hit[~active] == -1).all()
    assert not step.collided[~active].any()
    assert (observation.images[~active] == observation.images[~active][:, -1:]).all()
    np.testing.assert_array_equal(
        observation.vectors[~active][:, -1, :2], before[~active][:, :2].astype(np.float32)
    )
    stayed = Replay([random_traffic(3)], 10, history=3, view=SMALL)
    plain = run(stayed, drives, np.nan_to_num(actions))
    np.testing.assert_array_equal(observation.images[active], plain[-1]["images"][active])


def test_a_wide_view_shows_all_that_is_in_it() -> None:
    recording = cars(
        [lane(np.arange(80) * 1.0 + 100), lane(np.arange(80) * 1.0 + 185), lane(np.arange(80) * 1.0 + 20)]
    )
    view = View(height=301, width=20, px_per_m=1.5)
    replay = Replay([recording], 1, history=2, view=view)
    observation = replay.reset(drive_of(replay, 0, 20))
    images = [observation.images[0, -1, 1].copy(), replay.step(np.zeros((1, 2)))[0].images[0, -1, 1].copy()]
    for image in images:
        for metres in (85, -80):
            assert image[round(150 - metres * 1.5), 10] == 255


# --- actions ---------------------------------------------------------------------------------------------------------


def test_actions_are_clipped_to_what_the_vehicle_can_do() -> None:
    x = np.arange(60) * 1.5
    recording = cars(
        [lane(x, 0), lane(x, 2)],
        length=np.repeat([3.0, 12.0], 60),
        site=straight_site(start=-math.inf, goal=math.inf),
    )
    replay = Replay([recording], 2, history=2, view=SMALL)
    replay.reset(Drives(np.array([0, 1]), np.array([5, 5]), np.array([50, 50]), np.array([50, 50])))
    before = replay.state.copy()
    replay.step(np.array([[100.0, 9.0], [-100.0, -9.0]]))
    scale = np.array([1.0, (3.9 / 12) ** 2])
    np.testing.assert_allclose(replay.state[:, 3] - before[:, 3], [0.62, -0.62 * scale[1]], rtol=1e-6)
    turned = np.tan(replay.state[:, 2] - before[:, 2]) / (before[:, 3] * 0.1)
    np.testing.assert_allclose(turned, 0.065 * scale * [1, -1], rtol=1e-6)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_an_action_that_is_no_number_is_refused_and_names_its_ego(broken: float) -> None:
    replay = Replay([random_traffic(3)], 4, history=2, view=SMALL)
    replay.reset(some_drives(replay, 4))
    before, images = replay.state.copy(), replay.observe().images.copy()
    actions = np.zeros((4, 2))
    actions[2, 1] = broken
    with pytest.raises(ValueError, match="ego 2"):
        replay.step(actions)
    np.testing.assert_array_equal(replay.state, before)
    np.testing.assert_array_equal(replay.observe().images, images)
    with pytest.raises(ValueError, match="shape"):
        replay.step(np.zeros((3, 2)))


def test_humans_drive_along_their_recordings() -> None:
    recording = random_traffic(6)
    replay = Replay([recording], 30, history=2, view=SMALL)
    drives = some_drives(replay, 30)
    replay.reset(drives)
    active, steps = replay.frame < drives.human_frame, 0
    while active.any():
        _, step = replay.step(replay.human_actions(), active)
        human = replay.human_state()
        np.testing.assert_allclose(replay.state[active, :2], human[active, :2], atol=5e-3)
        np.testing.assert_allclose(replay.state[active, 3], human[active, 3], atol=1e-3)
        done = active & (replay.frame == drives.human_frame)
        sure = done & (np.abs(human[:, 0] - 260) > 0.01)
        assert step.arrived[sure].all()
        assert not step.arrived[active & ~done].any()
        active = replay.frame < drives.human_frame
        steps += 1
    assert steps > 100


def ordinary() -> NDArray[np.floating]:
    return np.cumsum(1.0 + 0.2 * np.sin(np.arange(400) * 0.05))


@pytest.mark.parametrize("kind", ["parked", "trembling", "stopped", "stopping and trembling", "thrown back"])
def test_odd_recorded_cars_behave_when_their_humans_drive(kind: str) -> None:
    rng = np.random.default_rng(0)
    ramp = np.cumsum(
        np.concatenate(
            [np.full(60, 1.0), np.linspace(1, 0, 60), np.zeros(200), np.linspace(0, 1, 60), np.full(40, 1.0)]
        )
    )
    x, y = ramp + 20, np.full(len(ramp), lane_centre(1))
    if kind in ("parked", "trembling"):
        x = np.full(len(ramp), 60.0)
    if kind in ("trembling", "stopping and trembling"):
        standing = np.diff(ramp, prepend=0) < 0.01
        x = x + standing * rng.normal(0, 0.01, len(x))
        y = y + standing * rng.normal(0, 0.01, len(x))
    if kind == "thrown back":
        x[0] += 0.3  # a tracker that corrects itself
        x[200:] -= 0.05
    replay = Replay([cars([lane(ordinary(), 3), (0, x, y)])], 1, history=2, view=SMALL)
    replay.reset(drive_of(replay, 1, 1))
    while replay.frame[0] < replay.world.last_frame[1]:
        actions = replay.human_actions()
        assert np.isfinite(actions).all()
        _, step = replay.step(actions)
        assert abs(replay.state[0, 0] - x[replay.frame[0]]) < 0.8
        assert abs(replay.state[0, 1] - lane_centre(1)) < 0.3
        assert abs(replay.state[0, 2]) < 0.05
        assert not step.off_road[0]
    assert (replay.human_actions() == 0).all()  # after the end


# --- ends ------------------------------------------------------------------------------------------------------------


def test_arrival_and_the_time_limit_come_at_their_frames() -> None:
    recording = cars(
        [lane(10 + np.arange(320) * 1.0), lane(np.arange(500) * 0.0 - 80, 3)],
        site=straight_site(start=60.0, goal=260.0),
    )
    replay = Replay([recording], 2, history=2, view=SMALL)
    drives = find_drives(replay.world, [recording], history=2)
    assert (drives.start_frame[0], drives.human_frame[0], drives.limit_frame[0]) == (50, 250, 499)
    drives = dataclasses.replace(drives.take(np.array([0, 0])), limit_frame=np.array([300, 299]))
    replay.reset(drives)
    arrived, late = [], []
    for _ in range(260):
        _, step = replay.step(np.array([[0.0, 0.0], [-6.2, 0.0]]))  # one drives on, one stops
        arrived.append(step.arrived)
        late.append(step.out_of_time)
    frames = 51 + np.arange(260)
    np.testing.assert_array_equal(frames[np.array(arrived)[:, 0]], np.arange(250, 311))
    assert not np.array(arrived)[:, 1].any()
    np.testing.assert_array_equal(frames[np.array(late)[:, 0]], np.arange(300, 311))
    np.testing.assert_array_equal(frames[np.array(late)[:, 1]], np.arange(299, 311))


def test_without_a_goal_an_ego_arrives_when_its_human_left() -> None:
    replay = Replay(
        [cars([lane(np.arange(50) * 1.0), lane(np.arange(80) * 0.0, 3)])], 1, history=2, view=SMALL
    )
    drives = find_drives(replay.world, replay.recordings, history=2, min_seconds=2).take(slice(0, 1))
    replay.reset(drives)
    for frame in range(2, 80):
        _, step = replay.step(np.zeros((1, 2)))
        assert step.arrived[0] == step.out_of_time[0] == (frame >= 49)


def test_a_car_that_turns_off_the_road_is_off_it_when_its_centre_is() -> None:
    replay = Replay([cars([lane(np.arange(80) * 1.0, 0)])], 1, history=2, view=SMALL)
    replay.reset(drive_of(replay, 0, 5))
    off = []
    for _ in range(60):
        _, step = replay.step(np.array([[0.0, 0.02]]))
        off.append(bool(step.off_road[0]))
        if abs(replay.state[0, 1]) > 0.1:  # the road's left edge is y = 0
            assert off[-1] == (replay.state[0, 1] > 0)
    assert off[0] is False
    assert off[-1] is True


def test_after_the_recording_s_last_frame_a_step_is_refused() -> None:
    replay = Replay(
        [cars([lane(np.arange(30) * 1.0), lane(np.arange(30) * 1.0, 2)])], 2, history=2, view=SMALL
    )
    drives = find_drives(replay.world, replay.recordings, history=2, min_seconds=1)
    replay.reset(drives)
    for _ in range(28):
        replay.step(np.zeros((2, 2)))
    before = replay.state.copy()
    with pytest.raises(ValueError, match="the recording of ego 0 has no next frame"):
        replay.step(np.zeros((2, 2)))
    np.testing.assert_array_equal(replay.state, before)
    replay.reset(drives.take(slice(0, 1)), np.array([0]))
    replay.step(np.zeros((2, 2)), active=np.array([True, False]))


def test_what_cannot_be_driven_is_refused_before_anything_changes() -> None:
    replay = Replay([random_traffic(3)], 3, history=2, view=SMALL)
    with pytest.raises(ValueError, match="ego 0 has no drive"):
        replay.step(np.zeros((3, 2)))
    drives = some_drives(replay, 3)
    replay.reset(drives)
    before = replay.state.copy()
    vehicle, first = drives.vehicle[1], replay.world.first_frame[drives.vehicle[1]]

    def changed(**columns: int) -> Drives:
        second = np.arange(3) == 1
        return dataclasses.replace(
            drives, **{n: np.where(second, v, getattr(drives, n)) for n, v in columns.items()}
        )

    last = int(replay.world.last_frame[vehicle])
    for bad in (
        changed(vehicle=-1),
        changed(vehicle=len(replay.world.size)),
        changed(start_frame=int(first) - 1),
        changed(start_frame=last + 1),
    ):
        with pytest.raises(ValueError, match="drive 1"):
            replay.reset(bad)
    for egos in ([0, 1], [0, 1, 1], [0, 1, 3], [-1, 0, 1]):
        with pytest.raises(ValueError, match="ego"):
            replay.reset(drives, np.array(egos))
    np.testing.assert_array_equal(replay.state, before)


@pytest.mark.parametrize(
    "options", [{"num_egos": 0}, {"num_egos": 1, "history": 0}, {"num_egos": 1, "traffic": "deaf"}], ids=str
)
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Replay([random_traffic(3, num_vehicles=5)], **options)


def test_a_perturbed_drive_starts_where_it_was_moved_with_a_history_that_leads_there() -> None:
    recording = random_traffic(3)
    replay = Replay([recording], 3, history=4, view=SMALL)
    drives = some_drives(replay, 3)
    noise = np.array([[1.0, 0.5, -0.5, 1.0], [0, 0, 0, 0], [-1.0, -0.5, 0.5, -1.0]])
    before = replay.reset(drives).vectors.copy()
    assert np.array_equal(replay.reset(dataclasses.replace(drives, noise=np.zeros((3, 4)))).vectors, before)
    recorded = replay.state.copy()
    seen = replay.reset(dataclasses.replace(drives, noise=noise)).vectors
    np.testing.assert_array_equal(seen[1], before[1])
    for b, sign in ((0, 1.0), (2, -1.0)):
        v = recorded[b, 3]
        moved = replay.state[b] - recorded[b]
        np.testing.assert_allclose(moved[2:], [sign * 0.02, -sign * 0.5 * (0.3 + 0.12 * v)], atol=1e-6)
        heading = recorded[b, 2]
        along = moved[0] * np.cos(heading) + moved[1] * np.sin(heading)
        np.testing.assert_allclose(along, sign * (1 + 0.15 * v), atol=1e-4)
        steps = np.diff(seen[b, :, :2], axis=0)
        np.testing.assert_allclose(steps, 0.1 * seen[b, :-1, 2:], atol=1e-4, err_msg="by the kinematics")
