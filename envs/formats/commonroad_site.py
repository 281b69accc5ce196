"""The site of a CommonRoad scene: its lanelets, in a frame that lies along the traffic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from commonroad.common.common_lanelet import LineMarking
from commonroad.scenario.lanelet import Lanelet, LaneletNetwork
from numpy.typing import NDArray

from envs.site import Points, Site

DRAWN_BEYOND = 60.0  # m of road kept around the recorded positions; a view reaches 36 m
END_LENGTH = 5.0  # m of a bound that tell its direction at the end of the map
SAME_POINT = 0.01  # m; bounds closer than that are one


@dataclass(frozen=True)
class RoadFrame:
    """x along the main direction of travel, y to the left of it: p_road = R(-angle) p - origin."""

    angle: float  # rad
    origin: Points  # (2,), rotated

    def place(self, points: Points) -> Points:
        """Points (..., 2) of the scene in the frame of the road."""
        return _rotated(points, self.angle) - self.origin


def road_frame(
    vehicle: NDArray[np.int64], frame: NDArray[np.int64], position: Points, network: LaneletNetwork
) -> RoadFrame:
    """The frame in which x = 0 is the first recorded position and y = 0 the left edge of the lanelets beside it.

    The main direction is the axis along which most metres are driven, pointed where more of them lead.

    Args:
        vehicle, frame: (n,).
        position: (n, 2) in the scene.
    """
    order = np.lexsort((frame, vehicle))
    moved = np.diff(position[order], axis=0)[np.diff(vehicle[order]) == 0]
    metres = np.hypot(moved[:, 0], moved[:, 1])
    direction = np.arctan2(moved[:, 1], moved[:, 0])
    angle = 0.5 * np.arctan2(metres @ np.sin(2 * direction), metres @ np.cos(2 * direction))
    if metres @ np.cos(direction - angle) < 0:
        angle += np.pi
    positions = _rotated(position, float(angle))
    first, last = positions[:, 0].min(), positions[:, 0].max()
    bounds = [line for lanelet in network.lanelets for line in _bounds(lanelet)]
    edges = _rotated(np.concatenate(bounds), float(angle)) if bounds else positions
    beside = edges[(edges[:, 0] >= first) & (edges[:, 0] <= last)]
    left = (beside if len(beside) else positions)[:, 1].max()
    return RoadFrame(float(angle), np.array([first, left]))


def lanelet_site(name: str, network: LaneletNetwork, frame: RoadFrame, positions: Points) -> Site:
    """Bounds as markings, each once, and lanelets as the drivable area, near the recorded positions (n, 2)."""
    low, high = positions.min(0) - DRAWN_BEYOND, positions.max(0) + DRAWN_BEYOND
    window = (*low, *high)
    lines = np.array([shapely.LineString(frame.place(line)) for line in _markings(network)], object)
    areas = [np.concatenate([left, right[::-1]]) for left, right in map(_drawn, network.lanelets)]
    polygons = shapely.make_valid(np.array([shapely.Polygon(frame.place(area)) for area in areas], object))
    widths = [np.hypot(*(left - right).T) for left, right in map(_bounds, network.lanelets)]
    return Site(
        name=name,
        length=float(max(positions[:, 0].max(), 1.0)),
        markings=_parts(shapely.clip_by_rect(lines, *window), "LineString"),
        drivable=_parts(shapely.clip_by_rect(polygons, *window), "Polygon"),
        lane_width=float(np.median(np.concatenate(widths))),
    )


def _bounds(lanelet: Lanelet) -> tuple[Points, Points]:
    return lanelet.left_vertices[:, :2], lanelet.right_vertices[:, :2]


def _drawn(lanelet: Lanelet) -> tuple[Points, Points]:
    """Left and right bound, continued straight where the map ends, so that no view ends at a wall."""
    left, right = _bounds(lanelet)
    if not lanelet.predecessor:
        left, right = (np.vstack([_beyond(line), line]) for line in (left, right))
    if not lanelet.successor:
        left, right = (np.vstack([line, _beyond(line[::-1])]) for line in (left, right))
    return left, right


def _beyond(line: Points) -> Points:
    """The point DRAWN_BEYOND before a line's first, in the direction of its first END_LENGTH metres."""
    from_first = np.hypot(*(line - line[0]).T)
    k = int(np.argmax(from_first >= min(END_LENGTH, from_first.max())))
    return line[0] + (line[0] - line[k]) * DRAWN_BEYOND / max(from_first[k], END_LENGTH)


def _markings(network: LaneletNetwork) -> list[Points]:
    """Every bound that is painted or may be; neighbours share theirs."""
    lines: dict[bytes, Points] = {}
    for lanelet in network.lanelets:
        left, right = _drawn(lanelet)
        sides = [(right, lanelet.line_marking_right_vertices)]
        if lanelet.adj_left is None or not lanelet.adj_left_same_direction:
            sides.append((left, lanelet.line_marking_left_vertices))
        for line, marking in sides:
            if marking is not LineMarking.NO_MARKING:
                cells = np.round(line / SAME_POINT).astype(np.int64)
                lines.setdefault(min(cells.tobytes(), cells[::-1].tobytes()), line)
    return list(lines.values())


def _parts(geometries: object, kind: str) -> tuple[Points, ...]:
    """The coordinates of all parts of that kind; holes, which lanelets do not have, are ignored."""
    parts = shapely.get_parts(shapely.get_parts(geometries))
    return tuple(
        shapely.get_coordinates(part.exterior if kind == "Polygon" else part)
        for part in parts
        if part.geom_type == kind and not part.is_empty
    )


def _rotated(points: Points, angle: float) -> Points:
    """Points (..., 2) in axes turned by `angle`."""
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * points[..., 0] + s * points[..., 1], c * points[..., 1] - s * points[..., 0]], -1)
