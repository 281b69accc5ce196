"""B cars among recorded traffic as stable-baselines3 steps them: one compiled step for all, no process for each.

stable-baselines3 (`VecEnv`) begins a new drive in the step in which one ends, hands over the first observation of the
new one, and keeps the last of the old one in that car's info:

    infos[i]["terminal_observation"]     what car i saw at the end of its drive
    infos[i]["TimeLimit.truncated"]      its time was up, so that the value of what it saw counts (Pardo et al.,
                                         arXiv:1712.00378)
    infos[i]["episode"], ["is_success"]  reward, length and time of the drive as SB3's Monitor tells them; did it arrive

The infos of cars whose drives go on are empty.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from agents.sb3_interface import Interface
from envs.sources import Source
from envs.vector_environment import ReplayVectorEnv


class SB3VecEnv(VecEnv):
    """`envs.ReplayVectorEnv` for stable-baselines3.

    Args:
        num_envs: B.
        recordings: paths or Recordings, one or several; the sample that ships with headway by default.
        interface: what the learner sees and how it acts.
        settings: of `ReplayVectorEnv`: split, traffic, view, reward, collision, end_off_road, render_mode, threads.
    """

    def __init__(
        self,
        num_envs: int = 64,
        recordings: Source | Sequence[Source] | None = None,
        *,
        interface: Interface | None = None,
        **settings: Any,
    ) -> None:
        self.interface = interface or Interface()
        self.cars = ReplayVectorEnv(
            num_envs,
            recordings,
            frames=self.interface.frames,
            action="physical",
            autoreset_mode=AutoresetMode.SAME_STEP,
            **settings,
        )
        self._in_units = self.interface.actions(self.cars.replay)
        self._threads = self.cars.replay.threads
        self._actions: NDArray[Any] | None = None
        self._rewards, self._lengths = np.zeros(num_envs), np.zeros(num_envs, np.int64)
        self._began = time.perf_counter()
        space = self.interface.observation_space(self.cars.single_observation_space)
        super().__init__(num_envs, space, self.interface.action_space())

    def reset(self) -> VecEnvObs:
        """Begin a drive with every car, with the seeds of `seed` and the option "drive" of `set_options`.

        Raises:
            ValueError: the option is set for some of the cars only.
        """
        drives = [options["drive"] for options in self._options if "drive" in options]
        if 0 < len(drives) < self.num_envs:
            raise ValueError(
                f"the option drive is set for {len(drives)} of {self.num_envs} cars: set all, or none"
            )
        chosen = {"drive": drives} if drives else {}
        seen, _ = self.cars.reset(seed=self._seeds, options=chosen)
        self._reset_seeds()
        self._reset_options()
        self._rewards[:], self._lengths[:] = 0.0, 0
        return self.interface.observation(seen, self._threads)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember the actions."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Drive every car by them."""
        assert self._actions is not None, "step_async comes first"
        seen, rewards, terminated, truncated, infos = self.cars.step(self._in_units(self._actions))
        ended = terminated | truncated
        self._rewards += rewards
        self._lengths += 1
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ended.any():
            self._tell(told, np.flatnonzero(ended), truncated, infos)
            self._rewards[ended], self._lengths[ended] = 0.0, 0
        return self.interface.observation(seen, self._threads), rewards.astype(np.float32), ended, told

    def _tell(
        self,
        told: list[dict[str, Any]],
        cars: NDArray[np.int64],
        truncated: NDArray[np.bool_],
        infos: dict[str, Any],
    ) -> None:
        """Write what ended into the infos of those cars."""
        last = infos["final_obs"][cars]
        stacked = {name: np.stack([one[name] for one in last]) for name in last[0]}
        seen = self.interface.observation(stacked)
        final = infos["final_info"]
        seconds = round(time.perf_counter() - self._began, 6)
        for row, i in enumerate(cars):
            told[i] = {
                "terminal_observation": {k: v[row] for k, v in seen.items()}
                if isinstance(seen, dict)
                else seen[row],
                "TimeLimit.truncated": bool(truncated[i]),
                "episode": {"r": float(self._rewards[i]), "l": int(self._lengths[i]), "t": seconds},
                "is_success": bool(final["arrived"][i] and not final["failed"][i]),
            }

    def close(self) -> None:
        """Nothing is open."""
        self.cars.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A picture of each car's surroundings, with render_mode "rgb_array"."""
        return self.cars.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the one environment that has all cars, once for each of `indices`."""
        return [getattr(self.cars, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the one environment that has all cars, whatever `indices` are."""
        setattr(self.cars, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the one environment that has all cars, once; its result for each of `indices`."""
        result = getattr(self.cars, method_name)(*method_args, **method_kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Drives are told as by SB3's Monitor; there is no wrapper."""
        from stable_baselines3.common.monitor import Monitor

        return [wrapper_class is Monitor] * len(list(self._get_indices(indices)))
