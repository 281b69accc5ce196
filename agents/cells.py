"""A picture as a few hundred numbers: the mean of each cell of a coarse grid, and the car's own motion.

For learners on a CPU. Convolutions over the pictures cost PPO a hundred times what the traffic costs, and a replay
buffer of pictures 51 kB a step; of these numbers it is 6 kB, and two linear layers read them. A cell is 9 by 2 pixels,
long ahead and narrow across: how much of it a vehicle covers still tells where the bumper is, to a fraction of a pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.compiled import compiled
from envs.parallel import for_ranges

CELL = (9, 2)  # px along, across
SPEED_SCALE, SIDEWAYS_SCALE, HEADING_SCALE = 10.0, 1.0, 0.1  # m/s, m/s, rad
SIZE_SCALE = (5.0, 2.0)  # m
NUM_MOTION = 5
Arrays = dict[str, NDArray]


def num_features(frames: int, height: int, width: int) -> int:
    """F, for pictures of a size: `frames` of vehicles, one of lanes and one of where the road ends, and the motion."""
    return (frames + 2) * -(-height // CELL[0]) * -(-width // CELL[1]) + NUM_MOTION


def features(observation: Arrays, threads: int = 1) -> NDArray[np.float32]:
    """(B, F): the cells' means in [0, 1], vehicles in every frame (oldest first), then lanes and off-road area of the
    last one; then vx, vy, heading, length and width, scaled. Where a car is on the map is not its business.

    Args:
        observation: of envs.vector_environment, arrays with a leading axis of B cars.
    """
    images = observation["images"]
    num, frames, _, height, width = images.shape
    out = np.zeros((num, num_features(frames, height, width)), np.float32)
    for_ranges(_pool, num, threads, images, out)
    vectors = observation["vectors"]
    out[:, -5], out[:, -4] = vectors[:, -1, 2] / SPEED_SCALE, vectors[:, -1, 3] / SIDEWAYS_SCALE
    out[:, -3] = observation["heading"][:, -1] / HEADING_SCALE
    out[:, -2:] = observation["size"] / np.array(SIZE_SCALE, np.float32)
    return out


@compiled
def _pool(images: NDArray[np.uint8], out: NDArray[np.float32], begin: int, end: int) -> None:
    frames, height, width = images.shape[1], images.shape[3], images.shape[4]
    along, across = CELL
    rows, columns = -(-height // along), -(-width // across)
    for b in range(begin, end):
        for plane in range(frames + 2):
            frame, channel = (plane, 1) if plane < frames else (frames - 1, 2 * (plane - frames))
            for i in range(rows):
                top, bottom = i * along, min(height, (i + 1) * along)
                for j in range(columns):
                    left, right = j * across, min(width, (j + 1) * across)
                    total = 0
                    for r in range(top, bottom):
                        for k in range(left, right):
                            total += images[b, frame, channel, r, k]
                    share = total / (255.0 * (bottom - top) * (right - left))
                    out[b, (plane * rows + i) * columns + j] = share
