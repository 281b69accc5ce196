"""How hard an ego, and whoever would be behind it, would accelerate in each of three lanes, by IDM (envs.idm)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.lanes import OWN, Lanes
from envs.compiled import compiled
from envs.idm import Driver, idm
from envs.parallel import for_ranges
from envs.replay import Replay


@dataclass(frozen=True)
class Following:
    """Accelerations in m/s^2, each (B, 3) for the lanes RIGHT, OWN, LEFT; 0 where there is no lane, or nobody behind.

    An ego that is in no lane (the markings come too near to each other) is where it is: its own is `in_path`. Who is
    behind is the same in both: once with the ego in that lane, once as if it were not there.
    """

    ego: NDArray[np.float64]
    behind_ego: NDArray[np.float64]
    behind_leader: NDArray[np.float64]
    in_path: NDArray[np.float64]  # (B,) of the ego where it is now, between lanes or not


def following(replay: Replay, lanes: Lanes, driver: Driver, wanted: float) -> Following:
    """What everybody around each ego would do now.

    A vehicle is in a lane if its box, were the ego in the lane's centre, would overlap the ego's path; a lane that ends
    counts as a vehicle that stands there. The road is taken as straight from the last vehicle behind to the first
    ahead.

    Args:
        driver: everybody's habits.
        wanted: everybody's speed on a free road, m/s.
    """
    num = replay.num_egos
    near, count = replay.others()
    out = Following(np.zeros((num, 3)), np.zeros((num, 3)), np.zeros((num, 3)), np.zeros(num))
    for_ranges(
        _following_range, num, replay.threads, near, count, replay.state, replay.size, lanes.heading, lanes.offset,
        lanes.end, driver, wanted, out.ego, out.behind_ego, out.behind_leader, out.in_path,
    )  # fmt: skip
    return out


@compiled
def _following_range(
    near: NDArray[np.float64],
    count: NDArray[np.int64],
    state: NDArray[np.float64],
    size: NDArray[np.float32],
    heading: NDArray[np.float64],
    offset: NDArray[np.float64],
    end: NDArray[np.float64],
    driver: Driver,
    wanted: float,
    ego: NDArray[np.float64],
    behind_ego: NDArray[np.float64],
    behind_leader: NDArray[np.float64],
    in_path: NDArray[np.float64],
    begin: int,
    stop: int,
) -> None:
    for b in range(begin, stop):
        length, width, speed = float(size[b, 0]), float(size[b, 1]), state[b, 3]
        rows = near[b, : count[b]]
        first, _ = _neighbours(rows, state[b], state[b, 2], 0.0, width)
        in_path[b] = _behind(rows, first, 0.0, length, speed, state[b], state[b, 2], driver, wanted)
        for lane in range(3):
            if math.isnan(offset[b, lane]):
                if lane == OWN:
                    ego[b, lane] = in_path[b]
                continue
            ahead, behind = _neighbours(rows, state[b], heading[b], offset[b, lane], width)
            a = _behind(rows, ahead, 0.0, length, speed, state[b], heading[b], driver, wanted)
            ego[b, lane] = min(a, idm(speed, wanted, max(end[b, lane] - length / 2, 0.0), 0.0, driver))
            if behind >= 0:
                back = _along(rows[behind], state[b], heading[b])
                its_length, its_speed = rows[behind, 4], rows[behind, 3]
                gap = max(-back - (length + its_length) / 2, 0.0)
                behind_ego[b, lane] = idm(its_speed, wanted, gap, speed, driver)
                behind_leader[b, lane] = _behind(
                    rows, ahead, back, its_length, its_speed, state[b], heading[b], driver, wanted
                )


@compiled
def _along(row: NDArray[np.float64], state: NDArray[np.float64], heading: float) -> float:
    """Metres along the road from the ego to a vehicle, centre to centre."""
    return (row[0] - state[0]) * math.cos(heading) + (row[1] - state[1]) * math.sin(heading)


@compiled
def _neighbours(
    rows: NDArray[np.float64], state: NDArray[np.float64], heading: float, offset: float, width: float
) -> tuple[int, int]:
    """Who of `rows` is next ahead and next behind in the path `offset` metres to the left of the ego; -1 if nobody."""
    c, s = math.cos(heading), math.sin(heading)
    ahead, behind = -1, -1
    nearest_ahead, nearest_behind = math.inf, -math.inf
    for k in range(len(rows)):
        left = (rows[k, 1] - state[1]) * c - (rows[k, 0] - state[0]) * s
        if abs(left - offset) >= (width + rows[k, 5]) / 2:
            continue
        along = _along(rows[k], state, heading)
        if 0 < along < nearest_ahead:
            ahead, nearest_ahead = k, along
        elif nearest_behind < along <= 0:
            behind, nearest_behind = k, along
    return ahead, behind


@compiled
def _behind(
    rows: NDArray[np.float64],
    leader: int,
    at: float,
    length: float,
    speed: float,
    state: NDArray[np.float64],
    heading: float,
    driver: Driver,
    wanted: float,
) -> float:
    """IDM of a car `at` metres along the road from the ego, behind a row, or on a free road if leader is -1."""
    if leader < 0:
        return idm(speed, wanted, math.inf, 0.0, driver)
    gap = _along(rows[leader], state, heading) - at - (length + rows[leader, 4]) / 2
    return idm(speed, wanted, max(gap, 0.0), rows[leader, 3], driver)
