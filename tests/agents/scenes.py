"""Scenes whose outcomes are known in advance, and agents to drive in them. Cars are 4 m by 2 m, dt is 0.1 s."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.recording import Recording
from envs.replay import Observation, Replay
from envs.site import Site
from tests.toys import lane_centre, straight_site


class Track(NamedTuple):
    """One recorded vehicle: x and y of its centre in every frame from `first` on."""

    id: int
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    first: int = 0


def recording_of(*tracks: Track, site: Site | None = None, dt: float = 0.1) -> Recording:
    """Tracks on a four-lane road, taken over at x = 60 m, with the goal at x = 260 m."""
    return Recording.from_tracks(
        site=site or straight_site(),
        vehicle_id=np.concatenate([np.full(len(t.x), t.id) for t in tracks]),
        frame=np.concatenate([t.first + np.arange(len(t.x)) for t in tracks]),
        x=np.concatenate([t.x for t in tracks]),
        y=np.concatenate([np.broadcast_to(t.y, t.x.shape) for t in tracks]),
        length=4.0,
        width=2.0,
        dt=dt,
    )


def along(speed: float | NDArray[np.float64], num: int = 500, x0: float = 30.0) -> NDArray[np.float64]:
    """x in `num` frames at a speed (m/s), or at one speed for each step."""
    return x0 + np.concatenate([[0.0], np.cumsum(np.broadcast_to(speed, num - 1) * 0.1)])


def smooth_step(x: NDArray[np.float64], begin: float, end: float) -> NDArray[np.float64]:
    """0 before `begin`, 1 after `end`, half a cosine in between."""
    return (1 - np.cos(np.pi * np.clip((x - begin) / (end - begin), 0, 1))) / 2


def still(num: int = 500) -> NDArray[np.float64]:
    """To be added to a parked car's x."""
    return np.zeros(num)


@cache
def parked_car_ahead(speed: float = 5.0, num: int = 500) -> Recording:
    """Car 1 drives on (m/s) and steers around car 2, parked at x = 160 m in the lane in which car 1 starts."""
    x = along(speed, num)
    y = lane_centre(1) + 3.7 * smooth_step(x, 80, 120)
    return recording_of(Track(1, x, y), Track(2, 160 + still(num), lane_centre(1)))


def faster_car_behind() -> Recording:
    """Car 1 drives at 5 m/s for 3 s after it was taken over, then speeds up; car 2 follows at 10 m/s, 90 m behind."""
    speed = np.clip(5 + np.maximum(np.arange(499) - 90, 0) * 0.1, 5, 15)
    follower = along(10.0, num=250, x0=-60.0)
    return recording_of(Track(1, along(speed), lane_centre(2)), Track(2, follower, lane_centre(2)))


def overtaker_that_cuts_in() -> Recording:
    """Car 1 drives at 5 m/s and leaves its lane; car 2, 5 m/s faster, passes where car 1 would be had it stayed.

    Its side overlaps by 0.1 m from behind; once its centre is 1 m ahead of where car 1 would be it moves in.
    """
    x = along(5.0)
    y = lane_centre(1) - 7.4 * smooth_step(x, 70, 115)
    other = along(10.0, num=250, x0=-60.0)
    offset = 1.9 * (1 - smooth_step(np.arange(250.0), 182, 186))
    return recording_of(Track(1, x, y), Track(2, other, lane_centre(1) + offset))


def drifting_car() -> Recording:
    """Car 1 loses 1 m to the right every 10 m until x = 70 m, then straightens; the road's edge is at y = -14.8 m."""
    x = along(5.0)
    slope = 0.1 * (1 - smooth_step(x, 70, 90))
    return recording_of(Track(1, x, lane_centre(0) - np.cumsum(slope) * 0.5))


@cache
def clean_traffic(seed: int = 0, num_cars: int = 60) -> Recording:
    """Lanes of cars that keep their distance while they speed up and slow down, and sway; nobody overlaps anybody."""
    rng = np.random.default_rng(seed)
    tracks = []
    for car in range(num_cars):
        lane, place = car % 4, car // 4
        t = np.arange(560) * 0.1
        speed = 9 + 2 * lane / 3 + 2.5 * np.sin(0.35 * t[:-1] + lane - 0.12 * place)
        x = along(speed, len(t), x0=30.0 - 22 * place - 5 * lane)
        y = lane_centre(lane) + 0.4 * np.sin(0.04 * x + rng.uniform(0, 6))
        tracks.append(Track(car + 1, x, y))
    return recording_of(*tracks)


def without_goal(recording: Recording) -> Recording:
    """The same, on a site where a car is taken over at once and has to last until its recording ends."""
    return replace(recording, site=replace(recording.site, start=-np.inf, goal=np.inf))


class Scripted:
    """Acts as a function of the observation says; counts how often it began and acted."""

    def __init__(
        self,
        act: Callable[[Observation], NDArray[np.float64]],
        name: str = "scripted",
        history: int = 1,
        seed: int | None = None,
    ) -> None:
        self.name, self.history, self.seed = name, history, seed
        self.seen: list[tuple[int, ...]] = []
        self._act = act

    def begin(self, replay: Replay) -> None:
        self.seen.append(())

    def act(self, observation: Observation) -> NDArray[np.float64]:
        self.seen.append(observation.images.shape)
        return self._act(observation)


def constant(acceleration: float, curvature: float = 0.0, **kwargs: object) -> Scripted:
    """The same action for ever."""
    return Scripted(lambda o: np.tile([acceleration, curvature], (len(o.size), 1)), **kwargs)  # type: ignore[arg-type]


def cautious(seed: int | None = None, strength: float = 3.0) -> Scripted:
    """Brakes by how much it sees ahead in its lane, and steers against its motion of the last 0.2 s."""

    def act(observation: Observation) -> NDArray[np.float64]:
        ahead = observation.images[:, -1, 1, 20:52, 10:14].mean((1, 2)) / 255
        sideways = observation.vectors[:, -1, 1] - observation.vectors[:, 0, 1]
        return np.stack([0.5 - strength * ahead, -0.02 * sideways], 1)

    return Scripted(act, "cautious", history=3, seed=seed)
