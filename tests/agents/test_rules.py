"""Driving by rules among recorded cars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents import Agent
from agents.evaluate import evaluate
from agents.lanes import LEFT, OWN, Lanes
from agents.rules import RuleDriver, RulesConfig
from envs.drives import Drives
from envs.idm import Driver, idm
from envs.replay import Replay
from envs.units import View
from tests.agents.scenes import Track, along, clean_traffic, drifting_car, parked_car_ahead, recording_of
from tests.toys import lane_centre, straight_site

SMALL = View(height=61, width=24, px_per_m=1.0)


def driven(driver: RuleDriver, *tracks: Track, steps: int) -> np.ndarray:
    """States (T, 4) of vehicle 0 from frame 5 on."""
    replay = Replay([recording_of(*tracks)], 1, history=1, view=SMALL, threads=1)
    observation = replay.reset(Drives(*(np.array([k]) for k in (0, 5, 400, 400))))
    driver.begin(replay)
    states = [replay.state[0].copy()]
    for _ in range(steps):
        observation, _ = replay.step(driver.act(observation))
        states.append(replay.state[0].copy())
    return np.array(states)


def test_it_settles_behind_a_leader_at_the_distance_of_the_model() -> None:
    ahead = Track(2, along(8.0, x0=80.0), lane_centre(1))
    states = driven(
        RuleDriver(RulesConfig(rules="idm")), Track(1, along(12.0), lane_centre(1)), ahead, steps=380
    )
    driver, config = Driver(), RulesConfig()
    gap = (driver.gap + 8 * driver.headway) / np.sqrt(1 - (8 / config.wanted_speed) ** 4)
    assert states[-1, 3] == pytest.approx(8.0, abs=0.1)
    assert ahead.x[385] - states[-1, 0] - 4.0 == pytest.approx(gap, rel=0.05)


def test_the_lane_keeper_keeps_its_speed_and_comes_back_to_the_centre() -> None:
    y = lane_centre(2) + 1.0 - 0.1 * np.minimum(np.arange(500) * 0.1, 1.0)
    states = driven(RuleDriver(RulesConfig(rules="lane-keeper")), Track(1, along(9.0), y), steps=100)
    np.testing.assert_allclose(states[:, 3], states[0, 3])
    assert abs(states[0, 1] - lane_centre(2)) > 0.8
    assert abs(states[-1, 1] - lane_centre(2)) < 0.05


def test_a_slow_leader_is_passed_once_and_smoothly() -> None:
    slow = Track(2, along(3.0, x0=70.0), lane_centre(1))
    beside = Track(3, along(3.0, x0=75.0), lane_centre(2))
    states = driven(RuleDriver(), Track(1, along(10.0), lane_centre(1)), slow, beside, steps=200)
    lane = np.round(-states[:, 1] / 3.7 - 0.5).astype(int)
    assert lane[0] == 1
    assert lane[-1] == 0
    assert np.count_nonzero(np.diff(lane)) == 1  # no weaving
    assert states[:, 1].max() < lane_centre(0) + 0.4
    assert abs(states[-1, 1] - lane_centre(0)) < 0.1
    assert states[-1, 0] > slow.x[205]
    follower = driven(
        RuleDriver(RulesConfig(rules="idm")), Track(1, along(10.0), lane_centre(1)), slow, beside, steps=200
    )
    assert follower[-1, 0] < slow.x[205]


def test_rules_arrive_where_none_would_not() -> None:
    """The drifting car leaves the road, the parked one is in the way."""
    keeper, follower, changer = (
        RuleDriver(RulesConfig(rules=r)) for r in ("lane-keeper", "idm", "idm+mobil")
    )
    assert isinstance(changer, Agent)
    drifting = evaluate([keeper], [drifting_car()], split="all", view=SMALL, threads=1)
    assert drifting.runs[0].outcomes.succeeded().all()
    parked = evaluate([keeper, follower, changer], [parked_car_ahead()], split="all", view=SMALL, threads=1)
    endings = [run.outcomes.ending().tolist() for run in parked.runs]
    assert endings == [["collision"], ["out of time"], ["arrived"]]


def test_it_remembers_nothing_of_the_last_drives_and_nothing_of_its_neighbours() -> None:
    traffic = clean_traffic(num_cars=24)
    together = evaluate([RuleDriver()], [traffic], split="all", view=SMALL, threads=1, max_cars=6)
    alone = evaluate([RuleDriver()], [traffic], split="all", view=SMALL, threads=1, max_cars=6, num_egos=1)
    np.testing.assert_array_equal(together.runs[0].outcomes.states, alone.runs[0].outcomes.states)


def test_it_knows_nothing_of_what_comes_later() -> None:
    """A recording that goes on otherwise after a moment makes no difference up to it."""

    def until(frame: int, brakes: bool) -> np.ndarray:
        speed = np.full(499, 9.0)
        speed[frame:] = 2.0 if brakes else 9.0
        own = np.full(499, 11.0)
        own[frame:] = 3.0 if brakes else 15.0
        ahead = Track(2, along(speed, x0=75.0), lane_centre(1))
        return driven(RuleDriver(), Track(1, along(own), lane_centre(1)), ahead, steps=frame - 5)

    np.testing.assert_array_equal(until(60, True), until(60, False))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="rules="):
        RulesConfig(rules="courteous")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wanted_speed"):
        RulesConfig(wanted_speed=0.0)


def test_it_drives_on_where_markings_are_too_near_to_each_other_for_a_lane() -> None:
    """As where a lane tapers: it is in none, and nobody is ahead."""
    base = straight_site()
    narrow = replace(base, markings=tuple(line * (1.0, 0.6) for line in base.markings))
    car = Track(1, along(5.0), 0.6 * lane_centre(1))
    replay = Replay([recording_of(car, site=narrow)], 1, history=1, view=SMALL, threads=1)
    replay.reset(Drives(*(np.array([k]) for k in (0, 5, 400, 400))))
    driver = RuleDriver(RulesConfig(rules="idm"))
    driver.begin(replay)
    assert driver.act(replay.observe())[0, 0] == pytest.approx(
        idm(5.0, driver.config.wanted_speed, np.inf, 0.0, driver.config.driver), abs=0.02
    )


def test_a_change_ends_where_the_marking_was_crossed_while_the_lane_was_squeezed() -> None:
    """The own lane's centre: 0 and 1.75 m to the right, out of sight, and then that of the next lane."""
    car = Track(1, along(5.0), lane_centre(1))
    replay = Replay([recording_of(car)], 1, history=1, view=SMALL, threads=1)
    driver = RuleDriver(RulesConfig(rules="idm+mobil"))
    driver.begin(replay)
    driver._lane[:] = LEFT
    nothing = np.zeros((1, 3))
    for own in (0.0, -1.75, np.nan, 1.75):
        assert driver._lane[0] == LEFT
        offset = np.array([[own - 3.5, own, np.nan_to_num(own) + 3.5]])
        driver._settle(Lanes(np.zeros(1), offset, nothing, nothing))
    assert driver._lane[0] == OWN
