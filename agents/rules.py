"""Driving by rules: keep the lane, keep the distance (IDM), change lanes (MOBIL).

What these drivers know is what there is to see at the moment: the lane markings, and where the others are and how fast.
They know nothing of what was recorded later, not even of the speed their humans wanted to drive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agents.following import following
from agents.lanes import LEFT, OWN, SIGHT, LaneMarkings, Lanes
from agents.mobil import MOBILConfig, choose
from agents.steering import aim_distance, pursuit
from envs.idm import Driver
from envs.replay import Observation, Replay

Rules = Literal["lane-keeper", "idm", "idm+mobil"]
CROSSED = (
    0.5  # times the distance between two lanes: the own centre jumps by more once a car is in the new one
)


@dataclass(frozen=True, kw_only=True)
class RulesConfig:
    """rules: "lane-keeper" keeps lane and speed, "idm" keeps its distance as well, "idm+mobil" also changes lanes.
    wanted_speed: m/s on a free road; 65 mph.
    pause: s in a lane before the next change.
    """

    rules: Rules = "idm+mobil"
    driver: Driver = Driver()  # noqa: RUF009 (a tuple)
    mobil: MOBILConfig = MOBILConfig()  # noqa: RUF009 (frozen)
    wanted_speed: float = 29.0
    pause: float = 3.0

    def __post_init__(self) -> None:
        if self.rules not in ("lane-keeper", "idm", "idm+mobil"):
            raise ValueError(f"rules={self.rules!r} must be lane-keeper, idm or idm+mobil")
        if not self.wanted_speed > 0 or self.pause < 0:
            raise ValueError(
                f"wanted_speed={self.wanted_speed} must be positive, pause={self.pause} not negative"
            )


class RuleDriver:
    """Drives by rules; see RulesConfig."""

    history = 1
    seed: int | None = None

    def __init__(self, config: RulesConfig | None = None) -> None:
        self.config = config or RulesConfig()
        self.name: str = self.config.rules
        self._replay: Replay | None = None

    def begin(self, replay: Replay) -> None:
        """Nobody is changing lanes."""
        self._replay, self._markings = replay, LaneMarkings(replay)
        self._lane = np.full(replay.num_egos, OWN)
        self._to_own = np.zeros(replay.num_egos)  # m to the left to the own lane's centre, a step ago
        self._kept = np.full(replay.num_egos, np.inf)  # s since the last change

    def act(self, observation: Observation) -> NDArray[np.float64]:
        """(B, 2)."""
        if self._replay is None:
            raise RuntimeError("begin(replay) comes before act")
        replay, config = self._replay, self.config
        state = replay.state
        sight = 0.0 if config.rules == "lane-keeper" else SIGHT
        lanes = self._markings.around(aim_distance(state[:, 3]), sight)
        acceleration = np.zeros(len(state))
        if config.rules != "lane-keeper":
            now = following(replay, lanes, config.driver, config.wanted_speed)
            self._settle(lanes)
            if config.rules == "idm+mobil":
                free = (self._lane == OWN) & (self._kept >= config.pause)
                self._lane = np.where(free, choose(now, ~np.isnan(lanes.offset), config.mobil), self._lane)
            there = now.ego[np.arange(len(state)), self._lane]
            acceleration = np.minimum(np.minimum(there, now.ego[:, OWN]), now.in_path)
        target = lanes.target[np.arange(len(state)), self._lane]
        return np.stack([acceleration, pursuit(state, target)], 1)

    def _settle(self, lanes: Lanes) -> None:
        """End the changes of those who have crossed the marking, and of those whose new lane has ended."""
        assert self._replay is not None
        cars = np.arange(len(self._lane))
        self._kept += self._replay.world.dt
        side = np.where(self._lane == LEFT, 1.0, -1.0)
        jump = side * (lanes.offset[:, OWN] - self._to_own)
        width = np.abs(lanes.offset[cars, self._lane] - lanes.offset[:, OWN])
        is_gone = np.isnan(lanes.offset[cars, self._lane])
        ended = (self._lane != OWN) & ((jump > CROSSED * np.nan_to_num(width, nan=3.0)) | is_gone)
        self._lane = np.where(ended, OWN, self._lane)
        self._kept[ended] = 0.0
        own = lanes.offset[:, OWN]
        self._to_own = np.where(np.isnan(own), self._to_own, own)  # a lane may be squeezed for some frames
