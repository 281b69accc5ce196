"""Pictures of the road from above: a camera, and what it sees drawn on pygame surfaces, on screen or off.

Everything is drawn at SUPERSAMPLING times the size and scaled down, so that edges are smooth and cars do not jump from
pixel to pixel.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "hide")
import pygame
import pygame.gfxdraw

from envs.site import Site

Colour = tuple[int, int, int]
Points = NDArray[np.float64]

SUPERSAMPLING = 2
BESIDE_THE_ROAD: Colour = (30, 41, 36)
ASPHALT: Colour = (58, 62, 69)
MARKING: Colour = (214, 218, 222)
TEXT: Colour = (226, 230, 235)
FAINT: Colour = (138, 147, 158)
PANEL: Colour = (20, 23, 28)
EGO: Colour = (46, 214, 163)
CRASHED: Colour = (240, 78, 80)
GLASS: Colour = (26, 31, 38)
KIND_COLOURS: dict[int, Colour] = {
    0: (160, 168, 178),  # unknown
    1: (200, 146, 224),  # motorcycle
    2: (126, 165, 214),  # car
    3: (222, 166, 92),  # truck or bus
}
# Shapes in shares of length (ahead of the centre) and width (to the left of it).
BODY = np.array([[0.5, 0.3], [0.44, 0.48], [0.3, 0.5], [-0.45, 0.5], [-0.5, 0.42]])
BODY = np.concatenate([BODY, BODY[::-1] * (1, -1)])
WINDSHIELD = np.array([[0.26, 0.34], [0.13, 0.42], [0.13, -0.42], [0.26, -0.34]])
LONGEST_CAR = 6.0  # m; a longer vehicle's windshield is where that of such a car at its front would be
REACH_SLICES = 12
MARKING_WIDTH = 0.18  # m
DASH, DASH_GAP = (
    3.0,
    6.0,
)  # m; closer than on a real road, so that a dashed line is one in a small picture too
SLOW, FAST = 0.0, 20.0  # m/s at the two ends of the colours of speed


@dataclass(frozen=True)
class Camera:
    """Looks straight down: site point (x, y) is at the middle of a picture of size (width, height) px; y is up."""

    x: float
    y: float
    px_per_m: float
    size: tuple[int, int]

    def px(self, points: ArrayLike) -> Points:
        """Site points (..., 2), m, to pixels (..., 2) from the top left corner."""
        p = (np.asarray(points, np.float64) - (self.x, self.y)) * (self.px_per_m, -self.px_per_m)
        return p + np.array(self.size) / 2

    def sees(self, points: Points) -> NDArray[np.bool_]:
        """Whether the bounding boxes of points (..., n, 2) reach into the picture; shape (...)."""
        half = np.array(self.size) / 2 / self.px_per_m
        low, high = points.min(-2) - (self.x, self.y), points.max(-2) - (self.x, self.y)
        return ((low <= half) & (high >= -half)).all(-1)

    def enlarged(self, factor: int) -> Camera:
        """The same picture with `factor` times as many pixels each way."""
        width, height = self.size
        return Camera(self.x, self.y, self.px_per_m * factor, (width * factor, height * factor))


def smooth(big: pygame.Surface) -> pygame.Surface:
    """Scale a supersampled picture down."""
    width, height = big.get_size()
    return pygame.transform.smoothscale(big, (width // SUPERSAMPLING, height // SUPERSAMPLING))


def to_array(surface: pygame.Surface) -> NDArray[np.uint8]:
    """(height, width, 3), a copy."""
    width, height = surface.get_size()
    return np.frombuffer(pygame.image.tobytes(surface, "RGB"), np.uint8).reshape(height, width, 3).copy()


def outlines(shape: ArrayLike, poses: ArrayLike, sizes: ArrayLike) -> Points:
    """A shape in shares of length and width from the centre, ahead and to the left, laid on boxes.

    Args:
        shape: (P, 2).
        poses: (..., 3) x, y, heading.
        sizes: (..., 2) length, width.
    Returns:
        (..., P, 2) site points, m.
    """
    poses = np.asarray(poses, np.float64)
    ahead, left = np.moveaxis(np.asarray(shape) * np.asarray(sizes, np.float64)[..., None, :], -1, 0)
    c, s = np.cos(poses[..., 2, None]), np.sin(poses[..., 2, None])
    return poses[..., None, :2] + np.stack([ahead * c - left * s, ahead * s + left * c], -1)


def draw_site(surface: pygame.Surface, camera: Camera, site: Site) -> None:
    """The drivable area and its markings: solid where the road ends beside them, dashed between lanes."""
    surface.fill(BESIDE_THE_ROAD)
    for area in site.drivable:
        if camera.sees(area):
            pygame.draw.polygon(surface, ASPHALT, camera.px(area).tolist())
    stripes = _stripes(site)
    for corners in camera.px(stripes[camera.sees(stripes)]).tolist():
        pygame.draw.polygon(surface, MARKING, corners)


def draw_vehicles(
    surface: pygame.Surface, camera: Camera, poses: ArrayLike, sizes: ArrayLike, colours: Sequence[Colour]
) -> None:
    """Vehicles at poses (n, 3) of x, y, heading with sizes (n, 2) of length, width."""
    poses, sizes = np.asarray(poses, np.float64), np.asarray(sizes, np.float64)
    cabs = np.minimum(sizes, (LONGEST_CAR, np.inf))  # of a long vehicle, its front
    fronts = poses.copy()
    fronts[:, :2] += (sizes - cabs)[:, :1] / 2 * np.stack([np.cos(poses[:, 2]), np.sin(poses[:, 2])], 1)
    bodies = camera.px(outlines(BODY, poses, sizes)).tolist()
    windshields = camera.px(outlines(WINDSHIELD, fronts, cabs)).tolist()
    for body, windshield, colour in zip(bodies, windshields, colours, strict=True):
        pygame.draw.polygon(surface, colour, body)
        pygame.draw.polygon(surface, [c // 2 for c in colour], body, 1)
        pygame.draw.polygon(surface, GLASS, windshield)


def draw_ghost(
    surface: pygame.Surface, camera: Camera, pose: ArrayLike, size: ArrayLike, colour: Colour = MARKING
) -> None:
    """A translucent box with an outline: where somebody is who is not there."""
    body = outlines(BODY, pose, size)
    if camera.sees(body):
        corners = camera.px(body).round().astype(int).tolist()
        pygame.gfxdraw.filled_polygon(surface, corners, (*colour, 70))
        pygame.draw.polygon(surface, colour, corners, SUPERSAMPLING)


def draw_reach(
    surface: pygame.Surface, camera: Camera, pose: ArrayLike, size: ArrayLike, reach: float, colour: Colour
) -> None:
    """What the proximity cost looks at ahead of a car: `reach` metres from its front, fading as the cost does."""
    length, width = np.asarray(size, np.float64)
    edges = length / 2 + reach * np.linspace(0, 1, REACH_SLICES + 1)
    for k, (near, far) in enumerate(pairwise(edges)):
        shape = [[near, 0.5], [near, -0.5], [far, -0.5], [far, 0.5]]
        corners = camera.px(outlines(shape, pose, (1.0, width))).round().astype(int).tolist()
        pygame.gfxdraw.filled_polygon(surface, corners, (*colour, int(90 * (1 - (k + 0.5) / REACH_SLICES))))


def draw_path(
    surface: pygame.Surface,
    camera: Camera,
    points: Points,
    colour: Colour,
    *,
    dot: float = 0.16,
    alpha: int = 150,
) -> None:
    """Dots of radius `dot` metres at points (n, 2)."""
    radius = max(1, round(dot * camera.px_per_m))
    seen = camera.px(points[camera.sees(points[:, None])])
    for column, row in seen.round().astype(int).tolist():
        pygame.gfxdraw.filled_circle(surface, column, row, radius, (*colour, alpha))


def speed_colour(speed: float) -> Colour:
    """Red at standstill over amber to green at FAST."""
    stops = np.array([[214, 70, 70], [232, 176, 72], [90, 196, 128]])
    share = np.clip((speed - SLOW) / (FAST - SLOW), 0, 1)
    red, green, blue = (np.interp(share, [0, 0.45, 1], stops[:, k]) for k in range(3))
    return int(red), int(green), int(blue)


def write(
    surface: pygame.Surface,
    text: str,
    at: tuple[int, int],
    *,
    size: int = 15,
    colour: Colour = TEXT,
    align: str = "left",
) -> pygame.Rect:
    """One line of text; `at` is its top left, or top right with align="right"."""
    drawn = _font(size).render(text, True, colour)
    place = drawn.get_rect(topright=at) if align == "right" else drawn.get_rect(topleft=at)
    surface.blit(drawn, place)
    return place


def draw_bar(
    surface: pygame.Surface, name: str, value: float, at: tuple[int, int], width: int, colour: Colour
) -> None:
    """A named bar filled up to `value` within [0, 1], and its number."""
    x, y = at
    write(surface, name, (x, y - 4), size=14, colour=FAINT)
    bar = pygame.Rect(x + 84, y, width - 84 - 48, 10)
    pygame.draw.rect(surface, (44, 50, 58), bar, border_radius=5)
    filled = bar.copy()
    filled.width = round(bar.width * float(np.clip(value, 0, 1)))
    if filled.width > 0:
        pygame.draw.rect(surface, colour, filled, border_radius=5)
    write(surface, f"{value:.2f}", (x + width, y - 4), size=14, align="right")


@lru_cache(maxsize=16)
def _font(size: int) -> pygame.font.Font:
    if not pygame.font.get_init():
        pygame.font.init()
    return pygame.font.Font(
        None, round(size * 1.45)
    )  # pygame's own; its size counts the line, not the letters


@lru_cache(maxsize=32)
def _stripes(site: Site) -> Points:
    """Corners (S, 4, 2) of all painted stripes, m."""
    stripes = []
    for line in site.markings:
        steps = np.diff(line, axis=0)
        lengths = np.hypot(*steps.T)
        travelled = 0.0
        for start, step, length in zip(line[:-1], steps, lengths, strict=True):
            if length == 0:
                continue
            direction = step / length
            normal = np.array([-direction[1], direction[0]])
            for begin, end in _painted(site, start, direction, normal, length, travelled):
                a, b = start + begin * direction, start + end * direction
                side = MARKING_WIDTH / 2 * normal
                stripes.append(np.stack([a + side, b + side, b - side, a - side]))
            travelled += length
    return np.stack(stripes) if stripes else np.zeros((0, 4, 2))


def _painted(
    site: Site, start: Points, direction: Points, normal: Points, length: float, travelled: float
) -> list[tuple[float, float]]:
    """Stretches (m from `start`) of a straight segment that are painted; dashes keep step with the whole line."""
    period = DASH + DASH_GAP
    cuts = np.arange(np.floor(travelled / period) * period, travelled + length, period) - travelled
    painted = []
    for cut in cuts:
        begin, end = max(cut, 0.0), min(cut + period, length)
        if end - begin < 1e-6:
            continue
        beside = start + (begin + end) / 2 * direction + np.outer([0.9, -0.9], normal)
        between_lanes = (site.raster.sample(*beside.T)[:, 1] == 0).all()
        if not between_lanes:
            painted.append((begin, end))
        elif min(cut + DASH, length) > begin:
            painted.append((begin, min(cut + DASH, length)))
    return painted
