"""Drives as arrays: what an agent saw, what it did, and what that was worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.base import Agent
from agents.driving import latest
from envs.sources import Source
from envs.vector_environment import Arrays, ReplayVectorEnv

Where = dict[str, int]


@dataclass(frozen=True, eq=False)
class Episode:
    """One drive of L steps; see envs.vector_environment for what is observed and when a drive ends."""

    observations: Arrays  # (L + 1, ...) each
    actions: NDArray[np.float32]  # (L, 2) m/s^2, 1/m, as the car took them: clipped to what it can do
    rewards: NDArray[np.float64]  # (L,)
    terminations: NDArray[np.bool_]  # (L,)
    truncations: NDArray[np.bool_]  # (L,)
    where: Where  # recording (in the order given), vehicle (its number in the source), start_frame (of the recording)


def episodes(
    agent: Agent,
    recordings: Source | Sequence[Source],
    *,
    num_envs: int = 8,
    num_cars: int | None = None,
    **settings: Any,
) -> Iterator[Episode]:
    """Drive an agent on the cars of a split, each once, in their order.

    The recording itself, as its people drove it, is `agents.Human`: the inverse kinematics of what was recorded.

    Args:
        num_envs: cars at once; their episodes are in memory until the last of them ends.
        num_cars: the first so many cars; all by default.
        settings: of `ReplayVectorEnv`: split, frames, view, traffic, reward, collision, end_off_road, threads.
    """
    env = ReplayVectorEnv(num_envs, recordings, action="physical", history=agent.history, **settings)
    num_drives = min(num_cars or len(env.drives), len(env.drives))
    for begin in range(0, num_drives, num_envs):
        wanted = min(num_envs, num_drives - begin)
        chosen = np.minimum(
            begin + np.arange(num_envs), num_drives - 1
        )  # the last batch repeats its last car
        yield from _together(agent, env, chosen)[:wanted]


def _together(agent: Agent, env: ReplayVectorEnv, chosen: NDArray[np.int64]) -> list[Episode]:
    """One drive of every car; a car whose drive has ended goes on with another one, which nobody looks at."""
    num = env.num_envs
    seen, _ = env.reset(seed=0, options={"drive": chosen})
    agent.begin(env.replay)
    logs = [_Log(seen, i) for i in range(num)]
    live = np.ones(num, bool)
    while live.any():
        limit = env.replay.action_limit
        wish = agent.act(latest(env.replay.observe(), agent.history))
        actions = np.clip(wish, -limit, limit).astype(np.float32)
        seen, rewards, terminated, truncated, _ = env.step(actions)
        for i in np.flatnonzero(live):
            logs[i].add(seen, actions[i], rewards[i], terminated[i], truncated[i])
        live &= ~(terminated | truncated)
    return [log.episode(_where(env, drive)) for log, drive in zip(logs, chosen, strict=True)]


class _Log:
    """An episode while it is being driven."""

    def __init__(self, seen: Arrays, car: int) -> None:
        self._car = car
        self._seen = [self._own(seen)]
        self._steps: list[tuple[NDArray[np.float32], float, bool, bool]] = []

    def add(
        self, seen: Arrays, action: NDArray[np.float32], reward: float, terminated: bool, truncated: bool
    ) -> None:
        self._seen.append(self._own(seen))
        self._steps.append((action.copy(), reward, terminated, truncated))

    def episode(self, where: Where) -> Episode:
        actions, rewards, terminations, truncations = (
            np.array(column) for column in zip(*self._steps, strict=True)
        )
        observations = {name: np.stack([seen[name] for seen in self._seen]) for name in self._seen[0]}
        return Episode(observations, actions, rewards, terminations, truncations, where)

    def _own(self, seen: Arrays) -> Arrays:
        return {name: array[self._car].copy() for name, array in seen.items()}


def _where(env: ReplayVectorEnv, drive: int) -> Where:
    world, vehicle = env.replay.world, int(env.drives.vehicle[drive])
    recording = int(world.recording[vehicle])
    first_vehicle = int(np.searchsorted(world.recording, recording))
    return {
        "recording": recording,
        "vehicle": int(env.replay.recordings[recording].vehicles.id[vehicle - first_vehicle]),
        "start_frame": int(world.frame_in_recording(np.array(vehicle), env.drives.start_frame[drive])),
    }
