"""A site drawn from its traffic: where nobody surveyed the road, it is where the cars drove."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from envs.recording import Recording
from envs.site import Points, Site

LANE_WIDTH = 3.658  # m, 12 feet
TOLERANCE = 0.1  # m, by which tracks and edges may be straightened
MIN_STEP = 1.0  # m between the points kept of a track


def draw_site(recording: Recording, name: str) -> Site:
    """The union of all tracks, each widened to a lane, as the drivable area; its edges as the only markings."""
    area = shapely.union_all(_swept(recording))
    polygons = [part for part in shapely.get_parts(area.simplify(TOLERANCE)) if part.area > 0]
    rings = [shapely.get_coordinates(ring) for part in polygons for ring in (part.exterior, *part.interiors)]
    return Site(
        name=name,
        length=float(max(np.ceil(recording.x.max()), 1.0)),
        markings=tuple(rings),
        drivable=tuple(_outline(part) for part in polygons),
        lane_width=LANE_WIDTH,
    )


def _swept(recording: Recording) -> NDArray[np.object_]:
    """One polygon per vehicle: its track, a lane wide."""
    x, y = recording.x[recording.track_rows], recording.y[recording.track_rows]
    tracks = []
    for begin, end in zip(recording.track_offsets[:-1], recording.track_offsets[1:], strict=True):
        points = np.stack([x[begin:end], y[begin:end]], -1)
        driven = np.floor(np.cumsum(np.hypot(*np.diff(points, axis=0, prepend=points[:1]).T)) / MIN_STEP)
        kept = points[np.flatnonzero(np.diff(driven, prepend=-1))]
        tracks.append(shapely.LineString(kept) if len(kept) > 1 else shapely.Point(points[0]))
    lines = shapely.simplify(np.array(tracks, object), TOLERANCE)
    return shapely.buffer(lines, LANE_WIDTH / 2, quad_segs=2)


def _outline(polygon: shapely.Polygon) -> Points:
    """One closed line around a polygon and its holes; by the even-odd rule the bridges between them vanish."""
    outer = shapely.get_coordinates(polygon.exterior)
    lines = [outer]
    for hole in polygon.interiors:
        lines += [shapely.get_coordinates(hole), outer[-1:]]
    return np.concatenate(lines)
