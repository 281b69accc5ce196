"""Recordings laid end to end in flat arrays that compiled code can walk through."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs import kinematics
from envs.compiled import compiled
from envs.errors import InputError
from envs.recording import Recording
from envs.site import Site

MAX_COORDINATE = 2.0**14  # m; up to here positions in single precision are true to a millimetre


class World(NamedTuple):
    """R recordings on S sites, with F frames, N rows and V vehicles in all; frames and vehicles are numbered through.

    A recording's frames are contiguous, and so are its vehicles, in the order given.
    """

    frame_offsets: NDArray[np.int64]  # (F + 1,): rows of frame f
    vehicle: NDArray[np.int32]  # (N,)
    state: NDArray[np.float32]  # (N, 4): x, y, heading, speed
    action: NDArray[
        np.float32
    ]  # (N, 2): acceleration, curvature towards the next row; 0 in a track's last row
    size: NDArray[np.float32]  # (V, 2): length, width
    first_frame: NDArray[np.int64]  # (V,)
    last_frame: NDArray[np.int64]  # (V,), inclusive
    track_offsets: NDArray[np.int64]  # (V + 1,)
    track_rows: NDArray[np.int64]  # (N,): rows by (vehicle, frame)
    recording: NDArray[np.int32]  # (V,)
    end_frame: NDArray[np.int64]  # (R,): last frame of each recording, inclusive
    site: NDArray[np.int32]  # (R,)
    start: NDArray[np.float64]  # (S,): x where a scored car is taken over
    goal: NDArray[np.float64]  # (S,): x it has to reach
    raster_cells: NDArray[np.uint16]  # all sites' cells, flat: lane + 256 * off-road
    raster_offset: NDArray[np.int64]  # (S,): where a site's cells begin
    raster_shape: NDArray[np.int64]  # (S, 2)
    raster_frame: NDArray[np.float64]  # (S, 4): x0 * per_m_x, y0 * per_m_y, per_m_x, per_m_y
    dt: float

    def row(self, vehicle: NDArray[np.integer], frame: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows of vehicles at frames (broadcast), which must be within each vehicle's first and last frame."""
        return self.track_rows[self.track_offsets[vehicle] + frame - self.first_frame[vehicle]]

    def frame_in_recording(
        self, vehicle: NDArray[np.integer], frame: NDArray[np.integer]
    ) -> NDArray[np.int64]:
        """Frames (broadcast) counted from the first one of the recording that a vehicle is in."""
        begin = np.concatenate([[0], self.end_frame[:-1] + 1])
        return frame - begin[self.recording[vehicle]]


def build_world(recordings: Sequence[Recording]) -> World:
    """Lay recordings end to end.

    Raises:
        ValueError: there are none.
        InputError: their dt differ, or one has positions further from its origin than MAX_COORDINATE.
    """
    if not recordings:
        raise ValueError("at least one recording is needed")
    dt = recordings[0].dt
    if any(r.dt != dt for r in recordings):
        raise InputError(f"recordings must share one dt, not {sorted({r.dt for r in recordings})}")
    for i, r in enumerate(recordings):
        farthest = max(np.abs(r.x).max(), np.abs(r.y).max())
        if farthest > MAX_COORDINATE:
            raise InputError(
                f"recording {i} on site {r.site.name} lies {farthest:.0f} m from its origin; single precision needs "
                f"it within {MAX_COORDINATE:.0f} m: shift the site and the positions"
            )
    sites: dict[str, tuple[int, Site]] = {}
    site_of = []
    for r in recordings:
        key = json.dumps(r.site.to_dict())
        site_of.append(sites.setdefault(key, (len(sites), r.site))[0])
    rows = np.cumsum([0, *(r.num_rows for r in recordings)])
    frames = np.cumsum([0, *(r.num_frames for r in recordings)])
    vehicles = np.cumsum([0, *(len(r.vehicles) for r in recordings)])
    state = np.empty((rows[-1], 4), np.float32)
    action = np.empty((rows[-1], 2), np.float32)
    for i, r in enumerate(recordings):
        part = slice(rows[i], rows[i + 1])
        for k, column in enumerate((r.x, r.y, r.heading, r.speed)):
            state[part, k] = column
        action[part] = _actions(r)
    rasters = [site.raster for _, site in sites.values()]
    cell_counts = [raster.cells.size // 2 for raster in rasters]

    def joined(parts: Sequence[ArrayLike], dtype: type) -> NDArray[Any]:
        return np.concatenate([np.asarray(p, dtype) for p in parts])

    indexed = list(enumerate(recordings))
    return World(
        frame_offsets=joined([[0], *(r.frame_offsets[1:] + rows[i] for i, r in indexed)], np.int64),
        vehicle=joined([r.vehicle + vehicles[i] for i, r in indexed], np.int32),
        state=state,
        action=action,
        size=joined([np.stack([r.vehicles.length, r.vehicles.width], 1) for r in recordings], np.float32),
        first_frame=joined([r.vehicles.first_frame + frames[i] for i, r in indexed], np.int64),
        last_frame=joined([r.vehicles.last_frame + frames[i] for i, r in indexed], np.int64),
        track_offsets=joined([[0], *(r.track_offsets[1:] + rows[i] for i, r in indexed)], np.int64),
        track_rows=joined([r.track_rows + rows[i] for i, r in indexed], np.int64),
        recording=np.repeat(np.arange(len(recordings), dtype=np.int32), np.diff(vehicles)),
        end_frame=frames[1:] - 1,
        site=np.array(site_of, np.int32),
        start=np.array([site.start for _, site in sites.values()]),
        goal=np.array([site.goal for _, site in sites.values()]),
        raster_cells=joined(
            [(raster.cells @ np.array([1, 256], np.uint16)).ravel() for raster in rasters], np.uint16
        ),
        raster_offset=np.cumsum([0, *cell_counts[:-1]]),
        raster_shape=np.array([raster.cells.shape[:2] for raster in rasters], np.int64),
        raster_frame=np.array(
            [[r.x0 * r.per_m_x, r.y0 * r.per_m_y, r.per_m_x, r.per_m_y] for r in rasters], np.float64
        ),
        dt=dt,
    )


def _actions(recording: Recording) -> NDArray[np.float32]:
    """(N, 2): the inverse kinematics of every track, by row."""
    order = recording.track_rows
    a, kappa = kinematics.inverse(
        recording.heading[order].astype(np.float64), recording.speed[order].astype(np.float64), recording.dt
    )
    out = np.zeros((recording.num_rows, 2), np.float32)
    by_track = np.zeros_like(out)
    by_track[:-1, 0], by_track[:-1, 1] = a, kappa
    by_track[recording.track_offsets[1:] - 1] = 0  # a last row leads nowhere
    out[order] = by_track
    return out


@compiled
def recorded_state(world: World, vehicle: int, frame: int) -> tuple[float, float, float, float]:
    """x, y, heading, speed of a vehicle at a frame; before its first and after its last frame, the nearest."""
    frame = min(max(frame, world.first_frame[vehicle]), world.last_frame[vehicle])
    row = world.track_rows[world.track_offsets[vehicle] + frame - world.first_frame[vehicle]]
    s = world.state
    return s[row, 0], s[row, 1], s[row, 2], s[row, 3]


def recorded_history(
    world: World, vehicle: NDArray[np.int64], frame: NDArray[np.int64], num: int
) -> NDArray[np.float64]:
    """(B, num, 4): states of vehicles (B,) up to frames (B,); before a car's first frame, that one is repeated."""
    frames = np.maximum(frame[:, None] + np.arange(1 - num, 1), world.first_frame[vehicle][:, None])
    return world.state[world.row(vehicle[:, None], frames)].astype(np.float64)
