"""From SUMO's tracks to what a camera over the road would have recorded: box centres in the site frame."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from envs.compiled import compiled
from envs.sites import Layout
from envs.traffic.config import DT
from envs.traffic.drivers import Vehicle
from envs.traffic.simulate import Tracks
from envs.traffic.wander import limit, room, wander

STEERING_TIME = 0.5  # s; lateral motion is smoothed over it, since SUMO starts and stops it within a step
LARGEST_SLOPE = 0.25  # sideways metres per metre forwards, at most
SHUFFLE = 0.4  # m/s sideways at a standstill; below `envs.recording.MIN_HEADING_SPEED`, so that no heading turns by it

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """N rows sorted by (vehicle, frame), ready for `Recording.from_tracks`; positions are box centres."""

    vehicle_id: NDArray[np.int64]
    frame: NDArray[np.int64]
    x: Floats
    y: Floats
    length: Floats
    width: Floats
    kind: NDArray[np.int64]


def observe(tracks: Tracks, vehicles: list[Vehicle], layout: Layout, generator: np.random.Generator) -> Rows:
    """Smooth, let drivers wander, bend the side lane, and keep what is within the observed road."""
    length, width, kind = _sizes(tracks, vehicles)
    x = tracks.x - length / 2  # SUMO locates front bumpers
    begins = np.flatnonzero(np.diff(tracks.vehicle, prepend=-1))
    offsets = np.append(begins, len(x))
    lane_y = np.empty_like(x)
    for begin, end in pairwise(offsets):
        smooth = gaussian_filter1d(tracks.y[begin:end], STEERING_TIME / DT, mode="nearest")
        lane_y[begin:end] = steerable(x[begin:end], smooth)
    lane_y += _wander(tracks, x, lane_y, length, width, offsets, layout, generator)
    aside = lane_y < layout.right_edge
    beside = aside | (layout.side.ramp_offset(x) == 0)
    right = np.where(beside, layout.drivable_right(x + length / 2), layout.right_edge)
    y = np.clip(
        layout.place(x, lane_y), right + width / 2, -width / 2
    )  # a taper leaves less room than SUMO's lane
    first, last = layout.side.span()
    seen = (x >= 0) & (x <= layout.length) & (~aside | ((x >= first) & (x <= last)))
    return Rows(
        vehicle_id=tracks.vehicle[seen],
        frame=tracks.frame[seen],
        x=x[seen],
        y=y[seen],
        length=length[seen],
        width=width[seen],
        kind=kind[seen],
    )


@compiled
def steerable(x: Floats, y: Floats) -> Floats:
    """y of a track, held back where it moves sideways faster than LARGEST_SLOPE times forwards: SUMO lets cars that
    hardly move slide across at full lateral speed; here they shuffle slowly until they drive on."""
    out = y.copy()
    for i in range(1, len(x)):
        forwards = x[i] - x[i - 1]
        reach = max(LARGEST_SLOPE * forwards, SHUFFLE * DT - 0.8 * forwards)
        out[i] = out[i - 1] + min(max(y[i] - out[i - 1], -reach), reach)
    return out


def _sizes(tracks: Tracks, vehicles: list[Vehicle]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Length, width and class of each row's vehicle; ids count from 1 in the order of `vehicles`."""
    index = tracks.vehicle - 1
    length = np.array([v.length for v in vehicles])[index]
    width = np.array([v.width for v in vehicles])[index]
    return length, width, np.array([v.kind for v in vehicles])[index]


def _wander(
    tracks: Tracks,
    x: Floats,
    lane_y: Floats,
    length: Floats,
    width: Floats,
    offsets: NDArray[np.int64],
    layout: Layout,
    generator: np.random.Generator,
) -> Floats:
    """Each row's offset to the left, within the room that neighbours, lane edges and tapers leave."""
    distance = x - np.repeat(x[offsets[:-1]], np.diff(offsets))
    frames = tracks.frame - tracks.frame.min()
    by_frame = np.argsort(frames, kind="stable")
    frame_offsets = np.concatenate([[0], np.cumsum(np.bincount(frames))])
    aside = lane_y < layout.right_edge
    narrowing = np.maximum(layout.side.width(x + length / 2, layout.lane_width) / layout.lane_width, 0.2)
    side_edge = layout.lane_width - width / 2 * (
        1 / narrowing - 1
    )  # a squeezed lane leaves less room in straight lanes
    right = layout.right_edge - np.where(aside, side_edge, 0.0)
    to_left, to_right = room(x, lane_y, length, width, np.zeros_like(x), right, by_frame, frame_offsets)
    return limit(wander(distance, offsets, generator), distance, to_left, to_right, offsets)
