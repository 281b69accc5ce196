"""Starts off the recording: where a car that had driven a little otherwise would be, and whether there is room for it.

A policy that only ever starts where its human was has never seen what its own mistakes lead to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.compiled import compiled
from envs.geometry import first_overlap, gap_and_ttc
from envs.raster import MAX_NEAR, NEAR_FIELDS, gather, is_off_road
from envs.world import World

TRIES = 4  # before a start is left as recorded
SIGHT = 100.0  # m; nobody further off counts as ahead


def perturb(history: NDArray[np.float64], noise: NDArray[np.float64], dt: float) -> NDArray[np.float64]:
    """Move the last state of each history and let the rest lead there by the kinematics.

    Args:
        history: (B, n, 4) of x, y, heading, speed, dt apart.
        noise: (B, 4) standard normal, for the displacement ahead and to the left, the speed, the heading.
    Returns:
        (B, n, 4): its speeds and headings are shifted as a whole, its positions are integrated back from the last.
    """
    out = history.copy()
    x, y, heading, v = (history[:, -1, k] for k in range(4))
    ahead, left = noise[:, 0] * (1 + 0.15 * v), noise[:, 1] * 0.5
    out[..., 2] += 0.02 * noise[:, 3, None]
    out[..., 3] = np.maximum(out[..., 3] + (noise[:, 2] * (0.3 + 0.12 * v))[:, None], 0)
    out[:, -1, 0] = x + ahead * np.cos(heading) - left * np.sin(heading)
    out[:, -1, 1] = y + ahead * np.sin(heading) + left * np.cos(heading)
    way = out[:, :-1, 3] * dt
    for k, trig in ((0, np.cos), (1, np.sin)):
        legs = way * trig(out[:, :-1, 2])
        out[:, :-1, k] = out[:, -1:, k] - np.cumsum(legs[:, ::-1], 1)[:, ::-1]
    return out


def moved(history: NDArray[np.float64], noise: NDArray[np.float64], dt: float) -> NDArray[np.float64]:
    """`perturb` where there is noise; the other histories stay as they are."""
    out, some = history.copy(), noise.any(1)
    out[some] = perturb(history[some], noise[some], dt)
    return out


def noise_with_room(
    world: World,
    states: NDArray[np.float64],
    vehicle: NDArray[np.int64],
    frame: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """(B, 4) for `moved`, so that whoever is moved off its state (B, 4) is on the road and touches nobody.

    Noise that leads elsewhere is drawn again, TRIES times in all; after that, and where none is wanted (B,), it is 0.
    """
    noise, missing = np.zeros((len(states), 4)), wanted.copy()
    for _ in range(TRIES):
        tried = rng.standard_normal(noise.shape)
        free, _ = look_around(world, perturb(states[:, None], tried, world.dt)[:, -1], vehicle, frame)
        noise[missing & free] = tried[missing & free]
        missing &= ~free
    return noise


def look_around(
    world: World, states: NDArray[np.float64], vehicle: NDArray[np.int64], frame: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each of states (B, 4) is on the road and touches nobody, and the seconds to a collision ahead.

    vehicle (B,) is who is not there in frame (B,), since its ego is.
    """
    free, ttc = np.zeros(len(vehicle), bool), np.empty(len(vehicle))
    _look_around(world, states, vehicle, frame, free, ttc)
    return free, ttc


@compiled
def _look_around(
    world: World,
    states: NDArray[np.float64],
    vehicle: NDArray[np.int64],
    frame: NDArray[np.int64],
    free: NDArray[np.bool_],
    ttc: NDArray[np.float64],
) -> None:
    near = np.empty((MAX_NEAR, NEAR_FIELDS))
    for b in range(len(vehicle)):
        x, y, heading, speed = states[b, 0], states[b, 1], states[b, 2], states[b, 3]
        length, width = world.size[vehicle[b]]
        n = gather(world, frame[b], x, y, SIGHT, vehicle[b], near)
        touches = first_overlap(x, y, heading, length, width, near, n) >= 0
        free[b] = not touches and not is_off_road(world, world.site[world.recording[vehicle[b]]], x, y)
        ttc[b] = gap_and_ttc(x, y, heading, speed, length, width, near, n)[1]
