"""Traffic that yields: a recorded car brakes by IDM once the ego cuts in, and catches up with its recording later.

Everyone follows the recording until following it would mean braking hard for the ego, or for a car that already yields.
From then on such a car keeps its recorded path but not its timing: it is at the recorded position of a (fractional)
frame tau that lags behind the present, and its speed obeys the Intelligent Driver Model (Treiber, Hennecke, Helbing,
Phys. Rev. E 62, 2000)

    s* = s_0 + v T + v (v - v_leader) / (2 sqrt(a b))         dv/dt = a (1 - (v / v_0)^4 - (s* / s)^2)

When tau reaches the present again it follows the recording as before.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from envs.compiled import compiled
from envs.world import World

MAX_YIELDING = 24  # cars per ego
IDM_ACCELERATION = 1.5  # m/s^2
IDM_DECELERATION = 2.0  # m/s^2, comfortable
IDM_HEADWAY = 0.8  # s
IDM_GAP = 2.0  # m
HARDEST_BRAKING = 8.0  # m/s^2
YIELD_BRAKING = 2.0  # m/s^2 more than recorded makes a car leave its recording
CATCH_UP = 1.2  # times the recorded speed, plus 1 m/s, is what a car that lags behind wants


@compiled
def idm(speed: float, wanted: float, gap: float, leader_speed: float) -> float:
    """Acceleration in m/s^2 by the equation above, not below -HARDEST_BRAKING."""
    free = 1 - (speed / max(wanted, 0.1)) ** 4
    if gap == math.inf:
        return max(IDM_ACCELERATION * free, -HARDEST_BRAKING)
    approach = speed * (speed - leader_speed) / (2 * math.sqrt(IDM_ACCELERATION * IDM_DECELERATION))
    desired = IDM_GAP + max(speed * IDM_HEADWAY + approach, 0.0)
    return max(IDM_ACCELERATION * (free - (desired / max(gap, 0.1)) ** 2), -HARDEST_BRAKING)


@compiled
def _on_path(world: World, vehicle: int, tau: float, out: NDArray[np.float64]) -> float:
    """Write x, y, heading at fractional frame tau of a vehicle's recording to out; return the recorded speed there."""
    first, last = world.first_frame[vehicle], world.last_frame[vehicle]
    f = min(max(int(tau), first), last)
    row = world.track_rows[world.track_offsets[vehicle] + f - first]
    after = world.track_rows[world.track_offsets[vehicle] + min(f + 1, last) - first]
    w = tau - f
    for k in range(2):
        out[k] = (1 - w) * world.state[row, k] + w * world.state[after, k]
    out[2] = world.state[row, 2]
    return world.state[row, 3]


@compiled
def place_yielding(
    world: World,
    x: float,
    y: float,
    reach: float,
    vehicles: NDArray[np.int64],
    tau: NDArray[np.float64],
    speed: NDArray[np.float64],
    near: NDArray[np.float64],
    n: int,
) -> int:
    """Put yielding vehicles (slots >= 0) in `near[:n]` where they are instead of where they were; return how many."""
    for slot in range(len(vehicles)):
        if vehicles[slot] < 0:
            continue
        k = 0
        while k < n:
            if near[k, 6] == vehicles[slot]:
                n -= 1
                near[k] = near[n]
            else:
                k += 1
        if n < near.shape[0]:
            _on_path(world, vehicles[slot], tau[slot], near[n])
            if abs(near[n, 0] - x) <= reach and abs(near[n, 1] - y) <= reach:
                near[n, 3] = speed[slot]
                near[n, 4], near[n, 5] = world.size[vehicles[slot], 0], world.size[vehicles[slot], 1]
                near[n, 6] = vehicles[slot]
                n += 1
    return n


@compiled
def _leader(k: int, near: NDArray[np.float64], n: int, ego: NDArray[np.float64]) -> tuple[int, float, float]:
    """Who is next ahead in the straight path of near[k] (an index, n for the ego, -1 for nobody), its gap and speed."""
    x, y, heading = near[k, 0], near[k, 1], near[k, 2]
    c, s = math.cos(heading), math.sin(heading)
    leader, gap, leader_speed = -1, math.inf, 0.0
    for other in range(n + 1):
        if other == k:
            continue
        o = ego if other == n else near[other]
        dx, dy = o[0] - x, o[1] - y
        ahead = dx * c + dy * s
        if ahead <= 0 or abs(dy * c - dx * s) >= (near[k, 5] + o[5]) / 2:
            continue
        distance = max(ahead - (near[k, 4] + o[4]) / 2, 0.0)
        if distance < gap:
            leader, gap, leader_speed = other, distance, o[3]
    return leader, gap, leader_speed


@compiled
def _slot_of(vehicle: float, vehicles: NDArray[np.int64]) -> int:
    for slot in range(len(vehicles)):
        if vehicles[slot] == vehicle:
            return slot
    return -1


@compiled
def react(
    world: World,
    frame: int,
    ego: NDArray[np.float64],
    vehicles: NDArray[np.int64],
    tau: NDArray[np.float64],
    speed: NDArray[np.float64],
    near: NDArray[np.float64],
    n: int,
) -> None:
    """Advance the yielding cars to `frame` and let others begin to yield; slots are written in place.

    ego: (7,) like a row of `near`. near[:n]: the scene at `frame`, yielding cars still where they were.
    """
    scratch = np.empty(3)
    for k in range(n):
        vehicle = int(near[k, 6])
        slot = _slot_of(vehicle, vehicles)
        leader, gap, leader_speed = _leader(k, near, n, ego)
        if slot >= 0:
            recorded = _on_path(world, vehicle, tau[slot], scratch)
            a = idm(speed[slot], CATCH_UP * recorded + 1, gap, leader_speed)
            speed[slot] = max(speed[slot] + a * world.dt, 0.0)
            tau[slot] += speed[slot] / max(recorded, 0.5)
            if tau[slot] >= min(frame, world.last_frame[vehicle]):
                vehicles[slot] = -1  # back on the recording, or gone
            continue
        if leader < 0 or frame >= world.last_frame[vehicle]:
            continue
        if leader < n and _slot_of(near[leader, 6], vehicles) < 0:
            continue  # behind a car that follows its recording
        row = world.track_rows[world.track_offsets[vehicle] + frame - world.first_frame[vehicle]]
        braking = idm(near[k, 3], CATCH_UP * near[k, 3] + 1, gap, leader_speed)
        free = _slot_of(-1, vehicles)
        if free >= 0 and braking < min(world.action[row, 0], 0.0) - YIELD_BRAKING:
            vehicles[free], tau[free], speed[free] = vehicle, frame, near[k, 3]
