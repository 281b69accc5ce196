"""Slow, obviously right versions of what `envs` computes fast: a reader should believe them at sight.

They share no code with what they check, and loop over pixels, vehicles and frames in plain Python. What is a convention
(which cell of a site's raster a point falls in) is read from the docstrings.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.recording import Recording
from envs.site import Site, SiteRaster
from envs.units import View

Floats = NDArray[np.float64]
Point = tuple[float, float]


class Box(NamedTuple):
    """A vehicle from above: centre (m), heading (rad), speed (m/s), length and width (m)."""

    x: float
    y: float
    heading: float
    speed: float
    length: float
    width: float


# --- sites -----------------------------------------------------------------------------------------------------------


def distance_to_segment(p: Point, a: Point, b: Point) -> float:
    """Metres from a point to the nearest point of a segment."""
    along = (b[0] - a[0], b[1] - a[1])
    squared = along[0] ** 2 + along[1] ** 2
    t = 0.0 if squared == 0 else ((p[0] - a[0]) * along[0] + (p[1] - a[1]) * along[1]) / squared
    t = min(max(t, 0.0), 1.0)
    return math.dist(p, (a[0] + t * along[0], a[1] + t * along[1]))


def distance_to_marking(site: Site, p: Point) -> float:
    """Metres from a point to the nearest marking of a site."""
    return min(
        (
            distance_to_segment(p, tuple(line[k]), tuple(line[k + 1]))
            for line in site.markings
            for k in range(len(line) - 1)
        ),
        default=math.inf,
    )


def winding_number(polygon: Floats, p: Point) -> int:
    """How often the polygon turns around the point, from the sum of the angles its edges are seen under."""
    total = 0.0
    for k in range(len(polygon)):
        a, b = polygon[k] - p, polygon[(k + 1) % len(polygon)] - p
        total += math.atan2(a[0] * b[1] - a[1] * b[0], a @ b)
    return round(total / (2 * math.pi))


def is_drivable(site: Site, p: Point) -> bool:
    """Whether a point is in one of the (simple) drivable polygons."""
    return any(winding_number(polygon, p) != 0 for polygon in site.drivable)


def raster_at(raster: SiteRaster, x: float, y: float) -> tuple[int, int]:
    """Lane and off-road intensity of the cell that contains a point; outside the grid no lane and all off-road."""
    i = math.floor((x - raster.x0) * raster.per_m_x)
    j = math.floor((y - raster.y0) * raster.per_m_y)
    if 0 <= i < raster.cells.shape[0] and 0 <= j < raster.cells.shape[1]:
        return int(raster.cells[i, j, 0]), int(raster.cells[i, j, 1])
    return 0, 255


# --- pictures --------------------------------------------------------------------------------------------------------


def boxes_at(recording: Recording, frame: int, exclude: int) -> list[Box]:
    """Every recorded vehicle of a frame but one."""
    rows = range(recording.frame_offsets[frame], recording.frame_offsets[frame + 1])
    size = recording.vehicles
    return [
        Box(
            float(np.float32(recording.x[k])),
            float(np.float32(recording.y[k])),
            float(recording.heading[k]),
            float(recording.speed[k]),
            float(size.length[recording.vehicle[k]]),
            float(size.width[recording.vehicle[k]]),
        )
        for k in rows
        if recording.vehicle[k] != exclude
    ]


def pixel_centre(view: View, row: int, column: int) -> Point:
    """Metres ahead and to the left of the ego's centre: row 0 ahead, column 0 to the left, the ego in the middle."""
    return ((view.height - 1) / 2 - row) / view.px_per_m, ((view.width - 1) / 2 - column) / view.px_per_m


def seen_from(pose: tuple[float, float, float], ahead: float, left: float) -> Point:
    """The point of the site that is so far ahead and to the left of a pose."""
    x, y, heading = pose
    return (
        x + ahead * math.cos(heading) - left * math.sin(heading),
        y + ahead * math.sin(heading) + left * math.cos(heading),
    )


def coverage(box: Box, p: Point, px_per_m: float) -> float:
    """How much of a pixel centred at p a vehicle covers, in [0, 1], by the formula of `envs.raster`."""
    dx, dy = p[0] - box.x, p[1] - box.y
    u = (dx * math.cos(box.heading) + dy * math.sin(box.heading)) * px_per_m
    w = (dy * math.cos(box.heading) - dx * math.sin(box.heading)) * px_per_m
    along = box.length * px_per_m / 2 - abs(u) + 0.5
    across = box.width * px_per_m / 2 - abs(w) + 0.5
    return min(max(along, 0.0), 1.0) * min(max(across, 0.0), 1.0)


def vehicle_channel(boxes: list[Box], pose: tuple[float, float, float], view: View) -> Floats:
    """(H, W): 255 times the largest coverage by any vehicle, not rounded."""
    image = np.zeros((view.height, view.width))
    reach = math.hypot(view.height, view.width) / 2 / view.px_per_m
    close = [b for b in boxes if math.dist((b.x, b.y), pose[:2]) < reach + b.length + b.width + 1]
    for row in range(view.height):
        for column in range(view.width):
            p = seen_from(pose, *pixel_centre(view, row, column))
            image[row, column] = max((255 * coverage(b, p, view.px_per_m) for b in close), default=0.0)
    return image


def static_channels(
    site: Site, pose: tuple[float, float, float], view: View
) -> tuple[NDArray[np.uint8], Floats]:
    """The (2, H, W) lane and off-road channels, and how far (in cells) each sampled point is from the next cell."""
    image = np.zeros((2, view.height, view.width), np.uint8)
    margin = np.zeros((view.height, view.width))
    raster = site.raster
    for row in range(view.height):
        for column in range(view.width):
            x, y = seen_from(pose, *pixel_centre(view, row, column))
            image[:, row, column] = raster_at(raster, x, y)
            i, j = (x - raster.x0) * raster.per_m_x, (y - raster.y0) * raster.per_m_y
            margin[row, column] = min(abs(i - round(i)), abs(j - round(j)))
    return image, margin


# --- costs, from the words of the paper and its code -----------------------------------------------------------------


def costs(image: Floats, view: View, speed: float, length: float, width: float) -> tuple[float, float, float]:
    """Proximity, lane and off-road cost of one image (3, H, W) in [0, 1], pixel by pixel.

    Proximity: the largest product of mask and vehicles. The mask is 1 over the ego's box less one metre, falls
    linearly ahead and behind to 0 at the safe distance of 1.5 s * speed + 1 m, and sideways to 0 at one ego width from
    the centre line. Lane and off-road: over the rows of the ego's length, a triangle that is 1 on the centre line and 0
    half a lane (3.7 m) aside.
    """
    proximity = lane = off_road = 0.0
    end, side = max(length - 1, 0) / 2, max(width - 1, 0) / 2
    for row in range(view.height):
        for column in range(view.width):
            ahead, left = (abs(metres) for metres in pixel_centre(view, row, column))
            along = np.interp(ahead, [end, end + 1.5 * speed + 1], [1, 0])
            across = np.interp(left, [side, width], [1, 0])
            proximity = max(proximity, float(along * across * image[1, row, column]))
            if ahead <= length / 2:
                triangle = float(np.interp(left, [0, 3.7 / 2], [1, 0]))
                lane = max(lane, triangle * image[0, row, column])
                off_road = max(off_road, triangle * image[2, row, column])
    return proximity, lane, off_road


# --- motion ----------------------------------------------------------------------------------------------------------


def step(state: Floats, action: Floats, dt: float) -> Floats:
    """p += v d dt; d <- normalise(d + kappa v dt d_perp); v += a dt, but not below 0. State: x, y, heading, speed."""
    x, y, heading, v = state
    d = np.array([math.cos(heading), math.sin(heading)])
    turned = d + action[1] * v * dt * np.array([-d[1], d[0]])
    turned /= np.linalg.norm(turned)
    p = (x + v * d[0] * dt, y + v * d[1] * dt)
    return np.array([*p, math.atan2(turned[1], turned[0]), max(v + action[0] * dt, 0.0)])


# --- boxes -----------------------------------------------------------------------------------------------------------


def corners(box: Box) -> Floats:
    """(4, 2), counter-clockwise."""
    c, s = math.cos(box.heading), math.sin(box.heading)
    along, across = np.array([c, s]) * box.length / 2, np.array([-s, c]) * box.width / 2
    return np.array([box.x, box.y]) + np.array(
        [along + across, -along + across, -along - across, along - across]
    )


def overlap_area(one: Box, other: Box) -> float:
    """m^2 that two boxes share: one is clipped by each side of the other (Sutherland and Hodgman, 1974)."""
    shape = [tuple(p) for p in corners(one)]
    clip = corners(other)
    for k in range(4):
        a, b = clip[k], clip[(k + 1) % 4]

        def inside(p: Point, a: Floats = a, b: Floats = b) -> float:
            return float((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]))

        kept: list[Point] = []
        for m in range(len(shape)):
            p, q = shape[m - 1], shape[m]
            dp, dq = inside(p), inside(q)
            if (dp >= 0) != (dq >= 0):
                t = dp / (dp - dq)
                kept.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
            if dq >= 0:
                kept.append(q)
        shape = kept
    twice = sum(shape[m - 1][0] * shape[m][1] - shape[m][0] * shape[m - 1][1] for m in range(len(shape)))
    return abs(twice) / 2


def gap_ahead(ego: Box, others: list[Box]) -> tuple[float, float]:
    """Metres to the next bumper in the ego's straight path and the rate at which they shrink; (inf, 0) if free."""
    gap, closing = math.inf, 0.0
    for o in others:
        ahead = (o.x - ego.x) * math.cos(ego.heading) + (o.y - ego.y) * math.sin(ego.heading)
        left = (o.y - ego.y) * math.cos(ego.heading) - (o.x - ego.x) * math.sin(ego.heading)
        if ahead > 0 and abs(left) < (ego.width + o.width) / 2:
            distance = max(ahead - ego.length / 2 - o.length / 2, 0.0)
            if distance < gap:
                gap, closing = distance, ego.speed - o.speed * math.cos(o.heading - ego.heading)
    return gap, closing


# --- drives ----------------------------------------------------------------------------------------------------------


def drives(recording: Recording, history: int, min_seconds: float) -> list[tuple[int, int, int]]:
    """(vehicle, start frame, frame of the human's arrival) of every car that drives the whole scored part."""
    site, found = recording.site, []
    for vehicle in range(len(recording.vehicles)):
        first = int(recording.vehicles.first_frame[vehicle])
        x = recording.x[recording.track(vehicle)].astype(np.float32)
        begins = [k for k in range(history - 1, len(x)) if x[k] >= site.start]
        if not begins or (math.isfinite(site.start) and x[begins[0]] > site.start + 30):
            continue
        start = begins[0]
        ends = [k for k in range(start, len(x)) if x[k] >= site.goal]
        if not ends and not math.isinf(site.goal):
            continue
        end = ends[0] if ends else len(x) - 1
        if end - start >= round(min_seconds / recording.dt):
            found.append((vehicle, first + start, first + end))
    return found
