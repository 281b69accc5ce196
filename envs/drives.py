"""Which recorded cars can be taken over, where a drive begins, and when its human arrived."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from envs.compiled import compiled
from envs.perturbation import noise_with_room
from envs.recording import DEPARTURE, Recording, Split
from envs.world import World, recorded_history

LATE_ENTRY = 30.0  # m; a car first seen further than this beyond the start did not drive the scored part
TIME_LIMIT_FACTOR = 2.0  # of the human's time ...
TIME_LIMIT_EXTRA = 5.0  # ... plus this, in s


@dataclass(frozen=True, eq=False)
class Drives:
    """D cars that can be scored, by world-wide vehicle and frame numbers."""

    vehicle: NDArray[np.int64]
    start_frame: NDArray[np.int64]  # the ego is taken over here, with its history before
    human_frame: NDArray[np.int64]  # the human reaches the goal (or its recording ends) here
    limit_frame: NDArray[np.int64]  # the drive is over here, arrived or not
    noise: NDArray[np.float64] | None = None  # (D, 4), see envs.perturbation: moves starts off the recording

    def __len__(self) -> int:
        return len(self.vehicle)

    def take(self, index: NDArray[np.integer] | slice) -> Drives:
        """The drives at `index`."""
        noise = None if self.noise is None else self.noise[index]
        return Drives(
            self.vehicle[index],
            self.start_frame[index],
            self.human_frame[index],
            self.limit_frame[index],
            noise,
        )

    def perturbed(self, world: World, seed: int) -> Drives:
        """The same, starting off the recording; a start with no room beside it (see envs.perturbation) stays there."""
        now = recorded_history(world, self.vehicle, self.start_frame, 1)[:, -1]
        rng, all_of_them = np.random.default_rng(seed), np.ones(len(self), bool)
        return replace(
            self, noise=noise_with_room(world, now, self.vehicle, self.start_frame, all_of_them, rng)
        )


def find_drives(
    world: World,
    recordings: Sequence[Recording],
    split: Split = "all",
    *,
    history: int = 20,
    min_seconds: float = 5.0,
) -> Drives:
    """The cars of a split that drive the whole scored part of their site.

    A car is taken over in its first frame with x >= site.start and `history` recorded frames (it included), and its
    human arrives in the first frame with x >= site.goal; where a site has no goal, with the car's last frame. Cars that
    enter late, never arrive, would drive for less than `min_seconds` or, on a site without a goal, never depart (they
    are parked) are left out.
    """
    start, human = _find(world, history)
    wanted = np.concatenate([r.in_split(split) for r in recordings])
    ok = wanted & (start >= 0) & (human - start >= math.ceil(min_seconds / world.dt))
    vehicle = np.flatnonzero(ok)
    start, human = start[ok], human[ok]
    allowed = (TIME_LIMIT_FACTOR * (human - start) + TIME_LIMIT_EXTRA / world.dt).astype(np.int64)
    end = world.end_frame[world.recording[vehicle]]
    has_goal = np.isfinite(world.goal[world.site[world.recording[vehicle]]])
    limit = np.where(has_goal, np.minimum(start + allowed, end), human)
    return Drives(vehicle, start, human, limit)


@compiled
def _find(world: World, history: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and human-arrival frame of every vehicle; -1 where it has none."""
    num = len(world.first_frame)
    start, human = np.full(num, -1, np.int64), np.full(num, -1, np.int64)
    for v in range(num):
        site = world.site[world.recording[v]]
        first, last = world.first_frame[v], world.last_frame[v]
        rows = world.track_rows[world.track_offsets[v] : world.track_offsets[v + 1]]
        begin, end = world.state[rows[0]], world.state[rows[-1]]
        departed = math.hypot(end[0] - begin[0], end[1] - begin[1]) > DEPARTURE
        lasts = departed and world.goal[site] == np.inf
        for f in range(first + history - 1, last + 1):
            row = world.track_rows[world.track_offsets[v] + f - first]
            x = world.state[row, 0]
            if start[v] < 0 and x >= world.start[site]:
                if x > world.start[site] + LATE_ENTRY and world.start[site] > -np.inf:
                    break
                start[v] = f
            if start[v] >= 0 and (x >= world.goal[site] or (f == last and lasts)):
                human[v] = f
                break
        if human[v] < 0:
            start[v] = -1
    return start, human
