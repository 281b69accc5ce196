"""Traffic that yields: to whom, how, and until when."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from envs import reactive
from envs.drives import Drives, find_drives
from envs.recording import Recording
from envs.replay import Replay, Step, Traffic
from envs.units import View
from tests import reference
from tests.reference import Box
from tests.toys import lane_centre, random_traffic, straight_site

SMALL = View(height=61, width=24, px_per_m=1.0)
SPEED = 10.0
LENGTH, WIDTH = 4.6, 1.9


# --- scenes ----------------------------------------------------------------------------------------------------------


def platoons(gap: float, num_frames: int = 420) -> Recording:
    """Vehicle 0 in lane 2 at 10 m/s from x = 100; lanes 0, 1 and 3 full of cars `gap` metres apart.

    In lane 1 the first car behind vehicle 0 has its front bumper 5 m behind vehicle 0's rear bumper.
    """
    spacing = gap + LENGTH
    starts = [(100.0, 2)]
    starts += [(100 - 5 - LENGTH + k * spacing, 1) for k in range(-6, 4)]
    starts += [(100 + (k + 0.4) * spacing, lane) for lane in (0, 3) for k in range(-6, 4)]
    t = np.arange(num_frames)
    x = np.concatenate([x0 + SPEED * 0.1 * t for x0, _ in starts])
    y = np.concatenate([np.full(num_frames, lane_centre(lane)) for _, lane in starts])
    return Recording.from_tracks(
        site=straight_site(length=600.0, start=-math.inf, goal=math.inf),
        vehicle_id=np.repeat(np.arange(len(starts)) + 1, num_frames),
        frame=np.tile(t, len(starts)), x=x, y=y, length=LENGTH, width=WIDTH,
    )  # fmt: skip


FOLLOWERS = [7, 6, 5]  # the vehicles behind vehicle 0 in lane 1 of `platoons`, the nearest first


@dataclass
class Drive:
    """What happened in T steps: the ego's states (T, 4), the steps, and where each yielding car was, step by step."""

    replay: Replay
    ego: NDArray[np.float64]
    steps: list[Step]
    yielding: list[dict[int, tuple[float, float, float]]]  # vehicle -> x, y, speed

    @property
    def hit(self) -> NDArray[np.int64]:
        return np.array([s.hit[0] for s in self.steps])


def yielding_now(replay: Replay) -> dict[int, tuple[float, float, float]]:
    """Position and speed of every yielding car of ego 0."""
    world, out = replay.world, {}
    for vehicle, tau, speed in zip(
        replay._yielding[0], replay._yield_tau[0], replay._yield_speed[0], strict=True
    ):
        if vehicle >= 0:
            frames = np.arange(world.first_frame[vehicle], world.last_frame[vehicle] + 1)
            rows = world.row(np.array(vehicle), frames)
            x, y = (float(np.interp(tau, frames, world.state[rows, k])) for k in (0, 1))
            out[int(vehicle)] = (x, y, float(speed))
    return out


def drive(
    recording: Recording,
    traffic: Traffic,
    wish: Callable[[int, NDArray[np.float64]], tuple[float, int]],
    num: int,
) -> Drive:
    """Vehicle 0 from frame 5 on, steered to the (speed, lane) that `wish` gives for a step and the ego's state."""
    replay = Replay([recording], 1, history=2, view=SMALL, traffic=traffic)
    frames = (np.array([v], np.int64) for v in (5, 400, 400))
    replay.reset(Drives(np.array([0]), *frames))
    ego, steps, yielding = [], [], []
    for t in range(num):
        _, y, heading, v = replay.state[0]
        speed, lane = wish(t, replay.state[0])
        aim = math.atan2(lane_centre(lane) - y, max(v, 2.0) * 0.8)
        action = np.array([[(speed - v) * 5, (aim - heading) / max(v * 0.3, 1.0)]])
        steps.append(replay.step(action)[1])
        ego.append(replay.state[0].copy())
        if traffic == "reactive":
            yielding.append(yielding_now(replay))
    return Drive(replay, np.array(ego), steps, yielding)


def cut_in(t: int, state: NDArray[np.float64]) -> tuple[float, int]:
    """Into lane 1 after a second, and two seconds later down to 6 m/s."""
    return (SPEED, 2) if t < 10 else (SPEED if t < 30 else 6.0, 1)


def cut_in_and_leave(t: int, state: NDArray[np.float64]) -> tuple[float, int]:
    """The same, but back in lane 2 after six seconds, at the old speed."""
    return cut_in(t, state) if t < 60 else (SPEED, 2)


def test_a_car_that_is_cut_off_brakes_and_does_not_hit_the_ego_that_blind_traffic_runs_over() -> None:
    recording = platoons(gap=20.0)
    blind, yields = (drive(recording, traffic, cut_in, 120) for traffic in ("blind", "reactive"))
    np.testing.assert_allclose(blind.ego, yields.ego)
    assert (blind.hit == FOLLOWERS[0]).any()
    assert (yields.hit == -1).all()
    behind = [where[FOLLOWERS[0]] for where in yields.yielding if FOLLOWERS[0] in where]
    assert len(behind) > 60
    assert behind[-1][2] == pytest.approx(6.0, abs=0.5)  # it follows at the ego's speed
    gap = yields.ego[-1, 0] - behind[-1][0] - LENGTH
    assert gap == pytest.approx(reactive.DRIVER.gap + 6 * reactive.DRIVER.headway, rel=0.3)


def test_those_behind_a_yielding_car_yield_too_and_touch_nobody() -> None:
    yields = drive(platoons(gap=9.0), "reactive", cut_in, 120)
    assert set(FOLLOWERS) <= set(yields.yielding[-1])
    for where in yields.yielding:
        for front, back in pairwise(FOLLOWERS):
            if front in where and back in where:
                assert where[front][0] - where[back][0] > LENGTH
    begun = [next(t for t, where in enumerate(yields.yielding) if v in where) for v in FOLLOWERS]
    assert begun == sorted(begun)
    assert begun[0] < begun[-1]


def test_cars_in_other_lanes_and_ahead_do_not_react() -> None:
    yields = drive(platoons(gap=9.0), "reactive", cut_in, 120)
    ever = set().union(*yields.yielding)
    assert ever <= set(range(1, 8))  # those of lane 1 that started behind


def test_a_car_that_yielded_catches_up_with_its_recording() -> None:
    recording = platoons(gap=12.0)
    blind, yields = (drive(recording, traffic, cut_in_and_leave, 395) for traffic in ("blind", "reactive"))
    late = [max((t for t, w in enumerate(yields.yielding) if v in w), default=0) for v in FOLLOWERS]
    assert late[0] > 100
    assert yields.yielding[-1] == {}
    lag = [
        reference.boxes_at(recording, 6 + t, 0)[FOLLOWERS[0] - 1].x - w[FOLLOWERS[0]][0]
        for t, w in enumerate(yields.yielding)
        if FOLLOWERS[0] in w
    ]
    assert max(lag) > 5
    assert lag[-1] < 0.5
    np.testing.assert_array_equal(blind.replay.observe().images, yields.replay.observe().images)


def test_pictures_show_yielding_cars_where_they_are() -> None:
    """Above all in the frames in which one begins or ends to yield."""
    recording = platoons(gap=12.0)
    replay = Replay([recording], 1, history=1, view=SMALL, traffic="reactive")
    replay.reset(Drives(*(np.array([v], np.int64) for v in (0, 5, 400, 400))))
    before: dict[int, tuple[float, float, float]] = {}
    checked = 0
    for t in range(300):
        _, y, heading, v = replay.state[0]
        speed, lane = cut_in_and_leave(t, replay.state[0])
        aim = math.atan2(lane_centre(lane) - y, max(v, 2.0) * 0.8)
        observation, _ = replay.step(np.array([[(speed - v) * 5, (aim - heading) / max(v * 0.3, 1.0)]]))
        now = yielding_now(replay)
        if set(now) != set(before) or t % 50 == 49:
            boxes = reference.boxes_at(recording, 6 + t, -1)
            for vehicle, (x, y, speed) in now.items():
                boxes[vehicle] = Box(x, y, 0.0, speed, LENGTH, WIDTH)
            wanted = reference.vehicle_channel(boxes[1:], tuple(replay.state[0, :3]), SMALL)
            assert np.abs(observation.images[0, 0, 1] - wanted).max() <= 0.5 + 0.1
            checked += set(now) != set(before)
        before = now
    assert checked > 3


@pytest.mark.parametrize("gap", [20.0, 4.0])
def test_an_ego_that_does_as_its_human_did_changes_nothing(gap: float) -> None:
    """Not even behind it where cars follow closer than the model would."""
    recording = platoons(gap)
    runs: list[NDArray[np.uint8]] = []
    modes: list[Traffic] = ["blind", "reactive"]
    for traffic in modes:
        replay = Replay([recording], 8, history=2, view=SMALL, traffic=traffic)
        cars = np.array([0, 4, 5, 6, 7, 14, 15, 25], np.int64)
        replay.reset(Drives(cars, *(np.full(8, v, np.int64) for v in (5, 250, 250))))
        images = []
        for _ in range(100):
            observation, step = replay.step(replay.human_actions())
            images.append(observation.images[:, -1].copy())
        assert (step.hit == -1).all()
        runs.append(np.array(images))
    np.testing.assert_array_equal(runs[0], runs[1])


def test_in_random_traffic_too_the_human_changes_nothing() -> None:
    replay = Replay([random_traffic(3)], 40, history=2, view=SMALL, traffic="reactive")
    drives = find_drives(replay.world, replay.recordings, history=2)
    drives = drives.take(np.arange(40) % len(drives))
    replay.reset(drives)
    active = replay.frame < drives.human_frame
    while active.any():
        replay.step(replay.human_actions(), active)
        active = replay.frame < drives.human_frame
    assert (replay._yielding == -1).all()


def test_a_tailgater_yields_once_the_ego_brakes() -> None:
    recording = platoons(gap=2.5)
    replay = Replay([recording], 1, history=1, view=SMALL, traffic="reactive")
    replay.reset(Drives(*(np.array([v], np.int64) for v in (6, 5, 400, 400))))
    for t in range(60):
        _, step = replay.step(np.array([[0.0 if t < 10 else -1.5 if t < 40 else 0.0, 0.0]]))
        assert step.hit[0] == -1
        assert (replay._yielding[0] >= 0).any() == (t > 15) or 10 <= t <= 15


def test_cars_left_far_behind_drive_on() -> None:
    """An ego stops those behind it and leaves: what it no longer sees must not stand there for ever."""

    def stop_and_go(t: int, state: NDArray[np.float64]) -> tuple[float, int]:
        return cut_in(t, state) if t < 40 else (0.0, 1) if t < 90 else (30.0, 2)

    yields = drive(platoons(gap=12.0), "reactive", stop_and_go, 395)
    first = FOLLOWERS[0]
    stopped = min(w[first][2] for w in yields.yielding if first in w)
    assert stopped < 0.5
    far = [t for t, w in enumerate(yields.yielding) if first in w and yields.ego[t, 0] - w[first][0] > 70]
    assert far
    x = [yields.yielding[t][first][0] for t in far if t + 1 < 395]
    assert (np.diff(x) > 0).all()
    assert first not in yields.yielding[-1] or yields.yielding[-1][first][2] > SPEED
