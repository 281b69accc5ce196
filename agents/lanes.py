"""Which lane a car is in, which ones are beside it, and how they go on: read off the lane markings of the site.

All that a driver could see of a road: its markings and where it may not drive. Sideways metres count to the left, from
the car, across the direction of the marking next to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.compiled import compiled
from envs.parallel import for_ranges
from envs.raster import is_off_road
from envs.replay import Replay
from envs.world import World

RIGHT, OWN, LEFT = 0, 1, 2  # the three lanes a car chooses from
NARROWEST, WIDEST = 0.75, 1.6  # times the site's lane width: what is less or more is no lane
ALIGNED = 0.7  # a marking is of the car's road if the cosine between them is larger
SAME = 0.5  # m; markings that are nearer to each other are one
SIGHT = 60.0  # m ahead, over which a lane is followed to see whether it ends ...
STRIDE = 5.0  # ... in steps of this
GORE = 0.1  # m; what is wider and may not be driven on parts two lanes
MARGIN = 20.0  # m beyond what is looked at, within which markings matter


@dataclass(frozen=True)
class Lanes:
    """The lanes around B cars; where there is no lane, offsets are NaN."""

    heading: NDArray[np.float64]  # (B,) of the road at the car, rad
    offset: NDArray[
        np.float64
    ]  # (B, 3) m to the left of the car to the centre of each lane: RIGHT, OWN, LEFT
    end: NDArray[np.float64]  # (B, 3) m until the lane ends, inf if that is out of sight
    target: NDArray[
        np.float64
    ]  # (B, 3, 2) the point of each centre line that was asked for, in the site's frame


class LaneMarkings:
    """The lanes of a replay's sites."""

    def __init__(self, replay: Replay) -> None:
        sites = [recording.site for recording in replay.recordings]
        pieces = [
            np.concatenate(
                [np.concatenate([line[:-1], line[1:]], 1) for line in site.markings] or [np.empty((0, 4))]
            )
            for site in sites
        ]
        self._replay = replay
        self._first = np.cumsum([0, *(len(p) for p in pieces)])
        self._pieces = np.ascontiguousarray(np.concatenate(pieces), np.float64)
        self._width = np.array([site.lane_width for site in sites])

    def around(self, distance: NDArray[np.floating], sight: float = SIGHT) -> Lanes:
        """The lanes around every ego now.

        Args:
            distance: (B,) m, how far ahead `Lanes.target` is.
            sight: m over which lanes are followed to see whether they end.
        """
        replay, num = self._replay, self._replay.num_egos
        out = Lanes(
            heading=np.empty(num),
            offset=np.empty((num, 3)),
            end=np.empty((num, 3)),
            target=np.empty((num, 3, 2)),
        )
        for_ranges(
            _lanes_range, num, replay.threads, replay.world, replay.vehicle, replay.state, self._pieces, self._first,
            self._width, np.ascontiguousarray(distance, np.float64), sight, out.heading, out.offset, out.end,
            out.target,
        )  # fmt: skip
        return out


@compiled
def _around(pieces: NDArray[np.float64], x: float, y: float, reach: float) -> NDArray[np.float64]:
    """The pieces whose bounding boxes come within `reach` metres of a point, in x and in y."""
    out = np.empty_like(pieces)
    num = 0
    for k in range(len(pieces)):
        x1, y1, x2, y2 = pieces[k]
        if (
            min(x1, x2) < x + reach
            and max(x1, x2) > x - reach
            and min(y1, y2) < y + reach
            and max(y1, y2) > y - reach
        ):
            out[num] = pieces[k]
            num += 1
    return out[:num]


@compiled
def _road_heading(pieces: NDArray[np.float64], x: float, y: float, heading: float) -> float:
    """Of the nearest piece of marking that is aligned with a heading; that heading if there is none."""
    best, found = math.inf, heading
    c, s = math.cos(heading), math.sin(heading)
    for k in range(len(pieces)):
        dx, dy = pieces[k, 2] - pieces[k, 0], pieces[k, 3] - pieces[k, 1]
        length = math.hypot(dx, dy)
        along = dx * c + dy * s
        if abs(along) <= ALIGNED * length:
            continue
        t = ((x - pieces[k, 0]) * dx + (y - pieces[k, 1]) * dy) / length**2
        t = min(max(t, 0.0), 1.0)
        distance = math.hypot(pieces[k, 0] + t * dx - x, pieces[k, 1] + t * dy - y)
        if distance < best:
            best, found = distance, math.atan2(math.copysign(dy, dy * along), math.copysign(dx, dx * along))
    return found


@compiled
def _borders(
    pieces: NDArray[np.float64], x: float, y: float, heading: float, out: NDArray[np.float64]
) -> None:
    """Write where the two next markings to the right and to the left are: out = (second, first right, first, second
    left), metres to the left; NaN where there is none."""
    out[:] = math.nan
    c, s = math.cos(heading), math.sin(heading)
    for k in range(len(pieces)):
        dx, dy = pieces[k, 2] - pieces[k, 0], pieces[k, 3] - pieces[k, 1]
        along = dx * c + dy * s
        if abs(along) <= ALIGNED * math.hypot(dx, dy):
            continue
        t = ((x - pieces[k, 0]) * c + (y - pieces[k, 1]) * s) / along
        if t < 0 or t > 1:
            continue
        left = (pieces[k, 1] + t * dy - y) * c - (pieces[k, 0] + t * dx - x) * s
        first, second = (2, 3) if left > 0 else (1, 0)
        if math.isnan(out[first]) or abs(left) < abs(out[first]):
            if not math.isnan(out[first]) and abs(left - out[first]) > SAME:
                out[second] = out[first]
            out[first] = left
        elif abs(left - out[first]) > SAME and (math.isnan(out[second]) or abs(left) < abs(out[second])):
            out[second] = left


@compiled
def _centre(border: NDArray[np.float64], lane: int, lane_width: float) -> float:
    """Metres to the left to a lane's centre, NaN if it is none; of the car's own, if one border is missing or far, from
    the other."""
    right, left = border[lane], border[lane + 1]
    width = left - right  # NaN if either is missing
    if NARROWEST * lane_width <= width <= WIDEST * lane_width:
        return (left + right) / 2
    if lane == OWN and not width < NARROWEST * lane_width:
        if left < lane_width:
            return left - lane_width / 2
        if right > -lane_width:
            return right + lane_width / 2
        return 0.0
    return math.nan


@compiled
def _follow(
    world: World,
    site: int,
    pieces: NDArray[np.float64],
    x: float,
    y: float,
    heading: float,
    distance: float,
    sight: float,
    lane_width: float,
    target: NDArray[np.float64],
) -> float:
    """Follow a lane from a point of its centre: write the point `distance` ahead, return the metres to its end."""
    border = np.empty(4)
    far, end = max(distance, sight), math.inf
    gone, aimed = 0.0, False
    while gone < far:
        stride = min(STRIDE, distance - gone) if not aimed and distance - gone < STRIDE else STRIDE
        x, y, gone = x + stride * math.cos(heading), y + stride * math.sin(heading), gone + stride
        heading = _road_heading(pieces, x, y, heading)
        _borders(pieces, x, y, heading, border)
        centre = _centre(border, OWN, lane_width)
        if end == math.inf and (math.isnan(centre) or is_off_road(world, site, x, y)):
            end = gone
        if not math.isnan(centre):
            x, y = x - centre * math.sin(heading), y + centre * math.cos(heading)
        if not aimed and gone >= distance:
            target[0], target[1] = x, y
            aimed = True
    return end if end <= sight else math.inf


@compiled
def _is_open(world: World, site: int, x: float, y: float, to_x: float, to_y: float) -> bool:
    """Whether a car may drive on all of the way from a point to another; not where a gore is between two lanes."""
    if math.isnan(to_x):
        return False
    num = math.ceil(math.hypot(to_x - x, to_y - y) / GORE)
    for k in range(num + 1):
        w = k / max(num, 1)
        if is_off_road(world, site, x + w * (to_x - x), y + w * (to_y - y)):
            return False
    return True


@compiled
def _lanes_range(
    world: World,
    vehicle: NDArray[np.int64],
    state: NDArray[np.float64],
    all_pieces: NDArray[np.float64],
    first: NDArray[np.int64],
    lane_width: NDArray[np.float64],
    distance: NDArray[np.float64],
    sight: float,
    heading: NDArray[np.float64],
    offset: NDArray[np.float64],
    end: NDArray[np.float64],
    target: NDArray[np.float64],
    begin: int,
    stop: int,
) -> None:
    border = np.empty(4)
    for b in range(begin, stop):
        recording = world.recording[vehicle[b]]
        site, width = world.site[recording], lane_width[recording]
        x, y = state[b, 0], state[b, 1]
        pieces = _around(
            all_pieces[first[recording] : first[recording + 1]], x, y, max(distance[b], sight) + MARGIN
        )
        heading[b] = _road_heading(pieces, x, y, state[b, 2])
        c, s = math.cos(heading[b]), math.sin(heading[b])
        _borders(pieces, x, y, heading[b], border)
        for lane in range(3):
            centre = _centre(border, lane, width)
            lane_x, lane_y = x - centre * s, y + centre * c
            if lane != OWN and not _is_open(world, site, x, y, lane_x, lane_y):
                centre = math.nan
            offset[b, lane], end[b, lane] = centre, 0.0
            target[b, lane] = math.nan
            if lane == OWN and math.isnan(centre):  # squeezed: straight on along the road
                lane_x, lane_y = x, y
                target[b, lane, 0], target[b, lane, 1] = x + distance[b] * c, y + distance[b] * s
            elif not math.isnan(centre):
                end[b, lane] = _follow(
                    world,
                    site,
                    pieces,
                    lane_x,
                    lane_y,
                    heading[b],
                    distance[b],
                    sight,
                    width,
                    target[b, lane],
                )
