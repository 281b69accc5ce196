"""Lane changes in scenes where it is plain who should change, and who must not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agents.following import Following, following
from agents.lanes import LEFT, OWN, RIGHT, LaneMarkings
from agents.mobil import MOBILConfig, choose, incentives
from envs.idm import Driver, idm
from envs.replay import Replay
from tests.agents.scenes import Track, along, recording_of
from tests.agents.test_lanes import replay_at
from tests.toys import lane_centre

DRIVER, WANTED, SPEED = Driver(), 20.0, 10.0
FRAME = 5  # of `replay_at`
Car = tuple[float, int, float]  # metres ahead of the ego, lane, speed


def scene(*others: Car, lane: int = 1) -> Replay:
    """An ego at x = 200 m and 10 m/s, and others around it."""
    tracks = [Track(1, along(SPEED, 100), lane_centre(lane))]
    for k, (ahead, other_lane, speed) in enumerate(others):
        x = along(speed, 100, x0=200 + ahead - FRAME * 0.1 * speed)
        tracks.append(Track(k + 2, x, lane_centre(other_lane)))
    return replay_at(recording_of(*tracks), (200.0, lane_centre(lane), 0.0, SPEED))


def seen(*others: Car, lane: int = 1) -> tuple[Following, np.ndarray]:
    replay = scene(*others, lane=lane)
    lanes = LaneMarkings(replay).around(np.full(1, 20.0))
    return following(replay, lanes, DRIVER, WANTED), ~np.isnan(lanes.offset)


def chosen(*others: Car, lane: int = 1, **settings: float) -> int:
    return int(choose(*seen(*others, lane=lane), MOBILConfig(**settings))[0])


def mirrored(*others: Car) -> tuple[Car, ...]:
    """Left and right exchanged around lane 1 of the lanes 0, 1, 2."""
    return tuple((ahead, 2 - lane, speed) for ahead, lane, speed in others)


def test_accelerations_are_those_of_the_gaps_in_each_lane() -> None:
    now, _ = seen((20.0, 1, 6.0), (-15.0, 1, 9.0), (30.0, 0, 12.0), (-25.0, 0, 14.0), (60.0 - 1, 3, 1.0))
    ahead, behind = idm(10, WANTED, 16.0, 6.0, DRIVER), idm(9, WANTED, 11.0, 10.0, DRIVER)
    assert now.ego[0, OWN] == now.in_path[0] == pytest.approx(ahead, rel=1e-3)
    assert now.behind_ego[0, OWN] == pytest.approx(behind, rel=1e-3)
    assert now.behind_leader[0, OWN] == pytest.approx(idm(9, WANTED, 31.0, 6.0, DRIVER), rel=1e-3)
    assert now.ego[0, LEFT] == pytest.approx(idm(10, WANTED, 26.0, 12.0, DRIVER), rel=1e-3)
    assert now.behind_ego[0, LEFT] == pytest.approx(idm(14, WANTED, 21.0, 10.0, DRIVER), rel=1e-3)
    assert now.behind_leader[0, LEFT] == pytest.approx(idm(14, WANTED, 51.0, 12.0, DRIVER), rel=1e-3)
    assert now.ego[0, RIGHT] == pytest.approx(
        idm(10, WANTED, math.inf, 0.0, DRIVER)
    )  # two lanes off is not beside
    assert now.behind_ego[0, RIGHT] == now.behind_leader[0, RIGHT] == 0


def test_nobody_changes_on_an_empty_road_or_for_a_lane_that_is_no_better() -> None:
    assert chosen() == OWN
    assert chosen((20.0, 0, 6.0), (20.0, 1, 6.0), (20.0, 2, 6.0)) == OWN


def test_a_slow_leader_is_passed_on_the_free_side() -> None:
    others = ((20.0, 1, 6.0), (15.0, 2, 6.0))
    assert chosen(*others) == LEFT
    assert chosen(*mirrored(*others)) == RIGHT


def test_nobody_cuts_in_on_who_comes_fast() -> None:
    others = ((20.0, 1, 6.0), (15.0, 2, 6.0))
    assert chosen(*others, (-12.0, 0, 18.0)) == OWN
    assert chosen(*others, (-50.0, 0, 12.0)) == LEFT
    follower = idm(18.0, WANTED, 8.0, 10.0, DRIVER)
    assert follower < -2.0
    assert chosen(*others, (-12.0, 0, 18.0), safe_braking=-follower + 0.1, politeness=0.0) == LEFT


def test_nobody_drives_into_who_is_beside() -> None:
    others = ((20.0, 1, 2.0), (15.0, 2, 2.0))
    for beside in (-3.0, 0.0, 3.0):
        assert chosen(*others, (beside, 0, SPEED)) == OWN


def test_there_is_no_lane_beyond_the_edge() -> None:
    assert chosen((12.0, 0, 2.0), lane=0) == RIGHT
    assert chosen((12.0, 0, 2.0), (12.0, 1, 2.0), lane=0) == OWN


def test_the_polite_count_what_others_lose_and_gain() -> None:
    now, _ = seen((20.0, 1, 6.0), (-8.0, 1, 12.0), (-20.0, 0, 13.0))
    selfish, polite = (incentives(now, p)[0, 1] for p in (0.0, 1.0))
    assert selfish == pytest.approx(
        idm(10, WANTED, math.inf, 0, DRIVER) - idm(10, WANTED, 16.0, 6.0, DRIVER), rel=1e-3
    )
    new = idm(13, WANTED, 16.0, 10.0, DRIVER) - idm(13, WANTED, math.inf, 0, DRIVER)
    old = idm(12, WANTED, 24.0, 6.0, DRIVER) - idm(12, WANTED, 4.0, 10.0, DRIVER)
    assert polite - selfish == pytest.approx(new + old, rel=1e-3)


def test_a_scene_and_its_mirror_image_have_mirrored_incentives() -> None:
    others = (
        (20.0, 1, 6.0),
        (-9.0, 1, 11.0),
        (33.0, 0, 12.0),
        (-25.0, 0, 14.0),
        (18.0, 2, 9.0),
        (-30.0, 2, 8.0),
    )
    now, other = seen(*others)[0], seen(*mirrored(*others))[0]
    np.testing.assert_allclose(incentives(now, 0.3), incentives(other, 0.3)[:, ::-1], rtol=1e-3)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="safe_braking"):
        MOBILConfig(safe_braking=0.0)
