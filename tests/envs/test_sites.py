"""The named sites: what is drawn is where their traffic drives."""

from __future__ import annotations

import numpy as np
import pytest

from envs.errors import InputError
from envs.sites import I80, LAYOUTS, SITES, US101, Layout, layout, site

LAYOUT = pytest.mark.parametrize("where", LAYOUTS.values(), ids=list(LAYOUTS))


def on_road(where: Layout, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return where.site().raster.sample(x, y)[..., 1] == 0


def lane_value(where: Layout, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return where.site().raster.sample(x, y)[..., 0]


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    for lookup in (site, layout):
        with pytest.raises(InputError, match=r"unknown site 'a1'.*i80, us101"):
            lookup("a1")


def test_registry_names_its_sites() -> None:
    assert {name: make().name for name, make in SITES.items()} == {name: name for name in LAYOUTS}


def test_i80_is_the_road_of_the_paper() -> None:
    drawn = site("i80")
    assert (drawn.length, drawn.start, drawn.goal) == (503.0, 108.0, 323.0)
    assert drawn.lane_width == pytest.approx(12 * 0.3048, abs=1e-3)


@LAYOUT
def test_through_lanes_are_drivable_and_marked_from_end_to_end(where: Layout) -> None:
    x = np.linspace(0, where.length, 400)
    for k in range(where.lanes):
        centre = np.full_like(x, -(k + 0.5) * where.lane_width)
        assert on_road(where, x, centre).all()
        assert (lane_value(where, x, centre) == 0).all()
        assert (lane_value(where, x, np.full_like(x, -k * where.lane_width)) > 200).all()
    assert not on_road(where, x, np.full_like(x, 0.5)).any()


@LAYOUT
def test_view_at_either_end_sees_road(where: Layout) -> None:
    x = np.array([-40.0, where.length + 40.0])
    assert on_road(where, x, np.full(2, -1.8)).all()


@LAYOUT
def test_side_lane_is_drawn_where_it_is_driven(where: Layout) -> None:
    first, last = where.side.span()
    x = np.arange(first, min(last, where.side.taper_start), 1.0)
    straight = where.right_edge - where.lane_width / 2
    middle = where.place(x, np.full_like(x, straight))
    assert on_road(where, x, middle).all()
    assert not on_road(where, x, where.drivable_right(x) - 0.3).any()
    assert (lane_value(where, x, where.drivable_right(x)) > 200).all()


@LAYOUT
def test_gore_is_off_the_road(where: Layout) -> None:
    x = where.side.entry_nose - 90.0
    gap = float(where.side.ramp_offset(x))
    assert gap > 2
    assert not on_road(where, np.array([x]), np.array([where.right_edge - gap / 2])).any()


def test_off_ramp_parts_from_the_road_after_its_nose() -> None:
    assert US101.side.exit_nose is not None
    x = np.array([US101.side.exit_nose - 1, US101.side.exit_nose + 70])
    assert US101.side.ramp_offset(x)[0] == 0
    between = US101.right_edge - US101.side.ramp_offset(x)[1] / 2
    assert not on_road(US101, x[1:], np.array([between])).any()


def test_taper_closes_i80s_side_lane() -> None:
    after = np.array([I80.side.taper_end + 1.0])
    assert I80.side.width(after, I80.lane_width)[0] == 0
    assert not on_road(I80, after, np.array([I80.right_edge - 0.3])).any()


@LAYOUT
def test_lanes_bend_without_a_step(where: Layout) -> None:
    """A car that drives straight on in the side lane, or drifts out of it beside the road, never jumps."""
    first, last = where.side.span()
    x = np.arange(first, last, 0.1)
    for across in (0.3, 1.8, 3.4):
        y = where.place(x, np.full_like(x, where.right_edge - across))
        assert np.abs(np.diff(y)).max() < 0.1 * max(where.side.ramp_slope, 0.05) + 1e-9
    lane_y = np.linspace(where.right_edge + 1, where.right_edge - 3, 400)
    y = where.place(np.full_like(lane_y, where.side.entry_nose + 1), lane_y)
    assert np.abs(np.diff(y) - np.diff(lane_y)).max() < 1e-9


def test_through_lanes_stay_straight() -> None:
    x = np.linspace(0, 500, 50)
    np.testing.assert_array_equal(I80.place(x, np.full_like(x, -5.0)), np.full_like(x, -5.0))
