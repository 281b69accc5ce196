"""What is in a recording, in a dozen numbers."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from envs.formats.fingerprint import fingerprint
from envs.recording import Recording
from envs.sites import LAYOUTS
from envs.units import KMH

KINDS = {0: "unknown", 1: "motorcycle", 2: "car", 3: "truck or bus"}
LANE_MEMORY = (
    0.75  # lane widths from its centre at which a car has left a lane; half would count every straddler
)


def describe(recording: Recording) -> dict[str, Any]:
    """Plain JSON values; units are in the names."""
    vehicles = recording.vehicles
    at_once = np.diff(recording.frame_offsets)
    percentiles = np.percentile(recording.speed / KMH, [5, 50, 95])
    named = {**KINDS, **{int(kind): f"class {kind}" for kind in vehicles.kind if kind not in KINDS}}
    return {
        "site": recording.site.name,
        "site_length_m": round(recording.site.length, 3),
        "dt_s": recording.dt,
        "minutes": round(recording.num_frames * recording.dt / 60, 3),
        "frames": recording.num_frames,
        "rows": recording.num_rows,
        "vehicles": len(vehicles),
        "vehicles_by_kind": {
            name: int((vehicles.kind == kind).sum())
            for kind, name in named.items()
            if (vehicles.kind == kind).any()
        },
        "vehicles_by_split": {
            "train": int(recording.in_split("train").sum()),
            "validation": int(recording.in_split("validation").sum()),
            "test": int(recording.in_split("test").sum()),
        },
        "vehicles_at_once_mean": round(float(at_once[at_once > 0].mean()), 1),
        "vehicles_at_once_max": int(at_once.max()),
        "speed_mean_kmh": round(float(recording.speed.mean(dtype=np.float64)) / KMH, 2),
        "speed_percentiles_5_50_95_kmh": [round(float(value), 2) for value in percentiles],
        "length_mean_m": round(float(vehicles.length.mean(dtype=np.float64)), 2),
        "width_mean_m": round(float(vehicles.width.mean(dtype=np.float64)), 2),
        "lane_changes_per_vehicle": lane_changes_per_vehicle(recording),
        "provenance": recording.provenance,
        "fingerprint": fingerprint(recording),
    }


def as_text(description: dict[str, Any]) -> str:
    """One `name  value` per line, aligned; what has parts on the same line."""
    width = max(map(len, description))

    def plain(value: Any) -> str:
        if value is None:
            return "unknown"
        if isinstance(value, dict):
            return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
        return ", ".join(map(plain, value)) if isinstance(value, list) else str(value)

    return "\n".join(
        f"{name.replace('_', ' '):<{width}}  {plain(value)}" for name, value in description.items()
    )


def lane_changes_per_vehicle(recording: Recording) -> float | None:
    """Changes between through lanes, by vehicle; None where the lanes are not straight and side by side.

    Joining from a ramp and leaving by one do not count.
    """
    layout = LAYOUTS.get(recording.site.name)
    if layout is None:
        return None
    across = -recording.y[recording.track_rows] / recording.site.lane_width
    changes = _lane_changes(across, recording.track_offsets, layout.lanes)
    return round(float(changes) / len(recording.vehicles), 3)


@nb.njit(cache=True)
def _lane_changes(across: NDArray[np.float64], offsets: NDArray[np.int64], lanes: int) -> int:
    """How often a track goes from one of the lanes 0 to lanes - 1 to another; lane k is across in [k, k + 1)."""
    changes = 0
    for v in range(len(offsets) - 1):
        lane = np.floor(across[offsets[v]])
        for i in range(offsets[v] + 1, offsets[v + 1]):
            if abs(across[i] - lane - 0.5) > LANE_MEMORY:
                now = np.floor(across[i])
                changes += 0 <= lane < lanes and 0 <= now < lanes
                lane = now
    return changes
