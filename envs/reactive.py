"""Traffic that yields: a recorded car brakes by IDM once the ego cuts in, and catches up with its recording later.

Everyone follows the recording until following it would mean braking hard for the ego, or for a car that already yields:
harder than was recorded, and harder than for the same leader where it was recorded. So as long as the ego does as its
human did nobody reacts, however close people followed each other. From then on such a car keeps its recorded path but
not its timing: it is at the recorded position of a (fractional) frame tau that lags behind the present. Behind whoever
is not where the recording has it, its speed obeys the Intelligent Driver Model (envs.idm).

With its way to its recorded place free it closes up to it, and when it is there it follows the recording as before.
(By the model it would keep more distance than people do, and never be back.)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from envs.compiled import compiled
from envs.idm import HARDEST_BRAKING, Driver, idm, urge
from envs.world import World, recorded_state

MAX_YIELDING = 24  # cars per ego; more do not react
DRIVER = Driver()  # who yields
YIELD_BRAKING = 2.0  # m/s^2 more than in the recording makes a car leave it
SLOW = 0.5  # m/s; where the recording is slower, tau runs as if it were not, and so passes a recorded stop
CATCH_UP = 1.2  # times the recorded speed, plus 1 m/s, is what a car that lags behind wants
CLOSING_TIME = 2.0  # s; a car closes up to its recorded place at lag / CLOSING_TIME
RESPONSE_TIME = 0.5  # s, in which it takes on the speed it then wants
BACK = 0.2  # m from its recorded place a car follows the recording again


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
            recorded = _on_path(world, vehicles[slot], tau[slot], near[n])
            if abs(near[n, 0] - x) <= reach and abs(near[n, 1] - y) <= reach:
                near[n, 3] = speed[slot] * recorded / max(recorded, SLOW)
                near[n, 4], near[n, 5] = world.size[vehicles[slot], 0], world.size[vehicles[slot], 1]
                near[n, 6] = vehicles[slot]
                n += 1
    return n


@compiled
def _gap(
    follower: NDArray[np.float64], c: float, s: float, x: float, y: float, length: float, width: float
) -> float:
    """Metres, bumper to bumper, to a vehicle ahead in the straight path of another; inf if it is not there.

    follower: a row of `near`; c, s: the cosine and sine of its heading.
    """
    dx, dy = x - follower[0], y - follower[1]
    ahead = dx * c + dy * s
    if ahead <= 0 or abs(dy * c - dx * s) >= (follower[5] + width) / 2:
        return math.inf
    return max(ahead - (follower[4] + length) / 2, 0.0)


@compiled
def _leader(k: int, near: NDArray[np.float64], n: int) -> tuple[int, float]:
    """Who is next ahead of near[k] among near[:n], and the gap; -1 and inf if nobody is."""
    c, s = math.cos(near[k, 2]), math.sin(near[k, 2])
    leader, gap = -1, math.inf
    for other in range(n):
        if other != k:
            distance = _gap(near[k], c, s, near[other, 0], near[other, 1], near[other, 4], near[other, 5])
            if distance < gap:
                leader, gap = other, distance
    return leader, gap


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
    vehicles: NDArray[np.int64],
    tau: NDArray[np.float64],
    speed: NDArray[np.float64],
    near: NDArray[np.float64],
    n: int,
) -> None:
    """Advance the yielding cars to `frame` and let others begin to yield; slots are written in place.

    near[:n]: the scene at `frame`, yielding cars still where they were; the last row is the ego, with the number of the
    vehicle it replaces. Yielding cars that are not in it drive on as if they were alone.
    """
    moved = np.zeros(len(vehicles), np.bool_)
    astray = np.empty(
        n, np.int64
    )  # rows of who is not where its recording has it: the ego and those who yield
    num_astray = 1
    astray[0] = n - 1
    for k in range(n - 1):
        if _slot_of(near[k, 6], vehicles) >= 0:
            astray[num_astray] = k
            num_astray += 1
    for k in range(n - 1):
        slot = _slot_of(near[k, 6], vehicles)
        if slot >= 0:
            leader, gap = _leader(k, near, n)
            is_astray = leader == n - 1 or (leader >= 0 and _slot_of(near[leader, 6], vehicles) >= 0)
            _advance(world, frame, slot, gap, near[leader, 3], is_astray, vehicles, tau, speed)
            moved[slot] = True
            continue
        free = _slot_of(-1, vehicles)
        if free >= 0 and _must_yield(world, frame, k, astray[:num_astray], near, n):
            vehicles[free], tau[free], speed[free] = int(near[k, 6]), frame, near[k, 3]
            moved[free] = True
            astray[num_astray] = k
            num_astray += 1
    for slot in range(len(vehicles)):
        if vehicles[slot] >= 0 and not moved[slot]:
            _advance(world, frame, slot, math.inf, 0.0, False, vehicles, tau, speed)


@compiled
def _advance(
    world: World,
    frame: int,
    slot: int,
    gap: float,
    leader_speed: float,
    leader_is_astray: bool,
    vehicles: NDArray[np.int64],
    tau: NDArray[np.float64],
    speed: NDArray[np.float64],
) -> None:
    """Drive a yielding car one step along its recorded path; free its slot once it is back in time, or gone."""
    here = np.empty(3)
    recorded = _on_path(world, vehicles[slot], tau[slot], here)
    wanted = CATCH_UP * recorded + 1
    x, y, _, speed_there = recorded_state(world, vehicles[slot], frame - 1)
    lag = math.hypot(x - here[0], y - here[1])
    if leader_is_astray or gap <= lag:
        a = idm(speed[slot], wanted, gap, leader_speed, DRIVER)
    elif lag < BACK:
        vehicles[slot] = -1
        return
    else:
        closing = min(speed_there + lag / CLOSING_TIME, wanted) - speed[slot]
        a = min(max(closing / RESPONSE_TIME, -HARDEST_BRAKING), DRIVER.acceleration)
    speed[slot] = max(speed[slot] + a * world.dt, 0.0)
    tau[slot] += speed[slot] / max(recorded, SLOW)
    if tau[slot] >= min(frame, world.last_frame[vehicles[slot]]):
        vehicles[slot] = -1


@compiled
def _must_yield(
    world: World, frame: int, k: int, astray: NDArray[np.int64], near: NDArray[np.float64], n: int
) -> bool:
    """Whether near[k], which follows its recording, is next behind one of the rows `astray` and has to brake for it."""
    vehicle = int(near[k, 6])
    if frame >= world.last_frame[vehicle]:
        return False
    c, s = math.cos(near[k, 2]), math.sin(near[k, 2])
    gap, leader = math.inf, -1
    for j in astray:
        distance = _gap(near[k], c, s, near[j, 0], near[j, 1], near[j, 4], near[j, 5])
        if distance < gap:
            gap, leader = distance, j
    if leader < 0:
        return False
    v, wanted = near[k, 3], CATCH_UP * near[k, 3] + 1
    row = world.track_rows[world.track_offsets[vehicle] + frame - world.first_frame[vehicle]]
    as_recorded = min(world.action[row, 0], 0.0)
    it = int(near[leader, 6])
    if frame <= world.last_frame[it]:
        x, y, _, leader_speed = recorded_state(world, it, frame)
        distance = _gap(near[k], c, s, x, y, near[leader, 4], near[leader, 5])
        as_recorded = min(as_recorded, urge(v, wanted, distance, leader_speed, DRIVER))
    if urge(v, wanted, gap, near[leader, 3], DRIVER) >= as_recorded - YIELD_BRAKING:
        return False
    for other in range(n):  # who is in between follows its recording, and so may near[k]
        if (
            other != k
            and _gap(near[k], c, s, near[other, 0], near[other, 1], near[other, 4], near[other, 5]) < gap
        ):
            return False
    return True
