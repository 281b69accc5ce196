"""What is in a recording, in a dozen numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.formats.fingerprint import fingerprint
from envs.recording import Recording

KINDS = {0: "unknown", 1: "motorcycle", 2: "car", 3: "truck or bus"}


def describe(recording: Recording) -> dict[str, Any]:
    """Plain JSON values; SI units are in the names."""
    vehicles = recording.vehicles
    at_once = np.diff(recording.frame_offsets)
    low, middle, high = np.percentile(recording.speed, [5, 50, 95])
    splits = ("train", "validation", "test")
    return {
        "site": recording.site.name,
        "site_length_m": recording.site.length,
        "dt_s": recording.dt,
        "duration_s": round(recording.num_frames * recording.dt, 6),
        "frames": recording.num_frames,
        "rows": recording.num_rows,
        "vehicles": len(vehicles),
        "vehicles_by_kind": {
            name: int((vehicles.kind == kind).sum())
            for kind, name in KINDS.items()
            if (vehicles.kind == kind).any()
        },
        "vehicles_by_split": {split: int(recording.in_split(split).sum()) for split in splits},  # type: ignore[arg-type]
        "vehicles_at_once_mean": round(float(at_once.mean()), 1),
        "vehicles_at_once_max": int(at_once.max()),
        "speed_mean_mps": round(float(recording.speed.mean(dtype=np.float64)), 3),
        "speed_percentiles_5_50_95_mps": [round(float(value), 3) for value in (low, middle, high)],
        "length_mean_m": round(float(vehicles.length.mean(dtype=np.float64)), 2),
        "width_mean_m": round(float(vehicles.width.mean(dtype=np.float64)), 2),
        "provenance": recording.provenance,
        "fingerprint": fingerprint(recording),
    }


def as_text(description: dict[str, Any]) -> str:
    """One `name: value` per line, aligned; nested objects on the same line."""
    width = max(map(len, description))

    def plain(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
        return ", ".join(map(plain, value)) if isinstance(value, list) else str(value)

    return "\n".join(
        f"{name.replace('_', ' '):<{width}}  {plain(value)}" for name, value in description.items()
    )
