"""Metrics of drives written down by hand, and intervals against scipy and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from agents.metrics import NEVER, RULES, TTC_CAP, Contact, Outcomes, bootstrap_interval, summarise

DT = 0.1


def outcomes(
    x: list[list[float]],
    human_x: list[list[float]] | None = None,
    *,
    speed: list[list[float]] | None = None,
    collided: list[int] | None = None,
    off_road: list[int] | None = None,
    arrived: list[int] | None = None,
    min_ttc: list[float] | None = None,
) -> Outcomes:
    """Drives of the given x; every contact is one by all rules, and the ego's fault in every second car."""
    num, steps = len(x), max(map(len, x))

    def padded(rows: list[list[float]]) -> np.ndarray:
        longest = max(map(len, rows))
        return np.array([row + [np.nan] * (longest - len(row)) for row in rows])

    def states(px: np.ndarray, v: np.ndarray | None = None) -> np.ndarray:
        nothing = np.where(np.isnan(px), np.nan, 0)
        return np.stack([px, nothing, nothing, nothing if v is None else v], -1).astype(np.float32)

    def steps_of(values: list[int] | None) -> np.ndarray:
        return np.full(num, NEVER) if values is None else np.array(values, np.int64)

    assert steps >= 2
    contact = Contact(steps_of(collided), np.arange(num) % 2 == 0, np.full(num, -1))
    return Outcomes(
        dt=DT,
        num_steps=np.array([len(row) - 1 for row in x]),
        arrived=steps_of(arrived),
        off_road=steps_of(off_road),
        contacts=dict.fromkeys(RULES, contact),
        min_ttc=np.full(num, np.inf) if min_ttc is None else np.array(min_ttc),
        states=states(padded(x), padded(speed) if speed else None),
        human_states=states(padded(human_x or x)),
        seconds_per_action=0.001,
    )


def test_each_car_ends_in_one_way():
    n = NEVER
    out = outcomes(
        [[0.0, 1, 2, 3, 4, 5]] * 7,
        arrived=[5, 5, 5, n, n, 5, n],
        collided=[n, 2, n, 4, n, 5, 2],
        off_road=[n, 4, 3, 4, n, n, 1],
    )
    expected = ["arrived", "collision", "off road", "collision", "out of time", "collision", "off road"]
    assert out.ending().tolist() == expected
    assert out.succeeded().tolist() == [ending == "arrived" for ending in expected]
    assert out.ended().tolist() == [5, 2, 3, 4, 5, 5, 1]
    assert out.distance().tolist() == [5, 2, 3, 4, 5, 5, 1]
    row = summarise([out])
    assert row["cars"] == row["success"] * 7 + row["collisions"] + row["off_road"] + row["out_of_time"] == 7
    assert (row["collisions"], row["collisions_at_fault"]) == (3, 0)
    assert row["distance_m_box"] == row["distance_m"] == pytest.approx(25 / 7)


def test_speed_is_compared_over_the_same_metres():
    """A road on which everyone drives 20 m/s for 40 m and then 5 m/s; the ego as its human, but it fails after 30 m."""
    human = np.concatenate([np.arange(0, 40, 2.0), np.arange(40, 60.1, 0.5)]).tolist()
    out = outcomes([human], [human], collided=[15])
    assert summarise([out])["speed_vs_human"] == pytest.approx(1.0)


def test_half_the_humans_speed_is_a_half():
    human, ego = np.arange(0, 51, 1.0).tolist(), np.arange(0, 50.1, 0.5).tolist()
    assert summarise([outcomes([ego], [human], arrived=[100])])["speed_vs_human"] == pytest.approx(0.5)


def test_waiting_counts_as_time():
    """10 m in 10 frames as the human did, then 30 frames at rest until the time limit."""
    human = np.arange(0, 51, 1.0).tolist()
    waits = [*np.arange(0, 11, 1.0), *[10.0] * 30]
    assert summarise([outcomes([waits], [human])])["speed_vs_human"] == pytest.approx(10 / 40, rel=0.02)


def test_standing_where_the_human_stood_costs_nothing():
    """Both stop 10 m on; the human goes on after 5 s, the ego is hit from behind after 3 s, a centimetre before it."""
    human = [*np.arange(0, 11, 1.0), *[10.0] * 50, *np.arange(11, 40, 1.0)]
    ego = [*np.arange(0, 10, 1.0), *[9.99] * 30]
    assert summarise([outcomes([ego], [human])])["speed_vs_human"] == pytest.approx(1.0)
    parked = [5.0] * 60
    assert summarise([outcomes([parked], [parked], arrived=[59])])["speed_vs_human"] == pytest.approx(1.0)


def test_an_ego_beyond_the_end_of_its_humans_recording_is_timed_up_to_there():
    human, ego = np.arange(0, 51, 1.0).tolist(), np.arange(0, 101, 2.0).tolist()
    out = outcomes([ego], [human], arrived=[50])
    assert summarise([out])["speed_vs_human"] == pytest.approx(2.0, rel=0.01)
    assert out.progress_vs_human().tolist() == [2.0]


def test_progress_is_the_share_of_the_humans_whole_way():
    human = np.arange(0, 51, 1.0).tolist()
    still = [0.0] * 51
    out = outcomes(
        [human, human, still], [human, human, still], collided=[10, NEVER, NEVER], arrived=[NEVER, 50, 50]
    )
    np.testing.assert_array_equal(out.progress_vs_human(), [0.2, 1.0, np.nan])
    assert summarise([out])["progress_vs_human"] == pytest.approx(0.6)


def test_jerk_of_a_known_motion():
    """Speed j t^2 / 2 has jerk j; what happens after the end is not looked at."""
    t = np.arange(21) * DT
    speed = 3.0 * t**2 / 2
    speed[12:] = 0
    out = outcomes([t.tolist()], speed=[speed.tolist()], collided=[11])
    assert out.jerk()[0] == pytest.approx(3.0, rel=1e-3)
    out = outcomes([t.tolist()], speed=[speed.tolist()], collided=[12])
    assert out.jerk()[0] > 10
    assert math.isnan(outcomes([[0.0, 1.0]]).jerk()[0])


def test_a_car_that_never_closes_in_counts_with_the_cap():
    out = outcomes([[0.0, 1, 2]] * 3, min_ttc=[2.0, np.inf, 50.0])
    assert summarise([out])["min_ttc_s"] == pytest.approx((2 + 2 * TTC_CAP) / 3)


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(3).gamma(2.0, 40.0, 200)
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    standard_error = values.std() / math.sqrt(200)
    np.testing.assert_allclose(bootstrap_interval(values), reference, atol=0.12 * standard_error)


@pytest.mark.parametrize("num_cars", [400, 5000])
def test_bootstrap_of_a_share_agrees_with_the_normal_approximation(num_cars):
    values = np.arange(num_cars) % 4 == 0
    half = 1.96 * math.sqrt(0.25 * 0.75 / num_cars)
    np.testing.assert_allclose(bootstrap_interval(values), [0.25 - half, 0.25 + half], atol=0.15 * half)


def test_bootstrap_over_seeds_that_agree_is_that_over_cars():
    values = np.random.default_rng(0).random(50)
    assert bootstrap_interval([values] * 3) == pytest.approx(bootstrap_interval(values))


def test_bootstrap_over_seeds_that_differ_is_the_spread_of_seeds():
    """Seeds 0, 1, 2 whatever the car: the quantiles of the mean of three draws, over all 27."""
    means = [np.mean(draw) for draw in itertools.product([0.0, 1.0, 2.0], repeat=3)]
    expected = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    table = np.repeat([[0.0], [1.0], [2.0]], 40, axis=1)
    np.testing.assert_allclose(bootstrap_interval(table), expected, atol=1e-12)


def test_bootstrap_is_seeded():
    values = np.random.default_rng(0).random(50)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    assert bootstrap_interval(np.ones(5)) == (1.0, 1.0)


def test_runs_of_several_seeds_are_pooled():
    n = NEVER
    good = outcomes([[0.0, 10, 20]] * 4, arrived=[2] * 4)
    bad = outcomes([[0.0, 10, 20]] * 4, arrived=[2, n, n, n], collided=[n, 1, 1, 1])
    row = summarise([good, bad])
    assert (row["cars"], row["success"], row["collisions"]) == (8, 5 / 8, 3)
    assert row["distance_m"] == pytest.approx((4 * 20 + 20 + 3 * 10) / 8)
    assert row["success_ci"][0] < 0.5 < 0.9 < row["success_ci"][1]
