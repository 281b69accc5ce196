"""A stretch of road seen from above: its markings, its drivable area, and the raster the renderer reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.units import View

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Site:
    """A road segment in its own frame: x along the road, y to the left, metres.

    Args:
        name: a word, e.g. "i80".
        length: observed metres; vehicles are recorded for x in [0, length].
        markings: polylines (n, 2) of lane markings and road edges.
        drivable: polygons (n, 2); their union is the area a car may be on.
        start: x at which a scored car is taken over (-inf: where its recording begins).
        goal: x it has to reach (inf: it has to last until its recording ends).
        lane_width: metres.
    """

    name: str
    length: float
    markings: tuple[Points, ...]
    drivable: tuple[Points, ...]
    start: float = -np.inf
    goal: float = np.inf
    lane_width: float = 3.658

    def __post_init__(self) -> None:
        if not 0 < self.length < np.inf or not 0 < self.lane_width < np.inf:
            raise ValueError(f"site {self.name}: length and lane_width must be positive and finite")
        if not self.start < self.goal:
            raise ValueError(f"site {self.name}: start={self.start} must be before goal={self.goal}")
        for lines, least, what in ((self.markings, 2, "markings"), (self.drivable, 3, "drivable")):
            for line in lines:
                if line.ndim != 2 or line.shape[1] != 2 or len(line) < least or not np.isfinite(line).all():
                    raise ValueError(f"site {self.name}: {what} need (n >= {least}, 2) finite points each")
        nx, ny = self.grid[1]
        if nx * ny > MAX_CELLS:
            raise ValueError(
                f"site {self.name}: {nx} by {ny} cells are too many to draw; are its units metres?"
            )

    @property
    def grid(self) -> tuple[Points, tuple[int, int]]:
        """Of the raster: its corner (x0, y0), and how many cells it has in x and in y."""
        points = np.concatenate([*self.markings, *self.drivable] or [np.zeros((1, 2))])
        low, high = points.min(0) - MARGIN, points.max(0) + MARGIN
        nx, ny = np.ceil((high - low) * (CELLS_PER_M_X, CELLS_PER_M_Y))
        return low, (int(nx), int(ny))

    @cached_property
    def raster(self) -> SiteRaster:
        """The static channels of this site, drawn once."""
        return rasterise(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON; infinities as None."""
        return {
            "name": self.name,
            "length": self.length,
            "markings": [line.tolist() for line in self.markings],
            "drivable": [line.tolist() for line in self.drivable],
            "start": self.start if np.isfinite(self.start) else None,
            "goal": self.goal if np.isfinite(self.goal) else None,
            "lane_width": self.lane_width,
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Site:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        return Site(
            name=str(data["name"]),
            length=float(data["length"]),
            markings=tuple(np.asarray(line, dtype=np.float64) for line in data["markings"]),
            drivable=tuple(np.asarray(line, dtype=np.float64) for line in data["drivable"]),
            start=-np.inf if data["start"] is None else float(data["start"]),
            goal=np.inf if data["goal"] is None else float(data["goal"]),
            lane_width=float(data["lane_width"]),
        )


@dataclass(frozen=True, eq=False)
class SiteRaster:
    """Lane (channel 0) and off-road (channel 1) intensities on a grid finer than the view's pixels.

    cells: uint8 (X, Y, 2); cell (i, j) covers x0 + [i, i + 1) / per_m_x, y0 + [j, j + 1) / per_m_y. Outside the grid
    there is no lane and all is off-road.
    """

    cells: NDArray[np.uint8]
    x0: float
    y0: float
    per_m_x: float
    per_m_y: float

    def sample(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Both channels at points (...,): uint8 (..., 2)."""
        i = np.floor(np.asarray(x) * self.per_m_x - self.x0 * self.per_m_x)
        j = np.floor(np.asarray(y) * self.per_m_y - self.y0 * self.per_m_y)
        inside = (i >= 0) & (i < self.cells.shape[0]) & (j >= 0) & (j < self.cells.shape[1])
        out = np.empty((*i.shape, 2), np.uint8)
        out[...] = (0, 255)
        out[inside] = self.cells[i[inside].astype(int), j[inside].astype(int)]
        return out


CELLS_PER_M_X = 2.0  # along the road markings hardly change
CELLS_PER_M_Y = 8.0  # across it a marking's place counts
MARGIN = 10.0  # m of grid around what is drawn; beyond it all is off-road anyway
MAX_CELLS = 2**26  # 2 km by 2 km; a larger area is an error in the data, and would be paid for in memory
MARKING_HALF_WIDTH = 1 / View().px_per_m  # m; a marking fades linearly to 0 at one pixel from its line


def rasterise(site: Site) -> SiteRaster:
    """Draw the static channels, read at the cells' centres.

    A marking is 255 * max(0, 1 - distance / MARKING_HALF_WIDTH), off-road is 0 or 255.
    """
    low, (nx, ny) = site.grid
    x = low[0] + (np.arange(nx) + 0.5) / CELLS_PER_M_X
    y = low[1] + (np.arange(ny) + 0.5) / CELLS_PER_M_Y
    lane = np.zeros((nx, ny), np.float32)
    for line in site.markings:
        for a, b in pairwise(line):
            _draw_segment(lane, x, y, a, b)
    off_road = np.full((nx, ny), 255, np.uint8)
    for polygon in site.drivable:
        _clear_polygon(off_road, x, y, polygon)
    cells = np.stack([np.round(255 * lane).astype(np.uint8), off_road], -1)
    return SiteRaster(np.ascontiguousarray(cells), float(low[0]), float(low[1]), CELLS_PER_M_X, CELLS_PER_M_Y)


def _draw_segment(lane: NDArray[np.float32], x: Points, y: Points, a: Points, b: Points) -> None:
    """Raise `lane` to the triangular profile around the segment from a to b."""
    reach = MARKING_HALF_WIDTH
    i0, i1 = np.searchsorted(x, [min(a[0], b[0]) - reach, max(a[0], b[0]) + reach])
    j0, j1 = np.searchsorted(y, [min(a[1], b[1]) - reach, max(a[1], b[1]) + reach])
    gx, gy = x[i0:i1, None] - a[0], y[None, j0:j1] - a[1]
    along = b - a
    t = np.clip((gx * along[0] + gy * along[1]) / max(along @ along, 1e-12), 0.0, 1.0)
    distance = np.hypot(gx - t * along[0], gy - t * along[1])
    patch = lane[i0:i1, j0:j1]
    np.maximum(patch, np.clip(1 - distance / reach, 0.0, 1.0), out=patch)


def _clear_polygon(off_road: NDArray[np.uint8], x: Points, y: Points, polygon: Points) -> None:
    """Set the cells whose centres are inside the polygon (even-odd rule) to 0."""
    inside = np.zeros(off_road.shape, bool)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        rows = (x >= min(a[0], b[0])) & (x < max(a[0], b[0]))
        if rows.any():
            crossing = a[1] + (x[rows] - a[0]) * (b[1] - a[1]) / (b[0] - a[0])
            inside[rows] ^= y[None, :] > crossing[:, None]
    off_road[inside] = 0
