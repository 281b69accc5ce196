"""The lanes around a car: on straight roads, turned roads, and where one ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.lanes import LEFT, OWN, RIGHT, LaneMarkings, Lanes
from agents.steering import aim_distance, pursuit
from envs.drives import Drives
from envs.recording import Recording
from envs.replay import Replay
from envs.site import Site
from envs.sites import I80
from envs.units import View
from tests.agents.scenes import Track, along, recording_of
from tests.toys import LANE, lane_centre, straight_site

SMALL = View(height=16, width=8)


def replay_at(recording: Recording, *states: tuple[float, float, float, float]) -> Replay:
    """Egos at states (x, y, heading, speed), whatever was recorded."""
    replay = Replay([recording], len(states), history=1, view=SMALL, threads=1)
    where = (np.full(len(states), k, np.int64) for k in (0, 5, 99, 99))
    replay.reset(Drives(*where))
    replay.state[:] = states
    return replay


def lanes_at(site: Site, *states: tuple[float, float, float, float], distance: float = 20.0) -> Lanes:
    replay = replay_at(recording_of(Track(1, along(5.0, 100), lane_centre(1)), site=site), *states)
    return LaneMarkings(replay).around(np.full(len(states), distance))


def test_each_lane_lies_a_lane_width_from_the_next_and_there_is_none_beyond_the_edges() -> None:
    states = [(80.0, lane_centre(lane) + 0.4, 0.1, 8.0) for lane in range(4)]
    lanes = lanes_at(straight_site(), *states)
    np.testing.assert_allclose(lanes.offset[:, OWN], -0.4, atol=1e-9)
    np.testing.assert_allclose(lanes.offset[:, LEFT], [np.nan, LANE - 0.4, LANE - 0.4, LANE - 0.4], atol=1e-9)
    np.testing.assert_allclose(
        lanes.offset[:, RIGHT], [-LANE - 0.4, -LANE - 0.4, -LANE - 0.4, np.nan], atol=1e-9
    )
    np.testing.assert_allclose(lanes.heading, 0.0, atol=1e-9)
    assert np.isinf(lanes.end[1:3]).all()
    np.testing.assert_allclose(lanes.target[1, OWN], [100.0, lane_centre(1)], atol=1e-9)


@pytest.mark.parametrize("angle", [0.6, 2.0, -2.8])
def test_a_turned_road_has_the_same_lanes(angle: float) -> None:
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, s], [-s, c]])  # of rows

    def turned(lines: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        return tuple(line @ turn for line in lines)

    flat = straight_site(length=120.0)
    site = replace(
        flat, markings=turned(flat.markings), drivable=turned(flat.drivable), start=-np.inf, goal=np.inf
    )
    x, y = np.array([40.0, lane_centre(1) + 0.4]) @ turn
    lanes, straight = (
        lanes_at(site, (x, y, angle + 0.1, 8.0)),
        lanes_at(flat, (40.0, lane_centre(1) + 0.4, 0.1, 8.0)),
    )
    np.testing.assert_allclose(lanes.offset, straight.offset, atol=1e-6)
    np.testing.assert_allclose(lanes.target, straight.target @ turn, atol=1e-5)
    assert lanes.heading[0] == pytest.approx(angle)


def test_the_lane_of_a_ramp_ends_where_its_taper_leaves_too_little_and_the_others_do_not() -> None:
    y = -6.5 * I80.lane_width
    lanes = lanes_at(
        I80.site(), (230.0, y, 0.0, 8.0), (150.0, y, 0.0, 8.0), (230.0, y + I80.lane_width, 0.0, 8.0)
    )
    # Three quarters of its width are left a quarter down the taper, at x = 240 + 144 / 4 = 276.
    assert lanes.end[0, OWN] == pytest.approx(276 - 230, abs=5.0)
    assert np.isinf(lanes.end[0, LEFT])
    assert np.isinf(lanes.end[1, OWN])
    assert np.isinf(lanes.end[2, OWN])
    assert lanes.end[2, RIGHT] == pytest.approx(276 - 230, abs=5.0)


def test_lanes_that_a_gore_parts_are_not_beside_each_other() -> None:
    """The ramp's inner edge is 0.2 m from the road's at x = 131 m, and meets it at 150 m."""
    y = -5.5 * I80.lane_width
    before, after = (lanes_at(I80.site(), (x, y, 0.0, 8.0)).offset[0] for x in (131.0, 155.0))
    assert np.isnan(before[RIGHT])
    assert after[RIGHT] == pytest.approx(-I80.lane_width, abs=0.1)
    on_ramp = float(I80.place([131.0], [-6.5 * I80.lane_width])[0])
    assert np.isnan(lanes_at(I80.site(), (131.0, on_ramp, 0.0, 8.0)).offset[0, LEFT])


def test_a_bend_is_followed_to_the_point_ahead() -> None:
    x = np.array([150.0 - 100.0])
    y = float(I80.place(x, [-6.5 * I80.lane_width])[0])
    lanes = lanes_at(I80.site(), (50.0, y, 0.043, 8.0), distance=60.0)
    ahead = lanes.target[0, OWN]
    assert ahead[0] == pytest.approx(110.0, abs=0.2)
    assert ahead[1] == pytest.approx(float(I80.place([ahead[0]], [-6.5 * I80.lane_width])[0]), abs=0.1)


@pytest.mark.parametrize("speed", [3.0, 10.0, 30.0])
def test_pursuit_brings_a_car_to_the_centre_and_keeps_it_there(speed: float) -> None:
    state = np.array([[0.0, 1.5, 0.05, speed]])
    for _ in range(200):
        ahead = state[:, 0] + aim_distance(state[:, 3])
        kappa = pursuit(state, np.stack([ahead, np.zeros(1)], 1))
        x, y, heading, v = state[0]
        state = np.array([[x + v * np.cos(heading) * 0.1, y + v * np.sin(heading) * 0.1,
                           heading + np.arctan(kappa[0] * v * 0.1), v]])  # fmt: skip
        assert abs(state[0, 1]) < 2.0
    assert abs(state[0, 1]) < 0.02
    assert abs(state[0, 2]) < 0.005


def test_the_circle_of_pursuit_goes_through_its_point() -> None:
    state, target = np.array([[2.0, 1.0, 0.3, 5.0]]), np.array([[12.0, 6.0]])
    radius = 1 / pursuit(state, target)[0]
    centre = state[0, :2] + radius * np.array([-np.sin(0.3), np.cos(0.3)])
    assert np.linalg.norm(target[0] - centre) == pytest.approx(abs(radius))
    assert pursuit(state, np.full((1, 2), np.nan)) == 0
