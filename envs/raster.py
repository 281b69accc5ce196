"""The picture of the scene around an ego, drawn straight from the recording.

    channel 0: lane markings, 1: other vehicles, 2: off-road area; uint8, 0..255, shape (3, H, W), see units.View

The static channels are read from the site's raster at the pixels' centres. A vehicle covers a pixel, whose centre is
u px along and w px across from the box's centre in the box's own frame, by

    255 clip(l / 2 - |u| + 1 / 2, 0, 1) clip(b / 2 - |w| + 1 / 2, 0, 1)        (length l and width b in px)

so that edges carry sub-pixel position; overlapping vehicles take the maximum. Any pose can be drawn, not only recorded
ones.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from envs.compiled import compiled
from envs.parallel import for_ranges
from envs.units import View
from envs.world import World

MAX_NEAR = 512  # vehicles kept around one ego; more than fit physically
NEAR_FIELDS = 7  # x, y, heading, speed, length, width, vehicle
HALF_A_LORRY = 15.0  # m; no vehicle whose centre is further from the picture reaches into it
ONE = float(1 << 32)  # 1 in fixed point


@compiled
def picture_reach(height: int, width: int, px_per_m: float) -> float:
    """Metres around the ego within which a vehicle may be in its picture."""
    return math.hypot(height, width) / 2 / px_per_m + HALF_A_LORRY


@compiled
def gather(
    world: World, frame: int, x: float, y: float, reach: float, exclude: int, near: NDArray[np.float64]
) -> int:
    """Write the vehicles within `reach` metres (in x and in y), but `exclude`, into `near`; return how many."""
    n = 0
    for row in range(world.frame_offsets[frame], world.frame_offsets[frame + 1]):
        if abs(world.state[row, 0] - x) > reach or abs(world.state[row, 1] - y) > reach:
            continue
        vehicle = world.vehicle[row]
        if vehicle == exclude or n == near.shape[0]:
            continue
        for k in range(4):
            near[n, k] = world.state[row, k]
        near[n, 4], near[n, 5] = world.size[vehicle, 0], world.size[vehicle, 1]
        near[n, 6] = vehicle
        n += 1
    return n


@compiled
def draw(
    world: World,
    site: int,
    x: float,
    y: float,
    heading: float,
    near: NDArray[np.float64],
    num_near: int,
    px_per_m: float,
    image: NDArray[np.uint8],
) -> None:
    """Draw all three channels into `image` (3, H, W) as seen from a pose among the vehicles `near[:num_near]`."""
    _draw_static(world, site, x, y, math.cos(heading), math.sin(heading), px_per_m, image)
    image[1] = 0
    height, width = image.shape[1], image.shape[2]
    c, s = math.cos(heading), math.sin(heading)
    for k in range(num_near):
        dx, dy = near[k, 0] - x, near[k, 1] - y
        up, to_left = (dx * c + dy * s) * px_per_m, (dy * c - dx * s) * px_per_m
        half_l, half_b = near[k, 4] / 2 * px_per_m, near[k, 5] / 2 * px_per_m
        reach = half_l + half_b + 1  # no pixel that the box touches is further from its centre
        if abs(up) < height / 2 + reach and abs(to_left) < width / 2 + reach:
            row, column = (height - 1) / 2 - up, (width - 1) / 2 - to_left
            _draw_box(row, column, near[k, 2] - heading, half_l, half_b, image[1])


@compiled
def _draw_static(
    world: World, site: int, x: float, y: float, c: float, s: float, px_per_m: float, image: NDArray[np.uint8]
) -> None:
    height, width = image.shape[1], image.shape[2]
    nx, ny = world.raster_shape[site, 0], world.raster_shape[site, 1]
    x0, y0 = world.raster_frame[site, 0], world.raster_frame[site, 1]
    per_m_x, per_m_y = world.raster_frame[site, 2], world.raster_frame[site, 3]
    offset = world.raster_offset[site]
    top, left = (height - 1) / 2 / px_per_m, (width - 1) / 2 / px_per_m
    half_x, half_y = abs(top * c) + abs(left * s), abs(top * s) + abs(left * c)
    inside = (
        (x - half_x) * per_m_x - x0 > 1
        and (x + half_x) * per_m_x - x0 < nx - 1
        and (y - half_y) * per_m_y - y0 > 1
        and (y + half_y) * per_m_y - y0 < ny - 1
    )
    # Fixed point with 32 fractional bits: stepping and rounding are then one addition and one shift per pixel.
    di, dj = int(s * per_m_x / px_per_m * ONE), int(-c * per_m_y / px_per_m * ONE)
    for r in range(height):
        ahead = ((height - 1) / 2 - r) / px_per_m
        i = math.floor(((x + ahead * c - left * s) * per_m_x - x0) * ONE)
        j = math.floor(((y + ahead * s + left * c) * per_m_y - y0) * ONE)
        lane, off_road = image[0, r], image[2, r]
        if inside and i >> 32 == (i + (width - 1) * di) >> 32:  # most rows of who drives along the road
            cells = world.raster_cells[offset + (i >> 32) * ny :]
            for k in range(width):
                cell = cells[np.uintp(j >> 32)]  # unsigned: no test for an index from the end
                lane[np.uintp(k)] = cell & 255
                off_road[np.uintp(k)] = cell >> 8
                j += dj
            continue
        for k in range(width):
            cell = 255 << 8
            if inside or (0 <= i >> 32 < nx and 0 <= j >> 32 < ny):
                cell = world.raster_cells[np.uintp(offset + (i >> 32) * ny + (j >> 32))]
            lane[np.uintp(k)] = cell & 255
            off_road[np.uintp(k)] = cell >> 8
            i += di
            j += dj


@compiled
def _draw_box(
    row: float, column: float, turned: float, half_l: float, half_b: float, channel: NDArray[np.uint8]
) -> None:
    """Raise the channel to the coverage of a box (centre, half sizes in px; turned counter-clockwise from up)."""
    c, s = math.cos(turned), math.sin(turned)
    tall, wide = abs(c) * half_l + abs(s) * half_b + 0.75, abs(s) * half_l + abs(c) * half_b + 0.75
    r0, r1 = max(0, math.ceil(row - tall)), min(channel.shape[0] - 1, math.floor(row + tall))
    k0, k1 = max(0, math.ceil(column - wide)), min(channel.shape[1] - 1, math.floor(column + wide))
    for r in range(r0, r1 + 1):
        for k in range(k0, k1 + 1):
            ahead, to_left = row - r, column - k
            u = half_l - abs(ahead * c + to_left * s) + 0.5
            w = half_b - abs(to_left * c - ahead * s) + 0.5
            value = np.uint8(255 * min(max(u, 0.0), 1.0) * min(max(w, 0.0), 1.0) + 0.5)
            channel[r, k] = max(channel[r, k], value)


def render(
    world: World,
    frames: NDArray[np.int64],
    poses: NDArray[np.floating],
    exclude: NDArray[np.int64],
    view: View,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """Pictures (B, T, 3, H, W) from poses (B, T, >= 3) at frames (B, T); see `render_range`."""
    images = np.empty((*frames.shape, 3, view.height, view.width), np.uint8)
    at = np.ascontiguousarray(poses[..., :3], np.float64)
    for_ranges(render_range, len(frames), threads, world, frames, at, exclude, view.px_per_m, images)
    return images


@compiled
def render_range(
    world: World,
    frames: NDArray[np.int64],
    poses: NDArray[np.float64],
    exclude: NDArray[np.int64],
    px_per_m: float,
    images: NDArray[np.uint8],
    begin: int,
    end: int,
) -> None:
    """Draw images[begin:end] (B, T, 3, H, W) from poses (B, T, 3) of x, y, heading at frames (B, T).

    exclude (B,): the vehicle that is not drawn; its recording's site is. Frames must be of that recording.
    """
    near = np.empty((MAX_NEAR, NEAR_FIELDS))
    reach = picture_reach(images.shape[3], images.shape[4], px_per_m)
    for b in range(begin, end):
        site = world.site[world.recording[exclude[b]]]
        for t in range(frames.shape[1]):
            x, y, heading = poses[b, t, 0], poses[b, t, 1], poses[b, t, 2]
            n = gather(world, frames[b, t], x, y, reach, exclude[b], near)
            draw(world, site, x, y, heading, near, n, px_per_m, images[b, t])


@compiled
def is_off_road(world: World, site: int, x: float, y: float) -> bool:
    """Whether a point is outside the drivable area of a site."""
    frame = world.raster_frame[site]
    i, j = math.floor(x * frame[2] - frame[0]), math.floor(y * frame[3] - frame[1])
    if not (0 <= i < world.raster_shape[site, 0] and 0 <= j < world.raster_shape[site, 1]):
        return True
    return world.raster_cells[world.raster_offset[site] + i * world.raster_shape[site, 1] + j] >> 8 > 127


@compiled
def are_off_road(world: World, vehicle: NDArray[np.int64], poses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(B, T), `is_off_road` of poses (B, T, 4) on the sites of vehicles (B,)."""
    found = np.empty(poses.shape[:2], np.bool_)
    for b in range(len(vehicle)):
        site = world.site[world.recording[vehicle[b]]]
        for t in range(poses.shape[1]):
            found[b, t] = is_off_road(world, site, poses[b, t, 0], poses[b, t, 1])
    return found
