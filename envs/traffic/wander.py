"""Drivers do not hold their line: a small smooth wander inside the lane, which SUMO's cars lack.

Each driver has a favourite offset from the lane's centre and weaves about it in a few slow waves. The waves run over
the distance driven, not over time, so a car that stands does not slide sideways. Where a neighbour or the road's edge
leaves less room, the wander gives way.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

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

    SUMO lets cars that straddle lanes pass within millimetres; there the room is negative and pushes them apart.
    """
    to_left = np.maximum(highest - y, 0.0)
    to_right = np.maximum(y - lowest, 0.0)
    for f in range(len(frame_offsets) - 1):
        rows = by_frame[frame_offsets[f] : frame_offsets[f + 1]]
        rows = rows[np.argsort(x[rows])]
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


@compiled
def limit(
    offset: Floats, distance: Floats, to_left: Floats, to_right: Floats, offsets: NDArray[np.int64]
) -> Floats:
    """Clip the wander to the room there is, fading over LOOKOUT metres of driving on both sides of a tight spot.

    Per metre driven: the least room; then the least within LOOKOUT; then the mean within LOOKOUT, which is never more
    than the room at the spot itself.
    """
    out = np.empty_like(offset)
    for k in range(len(offsets) - 1):
        begin, end = offsets[k], offsets[k + 1]
        start = np.floor(distance[begin])
        cells = int(distance[end - 1] - start) + 2
        least = np.full((2, cells), LARGEST)
        for i in range(begin, end):
            c = int(distance[i] - start)
            for d in (c, c + 1):  # both cells that the row is read from below
                least[0, d] = min(least[0, d], to_left[i])
                least[1, d] = min(least[1, d], to_right[i])
        around = np.empty_like(least)
        smooth = np.empty_like(least)
        for side in range(2):
            for c in range(cells):
                around[side, c] = least[side, max(c - LOOKOUT, 0) : c + LOOKOUT + 1].min()
            for c in range(cells):
                smooth[side, c] = around[side, max(c - LOOKOUT, 0) : c + LOOKOUT + 1].mean()
        for i in range(begin, end):
            c = int(distance[i] - start)
            t = distance[i] - start - c
            left = smooth[0, c] * (1 - t) + smooth[0, c + 1] * t
            right = smooth[1, c] * (1 - t) + smooth[1, c + 1] * t
            out[i] = min(max(offset[i], -right), left) if left >= -right else (left - right) / 2
    return out
