"""From SUMO's tracks to what a camera over the road would have recorded: box centres in the site frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.sites import Layout
from envs.traffic.drivers import Vehicle
from envs.traffic.path import smooth_path, steering_distance
from envs.traffic.simulate import Tracks
from envs.traffic.wander import limit, room, wander

ROUNDS = (
    4  # of looking at neighbours: the first lets drivers wander, the others part those who came too close
)
MARGIN = 60.0  # m before and after the site over which paths are smoothed too
EDGE_CLEAR = 0.1  # m kept from the road's edges before the last smoothing

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
    """Bend the side lane, let drivers wander but keep apart, and keep what is within the observed road."""
    tracks, length, width, kind = _near(tracks, vehicles, layout)
    if len(tracks.x) == 0:
        return Rows(tracks.vehicle, tracks.frame, tracks.x, tracks.y, length, width, kind)
    x = tracks.x - length / 2  # SUMO locates front bumpers
    begins = np.flatnonzero(np.diff(tracks.vehicle, prepend=-1))
    offsets = np.append(begins, len(x))
    spread = steering_distance(length[begins]) / np.sqrt(2)  # smoothed twice
    lane_y = smooth_path(x, tracks.y, offsets, spread)
    aside = lane_y < layout.right_edge
    apart = layout.side.ramp_offset(x)
    beside = aside | (apart == 0)
    edge = np.maximum(layout.drivable_right(x - length / 2), layout.drivable_right(x + length / 2))
    right = np.where(beside, edge, layout.right_edge)
    left = np.where(aside & (apart > 0), layout.right_edge - apart, 0.0)
    lowest, highest = right + EDGE_CLEAR + width / 2, left - EDGE_CLEAR - width / 2
    y = np.clip(layout.place(x, lane_y), lowest, highest)
    distance = x - np.repeat(x[begins], np.diff(offsets))
    offset = wander(distance, offsets, generator)
    frames = tracks.frame - tracks.frame.min()
    by_frame = np.lexsort((x, frames))
    frame_offsets = np.concatenate([[0], np.cumsum(np.bincount(frames))])
    for _ in range(ROUNDS):
        to_left, to_right = room(x, y, length, width, lowest, highest, by_frame, frame_offsets)
        y = np.clip(y + limit(offset, distance, to_left, to_right, offsets), lowest, highest)
        offset = np.zeros_like(y)  # wander once; then only make way
    y = smooth_path(x, y, offsets, spread)
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


def _near(
    tracks: Tracks, vehicles: list[Vehicle], layout: Layout
) -> tuple[Tracks, Floats, Floats, NDArray[np.int64]]:
    """The rows on and shortly before and after the site, with each row's length, width and class."""
    near = (tracks.x > -MARGIN) & (tracks.x < layout.length + MARGIN)
    rows = Tracks(tracks.vehicle[near], tracks.frame[near], tracks.x[near], tracks.y[near])
    index = rows.vehicle - 1  # ids count from 1 in the order of `vehicles`
    length = np.array([v.length for v in vehicles])[index]
    width = np.array([v.width for v in vehicles])[index]
    return rows, length, width, np.array([v.kind for v in vehicles])[index]
