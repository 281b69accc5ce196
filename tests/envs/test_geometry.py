"""Boxes against clipped polygons; gap, time to collision and fault against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from envs.geometry import boxes_overlap, first_overlap, gap_and_ttc, is_hit_from_behind
from tests import reference
from tests.reference import Box

AREA = 1e-6  # m^2; below it boxes touch, and rounding decides

coordinates = st.floats(-6, 6)
angles = st.floats(-2 * math.pi, 2 * math.pi)
boxes = st.builds(Box, coordinates, coordinates, angles, st.just(0.0), st.floats(0.3, 12), st.floats(0.3, 3))
relaxed = settings(max_examples=200, deadline=None)


def overlap(one: Box, other: Box) -> bool:
    return boxes_overlap(
        one.x,
        one.y,
        one.heading,
        one.length,
        one.width,
        other.x,
        other.y,
        other.heading,
        other.length,
        other.width,
    )


def near(others: list[Box]) -> NDArray[np.float64]:
    """Rows as `raster.gather` writes them."""
    return np.array([[*o, k] for k, o in enumerate(others)]).reshape(-1, 7)


def random_box(rng: np.random.Generator, spread: float) -> Box:
    """Anywhere within `spread` metres of the origin, in any direction."""
    x, y = rng.uniform(-spread, spread, 2)
    return Box(x, y, rng.uniform(-7, 7), rng.uniform(0, 30), rng.uniform(1, 9), rng.uniform(0.5, 3))


def moved(box: Box, x: float, y: float, angle: float) -> Box:
    """The box after a rotation about the origin and a shift."""
    c, s = math.cos(angle), math.sin(angle)
    return box._replace(x=c * box.x - s * box.y + x, y=s * box.x + c * box.y + y, heading=box.heading + angle)


@relaxed
@given(boxes, boxes)
def test_boxes_overlap_where_their_polygons_share_area(one: Box, other: Box) -> None:
    area = reference.overlap_area(one, other)
    if area > AREA:
        assert overlap(one, other)
    elif not overlap(one, other):
        return
    else:  # shrunk by a hair they must be apart
        hair = Box(*one[:4], one.length - 1e-4, one.width - 1e-4)
        assert not overlap(hair, other)


@relaxed
@given(boxes, boxes, coordinates, coordinates, angles)
def test_overlap_is_symmetric_and_moves_with_the_boxes(
    one: Box, other: Box, x: float, y: float, turn: float
) -> None:
    assert overlap(one, other) == overlap(other, one)
    bigger, smaller = (one._replace(length=one.length * k, width=one.width * k) for k in (1 + 1e-9, 1 - 1e-9))
    assume(overlap(bigger, other) == overlap(smaller, other))  # not where rounding decides
    assert overlap(moved(one, x, y, turn), moved(other, x, y, turn)) == overlap(one, other)
    about = one._replace(heading=one.heading + math.pi)
    assert overlap(about, other) == overlap(one, other)


def test_random_boxes_of_both_kinds_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        one, other = random_box(rng, 4), random_box(rng, 4)
        area = reference.overlap_area(one, other)
        if abs(area) > 1e-4 or area == 0:
            assert overlap(one, other) == (area > 0)
            hits += area > 0
    assert 100 < hits < 300


def test_touching_is_not_overlap() -> None:
    one = Box(0, 0, 0, 0, 4, 2)
    assert not overlap(one, Box(4, 0, 0, 0, 4, 2))
    assert not overlap(one, Box(0, 2, 0, 0, 4, 2))
    assert overlap(one, Box(3.999, 1.999, 0, 0, 4, 2))
    assert overlap(one, one)


def test_a_corner_that_bounding_circles_or_boxes_would_call_a_hit() -> None:
    turned = Box(3.4, 2.6, math.pi / 4, 0, 4, 2)
    assert reference.overlap_area(Box(0, 0, 0, 0, 4, 2), turned) == 0
    assert not overlap(Box(0, 0, 0, 0, 4, 2), turned)


def test_first_overlap_is_the_nearest_of_those_that_touch() -> None:
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(100):
        ego, others = random_box(rng, 1), [random_box(rng, 9) for _ in range(5)]
        hit = [k for k, o in enumerate(others) if reference.overlap_area(ego, o) > AREA]
        want = min(hit, key=lambda k: math.dist(ego[:2], others[k][:2]), default=-1)
        assert first_overlap(*ego[:3], *ego[4:], near(others), len(others)) == want
        assert first_overlap(*ego[:3], *ego[4:], near(others), 0) == -1
        found += want >= 0
    assert 20 < found < 100


@pytest.mark.parametrize(
    ("other", "blameless"),
    [
        (Box(-4.0, 0.5, 0.0, 15.0, 4, 2), True),  # a faster car from behind
        (
            Box(-4.0, 0.5, 0.0, 9.0, 4, 2),
            False,
        ),  # the ego brakes into nobody: it is faster than who is behind it
        (Box(-4.0, 0.5, 0.0, 10.0, 4, 2), False),  # as fast: a swipe
        (Box(4.0, 0.0, 0.0, 5.0, 4, 2), False),  # the ego runs into a slower car
        (Box(4.0, 0.0, 0.0, 15.0, 4, 2), False),  # it is ahead, however fast
        (Box(-0.1, 2.0, 0.0, 15.0, 4, 2), True),  # beside, but behind and faster
    ],
)
@pytest.mark.parametrize("turn", [0.0, 2.0, -3.0])
def test_who_is_hit_from_behind_is_blameless(other: Box, blameless: bool, turn: float) -> None:
    o = moved(other, 30.0, -7.0, turn)
    assert is_hit_from_behind(30.0, -7.0, turn, 10.0, near([o])[0]) == blameless


def test_gap_and_time_to_collision_of_one_leader() -> None:
    ego = (10.0, 5.0, 0.0, 12.0, 4.0, 2.0)
    for ahead, speed, gap, ttc in (
        (30.0, 7.0, 30 - 4.5, 25.5 / 5),
        (30.0, 12.0, 25.5, math.inf),  # neither nears
        (30.0, 20.0, 25.5, math.inf),  # it gets away
        (4.4, 0.0, 0.0, 0.0),  # touching
        (-10.0, 30.0, math.inf, math.inf),  # behind
    ):
        row = near([Box(10.0 + ahead, 5.3, 0.0, speed, 5.0, 2.0)])
        assert gap_and_ttc(*ego, row, 1) == pytest.approx((gap, ttc))
    oncoming = near([Box(50.0, 5.0, math.pi, 8.0, 4.0, 2.0)])
    assert gap_and_ttc(*ego, oncoming, 1) == pytest.approx((36.0, 36.0 / 20))
    beside = near([Box(40.0, 7.1, 0.0, 0.0, 5.0, 2.0)])
    assert gap_and_ttc(*ego, beside, 1) == (math.inf, math.inf)
    assert gap_and_ttc(*ego, near([]), 0) == (math.inf, math.inf)


def test_gap_and_time_to_collision_equal_the_reference_in_any_scene() -> None:
    rng = np.random.default_rng(2)
    followed = 0
    for _ in range(200):
        ego, others = random_box(rng, 5), [random_box(rng, 40) for _ in range(12)]
        gap, closing = reference.gap_ahead(ego, others)
        ttc = math.inf if closing <= 0 and gap > 0 else 0.0 if gap == 0 else gap / closing
        assert gap_and_ttc(*ego, near(others), len(others)) == pytest.approx((gap, ttc))
        followed += 0 < gap < math.inf
    assert followed > 50
