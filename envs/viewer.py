"""Watching a recording, or somebody who drives in it, in a window or as a video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pygame
from numpy.typing import NDArray

from envs.drawing import to_array
from envs.drives import Drives, find_drives
from envs.ending import ending
from envs.errors import InputError
from envs.pictures import RoadPicture, SitePicture
from envs.recording import Recording
from envs.replay import Observation, Replay, Step
from envs.video import write_mp4
from envs.window import Window
from envs.world import build_world

VIDEO_SECONDS = 60.0  # of traffic in a video, unless told otherwise
HOLD_SECONDS = 1.0  # the last picture of a drive stays this long
Uncertainty = Callable[[Observation, NDArray[np.floating[Any]]], NDArray[np.floating[Any]]]


class Driver(Protocol):
    """What drives; see agents.base.Agent."""

    @property
    def name(self) -> str: ...
    @property
    def history(self) -> int: ...
    def begin(self, replay: Replay) -> None: ...
    def act(self, observation: Observation) -> NDArray[np.floating[Any]]: ...


def view(
    recording: Recording,
    agent: Driver | None = None,
    vehicle: int | None = None,
    mp4: str | Path | None = None,
    *,
    seconds: float | None = None,
    uncertainty: Uncertainty | None = None,
) -> None:
    """Show a recording from above or, with an agent, follow the cars it takes over, one after the other.

    Args:
        recording: what to show.
        agent: who drives.
        vehicle: the one car to take over, by its number in the source; by default the cars of the test split.
        mp4: a video to write instead of opening a window.
        seconds: how much of it; by default VIDEO_SECONDS in a video, and all in a window.
        uncertainty: of observation and actions (1, 2), within [0, 1], shape (1,): shown as a bar.
    Raises:
        InputError: there is no such vehicle to drive, or no display to open a window on.
    """
    if agent is None:
        pictures = site_pictures(recording)
    else:
        drives = choose_drives(recording, agent.history, vehicle)
        pictures = drive_pictures(recording, agent, drives, uncertainty)
    fps = 1 / recording.dt
    if seconds is None and mp4 is not None:
        seconds = VIDEO_SECONDS
    shown = islice(pictures, None if seconds is None else max(1, round(seconds * fps)))
    if mp4 is not None:
        write_mp4(mp4, map(to_array, shown), fps)
    else:
        _show(shown, fps)


def site_pictures(recording: Recording) -> Iterator[pygame.Surface]:
    """The whole site, frame by frame."""
    picture = SitePicture(recording)
    return map(picture.draw, range(recording.num_frames))


def choose_drives(recording: Recording, history: int, vehicle: int | None = None) -> Drives:
    """The drive of one vehicle, or those of the test split (of all, where it is empty) as they begin.

    Args:
        history: recorded frames a car must have before it is taken over.
        vehicle: its number in the source.

    Raises:
        InputError: there is none.
    """
    found = find_drives(build_world([recording]), [recording], "all", history=history)
    if vehicle is not None:
        chosen = found.take(np.flatnonzero(recording.vehicles.id[found.vehicle] == vehicle))
        if len(chosen) == 0:
            raise InputError(f"vehicle {vehicle} does not drive the scored part of {recording.site.name}")
        return chosen
    in_test = np.flatnonzero(recording.in_split("test")[found.vehicle])
    chosen = found.take(in_test) if len(in_test) else found
    if len(chosen) == 0:
        raise InputError(f"no vehicle drives the scored part of {recording.site.name}")
    return chosen.take(np.argsort(chosen.start_frame, kind="stable"))


def drive_pictures(
    recording: Recording, agent: Driver, drives: Drives, uncertainty: Uncertainty | None = None
) -> Iterator[pygame.Surface]:
    """An agent that drives one drive after the other, each until it arrives, fails, or its time is up."""
    replay = Replay([recording], 1, history=agent.history)
    road = RoadPicture(replay)
    for k in range(len(drives)):
        observation = replay.reset(drives.take(slice(k, k + 1)))
        agent.begin(replay)
        step, notice = Step.empty(1), ""
        while not notice:
            actions = agent.act(observation)
            unsure = float(uncertainty(observation, actions)[0]) if uncertainty else None
            yield road.draw(0, step.costs[0], uncertainty=unsure, title=agent.name)
            observation, step = replay.step(actions)
            notice = ending(step)
        last = road.draw(0, step.costs[0], title=agent.name, notice=notice)
        for _ in range(round(HOLD_SECONDS / recording.dt)):
            yield last


def _show(pictures: Iterable[pygame.Surface], fps: float) -> None:
    window = Window(fps)
    try:
        for picture in pictures:
            if not window.show(picture):
                break
    finally:
        window.close()
