"""B cars driven among recorded traffic at once, as a gymnasium vector environment; see envs.environment for one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.buffers import BufferPool
from envs.drives import Drives, find_drives
from envs.ending import CollisionRule, collisions, ending
from envs.errors import InputError
from envs.kinematics import MAX_ACCELERATION, MAX_CURVATURE
from envs.parallel import for_ranges
from envs.pictures import RoadPicture
from envs.recording import Split, _hash_unit
from envs.replay import Replay, Step, Traffic
from envs.reward import Reward
from envs.sources import Source, load_recordings
from envs.units import View

ActionUnits = Literal["normalised", "physical"]
Arrays = dict[str, NDArray[Any]]

ACTION_LIMIT = np.array([MAX_ACCELERATION, MAX_CURVATURE], np.float32)
SEEDS_APART = 1_000_003  # a car drives fewer drives than this with one seed


class ReplayVectorEnv(VectorEnv[Arrays, NDArray[np.floating], NDArray[Any]]):
    """B cars, each driven among the traffic of its recording, in one compiled step for all of them.

    Car i of the environment seeded with s drives as `ReplayEnv` seeded with s + i does: which recorded vehicle it takes
    over depends on its seed and on how many it has driven before, and on nothing else.

    `infos` holds, for the step just taken, every field of `envs.replay.Step`, and failed (whether the drive ended in a
    collision or off the road), vehicle, progress and human_progress (m from where the drive began; the human's at the
    same moment), each (B, ...) with a mask `_name` (B,) of the cars it is about. Vehicles are numbered through all
    recordings, in their order.

    Args:
        num_envs: B.
        recordings: paths or Recordings, one or several; the sample that ships with headway by default.
        split: of the vehicles taken over; see `Recording.in_split`.
        frames: which frames the observation shows, in steps back from the present, 0 among them.
        history: frames a car is recorded for before it is taken over, if that is more than `frames` reach back.
        view: the picture's size.
        action: "normalised" shares of each vehicle's own limits, or "physical" units.
        traffic: "blind", as recorded, or "reactive"; see envs.reactive.
        reward: its weights.
        collision: what ends a drive as one, "proximity" (the paper's rule), "box" or "box_less_1m"; see envs.ending.
        end_off_road: whether leaving the drivable area ends a drive.
        autoreset_mode: gymnasium's; with DISABLED an ended drive waits for `reset(options={"reset_mask": ...})`.
        render_mode: "rgb_array" (a picture per car), or None.
        threads: of the compiled loops; all available cores by default. Results do not depend on it.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (as gymnasium declares it)

    def __init__(
        self,
        num_envs: int = 1,
        recordings: Source | Sequence[Source] | None = None,
        *,
        split: Split = "train",
        frames: Sequence[int] = (0, 2, 4, 6),
        history: int = 1,
        view: View | None = None,
        action: ActionUnits = "normalised",
        traffic: Traffic = "blind",
        reward: Reward | None = None,
        collision: CollisionRule = "proximity",
        end_off_road: bool = True,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        threads: int | None = None,
    ) -> None:
        check_choice("action", action, get_args(ActionUnits))
        check_choice("collision", collision, get_args(CollisionRule))
        check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        if isinstance(frames, int) or 0 not in frames or min(frames) < 0 or len(set(frames)) < len(frames):
            raise ValueError(f"frames={frames} must be different steps back, 0 among them, as (0, 2, 4, 6)")
        if history < 1:
            raise ValueError(f"history={history} must be at least 1")
        self._back = sorted(frames, reverse=True)
        self.replay = Replay(
            load_recordings(recordings),
            num_envs,
            history=max(history, self._back[0] + 1),
            view=view,
            traffic=traffic,
            threads=threads,
        )
        self._shown = [self.replay.history - 1 - back for back in self._back]
        world = self.replay.world
        self.drives = find_drives(world, self.replay.recordings, split, history=self.replay.history)
        if len(self.drives) == 0:
            raise InputError(f"no car of the {split} split drives the scored part of its site")
        self._autoreset = AutoresetMode(autoreset_mode)
        self.metadata = {
            **self.metadata,
            "render_fps": round(1 / world.dt),
            "autoreset_mode": self._autoreset,
        }
        self.num_envs, self.render_mode = num_envs, render_mode
        self.reward = reward or Reward()
        self._normalised = action == "normalised"
        self._collision: CollisionRule = collision
        self._end_off_road = end_off_road
        self.single_observation_space = observation_space(self.replay, self.drives, len(self._back))
        limit = np.ones(2, np.float32) if self._normalised else ACTION_LIMIT
        self.single_action_space = gym.spaces.Box(-limit, limit, dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        seen, shown = self.replay.observe(), (num_envs, len(self._back))
        self._pools = {
            "images": BufferPool((*shown, *seen.images.shape[2:]), np.uint8),
            "vectors": BufferPool((*shown, 4), np.float32),
            "heading": BufferPool(shown, np.float32),
            "size": BufferPool((num_envs, 2), np.float32),
        }
        self._seeds = np.zeros(num_envs, np.int64)
        self._num_begun = np.zeros(num_envs, np.int64)  # drives with this seed
        self._start_x = np.zeros(num_envs)
        self._ended = np.zeros(num_envs, bool)
        self._last = Step.empty(num_envs)
        self._road: RoadPicture | None = None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Begin a drive with every car.

        Args:
            seed: of car 0, the others count on from it; or one for each car, None where it goes on as it is.
            options: "reset_mask", bool (B,): only with these cars; "drive": which of `drives`, for all or for each.
        """
        options = options or {}
        mask = _reset_mask(options.get("reset_mask"), self.num_envs)
        self._seed(seed, mask)
        self._begin(mask, options.get("drive"))
        self._last = _without(self._last, mask)
        return self._observe(), self._infos(self._last, mask)

    def step(
        self, actions: NDArray[np.floating]
    ) -> tuple[Arrays, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Drive every car, actions (B, 2), for one dt; a car whose drive has ended is reset by autoreset_mode."""
        if not self._num_begun.all():
            raise ResetNeeded("reset comes before step")
        waiting = self._ended
        if self._autoreset is AutoresetMode.DISABLED and waiting.any():
            raise ResetNeeded(
                f"the drive of car {np.argmax(waiting)} has ended: reset it before the next step"
            )
        actions = np.asarray(actions, np.float64)
        if self._normalised:
            actions = actions * self.replay.action_limit
        x = self.replay.state[:, 0].copy()
        _, step = self.replay.step(actions, ~waiting)
        failed = self._failed(step)
        rewards = self.reward(self.replay.state[:, 0] - x, step, failed)
        terminated = failed | step.arrived
        truncated = step.out_of_time & ~terminated
        self._ended = terminated | truncated
        if waiting.any():
            self._begin(waiting)
        final: dict[str, Any] = {}
        if self._autoreset is AutoresetMode.SAME_STEP and self._ended.any():
            ended = self._ended
            final = self._final(step, ended)
            step = _without(step, ended)
            self._begin(ended)
        self._last = step
        infos = self._infos(step, np.ones(self.num_envs, bool))
        return self._observe(), rewards, terminated, truncated, {**infos, **final}

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """A picture (height, width, 3) of each car's surroundings."""
        return None if self.render_mode is None else tuple(self.picture(i) for i in range(self.num_envs))

    def picture(self, car: int, uncertainty: float | None = None) -> NDArray[np.uint8]:
        """One car's surroundings, (height, width, 3), with a bar for an uncertainty within [0, 1] if it is known."""
        if self._road is None:
            self._road = RoadPicture(self.replay)
        notice = ""
        if self._ended[car]:
            notice = ending(self._last, car, self._collision, end_off_road=self._end_off_road)
        return self._road.picture(car, self._last.costs[car], uncertainty=uncertainty, notice=notice)

    def _seed(self, seed: int | Sequence[int | None] | None, mask: NDArray[np.bool_]) -> None:
        """Give seeds to the cars of the mask: those wanted, and any to those that have none yet."""
        if isinstance(seed, (int, np.integer)):
            super().reset(seed=int(seed))
            seed = range(int(seed), int(seed) + self.num_envs)
        wanted: list[int | None] = [None] * self.num_envs if seed is None else list(seed)
        if len(wanted) != self.num_envs:
            raise ValueError(f"{len(wanted)} seeds for {self.num_envs} cars")
        unseeded = self._num_begun == 0
        if unseeded.any():
            self._seeds[unseeded] = self.np_random.integers(2**62, size=unseeded.sum())
        given = mask & np.array([s is not None for s in wanted])
        self._seeds[given] = [
            s % 2**62 for s, chosen in zip(wanted, given, strict=True) if chosen and s is not None
        ]
        self._num_begun[given] = 0

    def _begin(self, mask: NDArray[np.bool_], drive: int | Sequence[int] | None = None) -> None:
        """Begin the next drive of the cars of the mask, or the one that is wanted."""
        cars = np.flatnonzero(mask)
        index = (_hash_unit(self._seeds * SEEDS_APART + self._num_begun) * len(self.drives)).astype(np.int64)
        if drive is not None:
            wanted = np.asarray(drive)
            if wanted.dtype.kind not in "iu" or ((wanted < 0) | (wanted >= len(self.drives))).any():
                raise ValueError(f"drive={drive}: whole numbers from 0 to {len(self.drives) - 1} expected")
            index[:] = wanted
        self._num_begun[cars] += 1
        self.replay.reset(self.drives.take(index[cars]), cars)
        self._start_x[cars] = self.replay.state[cars, 0]
        self._ended = self._ended & ~mask

    def _observe(self) -> Arrays:
        """The observation of now, in arrays that nothing will change."""
        seen = self.replay.observe()
        out = {name: pool.take() for name, pool in self._pools.items()}
        pairs = [(seen.images, out["images"]), (seen.vectors, out["vectors"]), (seen.heading, out["heading"])]
        for_ranges(_copy_frames, self.num_envs, self.replay.threads, self._shown, pairs)
        np.copyto(out["size"], seen.size)
        return out

    def _failed(self, step: Step) -> NDArray[np.bool_]:
        """(B,): whether a drive ended badly."""
        return collisions(step, self._collision) | (step.off_road & self._end_off_road)

    def _infos(self, step: Step, mask: NDArray[np.bool_]) -> dict[str, Any]:
        """A step as gymnasium's dictionary of arrays and masks."""
        infos: dict[str, Any] = {f.name: getattr(step, f.name) for f in fields(Step)}
        infos["failed"] = self._failed(step)
        infos["vehicle"] = self.replay.vehicle.copy()
        infos["progress"] = self.replay.state[:, 0] - self._start_x
        infos["human_progress"] = self.replay.human_state()[:, 0] - self._start_x
        infos.update({f"_{name}": mask.copy() for name in tuple(infos)})
        return infos

    def _final(self, step: Step, ended: NDArray[np.bool_]) -> dict[str, Any]:
        """What gymnasium's SAME_STEP tells of the drives that end, before the next ones begin."""
        seen, shown = self.replay.observe(), self._shown
        final_obs = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(ended):
            final_obs[i] = {
                "images": seen.images[i, shown],  # copies, as `shown` is a list
                "vectors": seen.vectors[i, shown],
                "heading": seen.heading[i, shown],
                "size": seen.size[i].copy(),
            }
        return {
            "final_obs": final_obs,
            "_final_obs": ended.copy(),
            "final_info": self._infos(step, ended),
            "_final_info": ended.copy(),
        }


def observation_space(replay: Replay, drives: Drives, num_frames: int) -> gym.spaces.Dict:
    """What an observation of `num_frames` can be: within bounds that no drive can leave before its time is up."""
    world = replay.world
    seconds = float((drives.limit_frame - drives.start_frame).max()) * world.dt
    speed = float(world.state[:, 3].max()) + MAX_ACCELERATION * seconds
    reach = speed * seconds + 1.0  # m from where it began
    turned = seconds / world.dt * math.atan(MAX_CURVATURE * speed * world.dt)
    low, high = world.state[:, :2].min(0) - reach, world.state[:, :2].max(0) + reach
    lowest, highest = (np.array([*xy, v, v], np.float32) for xy, v in ((low, -speed - 1), (high, speed + 1)))
    heading = float(np.abs(world.state[:, 2]).max()) + turned + 0.1
    return gym.spaces.Dict(
        {
            "images": gym.spaces.Box(
                0, 255, (num_frames, 3, replay.view.height, replay.view.width), np.uint8
            ),
            "vectors": gym.spaces.Box(np.tile(lowest, (num_frames, 1)), np.tile(highest, (num_frames, 1))),
            "heading": gym.spaces.Box(-heading, heading, (num_frames,), np.float32),
            "size": gym.spaces.Box(np.zeros(2, np.float32), world.size.max(0)),
        }
    )


def _copy_frames(
    shown: list[int], pairs: list[tuple[NDArray[Any], NDArray[Any]]], begin: int, end: int
) -> None:
    """Copy frames `shown` of each pair's first array (B, history, ...) to its second (B, T, ...), for a range of B."""
    for source, target in pairs:
        for t, frame in enumerate(shown):
            target[begin:end, t] = source[begin:end, frame]


def _without(step: Step, cars: NDArray[np.bool_]) -> Step:
    """The step with nothing happening to these cars."""
    out = Step.empty(len(cars))
    for f in fields(Step):
        getattr(out, f.name)[~cars] = getattr(step, f.name)[~cars]
    return out


def _reset_mask(mask: Any, num: int) -> NDArray[np.bool_]:
    if mask is None:
        return np.ones(num, bool)
    mask = np.asarray(mask)
    if mask.shape != (num,) or mask.dtype != np.bool_ or not mask.any():
        raise ValueError(f"reset_mask must be ({num},) of bool, with at least one True")
    return mask


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, choices))}")
