"""The two motorway sites headway knows by name, as numbers from which their drawing and their traffic both follow.

Site frame: x along the road, y to the left, y = 0 on the left edge of lane 1; lanes count from the left, as NGSIM's do.
The lane beside the through lanes (`SideLane`) is where ramps join and leave: it begins at a gore or runs up to one.

Sources: lane width, gores and ramp courses from the survey of NGSIM's sites (boundaries and centre lines of I-80 and
US-101 published with NGSIM.jl, MIT); start and goal of I-80 from the evaluation of Henaff, Canziani, LeCun,
arXiv:1901.02705.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.errors import InputError
from envs.site import Site

LANE_WIDTH = 3.658  # m, 12 feet
DRAWN_BEYOND = 60.0  # m of road drawn before x = 0 and after x = length, so that no view ends at a wall
POINT_SPACING = 4.0  # m between the points of a drawn curve


@dataclass(frozen=True, kw_only=True)
class SideLane:
    """The lane right of the through lanes, with the ramps at its ends.

    Before `entry_nose` it is an on-ramp and after `exit_nose` an off-ramp, each parting from the road along a circle
    until it has its final angle. Without an off-ramp the lane ends: cars leave it before `merge_end`, and its paved
    width shrinks linearly from `taper_start` to nothing at `taper_end`.

    Args:
        ramp_radius: m, of the circle on which a ramp bends away.
        ramp_slope: sideways metres per metre along the road, where the bend ends.
        ramp_shown: metres of each ramp within the recording, from its nose.
    """

    entry_nose: float
    exit_nose: float | None = None
    merge_end: float | None = None
    taper_start: float = np.inf
    taper_end: float = np.inf
    ramp_radius: float = 800.0
    ramp_slope: float = 0.043
    ramp_shown: float = 100.0

    def ramp_offset(self, x: ArrayLike) -> NDArray[np.float64]:
        """Metres by which the side lane is parted from the road at x; 0 between the noses."""
        x = np.asarray(x, np.float64)
        away = np.maximum(self.entry_nose - x, 0.0)
        if self.exit_nose is not None:
            away = np.maximum(away, x - self.exit_nose)
        bend = self.ramp_radius * self.ramp_slope
        return np.where(away < bend, away**2 / (2 * self.ramp_radius), self.ramp_slope * (away - bend / 2))

    def width(self, x: ArrayLike, lane_width: float) -> NDArray[np.float64]:
        """Paved metres at x: lane_width, shrinking to 0 in a taper."""
        x = np.asarray(x, np.float64)
        if not np.isfinite(self.taper_end):
            return np.full(x.shape, lane_width)
        return lane_width * np.clip((self.taper_end - x) / (self.taper_end - self.taper_start), 0.0, 1.0)

    def span(self) -> tuple[float, float]:
        """First and last x at which a car may be recorded in the side lane."""
        last = self.exit_nose + self.ramp_shown if self.exit_nose is not None else self.taper_end
        return self.entry_nose - self.ramp_shown, last


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A motorway site in a dozen numbers; `site` draws it and `envs.traffic` drives on it.

    Args:
        length: observed metres.
        lanes: through lanes.
        carpool_lane: lane 1 is for high-occupancy vehicles, who pass the queue in it.
        start, goal: where a scored car is taken over and where it has to arrive, m.
    """

    name: str
    length: float
    lanes: int
    side: SideLane
    start: float
    goal: float
    carpool_lane: bool = False
    lane_width: float = LANE_WIDTH

    @property
    def right_edge(self) -> float:
        """y of the right edge of the through lanes."""
        return -self.lanes * self.lane_width

    def drivable_right(self, x: ArrayLike) -> NDArray[np.float64]:
        """y of the right edge of what a car in the side lane (if there is one at x) may drive on."""
        x = np.asarray(x, np.float64)
        return self.right_edge - self.side.ramp_offset(x) - self.side.width(x, self.lane_width)

    def place(self, x: ArrayLike, lane_y: ArrayLike) -> NDArray[np.float64]:
        """y in the site frame of a point in straight lanes: the side lane, straight there, bends with its ramps and
        narrows with its taper. Continuous in x and in lane_y between the noses."""
        lane_y = np.asarray(lane_y, np.float64)
        beyond = np.maximum(self.right_edge - lane_y, 0.0)  # metres into the side lane
        squeezed = beyond * self.side.width(x, self.lane_width) / self.lane_width
        bent = np.where(beyond > 0, self.side.ramp_offset(x), 0.0)
        return np.maximum(lane_y, self.right_edge) - squeezed - bent

    def site(self) -> Site:
        """Draw it."""
        begin, end = -DRAWN_BEYOND, self.length + DRAWN_BEYOND
        first, last = self.side.span()
        first, last = max(first - DRAWN_BEYOND, begin), last + (DRAWN_BEYOND if self.side.exit_nose else 0.0)
        x = np.append(np.arange(first, last, POINT_SPACING), last)
        gap = self.side.ramp_offset(x)
        inner, outer = self.right_edge - gap, self.drivable_right(x)
        lines = [
            np.array([[begin, -k * self.lane_width], [end, -k * self.lane_width]])
            for k in range(self.lanes + 1)
        ]
        parted = [x < self.side.entry_nose]
        if self.side.exit_nose is not None:
            parted.append(x > self.side.exit_nose)
        markings = (*lines, np.stack([x, outer], 1), *(np.stack([x, inner], 1)[part] for part in parted))
        through = np.array([[begin, 0.0], [end, 0.0], [end, self.right_edge], [begin, self.right_edge]])
        beside = np.concatenate([np.stack([x, inner], 1), np.stack([x, outer], 1)[::-1]])
        return Site(
            name=self.name,
            length=self.length,
            markings=markings,
            drivable=(through, beside),
            start=self.start,
            goal=self.goal,
            lane_width=self.lane_width,
        )


I80 = Layout(
    name="i80",
    length=503.0,
    lanes=6,
    side=SideLane(entry_nose=150.0, merge_end=300.0, taper_start=240.0, taper_end=384.0),
    start=108.0,
    goal=323.0,
    carpool_lane=True,
)
US101 = Layout(
    name="us101",
    length=640.0,
    lanes=5,
    side=SideLane(entry_nose=176.0, exit_nose=389.0, ramp_slope=0.15, ramp_shown=70.0),
    start=108.0,
    goal=540.0,
)
LAYOUTS = {layout.name: layout for layout in (I80, US101)}


def i80() -> Site:
    """Interstate 80 at Emeryville: six lanes, the leftmost for carpools, and an on-ramp that tapers out."""
    return I80.site()


def us101() -> Site:
    """US-101 in Los Angeles: five lanes and an auxiliary lane between an on-ramp and an off-ramp."""
    return US101.site()


SITES = {"i80": i80, "us101": us101}


def layout(name: str) -> Layout:
    """The layout of that name. Raises InputError for an unknown one."""
    if name not in LAYOUTS:
        raise InputError(f"unknown site {name!r}; known sites: {', '.join(sorted(LAYOUTS))}")
    return LAYOUTS[name]


def site(name: str) -> Site:
    """The site of that name. Raises InputError for an unknown one."""
    return layout(name).site()
