"""Cars turn only as they drive: SUMO's sideways steps become paths that a car can steer.

SUMO moves cars sideways at will, even those that stand. Here the lateral position is made a function of the distance
driven and smoothed over it, by so much that the path of a lane change bends no more than the vehicle can.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from envs.kinematics import MAX_CURVATURE, limit_scale

CELL = 0.25  # m of driving
SIDESTEP = 3.7  # m, the widest sideways step that has to be steered: one lane
STEERING_SHARE = 0.6  # of the largest curvature, used for it

Floats = NDArray[np.float64]


def steering_distance(length: Floats) -> Floats:
    """Standard deviation, in m driven, of the Gaussian that makes a sudden sidestep steerable by vehicles so long.

    A step of A metres smoothed by a Gaussian of deviation s bends by at most A / (s^2 sqrt(2 pi e)).
    """
    curvature = STEERING_SHARE * MAX_CURVATURE * limit_scale(length)
    return np.sqrt(SIDESTEP / np.sqrt(2 * np.pi * np.e) / curvature)


def smooth_path(x: Floats, y: Floats, offsets: NDArray[np.int64], spread: Floats) -> Floats:
    """y of every track, smoothed over the distance driven along x.

    Args:
        x, y: (N,) rows sorted by (vehicle, frame); x never decreases within a track.
        offsets: (V + 1,) where each track begins.
        spread: (V,) standard deviations of the Gaussian, m.
    """
    out = np.empty_like(y)
    for (begin, end), deviation in zip(pairwise(offsets), spread, strict=True):
        at = (x[begin:end] - x[begin]) / CELL
        cell = at.astype(np.int64)
        count = np.bincount(cell)
        visited = np.flatnonzero(count)
        mean = np.bincount(cell, y[begin:end])[visited] / count[visited]
        mean_at = np.bincount(cell, at)[visited] / count[visited]
        grid = np.interp(np.arange(len(count)) + 0.5, mean_at, mean)
        grid = gaussian_filter1d(grid, deviation / CELL, mode="nearest")
        out[begin:end] = np.interp(at, np.arange(len(count)) + 0.5, grid)
    return out
