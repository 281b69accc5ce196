"""Small made-up traffic whose answers are known."""

from __future__ import annotations

from functools import cache

import numpy as np

from envs.recording import Recording
from envs.site import Site

LANE = 3.7


@cache  # so that its raster is drawn once for all tests
def straight_site(
    num_lanes: int = 4,
    length: float = 500.0,
    start: float = 60.0,
    goal: float = 260.0,
    name: str = "straight",
) -> Site:
    """Lanes of 3.7 m side by side, the leftmost against y = 0."""
    ends = np.array([-100.0, length + 300.0])
    lines = tuple(np.stack([ends, np.full(2, -LANE * k)], 1) for k in range(num_lanes + 1))
    edge = -LANE * num_lanes
    area = np.array([[ends[0], 0], [ends[1], 0], [ends[1], edge], [ends[0], edge]])
    return Site(
        name=name, length=length, markings=lines, drivable=(area,), start=start, goal=goal, lane_width=LANE
    )


def lane_centre(lane: int) -> float:
    """y of the centre of lane 0, 1, ... from the left."""
    return -LANE * (lane + 0.5)


def random_traffic(
    seed: int = 0, num_vehicles: int = 120, num_frames: int = 600, num_lanes: int = 4, length: float = 500.0
) -> Recording:
    """Cars that enter at random times and speeds, wave gently in speed and sideways; they may overlap."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[np.ndarray]] = {
        k: [] for k in ("vehicle_id", "frame", "x", "y", "length", "width")
    }
    for vehicle in range(num_vehicles):
        begin = int(rng.integers(0, max(num_frames - 100, 1)))
        t = np.arange(num_frames - begin) * 0.1
        speed = rng.uniform(5, 15)
        x = rng.uniform(0, 30) + speed * t + np.sin(0.3 * t + rng.uniform(0, 6)) * rng.uniform(0, 3)
        y = lane_centre(int(rng.integers(num_lanes))) + 0.3 * np.sin(0.5 * t + rng.uniform(0, 6))
        seen = x <= length
        count = int(seen.sum())
        columns["vehicle_id"].append(np.full(count, vehicle + 1))
        columns["frame"].append(begin + np.flatnonzero(seen))
        columns["x"].append(x[seen])
        columns["y"].append(y[seen])
        columns["length"].append(np.full(count, rng.uniform(3.5, 6)))
        columns["width"].append(np.full(count, rng.uniform(1.6, 2.2)))
    return Recording.from_tracks(
        site=straight_site(num_lanes, length), **{k: np.concatenate(v) for k, v in columns.items()}
    )


def orderly_traffic(
    seconds: float = 90.0, num_lanes: int = 4, headway: float = 3.0, seed: int = 0
) -> Recording:
    """Lanes of cars that follow each other at equal speed, 2 m/s faster in each lane to the left, and never touch."""
    rng = np.random.default_rng(seed)
    num_frames = round(seconds / 0.1)
    columns: dict[str, list[np.ndarray]] = {
        k: [] for k in ("vehicle_id", "frame", "x", "y", "length", "width")
    }
    for lane in range(num_lanes):
        speed = 16.0 - 2 * lane
        for k, entry in enumerate(np.arange(-15.0, seconds, headway)):
            frames = np.arange(
                max(0, round(entry / 0.1)), min(num_frames, round((entry + 320 / speed) / 0.1))
            )
            if len(frames) < 30:
                continue
            columns["vehicle_id"].append(np.full(len(frames), 1000 * lane + k + 1))
            columns["frame"].append(frames)
            columns["x"].append(speed * (frames * 0.1 - entry))
            columns["y"].append(np.full(len(frames), lane_centre(lane) + rng.uniform(-0.3, 0.3)))
            columns["length"].append(np.full(len(frames), rng.uniform(3.5, 5.5)))
            columns["width"].append(np.full(len(frames), rng.uniform(1.7, 2.1)))
    return Recording.from_tracks(
        site=straight_site(num_lanes), **{k: np.concatenate(v) for k, v in columns.items()}
    )
