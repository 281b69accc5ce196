"""The raster of a site against exact geometry."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from envs.site import MARGIN, MARKING_HALF_WIDTH, Site
from envs.sites import i80, us101
from tests import reference
from tests.toys import straight_site


def bent_site() -> Site:
    """A bent road, a crossing marking, a concave area, one that overlaps it, and one apart, turning either way."""
    concave = np.array([[0.0, 0], [60, 0], [60, 20], [40, 20], [40, 8], [20, 8], [20, 20], [0, 20]])
    return Site(
        name="bent",
        length=80.0,
        markings=(
            np.array([[0.0, 0], [20, 1], [35, 6.5], [50, 17]]),
            np.array([[10.0, 18], [12, -3]]),
            np.array([[30.0, 10], [30, 10]]),
        ),
        drivable=(
            concave,
            np.array([[50.0, -5], [50, 10], [75, 10], [75, -5]]),
            np.array([[5.0, 30], [9, 30], [7, 35]]),
        ),
    )


@pytest.mark.parametrize("site", [bent_site(), straight_site(), i80(), us101()], ids=lambda s: s.name)
def test_raster_is_the_distance_to_markings_and_the_area_of_polygons(site: Site) -> None:
    raster, rng = site.raster, np.random.default_rng(1)
    corners = np.concatenate([*site.markings, *site.drivable])
    near = corners[rng.integers(len(corners), size=100)] + rng.normal(0, 3, (100, 2))
    between = rng.uniform(corners.min(0), corners.max(0), (100, 2))
    for p in np.concatenate([near, between]):
        i, j = int((p[0] - raster.x0) * raster.per_m_x), int((p[1] - raster.y0) * raster.per_m_y)
        centre = (raster.x0 + (i + 0.5) / raster.per_m_x, raster.y0 + (j + 0.5) / raster.per_m_y)
        lane = 255 * max(0.0, 1 - reference.distance_to_marking(site, centre) / MARKING_HALF_WIDTH)
        assert abs(raster.cells[i, j, 0] - lane) <= 0.5 + 1e-6
        edges = [np.concatenate([polygon, polygon[:1]]) for polygon in site.drivable]
        outline = Site(name="outline", length=1, markings=tuple(edges), drivable=())
        if reference.distance_to_marking(outline, centre) > 1e-6:
            assert raster.cells[i, j, 1] == (0 if reference.is_drivable(site, centre) else 255)


def test_sampling_reads_the_cell_around_a_point_and_off_road_beyond_the_grid() -> None:
    raster, rng = bent_site().raster, np.random.default_rng(2)
    points = rng.uniform(-40, 120, (2000, 2))
    expected = [reference.raster_at(raster, x, y) for x, y in points]
    np.testing.assert_array_equal(raster.sample(points[:, 0], points[:, 1]), expected)
    assert raster.sample(np.array(1e6), np.array(0.0)).tolist() == [0, 255]
    assert raster.sample(np.array([np.nan, np.inf]), np.zeros(2)).tolist() == [[0, 255]] * 2


def test_grid_reaches_past_everything_drawn() -> None:
    raster = bent_site().raster
    low = np.array([raster.x0, raster.y0])
    high = low + np.array(raster.cells.shape[:2]) / (raster.per_m_x, raster.per_m_y)
    np.testing.assert_allclose(low, [0 - MARGIN, -5 - MARGIN])
    assert (high >= np.array([75 + MARGIN, 35 + MARGIN])).all()


def test_a_site_without_geometry_is_off_road_everywhere() -> None:
    raster = Site(name="nothing", length=10.0, markings=(), drivable=()).raster
    assert (raster.cells == (0, 255)).all()


@pytest.mark.parametrize(
    "site", [bent_site(), straight_site(start=-math.inf, goal=math.inf), i80()], ids=lambda s: s.name
)
def test_round_trip_through_json(site: Site) -> None:
    data = json.loads(json.dumps(site.to_dict(), allow_nan=False))
    again = Site.from_dict(data)
    assert again.to_dict() == site.to_dict()
    assert (again.start, again.goal) == (site.start, site.goal)
    assert (again.raster.cells == site.raster.cells).all()


@pytest.mark.parametrize(
    "change",
    [
        {"length": 0.0},
        {"length": math.nan},
        {"length": math.inf},
        {"lane_width": -1.0},
        {"lane_width": math.inf},
        {"start": math.nan},
        {"goal": math.nan},
        {"start": 20.0, "goal": 20.0},
        {"start": math.inf},
        {"goal": -math.inf},
        {"markings": (np.array([[0.0, 0.0]]),)},
        {"markings": (np.array([[0.0, 0.0, 0.0]] * 2),)},
        {"markings": (np.array([[0.0, 0.0], [1.0, math.nan]]),)},
        {"drivable": (np.array([[0.0, 0.0], [1.0, 1.0]]),)},
        {"drivable": (np.array([[0.0, 0.0], [1.0, math.inf], [1.0, 0.0]]),)},
    ],
    ids=str,
)
def test_impossible_sites_are_refused(change: dict[str, object]) -> None:
    fine: dict[str, object] = {"name": "x", "length": 10.0, "markings": (), "drivable": ()}
    Site(**fine)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="site x"):
        Site(**{**fine, **change})  # type: ignore[arg-type]


def test_an_area_too_large_to_draw_is_refused_before_the_memory_is_gone() -> None:
    far = np.array([[0.0, 0.0], [1e6, 1e6]])
    with pytest.raises(ValueError, match="site far"):
        Site(name="far", length=1.0, markings=(far,), drivable=())
