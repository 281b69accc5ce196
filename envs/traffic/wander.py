"""Drivers do not hold their line: a small smooth wander inside the lane, which SUMO's cars lack.

Each driver has a favourite offset from the lane's centre and weaves about it in a few slow waves. The waves run over
the distance driven, not over time, so a car that stands does not slide sideways. Where a neighbour or the road's edge
leaves less room, the wander gives way.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from envs.compiled import compiled

BIAS = 0.12  # m, standard deviation of the favourite offset
SWAY = 0.10  # m, mean over drivers of the weaving's standard deviation
WAVELENGTHS = (80.0, 400.0)  # m
NUM_WAVES = 4
LARGEST = 0.4  # m
KEPT_CLEAR = 0.5  # m between sides of neighbours that wander may not use
LOOKOUT = 20  # m of driving before and after a tight spot over which wander fades
BESIDE = 3.0  # m ahead and behind within which a neighbour counts as beside

Floats = NDArray[np.float64]


def wander(distance: Floats, offsets: NDArray[np.int64], generator: np.random.Generator) -> Floats:
    """Offset to the left in m of every row, before neighbours are looked at.

    Args:
        distance: (N,) metres driven since some point of the track; rows sorted by (vehicle, frame).
        offsets: (V + 1,) where each vehicle's rows begin.
    """
    out = np.empty_like(distance)
    for begin, end in pairwise(offsets):
        waves = (
            2 * np.pi / np.exp(generator.uniform(np.log(WAVELENGTHS[0]), np.log(WAVELENGTHS[1]), NUM_WAVES))
        )
        phases = generator.uniform(0, 2 * np.pi, NUM_WAVES)
        sway = SWAY * np.sqrt(2 / NUM_WAVES) * generator.gamma(4.0, 0.25)
        bias = generator.normal(0, BIAS)
        weave = np.sin(np.multiply.outer(distance[begin:end], waves) + phases).sum(-1)
        out[begin:end] = np.clip(bias + sway * weave, -LARGEST, LARGEST)
    return out


@compiled
def room(
    x: Floats,
    y: Floats,
    length: Floats,
    width: Floats,
    lowest: Floats,
    highest: Floats,
    by_frame: NDArray[np.int64],
    frame_offsets: NDArray[np.int64],
) -> tuple[Floats, Floats]:
    """How far each row may be shifted to the left and to the right: half of what the gap to whoever is beside it has
    over KEPT_CLEAR, and no further than to `lowest` and `highest`, the bounds of y that the road's edges set.
    `by_frame` lists the rows by (frame, x); those of frame f are [frame_offsets[f], frame_offsets[f + 1]) of it.

    SUMO lets cars that straddle lanes pass within millimetres; there the room is negative and pushes them apart.
    """
    to_left = np.maximum(highest - y, 0.0)
    to_right = np.maximum(y - lowest, 0.0)
    for f in range(len(frame_offsets) - 1):
        rows = by_frame[frame_offsets[f] : frame_offsets[f + 1]]
        for a in range(len(rows)):
            i = rows[a]
            for b in range(a + 1, len(rows)):
                j = rows[b]
                if x[j] - x[i] > 14.0 + BESIDE + length[i] / 2:  # 14 m: half of more than the longest truck
                    break
                if x[j] - x[i] > BESIDE + (length[i] + length[j]) / 2:
                    continue
                gap = abs(y[j] - y[i]) - (width[i] + width[j]) / 2
                if gap < 0 and x[j] - x[i] > (length[i] + length[j]) / 2:
                    continue  # one behind the other
                share = (gap - KEPT_CLEAR) / 2
                above, below = (i, j) if y[i] > y[j] else (j, i)
                to_right[above] = min(to_right[above], share)
                to_left[below] = min(to_left[below], share)
    return to_left, to_right


def limit(
    offset: Floats, distance: Floats, to_left: Floats, to_right: Floats, offsets: NDArray[np.int64]
) -> Floats:
    """Clip the wander to the room there is, fading over LOOKOUT metres of driving on both sides of a tight spot.

    Per metre driven: the least room; then the least within LOOKOUT; then the mean within LOOKOUT, which at the spot
    itself is the room there. Where neighbours on both sides leave less than no room, the middle between them.
    """
    out = np.empty_like(offset)
    for begin, end in pairwise(offsets):
        at = distance[begin:end] - np.floor(distance[begin])
        left, right = _faded(at, to_left[begin:end]), _faded(at, to_right[begin:end])
        wished = np.clip(offset[begin:end], -right, np.maximum(left, -right))
        out[begin:end] = np.where(left < -right, (left - right) / 2, wished)
    return out


def _faded(at: Floats, space: Floats) -> Floats:
    """`limit`'s bound on one side of one track, `at` metres along it."""
    cell = at.astype(np.int64)
    least = np.full(cell[-1] + 2, LARGEST)
    np.minimum.at(least, cell, space)
    np.minimum.at(least, cell + 1, space)  # a row is read from between two cells
    least = minimum_filter1d(least, 2 * LOOKOUT + 1, mode="nearest")
    least = uniform_filter1d(least, 2 * LOOKOUT + 1, mode="nearest")
    return np.interp(at, np.arange(len(least)), least)
