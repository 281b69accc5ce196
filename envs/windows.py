"""Training windows, drawn and rendered on the fly: some context, and what came after.

A window is a car and a frame of a recording, uniform over all that have enough frames around them, but for the share
that is drawn for its urgency. Batch i depends on the seed and on i alone: a run resumes by asking for the next batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from envs.errors import InputError
from envs.kinematics import MAX_ACCELERATION, MAX_CURVATURE, limit_scale
from envs.kinematics import step as drive
from envs.parallel import available_threads
from envs.perturbation import look_around, moved, noise_with_room
from envs.raster import render
from envs.recording import Recording, Split
from envs.units import View
from envs.world import World, build_world, recorded_history

URGENT_TRIES = 8  # windows drawn, of which the most urgent is taken
EXPLORATION = (1.5, 0.006)  # m/s^2, 1/m: deviations of actions by chance ...
EXPLORATION_TIME = 3.0  # s; ... and how long they last
Observer = Literal["ego", "straight"]  # whose view targets show, see WindowConfig


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """Which frames a window shows, and from where.

    context: frames back from the present, oldest first, ending with 0.
    targets: frames ahead of the present, in order.
    observer: whose view the targets show: "ego", the recorded car's own; or "straight", that of an observer that goes
        on at the ego's present speed and heading.
    perturbed: share of windows whose ego is moved off its recorded pose and speed, with a history that leads there
        (dx ~ N(0, 1 + .15 v), dv ~ N(0, .3 + .12 v), dy ~ N(0, .5), dheading ~ N(0, .02)); one that touches a car or
        is off the road is drawn again. What its human would have done there is unknown: its own view is that of an ego
        which goes on by its human's actions, from where it was moved to.
    urgent: share of windows each taken from URGENT_TRIES for its short time to collision.
    varied: share of windows whose ego goes on by chance (see `exploration`), whatever its human did. What it sees is
        rendered from where that leads, for nobody reacts to it. In the recording an action is also a sign of what the
        others do (who closes up accelerates when the road ahead becomes free), and so is the ego's place among them;
        here an action is a cause alone. Needs the ego's own view.
    """

    context: tuple[int, ...] = tuple(range(19, -1, -1))
    targets: tuple[int, ...] = tuple(range(1, 21))
    observer: Observer = "ego"
    perturbed: float = 0.0
    urgent: float = 0.0
    varied: float = 0.0
    view: View = View()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if (
            not self.context
            or self.context[-1] != 0
            or list(self.context) != sorted(set(self.context), reverse=True)
        ):
            raise ValueError(f"context={self.context} must descend to 0")
        if list(self.targets) != sorted(set(self.targets)) or (self.targets and self.targets[0] < 1):
            raise ValueError(f"targets={self.targets} must ascend from 1 or more")
        shares = {"perturbed": self.perturbed, "urgent": self.urgent, "varied": self.varied}
        if any(not 0 <= share <= 1 for share in shares.values()):
            raise ValueError(f"{shares} must be shares")
        if self.varied and self.observer != "ego":
            raise ValueError("varied windows show what the ego sees: use observer='ego'")


@dataclass(frozen=True)
class Windows:
    """B windows with C context frames and T target frames."""

    images: NDArray[np.uint8]  # (B, C, 3, H, W), each from the ego's pose in that frame
    vectors: NDArray[np.float32]  # (B, C, 4): x, y, vx, vy
    heading: NDArray[np.float32]  # (B, C) rad
    size: NDArray[np.float32]  # (B, 2): length, width
    actions: NDArray[np.float32]  # (B, T, 2): the human's mean acceleration, curvature up to each target
    target_images: NDArray[np.uint8]  # (B, T, 3, H, W), see WindowConfig.observer
    target_vectors: NDArray[np.float32]  # (B, T, 4), of the observer
    target_heading: NDArray[np.float32]  # (B, T)
    vehicle: NDArray[np.int64]  # (B,) of the sampler's world, ...
    frame: NDArray[np.int64]  # (B,) ... and its present there


class WindowSampler:
    """Seeded, threaded windows from one split of some recordings, or from a share of its cars."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        config: WindowConfig,
        *,
        batch_size: int,
        split: Split = "train",
        share: float = 1.0,
        seed: int | tuple[int, ...] = 0,
        threads: int | None = None,
    ) -> None:
        self.config, self.batch_size = config, batch_size
        self.seed = seed if isinstance(seed, tuple) else (seed,)
        self.threads = threads or available_threads()
        self.world: World = build_world(recordings)
        chosen = np.concatenate([r.in_split(split, share) for r in recordings])
        last_target = config.targets[-1] if config.targets else 0
        self._rows = _valid_rows(self.world, chosen, config.context[0], last_target)
        if len(self._rows) == 0:
            raise InputError(
                f"no car of the {split} split is recorded for {config.context[0] + last_target + 1} frames on the road"
            )

    def batch(self, index: int, part: slice = slice(None)) -> Windows:
        """The index-th batch of this seed, or a part of it: the whole is drawn, and no more is rendered."""
        rng = np.random.default_rng((*self.seed, index))
        rows, histories = self._draw(rng)
        num_urgent = round(self.config.urgent * self.batch_size)
        if num_urgent:
            ttc = self._time_to_collision(rows, histories)
            for _ in range(URGENT_TRIES - 1):
                others, their_histories = self._draw(rng)
                their_ttc = self._time_to_collision(others, their_histories)
                taken = (their_ttc < ttc) & (np.arange(self.batch_size) < num_urgent)
                rows[taken], histories[taken], ttc[taken] = (
                    others[taken],
                    their_histories[taken],
                    their_ttc[taken],
                )
        noise = self._exploration(rng)
        return self._render(rows[part], histories[part], noise[part])

    def stream(self, begin: int, end: int, prefetch: int = 2, part: slice = slice(None)) -> Iterator[Windows]:
        """Batches begin ... end - 1, or a part of each, rendered ahead in a thread of their own."""
        with ThreadPoolExecutor(1, thread_name_prefix="windows") as pool:
            pending = [pool.submit(self.batch, i, part) for i in range(begin, min(begin + prefetch, end))]
            try:
                for i in range(begin, end):
                    batch = pending.pop(0).result()
                    if i + prefetch < end:
                        pending.append(pool.submit(self.batch, i + prefetch, part))
                    yield batch
            finally:
                for future in pending:
                    future.cancel()

    def render(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Windows:
        """The windows whose present is at these rows of the world."""
        histories = self._histories(rows, rng)
        return self._render(rows, histories, self._exploration(rng, len(rows)))

    def _draw(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        rows = self._rows[rng.integers(len(self._rows), size=self.batch_size)]
        return rows, self._histories(rows, rng)

    def _car_and_frame(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return (
            self.world.vehicle[rows].astype(np.int64),
            np.searchsorted(self.world.frame_offsets, rows, side="right") - 1,
        )

    def _histories(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
        """(B, n, 4) states of the egos, some of them perturbed, up to their present."""
        vehicle, present = self._car_and_frame(rows)
        history = recorded_history(self.world, vehicle, present, self.config.context[0] + 1)
        if not self.config.perturbed:
            return history
        wanted = rng.random(len(vehicle)) < self.config.perturbed
        noise = noise_with_room(self.world, history[:, -1], vehicle, present, wanted, rng)
        return moved(history, noise, self.world.dt)

    def _time_to_collision(
        self, rows: NDArray[np.int64], histories: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return look_around(self.world, histories[:, -1], *self._car_and_frame(rows))[1]

    def _exploration(self, rng: np.random.Generator, num: int | None = None) -> NDArray[np.float64]:
        """(B, frames ahead, 2): the actions that are taken instead of the recorded ones; 0 where those are."""
        num = self.batch_size if num is None else num
        ahead = self.config.targets[-1] if self.config.targets else 0
        if not self.config.varied:
            return np.zeros((num, ahead, 2))
        varied = rng.random(num) < self.config.varied
        return exploration(rng.standard_normal((num, ahead, 2)), self.world.dt) * varied[:, None, None]

    def _render(
        self, rows: NDArray[np.int64], histories: NDArray[np.float64], noise: NDArray[np.float64]
    ) -> Windows:
        config, world = self.config, self.world
        vehicle, present = self._car_and_frame(rows)
        context = histories[:, config.context[0] - np.array(config.context)]
        frames = present[:, None] + np.concatenate(
            [-np.array(config.context), np.array(config.targets, np.int64)]
        )
        actions = self._actions(vehicle, present, noise)
        targets = self._targets(context[:, -1], vehicle, present, actions)
        states = np.concatenate([context, targets], 1)
        images = render(world, frames, states, vehicle, config.view, self.threads)
        vectors, heading = state_vectors(states), states[..., 2].astype(np.float32)
        c = len(config.context)
        return Windows(
            images[:, :c], vectors[:, :c], heading[:, :c], world.size[vehicle], self._mean_actions(actions),
            images[:, c:], vectors[:, c:], heading[:, c:], vehicle, present,
        )  # fmt: skip

    def _targets(
        self,
        now: NDArray[np.float64],
        vehicle: NDArray[np.int64],
        present: NDArray[np.int64],
        actions: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """(B, T, 4) states of the observer: the ego as recorded, or as driven by other actions or from elsewhere."""
        ahead = np.array(self.config.targets, np.int64)
        if self.config.observer == "straight":
            return straight_on(now, ahead, self.world.dt)
        rows = self.world.row(vehicle[:, None], present[:, None] + np.arange(actions.shape[1] + 1))
        recorded = self.world.state[rows].astype(np.float64)
        out = recorded[:, ahead]
        otherwise = (now != recorded[:, 0]).any(1) | (actions != self.world.action[rows[:, :-1]]).any((1, 2))
        if len(ahead) and otherwise.any():
            out[otherwise] = driven_on(now[otherwise], actions[otherwise], self.world.dt)[:, ahead - 1]
        return out

    def _actions(
        self, vehicle: NDArray[np.int64], present: NDArray[np.int64], noise: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(B, frames ahead, 2): noise within the limits of the car, or where there is none, what the human did."""
        rows = self.world.row(vehicle[:, None], present[:, None] + np.arange(noise.shape[1]))
        limit = np.array([MAX_ACCELERATION, MAX_CURVATURE]) * limit_scale(self.world.size[vehicle, :1])
        return np.where(noise, np.clip(noise, -limit[:, None], limit[:, None]), self.world.action[rows])

    def _mean_actions(self, actions: NDArray[np.float64]) -> NDArray[np.float32]:
        """(B, T, 2): means over the frames from one target to the next, of (B, frames ahead, 2)."""
        edges = np.array([0, *self.config.targets])
        if len(edges) == 1:
            return np.zeros((len(actions), 0, 2), np.float32)
        sums = np.add.reduceat(actions, edges[:-1], axis=1)
        return (sums / np.diff(edges)[:, None]).astype(np.float32)


def frames_back(num: int, stride: int) -> tuple[int, ...]:
    """Recorded frames back of each of `num` context frames, `stride` apart, oldest first."""
    return tuple(stride * k for k in range(num - 1, -1, -1))


def state_vectors(states: NDArray[np.float64]) -> NDArray[np.float32]:
    """(..., 4) of x, y, vx, vy from (..., 4) of x, y, heading, speed."""
    x, y, heading, speed = np.moveaxis(states, -1, 0)
    return np.stack([x, y, speed * np.cos(heading), speed * np.sin(heading)], -1).astype(np.float32)


def exploration(noise: NDArray[np.float64], dt: float) -> NDArray[np.float64]:
    """Actions by chance, an Ornstein-Uhlenbeck process.

    Its stationary deviations are EXPLORATION, its correlation is exp(-t / EXPLORATION_TIME).

    Args:
        noise: (B, n, 2) standard normal, dt seconds apart.
    Returns:
        (B, n, 2) in m/s^2 and 1/m.
    """
    rho = np.exp(-dt / EXPLORATION_TIME)
    out = noise.copy()
    for k in range(1, noise.shape[1]):
        out[:, k] = rho * out[:, k - 1] + np.sqrt(1 - rho**2) * noise[:, k]
    return out * EXPLORATION


def straight_on(start: NDArray[np.float64], frames: NDArray[np.int64], dt: float) -> NDArray[np.float64]:
    """The states (B, n, 4) of whoever goes on from (B, 4) at its speed and heading, n frames later each."""
    out = np.repeat(start[:, None], len(frames), 1)
    way = start[:, None, 3] * frames * dt
    out[..., 0] += way * np.cos(start[:, None, 2])
    out[..., 1] += way * np.sin(start[:, None, 2])
    return out


def driven_on(start: NDArray[np.float64], actions: NDArray[np.float64], dt: float) -> NDArray[np.float64]:
    """The states (B, n, 4) that actions (B, n, 2) lead to from (B, 4), by the kinematics."""
    state, states = torch.from_numpy(start), []
    for action in torch.from_numpy(actions).unbind(1):
        state = drive(state, action, dt)
        states.append(state)
    return torch.stack(states, 1).numpy()


def _valid_rows(world: World, chosen: NDArray[np.bool_], back: int, ahead: int) -> NDArray[np.int64]:
    """Rows of chosen vehicles with that many frames before and after, on the scored part of the road."""
    frame = np.repeat(np.arange(len(world.frame_offsets) - 1), np.diff(world.frame_offsets))
    v = world.vehicle
    site = world.site[world.recording[v]]
    x = world.state[:, 0]
    ok = chosen[v] & (frame - back >= world.first_frame[v]) & (frame + ahead <= world.last_frame[v])
    return np.flatnonzero(ok & (x >= world.start[site]) & (x <= world.goal[site]))
