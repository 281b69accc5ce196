"""Where the time of a replay step goes: the parts of `envs.replay._step_range`, one by one, on one core.

python benchmarks/replay.py [RECORDING.parquet]

Prints processor time per ego and step, the best of several repetitions. The parts read and write one picture slot,
which stays in the cache; the whole step moves on to a colder one every time, the difference between it and their sum.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import numba as nb
import numpy as np
from numpy.typing import NDArray

from envs.costs import costs_of_image
from envs.drives import find_drives
from envs.geometry import first_overlap, gap_and_ttc
from envs.raster import MAX_NEAR, NEAR_FIELDS, _draw_static, draw, gather
from envs.replay import LOOK_AROUND, Replay
from envs.sources import load_recordings
from envs.world import World
from mbrl.bench import traffic

NUM_EGOS = 1024
REPETITIONS = 15
SLOT = 3
U8, F32, F64, I64 = NDArray[np.uint8], NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]


@nb.njit
def gather_all(world: World, state: F64, frame: I64, vehicle: I64) -> int:
    near, found = np.empty((MAX_NEAR, NEAR_FIELDS)), 0
    for b in range(len(frame)):
        found += gather(world, frame[b], state[b, 0], state[b, 1], LOOK_AROUND, vehicle[b], near)
    return found


@nb.njit
def draw_static_all(world: World, state: F64, vehicle: I64, px_per_m: float, images: U8) -> None:
    for b in range(len(vehicle)):
        site, heading = world.site[world.recording[vehicle[b]]], state[b, 2]
        c, s = math.cos(heading), math.sin(heading)
        _draw_static(world, site, state[b, 0], state[b, 1], c, s, px_per_m, images[b, SLOT])


@nb.njit
def gather_and_draw_all(
    world: World, state: F64, frame: I64, vehicle: I64, px_per_m: float, images: U8
) -> None:
    near = np.empty((MAX_NEAR, NEAR_FIELDS))
    for b in range(len(frame)):
        site, x, y = world.site[world.recording[vehicle[b]]], state[b, 0], state[b, 1]
        n = gather(world, frame[b], x, y, LOOK_AROUND, vehicle[b], near)
        draw(world, site, x, y, state[b, 2], near, n, px_per_m, images[b, SLOT])


@nb.njit
def copy_all(images: U8) -> None:
    for b in range(images.shape[0]):
        images[b, SLOT + images.shape[1] // 2] = images[b, SLOT]


@nb.njit
def cost_all(images: U8, px_per_m: float, state: F64, size: F32) -> float:
    total = 0.0
    for b in range(images.shape[0]):
        length, width = float(size[b, 0]), float(size[b, 1])
        total += costs_of_image(images[b, SLOT], px_per_m, state[b, 3], length, width)[0]
    return total


@nb.njit
def gather_and_measure_all(world: World, state: F64, frame: I64, vehicle: I64, size: F32) -> float:
    near, total = np.empty((MAX_NEAR, NEAR_FIELDS)), 0.0
    for b in range(len(frame)):
        x, y, heading, speed = state[b, 0], state[b, 1], state[b, 2], state[b, 3]
        length, width = float(size[b, 0]), float(size[b, 1])
        n = gather(world, frame[b], x, y, LOOK_AROUND, vehicle[b], near)
        total += first_overlap(x, y, heading, length, width, near, n)
        total += gap_and_ttc(x, y, heading, speed, length, width, near, n)[0] < 1
    return total


def microseconds(run: Callable[[], object]) -> float:
    """Processor time per ego of one call, best of REPETITIONS."""
    run()
    best = math.inf
    for _ in range(REPETITIONS):
        begin = time.process_time()
        run()
        best = min(best, time.process_time() - begin)
    return best / NUM_EGOS * 1e6


def main(path: str | None = None) -> None:
    recording = load_recordings(path)[0] if path else traffic()
    replay = Replay([recording], NUM_EGOS, threads=1)
    drives = find_drives(replay.world, [recording])
    replay.reset(drives.take(np.random.default_rng(0).integers(len(drives), size=NUM_EGOS)))
    for _ in range(20):
        replay.step(replay.human_actions())
    world, state, frame, vehicle, size = replay.world, replay.state, replay.frame, replay.vehicle, replay.size
    images, px_per_m = replay._images, replay.view.px_per_m

    gathering = microseconds(lambda: gather_all(world, state, frame, vehicle))
    static = microseconds(lambda: draw_static_all(world, state, vehicle, px_per_m, images))
    drawing = microseconds(lambda: gather_and_draw_all(world, state, frame, vehicle, px_per_m, images))
    measuring = microseconds(lambda: gather_and_measure_all(world, state, frame, vehicle, size))
    parts = {
        "find the vehicles around": gathering,
        "draw road and markings": static,
        "draw vehicles": drawing - gathering - static,
        "costs": microseconds(lambda: cost_all(images, px_per_m, state, size)),
        "overlap, gap, time to collision": measuring - gathering,
        "write the picture a second time": microseconds(lambda: copy_all(images)),
    }
    whole = microseconds(lambda: replay.step(replay.human_actions()))
    print(
        f"{gather_all(world, state, frame, vehicle) / NUM_EGOS:.0f} vehicles within {LOOK_AROUND:.0f} m of an ego"
    )
    for name, value in {**parts, "the whole step": whole}.items():
        print(f"{name:<32}{value:6.2f} us")
    print(f"{1e6 / whole:,.0f} steps per second and core")


if __name__ == "__main__":
    main(*sys.argv[1:])
