"""B egos at once, each taken out of a recording and driven among the others, in compiled, threaded code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from envs import reactive
from envs.compiled import compiled
from envs.costs import COLLISION_THRESHOLD, OVERLAP_TOLERANCE, costs_of_image
from envs.drives import Drives
from envs.geometry import first_overlap, gap_and_ttc, is_hit_from_behind
from envs.kinematics import MAX_ACCELERATION, MAX_CURVATURE, limit_scale
from envs.parallel import available_threads, for_ranges
from envs.perturbation import moved
from envs.raster import MAX_NEAR, NEAR_FIELDS, draw, gather, is_off_road, picture_reach
from envs.recording import Recording
from envs.units import View
from envs.world import World, build_world, recorded_history

LOOK_AROUND = 60.0  # m; vehicles further away, and out of the picture, matter to nobody
Traffic = Literal["blind", "reactive"]


@dataclass(frozen=True)
class Observation:
    """What a driver knows. T frames of history, the last one is now; arrays are views that the next step overwrites."""

    images: NDArray[np.uint8]  # (B, T, 3, H, W), see envs.raster
    vectors: NDArray[np.float32]  # (B, T, 4): x, y, vx, vy in the site's frame
    heading: NDArray[np.float32]  # (B, T) rad; vx, vy do not tell it at standstill
    size: NDArray[np.float32]  # (B, 2): length, width


@dataclass(frozen=True)
class Step:
    """What one step led to, (B,) each unless said."""

    costs: NDArray[np.float32]  # (B, 3): proximity, lane, off-road; see envs.costs
    collided: NDArray[np.bool_]  # by the paper's rule: proximity > 0.99
    hit: NDArray[np.int64]  # vehicle whose box the ego's box overlaps, or -1
    hit_less: NDArray[np.bool_]  # the same with the ego's box 1 m shorter and narrower
    at_fault: NDArray[np.bool_]  # of `hit`: not hit from behind, see envs.geometry
    off_road: NDArray[np.bool_]  # the ego's centre has left the drivable area
    arrived: NDArray[np.bool_]
    out_of_time: NDArray[np.bool_]
    gap: NDArray[np.float32]  # m to the vehicle ahead in its path, or inf
    ttc: NDArray[np.float32]  # s, or inf

    @staticmethod
    def empty(num: int) -> Step:
        """Before anything happened."""
        flags = {name: np.zeros(num, bool) for name in
                 ("collided", "hit_less", "at_fault", "off_road", "arrived", "out_of_time")}  # fmt: skip
        return Step(
            costs=np.zeros((num, 3), np.float32),
            hit=np.full(num, -1, np.int64),
            gap=np.full(num, np.inf, np.float32),
            ttc=np.full(num, np.inf, np.float32),
            **flags,
        )


class Replay:
    """Egos that drive among recorded traffic. The others follow the recording ("blind") or yield ("reactive").

    An ego is invisible in its own recording: the vehicle it replaces is not drawn and cannot be hit. Nothing ends a
    drive here; `step` reports what happened and its caller decides.

    Args:
        recordings: driven in together; they must share dt.
        num_egos: B.
        history: T frames of the observation.
        view: the picture's size.
        traffic: see envs.reactive.
        threads: of the compiled loops; all available cores by default. Results do not depend on it.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        num_egos: int,
        *,
        history: int = 20,
        view: View | None = None,
        traffic: Traffic = "blind",
        threads: int | None = None,
    ) -> None:
        if num_egos < 1 or history < 1:
            raise ValueError(f"num_egos={num_egos} and history={history} must be at least 1")
        if traffic not in ("blind", "reactive"):
            raise ValueError(f"traffic={traffic!r} must be 'blind' or 'reactive'")
        self.recordings = list(recordings)
        self.world: World = build_world(self.recordings)
        self.num_egos, self.history, self.view = num_egos, history, view or View()
        self.threads = threads or available_threads()
        shape = (
            num_egos,
            2 * history,
        )  # a ring, each frame written twice, so that any T in a row are one slice
        self._images = np.zeros((*shape, 3, self.view.height, self.view.width), np.uint8)
        self._vectors = np.zeros((*shape, 4), np.float32)
        self._headings = np.zeros(shape, np.float32)
        self._slot = history - 1  # of the present frame, in [0, history)
        self.vehicle = np.zeros(num_egos, np.int64)
        self.frame = np.zeros(num_egos, np.int64)
        self.limit_frame = np.zeros(num_egos, np.int64)
        self._begun = np.zeros(num_egos, bool)
        self.state = np.zeros((num_egos, 4))  # x, y, heading, speed
        self.size = np.ones((num_egos, 2), np.float32)
        self.action_limit = np.ones((num_egos, 2))
        slots = (num_egos, reactive.MAX_YIELDING if traffic == "reactive" else 0)
        self._yielding = np.full(slots, -1, np.int64)
        self._yield_tau = np.zeros(slots)
        self._yield_speed = np.zeros(slots)

    def reset(self, drives: Drives, egos: NDArray[np.integer] | None = None) -> Observation:
        """Begin drive i with ego egos[i] (all of them by default), with the recorded history before it.

        Raises:
            ValueError: an ego is named twice or not there, or a drive does not start while its car is recorded.
        """
        egos = np.ascontiguousarray(np.arange(self.num_egos) if egos is None else egos, np.int64)
        self._check(drives, egos)
        self.vehicle[egos], self.frame[egos], self.limit_frame[egos] = (
            drives.vehicle,
            drives.start_frame,
            drives.limit_frame,
        )
        self.size[egos] = self.world.size[drives.vehicle]
        scale = limit_scale(self.size[egos, 0].astype(np.float64))
        self.action_limit[egos] = scale[:, None] * np.array([MAX_ACCELERATION, MAX_CURVATURE])
        self._yielding[egos] = -1
        self._begun[egos] = True
        for_ranges(
            _reset_range, len(egos), self.threads, self.world, self.view.px_per_m, egos, self._histories(drives),
            self.vehicle, self.frame, self.state, self._slot, self._images, self._vectors, self._headings,
        )  # fmt: skip
        return self.observe()

    def _histories(self, drives: Drives) -> NDArray[np.float64]:
        """(D, T, 4): the states that led to each start."""
        history = recorded_history(self.world, drives.vehicle, drives.start_frame, self.history)
        return history if drives.noise is None else moved(history, drives.noise, self.world.dt)

    def _check(self, drives: Drives, egos: NDArray[np.integer]) -> None:
        """Refuse what compiled code would follow out of its arrays."""
        if len(egos) != len(drives):
            raise ValueError(f"{len(drives)} drives for {len(egos)} egos")
        if len(np.unique(egos)) < len(egos) or not ((egos >= 0) & (egos < self.num_egos)).all():
            raise ValueError(f"egos={egos.tolist()} must be different ones of {self.num_egos}")
        known = (drives.vehicle >= 0) & (drives.vehicle < len(self.world.size))
        vehicle = np.where(known, drives.vehicle, 0)
        there = (drives.start_frame >= self.world.first_frame[vehicle]) & (
            drives.start_frame <= self.world.last_frame[vehicle]
        )
        if not (known & there).all():
            i = int(np.argmin(known & there))
            raise ValueError(f"drive {i}: vehicle {drives.vehicle[i]} has no frame {drives.start_frame[i]}")

    def observe(self) -> Observation:
        """The present and the T - 1 frames before it, without copying."""
        window = slice(self._slot + 1, self._slot + 1 + self.history)
        return Observation(
            self._images[:, window], self._vectors[:, window], self._headings[:, window], self.size
        )

    def step(
        self, actions: NDArray[np.floating], active: NDArray[np.bool_] | None = None
    ) -> tuple[Observation, Step]:
        """Drive one dt.

        Args:
            actions: (B, 2) acceleration (m/s^2) and curvature (1/m); clipped to what each vehicle can do.
            active: (B,); egos that are not stay where and when they are.
        Raises:
            ValueError: an active ego's action is not finite, or it has no drive, or its recording no next frame.
        """
        active = np.ones(self.num_egos, bool) if active is None else np.ascontiguousarray(active, bool)
        actions = np.ascontiguousarray(actions, np.float64)
        if actions.shape != (self.num_egos, 2):
            raise ValueError(f"actions have shape {actions.shape}, expected {(self.num_egos, 2)}")
        broken = active & ~np.isfinite(actions).all(1)
        if broken.any():
            raise ValueError(f"the action of ego {np.flatnonzero(broken)[0]} is not finite")
        idle = active & ~self._begun
        if idle.any():
            raise ValueError(
                f"ego {np.flatnonzero(idle)[0]} has no drive: reset it or leave it out of `active`"
            )
        ended = active & (self.frame >= self.world.end_frame[self.world.recording[self.vehicle]])
        if ended.any():
            raise ValueError(
                f"the recording of ego {np.flatnonzero(ended)[0]} has no next frame: end drives that are out_of_time"
            )
        self._slot = (self._slot + 1) % self.history
        result = Step.empty(self.num_egos)
        for_ranges(
            _step_range, self.num_egos, self.threads, self.world, self.view.px_per_m, actions, active,
            self.action_limit, self.vehicle, self.frame, self.limit_frame, self.state, self.size, self._slot,
            self._images, self._vectors, self._headings, self._yielding, self._yield_tau, self._yield_speed,
            result.costs, result.hit, result.hit_less, result.at_fault, result.off_road, result.arrived,
            result.out_of_time, result.gap, result.ttc,
        )  # fmt: skip
        np.greater(result.costs[:, 0], COLLISION_THRESHOLD, out=result.collided)
        return self.observe(), result

    def others(
        self, egos: NDArray[np.int64] | None = None, reach: float = LOOK_AROUND
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Who is within `reach` metres of some egos (all of them by default) now: rows (B, MAX_NEAR, 7) as of
        `raster.gather`, and how many.

        Rows from the number on mean nothing. Vehicles that yield are where they are, not where they were recorded.
        """
        egos = np.arange(self.num_egos) if egos is None else egos
        near = np.empty((len(egos), MAX_NEAR, NEAR_FIELDS))
        num = np.zeros(len(egos), np.int64)
        for_ranges(
            _others_range, len(egos), self.threads, self.world, egos, reach, self.vehicle, self.frame, self.state,
            self._yielding, self._yield_tau, self._yield_speed, near, num,
        )  # fmt: skip
        return near, num

    def human_actions(self) -> NDArray[np.float32]:
        """(B, 2): what each ego's human did from the present frame on, unclipped; 0 after its recording ended."""
        first, last = self.world.first_frame[self.vehicle], self.world.last_frame[self.vehicle]
        row = self.world.row(self.vehicle, np.clip(self.frame, first, last))
        return np.where((self.frame < last)[:, None], self.world.action[row], 0).astype(np.float32)

    def human_state(self) -> NDArray[np.float32]:
        """(B, 4): x, y, heading, speed of each ego's human now (the last recorded one once it has left)."""
        first, last = self.world.first_frame[self.vehicle], self.world.last_frame[self.vehicle]
        return self.world.state[self.world.row(self.vehicle, np.clip(self.frame, first, last))]


@compiled
def _remember(
    b: int,
    slot: int,
    history: int,
    state: NDArray[np.float64],
    vectors: NDArray[np.float32],
    headings: NDArray[np.float32],
    images: NDArray[np.uint8],
) -> None:
    """Write the ego's vector to its ring slot, and everything in that slot to the twin slot."""
    c, s = math.cos(state[2]), math.sin(state[2])
    for twin in (slot, slot + history):
        vectors[b, twin, 0], vectors[b, twin, 1] = state[0], state[1]
        vectors[b, twin, 2], vectors[b, twin, 3] = state[3] * c, state[3] * s
        headings[b, twin] = state[2]
    images[b, slot + history] = images[b, slot]


@compiled
def _others_range(
    world: World,
    egos: NDArray[np.int64],
    reach: float,
    vehicle: NDArray[np.int64],
    frame: NDArray[np.int64],
    state: NDArray[np.float64],
    yielding: NDArray[np.int64],
    yield_tau: NDArray[np.float64],
    yield_speed: NDArray[np.float64],
    near: NDArray[np.float64],
    num: NDArray[np.int64],
    begin: int,
    end: int,
) -> None:
    for i in range(begin, end):
        b = egos[i]
        x, y = state[b, 0], state[b, 1]
        n = gather(world, frame[b], x, y, reach, vehicle[b], near[i])
        num[i] = reactive.place_yielding(
            world, x, y, reach, yielding[b], yield_tau[b], yield_speed[b], near[i], n
        )


@compiled
def _reset_range(
    world: World,
    px_per_m: float,
    egos: NDArray[np.int64],
    histories: NDArray[np.float64],
    vehicle: NDArray[np.int64],
    frame: NDArray[np.int64],
    state: NDArray[np.float64],
    slot: int,
    images: NDArray[np.uint8],
    vectors: NDArray[np.float32],
    headings: NDArray[np.float32],
    begin: int,
    end: int,
) -> None:
    near = np.empty((MAX_NEAR, NEAR_FIELDS))
    reach = max(LOOK_AROUND, picture_reach(images.shape[3], images.shape[4], px_per_m))
    history = images.shape[1] // 2
    for e in range(begin, end):
        b = egos[e]
        v = vehicle[b]
        site = world.site[world.recording[v]]
        for back in range(history - 1, -1, -1):
            f = max(frame[b] - back, world.first_frame[v])
            state[b] = histories[e, history - 1 - back]
            at = (slot - back) % history
            n = gather(world, f, state[b, 0], state[b, 1], reach, v, near)
            draw(world, site, state[b, 0], state[b, 1], state[b, 2], near, n, px_per_m, images[b, at])
            _remember(b, at, history, state[b], vectors, headings, images)


@compiled
def _step_range(
    world: World,
    px_per_m: float,
    actions: NDArray[np.float64],
    active: NDArray[np.bool_],
    action_limit: NDArray[np.float64],
    vehicle: NDArray[np.int64],
    frame: NDArray[np.int64],
    limit_frame: NDArray[np.int64],
    state: NDArray[np.float64],
    size: NDArray[np.float32],
    slot: int,
    images: NDArray[np.uint8],
    vectors: NDArray[np.float32],
    headings: NDArray[np.float32],
    yielding: NDArray[np.int64],
    yield_tau: NDArray[np.float64],
    yield_speed: NDArray[np.float64],
    costs: NDArray[np.float32],
    hit: NDArray[np.int64],
    hit_less: NDArray[np.bool_],
    at_fault: NDArray[np.bool_],
    off_road: NDArray[np.bool_],
    arrived: NDArray[np.bool_],
    out_of_time: NDArray[np.bool_],
    gap: NDArray[np.float32],
    ttc: NDArray[np.float32],
    begin: int,
    end: int,
) -> None:
    near = np.empty((MAX_NEAR, NEAR_FIELDS))
    reach = max(LOOK_AROUND, picture_reach(images.shape[3], images.shape[4], px_per_m))
    history = images.shape[1] // 2
    dt = world.dt
    for b in range(begin, end):
        if not active[b]:
            images[b, slot] = images[b, (slot - 1) % history]
            _remember(b, slot, history, state[b], vectors, headings, images)
            continue
        a = min(max(actions[b, 0], -action_limit[b, 0]), action_limit[b, 0])
        kappa = min(max(actions[b, 1], -action_limit[b, 1]), action_limit[b, 1])
        x, y, heading, v = state[b, 0], state[b, 1], state[b, 2], state[b, 3]
        x, y = x + v * math.cos(heading) * dt, y + v * math.sin(heading) * dt
        heading = heading + math.atan(kappa * v * dt)
        v = max(v + a * dt, 0.0)
        state[b, 0], state[b, 1], state[b, 2], state[b, 3] = x, y, heading, v
        frame[b] += 1
        who, now = vehicle[b], frame[b]
        length, width = float(size[b, 0]), float(size[b, 1])
        site = world.site[world.recording[who]]
        n = gather(world, now, x, y, reach, who, near)
        if yielding.shape[1] > 0:
            cars, tau, speed = yielding[b], yield_tau[b], yield_speed[b]
            n = reactive.place_yielding(world, x, y, reach, cars, tau, speed, near, n)
            n = min(n, MAX_NEAR - 1)
            near[n, 0], near[n, 1], near[n, 2], near[n, 3] = x, y, heading, v
            near[n, 4], near[n, 5], near[n, 6] = length, width, who
            reactive.react(world, now, cars, tau, speed, near, n + 1)
            n = gather(world, now, x, y, reach, who, near)
            n = reactive.place_yielding(world, x, y, reach, cars, tau, speed, near, n)
        draw(world, site, x, y, heading, near, n, px_per_m, images[b, slot])
        _remember(b, slot, history, state[b], vectors, headings, images)

        costs[b, 0], costs[b, 1], costs[b, 2] = costs_of_image(images[b, slot], px_per_m, v, length, width)
        k = first_overlap(x, y, heading, length, width, near, n)
        if k >= 0:
            hit[b] = int(near[k, 6])
            at_fault[b] = not is_hit_from_behind(x, y, heading, v, near[k])
            less_l, less_b = max(length - OVERLAP_TOLERANCE, 0.0), max(width - OVERLAP_TOLERANCE, 0.0)
            hit_less[b] = first_overlap(x, y, heading, less_l, less_b, near, n) >= 0
        off_road[b] = is_off_road(world, site, x, y)
        gap[b], ttc[b] = gap_and_ttc(x, y, heading, v, length, width, near, n)
        goal = world.goal[site]
        arrived[b] = x >= goal if goal < math.inf else now >= world.last_frame[who]
        out_of_time[b] = now >= limit_frame[b]
