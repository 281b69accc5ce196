"""Driving among recorded traffic as gymnasium environments: one car here, B cars in envs.vector_environment.

    observation["images"]   uint8 (T, 3, H, W)   lane markings, other vehicles, off-road area; see envs.raster
    observation["vectors"]  float32 (T, 4)       x, y, vx, vy in the site's frame, m and m/s
    observation["heading"]  float32 (T,)         rad, counter-clockwise from the site's x
    observation["size"]     float32 (2,)         the ego's length and width, m

The oldest of the T frames comes first, the present last. An action is (acceleration, curvature), either in m/s^2 and
1/m, or as shares in [-1, 1] of what the vehicle can do. A drive is terminated by a collision, by leaving the road and
by arriving; it is truncated when its time is up (see envs.drives).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from envs.reward import Reward
from envs.sources import Source
from envs.vector_environment import Arrays, ReplayVectorEnv, check_choice
from envs.window import Window

__all__ = ["ReplayEnv", "ReplayVectorEnv", "Reward"]


class ReplayEnv(gym.Env[Arrays, NDArray[np.floating]]):
    """One car driven among recorded traffic.

    Args:
        recordings, settings: as of `ReplayVectorEnv`.
        render_mode: "rgb_array"; "human", a window with keys for pause, step and speed; or None.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        recordings: Source | Sequence[Source] | None = None,
        *,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        self._car = ReplayVectorEnv(1, recordings, autoreset_mode=AutoresetMode.DISABLED, **settings)
        self.metadata = {**self.metadata, "render_fps": self._car.metadata["render_fps"]}
        self.render_mode = render_mode
        self.replay, self.drives = self._car.replay, self._car.drives
        self.observation_space = self._car.single_observation_space
        self.action_space = self._car.single_action_space
        self.uncertainty: float | None = None  # within [0, 1], of whoever drives: drawn as a bar
        self._window: Window | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Begin a drive; options: "drive", which of `drives`, instead of one drawn by the seed."""
        super().reset(seed=seed)
        observation, infos = self._car.reset(seed=seed, options=options)
        self._show()
        return _only(observation), _only_info(infos)

    def step(self, action: NDArray[np.floating]) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """Drive one dt."""
        observation, rewards, terminated, truncated, infos = self._car.step(np.asarray(action)[None])
        self._show()
        return (
            _only(observation),
            float(rewards[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            _only_info(infos),
        )

    def render(self) -> NDArray[np.uint8] | None:
        """The car's surroundings (height, width, 3); with render_mode "human" every step shows them by itself."""
        return self._car.picture(0, self.uncertainty) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()
            self._window = None

    def _show(self) -> None:
        if self.render_mode == "human":
            if self._window is None:
                self._window = Window(fps=self.metadata["render_fps"])
            self._window.show(self._car.picture(0, self.uncertainty))


def _only(observation: Arrays) -> Arrays:
    return {name: array[0] for name, array in observation.items()}


def _only_info(infos: dict[str, Any]) -> dict[str, Any]:
    first = {name: array[0] for name, array in infos.items() if not name.startswith("_")}
    return {name: value if value.ndim else value.item() for name, value in first.items()}
