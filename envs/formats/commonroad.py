"""CommonRoad scenes (XML 2018b and 2020a), read by commonroad-io and laid along the road.

Positions are those of the shapes' centres, other shapes than rectangles become their bounding boxes, and static
obstacles are vehicles parked through the whole scene. Positions are smoothed as NGSIM's are: the scenes with recorded
traffic were made from it.
"""

from __future__ import annotations

import logging
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from commonroad.common.file_reader import CommonRoadFileReader
from commonroad.geometry.obstacle_shapes.circle_obstacle_shape import CircleObstacleShape
from commonroad.scenario.obstacle import DynamicObstacle, Obstacle, ObstacleType
from commonroad.scenario.scenario import Scenario
from commonroad.scenario.state import CustomState
from numpy.typing import NDArray

from envs.errors import InputError
from envs.formats.commonroad_site import lanelet_site, road_frame
from envs.formats.commonroad_xml import check_xml
from envs.recording import Recording

SMOOTHING_FRAMES = 15
MAX_EXTENT = 5000.0  # m between recorded positions
MAX_FRAMES = 36_000  # an hour at 10 Hz
STRETCH = re.compile(r"(?:C-)?(?P<stretch>[A-Z]{3}_[A-Za-z0-9]+-\d+)_")
KINDS = {  # NGSIM's classes; everything else is 0, unknown
    ObstacleType.MOTORCYCLE: 1,
    ObstacleType.CAR: 2,
    ObstacleType.TAXI: 2,
    ObstacleType.PRIORITY_VEHICLE: 2,
    ObstacleType.PARKED_VEHICLE: 2,
    ObstacleType.TRUCK: 3,
    ObstacleType.BUS: 3,
}
NO_BOXES = (ObstacleType.ROAD_BOUNDARY, ObstacleType.BUILDING, ObstacleType.MEDIAN_STRIP)  # beside the road


def read_commonroad(path: str | Path, *, smoothing_frames: int = SMOOTHING_FRAMES) -> Recording:
    """Read one scene.

    The provenance's `scene` is the number of the recorded stretch (USA_US101-10_1_T-1: 10), so that all scenes cut
    from it fall into one split.

    Raises:
        InputError: no such file, XML that is malformed or has entities, another version, or no recorded traffic.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=path) from error
    if not data.strip():
        raise InputError("the file is empty, CommonRoad XML expected", path=path)
    lines = check_xml(data, path)
    scenario = _open(data, path)
    try:
        tracks = _tracks(scenario, path)
    except _Unusable as fault:
        row = lines.get(str(fault.obstacle))
        raise InputError(str(fault), path=path, row=row, column=f"obstacle {fault.obstacle}") from fault
    if not (np.ptp(tracks["position"], axis=0) <= MAX_EXTENT).all():
        raise InputError(f"recorded positions are more than {MAX_EXTENT:g} m apart", path=path)
    benchmark = str(scenario.scenario_id)
    frame = road_frame(tracks["vehicle_id"], tracks["frame"], tracks["position"], scenario.lanelet_network)
    positions = frame.place(tracks.pop("position"))
    try:
        return Recording.from_tracks(
            site=lanelet_site(_stretch(benchmark), scenario.lanelet_network, frame, positions),
            x=positions[:, 0],
            y=positions[:, 1],
            heading=(tracks.pop("heading") - frame.angle + np.pi) % (2 * np.pi) - np.pi,
            dt=scenario.dt,
            smoothing_frames=smoothing_frames,
            provenance={
                "format": "commonroad",
                "source": [path.name],
                "scenario": benchmark,
                "scene": scene_number(benchmark),
                "smoothing_frames": smoothing_frames,
            },
            **tracks,
        )
    except ValueError as error:
        raise InputError(str(error), path=path) from error


def scene_number(benchmark: str) -> int:
    """The number by which scenes are split: that of a US-101 stretch, else a hash of country, map and number.

    >>> scene_number("USA_US101-10_1_T-1"), scene_number("USA_US101-10_2_T-1")
    (10, 10)
    >>> scene_number("USA_Lanker-1_2_T-1") == scene_number("USA_Lanker-1_17_T-1") != scene_number("USA_Peach-1_2_T-1")
    True
    """
    stretch = _stretch(benchmark)
    if stretch.startswith("usa_us101-"):
        return int(stretch.removeprefix("usa_us101-"))
    return 2**32 + zlib.crc32(stretch.encode())  # beyond all numbers of stretches


def _stretch(benchmark: str) -> str:
    """Country, map and number of a benchmark id, all of it where it has another form; lower case."""
    match = STRETCH.match(benchmark)
    return (match["stretch"] if match else benchmark).lower()


class _Unusable(Exception):
    """An obstacle that cannot be recorded."""

    def __init__(self, obstacle: Obstacle, what: str) -> None:
        super().__init__(what)
        self.obstacle = obstacle.obstacle_id


def _open(data: bytes, path: Path) -> Scenario:
    """What commonroad-io makes of a file; it has no exceptions of its own, so all of them mean a bad file."""
    try:
        with _quiet():
            scenario, _ = CommonRoadFileReader(data).open()
    except Exception as error:
        raise InputError(f"no readable CommonRoad scene: {error!r}", path=path) from error
    return scenario


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what commonroad-io warns of: tags, traffic signs and countries, which nothing here reads."""
    log = logging.getLogger("commonroad")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _tracks(scenario: Scenario, path: Path) -> dict[str, NDArray[Any]]:
    """Columns of all obstacles' rows, positions (n, 2) in the frame of the scene."""
    tracks = [_track(obstacle, _states(obstacle)) for obstacle in scenario.dynamic_obstacles]
    frames = [frame for track in tracks for frame in track["frame"]]
    if not frames or max(frames) - min(frames) >= MAX_FRAMES:
        raise InputError(f"obstacles that move during 1 to {MAX_FRAMES} time steps expected", path=path)
    for parked in scenario.static_obstacles:
        if parked.obstacle_type not in NO_BOXES:
            states = dict.fromkeys(range(min(frames), max(frames) + 1), parked.initial_state)
            tracks.append(_track(parked, states))
    return {name: np.concatenate([track[name] for track in tracks]) for name in tracks[0]}


def _states(obstacle: DynamicObstacle) -> dict[int, Any]:
    """States by time step."""
    listed = [obstacle.initial_state]
    if obstacle.prediction is not None:
        if not hasattr(obstacle.prediction, "trajectory"):
            raise _Unusable(obstacle, "a set of occupancies, a trajectory expected")
        listed += obstacle.prediction.trajectory.state_list
    states: dict[int, Any] = {}
    for state in listed:
        if not isinstance(state.time_step, int):
            raise _Unusable(obstacle, "exact time steps expected")
        if states and state.time_step <= max(states):
            raise _Unusable(obstacle, f"time step {state.time_step} does not come after the one before it")
        states[state.time_step] = state
    return states


def _track(obstacle: Obstacle, states: dict[int, Any]) -> dict[str, NDArray[Any]]:
    """Columns of one obstacle's rows."""
    for state in states.values():
        if not isinstance(getattr(state, "position", None), np.ndarray):
            raise _Unusable(obstacle, "an exact position expected in each state")
        if not isinstance(getattr(state, "orientation", None), float | int):
            raise _Unusable(obstacle, "an exact orientation expected in each state")
    position = np.array([state.position[:2] for state in states.values()], np.float64)
    heading = np.array([state.orientation for state in states.values()], np.float64)
    centre, size = _box(obstacle)
    turn = np.stack([np.cos(heading), -np.sin(heading), np.sin(heading), np.cos(heading)], -1).reshape(
        -1, 2, 2
    )
    rows = np.ones(len(states))
    return {
        "vehicle_id": np.full(len(states), obstacle.obstacle_id),
        "frame": np.array(list(states)),
        "position": position + turn @ centre,
        "heading": heading,
        "length": size[0] * rows,
        "width": size[1] * rows,
        "kind": KINDS.get(obstacle.obstacle_type, 0) * rows,
    }


def _box(obstacle: Obstacle) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre (ahead, to the left) and size (length, width) of the shape's bounding box, in its own frame."""
    if isinstance(obstacle.obstacle_shape, CircleObstacleShape):  # commonroad-io 2026.1 draws it half as wide
        return np.zeros(2), np.full(2, 2 * obstacle.obstacle_shape.radius)
    origin = CustomState(position=np.zeros(2), orientation=0.0, hitch_angle=0.0, time_step=0)
    try:
        bounds = obstacle.obstacle_shape.compute_occupancy_for_state(origin).shapely_object.bounds
    except (AttributeError, TypeError, ValueError) as error:
        raise _Unusable(obstacle, f"a shape of unknown extent: {error}") from error
    low, high = np.array(bounds).reshape(2, 2)
    return (low + high) / 2, high - low
