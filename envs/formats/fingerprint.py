"""A recording's contents in 64 hexadecimal digits, the same whatever file they came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from envs.recording import QUANTUM, Recording


def fingerprint(recording: Recording) -> str:
    """SHA-256 of the rows, the vehicles, dt and the site; not of the provenance.

    What follows from the positions, speed and the headings of moving vehicles, is left out: its last bit may depend
    on the processor.
    """
    digest = hashlib.sha256(json.dumps([recording.dt, recording.site.to_dict()], sort_keys=True).encode())
    vehicles = recording.vehicles
    for array, dtype in (
        (recording.frame_offsets, "<i8"),
        (recording.vehicle, "<i4"),
        (np.rint(recording.x / QUANTUM), "<i8"),
        (np.rint(recording.y / QUANTUM), "<i8"),
        (vehicles.id, "<i8"),
        (vehicles.length, "<f4"),
        (vehicles.width, "<f4"),
        (vehicles.kind, "<i1"),
        (recording.rest_heading, "<f4"),
        (vehicles.first_frame, "<i4"),
        (vehicles.last_frame, "<i4"),
    ):
        digest.update(np.ascontiguousarray(array.astype(dtype)).data)
    return digest.hexdigest()


def fingerprint_of_all(recordings: Sequence[Recording]) -> str:
    """Their fingerprints, in their order, with spaces between."""
    return " ".join(fingerprint(recording) for recording in recordings)


def digest_of(path: Path) -> str:
    """The first 12 hexadecimal digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
