"""Recorded traffic: one table of vehicle-frames, one of vehicles, and the site they drove on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.compiled import compiled
from envs.site import Site

Split = Literal["train", "validation", "test", "all"]
QUANTUM = 2.0**-14  # m; positions are multiples of it, so that files hold them as small integers, exactly
MIN_HEADING_SPEED = 0.5  # m/s; below it the direction of motion is noise and the last heading is kept
HEADING_WINDOW = 1.0  # s over which a car has to be faster than that
DEPARTURE = 2.0  # m from its first position, beyond which a car has departed and did not just drift
MAX_REVERSE_SPEED = 3.0  # m/s; a car carried back faster than that drives forwards and its heading was wrong
MAX_FRAMES = 2**24  # 19 days at 10 Hz; a wider span is an error in the data, and would be paid for in memory
SPLIT_EDGES = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0), "all": (0.0, 1.0)}


@dataclass(frozen=True, eq=False)
class Vehicles:
    """The table of vehicles, V rows. A source id whose frames have a gap makes one vehicle per gapless part."""

    id: NDArray[np.int64]  # the source's number
    length: NDArray[np.float32]  # m
    width: NDArray[np.float32]  # m
    kind: NDArray[np.int8]  # NGSIM's classes: 1 motorcycle, 2 car, 3 truck or bus; 0 unknown
    first_frame: NDArray[np.int32]
    last_frame: NDArray[np.int32]  # inclusive

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, eq=False)
class Recording:
    """Vehicle-frames sorted by (frame, vehicle), N rows; SI units; positions are box centres in the site's frame.

    Heading (rad, counter-clockwise, 0 along x) and speed (m/s) are those of the motion to the next frame, so that
    p' = p + v d dt holds between rows (see `envs.kinematics`).
    """

    site: Site
    dt: float  # s
    frame_offsets: NDArray[np.int64]  # (F + 1,): rows of frame f are [frame_offsets[f], frame_offsets[f + 1])
    vehicle: NDArray[np.int32]  # (N,): index into `vehicles`
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    heading: NDArray[np.float32]
    speed: NDArray[np.float32]
    vehicles: Vehicles
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def num_frames(self) -> int:
        return len(self.frame_offsets) - 1

    @property
    def num_rows(self) -> int:
        return len(self.vehicle)

    @cached_property
    def track_offsets(self) -> NDArray[np.int64]:
        """(V + 1,): where each vehicle's rows begin in `track_rows`."""
        counts = self.vehicles.last_frame.astype(np.int64) - self.vehicles.first_frame + 1
        return np.concatenate([[0], np.cumsum(counts)])

    @cached_property
    def track_rows(self) -> NDArray[np.int64]:
        """(N,): rows sorted by (vehicle, frame); the row of vehicle v in frame f is
        track_rows[track_offsets[v] + f - first_frame[v]]."""
        return np.argsort(self.vehicle, kind="stable")

    def track(self, vehicle: int) -> NDArray[np.int64]:
        """Rows of one vehicle, in time."""
        return self.track_rows[self.track_offsets[vehicle] : self.track_offsets[vehicle + 1]]

    @property
    def rest_heading(self) -> NDArray[np.float32]:
        """(V,): each vehicle's heading where it keeps one all along, as all do that never move; else 0."""
        heading = self.heading[self.track_rows]
        low, high = (f.reduceat(heading, self.track_offsets[:-1]) for f in (np.minimum, np.maximum))
        return np.where(low == high, low, np.float32(0))

    def in_split(self, split: Split, share: float = 1.0) -> NDArray[np.bool_]:
        """(V,): which vehicles belong to a split, by a hash of the source id: 80 % train, 10 % validation, 10 % test.

        A recording whose provenance names a `scene` (a number) is in one split as a whole, by a hash of that number.

        Args:
            share: of the split's vehicles that are wanted; a smaller share is part of a larger one.
        """
        if split not in SPLIT_EDGES or not 0 <= share <= 1:
            raise ValueError(
                f"split={split!r} must be one of {', '.join(SPLIT_EDGES)}, share={share} within [0, 1]"
            )
        scene = self.provenance.get("scene")
        keys = self.vehicles.id if scene is None else np.full(len(self.vehicles), int(scene), np.int64)
        low, high = SPLIT_EDGES[split]
        u = _hash_unit(keys)
        return (u >= low) & (u < (1 - share) * low + share * high)

    @staticmethod
    def from_tracks(
        *,
        site: Site,
        vehicle_id: ArrayLike,
        frame: ArrayLike,
        x: ArrayLike,
        y: ArrayLike,
        length: ArrayLike,
        width: ArrayLike,
        kind: ArrayLike = 2,
        heading: ArrayLike = 0.0,
        dt: float = 0.1,
        smoothing_frames: int = 1,
        provenance: dict[str, Any] | None = None,
    ) -> Recording:
        """Build a recording from N rows in any order.

        Args:
            vehicle_id, frame: (N,) integers; each pair once.
            x, y: (N,) box centres, m, site frame.
            length, width, kind: (N,) or scalars; a vehicle has those of its earliest row.
            heading: (N,) or scalar, rad; that of a vehicle which never moves, in its earliest row. Motion overrules it.
            smoothing_frames: odd length of the running mean over positions, shorter at a track's ends so that it stays
                centred; 15 (1.5 s) is the paper's for NGSIM, 1 leaves positions as they are.
        Raises:
            ValueError: no rows, a repeated (vehicle, frame), a number that is not finite, a size or dt that is not
                positive, or an even smoothing length.
        """
        ids = np.asarray(vehicle_id, np.int64)
        frames = np.asarray(frame, np.int64)
        if len(ids) == 0:
            raise ValueError("a recording needs at least one row")
        if not 0 < dt < np.inf:
            raise ValueError(f"dt={dt} must be a positive number of seconds")
        if smoothing_frames < 1 or smoothing_frames % 2 == 0:
            raise ValueError(f"smoothing_frames={smoothing_frames} must be odd and positive")
        order = np.lexsort((frames, ids))
        ids, frames = ids[order], frames[order]
        columns = {
            name: np.broadcast_to(np.asarray(value, np.float64), order.shape)
            for name, value in (
                *(("x", x), ("y", y), ("heading", heading)),
                *(("length", length), ("width", width), ("kind", kind)),
            )
        }
        for name, value in columns.items():
            if not np.isfinite(value).all():
                raise ValueError(f"{name} must be finite")
        if not (columns["length"] > 0).all() or not (columns["width"] > 0).all():
            raise ValueError("length and width must be positive")
        if int(frames.max()) - int(frames.min()) >= MAX_FRAMES:
            raise ValueError(f"frames {frames.min()} to {frames.max()} span more than {MAX_FRAMES}")
        same = ids[1:] == ids[:-1]
        step = frames[1:] - frames[:-1]
        if (same & (step == 0)).any():
            i = int(np.argmax(same & (step == 0)))
            raise ValueError(f"vehicle {ids[i]} is in frame {frames[i]} twice")
        starts = np.concatenate([[0], np.flatnonzero(~(same & (step == 1))) + 1])
        offsets = np.concatenate([starts, [len(ids)]])
        px, py = columns["x"][order], columns["y"][order]
        if smoothing_frames > 1:
            px, py = (_running_mean(p, offsets, smoothing_frames // 2) for p in (px, py))
        px, py = (np.round(p / QUANTUM) * QUANTUM + 0.0 for p in (px, py))  # + 0.0 turns -0.0 into 0.0
        first_rows = order[starts]
        rest = columns["heading"][first_rows].astype(np.float32).astype(np.float64)  # as a file holds it
        headings, speeds = _motion(px, py, offsets, dt, rest)
        frames = frames - frames.min()
        vehicles = Vehicles(
            id=ids[starts],
            length=columns["length"][first_rows].astype(np.float32),
            width=columns["width"][first_rows].astype(np.float32),
            kind=columns["kind"][first_rows].astype(np.int8),
            first_frame=frames[starts].astype(np.int32),
            last_frame=frames[offsets[1:] - 1].astype(np.int32),
        )
        index = np.repeat(np.arange(len(starts), dtype=np.int32), np.diff(offsets))
        by_frame = np.argsort(frames, kind="stable")
        counts = np.bincount(frames)
        return Recording(
            site=site,
            dt=dt,
            frame_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            vehicle=index[by_frame],
            x=px[by_frame],
            y=py[by_frame],
            heading=headings[by_frame],
            speed=speeds[by_frame],
            vehicles=vehicles,
            provenance=dict(provenance or {}),
        )


def _hash_unit(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """A stable number in [0, 1) for each key: SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        h = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        h = h ^ (h >> np.uint64(31))
    return (h >> np.uint64(11)).astype(np.float64) * 2.0**-53


@compiled
def _running_mean(p: NDArray[np.float64], offsets: NDArray[np.int64], half: int) -> NDArray[np.float64]:
    """Centred mean over 2 half + 1 frames of each track; near its ends over as many as fit on both sides."""
    out = np.empty_like(p)
    for k in range(len(offsets) - 1):
        begin, end = offsets[k], offsets[k + 1]
        for i in range(begin, end):
            h = min(half, i - begin, end - 1 - i)
            total = 0.0
            for j in range(i - h, i + h + 1):
                total += p[j]
            out[i] = total / (2 * h + 1)
    return out


@compiled
def _motion(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    offsets: NDArray[np.int64],
    dt: float,
    rest: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Heading and speed of each row's motion to the next; the last row of a track repeats them.

    A heading is taken from the motion to the next row while the car moves, judged over about a second, since a step
    may be noise. A car that stands, or is thrown back, keeps its heading; before it first moves it has the direction
    in which it departs, or that of `rest` if it never does. Its speed then is what it advances along that heading, at
    least 0, and 0 until it is past the point from which it was thrown back, so that noise does not add up to a way.
    Only a car carried back faster than cars reverse is taken to have faced the other way.
    """
    heading = np.zeros(len(x), np.float32)
    speed = np.zeros(len(x), np.float32)
    half = max(round(HEADING_WINDOW / dt / 2), 1)
    for k in range(len(offsets) - 1):
        begin, end = offsets[k], offsets[k + 1]
        current = rest[k]
        for i in range(begin, end):  # the direction in which it departs
            if np.hypot(x[i] - x[begin], y[i] - y[begin]) > DEPARTURE:
                current = np.arctan2(y[i] - y[begin], x[i] - x[begin])
                break
        thrown_back = 0.0
        for i in range(begin, end - 1):
            a, b = max(i - half, begin), min(i + half, end - 1)
            far = np.hypot(x[b] - x[a], y[b] - y[a]) / ((b - a) * dt)
            forth = (x[b] - x[a]) * np.cos(current) + (y[b] - y[a]) * np.sin(current)
            dx, dy = x[i + 1] - x[i], y[i + 1] - y[i]
            ahead = dx * np.cos(current) + dy * np.sin(current)
            faces_back = forth < 0 and far > MAX_REVERSE_SPEED
            if (
                far > MIN_HEADING_SPEED
                and np.hypot(dx, dy) > MIN_HEADING_SPEED * dt
                and (ahead > 0 or faces_back)
            ):
                thrown_back = thrown_back if ahead > 0 else 0.0
                current = np.arctan2(dy, dx)
                ahead = np.hypot(dx, dy)
            ahead += thrown_back
            thrown_back = min(ahead, 0.0)
            heading[i] = current
            speed[i] = max(ahead, 0.0) / dt
        heading[end - 1] = current
        speed[end - 1] = speed[end - 2] if end - begin > 1 else 0.0
    return heading, speed
