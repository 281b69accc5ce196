"""How fast recorded cars go: windows of their speeds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.errors import InputError
from envs.recording import Recording, Split

STEP = 0.1  # s


def speed_windows(
    recording: Recording, split: Split, num: int, steps: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Speeds (num, steps) in m/s of cars of a split, 0.1 s apart, drawn with replacement from all such windows.

    A recording of more frames a second is thinned out; one of fewer keeps its own.

    Raises:
        InputError: no car of the split is recorded for so long.
    """
    stride = max(1, round(STEP / recording.dt))
    ahead = stride * np.arange(steps)
    begins, ends = recording.track_offsets[:-1], recording.track_offsets[1:]
    cars = np.flatnonzero(recording.in_split(split) & (ends - begins > ahead[-1]))
    if len(cars) == 0:
        raise InputError(f"no car of the {split} split is recorded for {ahead[-1] + 1} frames")
    starts = np.concatenate([np.arange(begins[car], ends[car] - ahead[-1]) for car in cars])
    rows = rng.choice(starts, num)[:, None] + ahead
    return recording.speed[recording.track_rows[rows]]
