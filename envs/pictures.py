"""Two pictures of traffic: the road around one ego with what it costs, and a whole site at a moment.

surface = RoadPicture(replay).draw(ego, costs)         # follows a car, with its panel of numbers and bars
surface = SitePicture(recording).draw(frame)           # everybody, coloured by speed
"""

from __future__ import annotations

import math

import numpy as np
import pygame
from numpy.typing import ArrayLike, NDArray

from envs.costs import HEADWAY, STANDSTILL_GAP
from envs.drawing import (
    CRASHED,
    EGO,
    FAINT,
    FAST,
    KIND_COLOURS,
    MARKING,
    PANEL,
    SUPERSAMPLING,
    Camera,
    Colour,
    draw_bar,
    draw_ghost,
    draw_path,
    draw_reach,
    draw_site,
    draw_vehicles,
    smooth,
    speed_colour,
    to_array,
    write,
)
from envs.recording import Recording
from envs.replay import Replay
from envs.site import Site

PANEL_HEIGHT = 150  # px
BESIDE = 4.0  # m shown beside the road
AHEAD_SHARE = 0.62  # of the picture's width lies ahead of the ego
COST_COLOURS: tuple[tuple[str, Colour], ...] = (
    ("proximity", (240, 120, 84)),
    ("lane", (214, 218, 222)),
    ("off road", (206, 170, 96)),
)
UNCERTAINTY_COLOUR: Colour = (170, 140, 240)
GHOST_SWATCH: Colour = (84, 88, 94)
CHANNELS: tuple[tuple[str, Colour], ...] = (
    ("lanes", (214, 218, 222)),
    ("others", (126, 165, 214)),
    ("off road", (206, 170, 96)),
)


class RoadPicture:
    """The road around an ego, ahead to the right, among everybody as they are in its replay (yielding cars included).

    Args:
        replay: whose egos are drawn.
        size: width and height, px, the panel of PANEL_HEIGHT at the bottom included; even, for video.
        px_per_m: zoom.
    """

    def __init__(
        self, replay: Replay, *, size: tuple[int, int] = (1280, 560), px_per_m: float = 11.0
    ) -> None:
        self.replay, self.size, self.px_per_m = replay, size, px_per_m
        self._kind = np.concatenate([r.vehicles.kind for r in replay.recordings])
        self._id = np.concatenate([r.vehicles.id for r in replay.recordings])

    def picture(
        self,
        ego: int,
        costs: ArrayLike = (0.0, 0.0, 0.0),
        *,
        uncertainty: float | None = None,
        title: str = "",
        notice: str = "",
    ) -> NDArray[np.uint8]:
        """`draw` as an array (height, width, 3)."""
        return to_array(self.draw(ego, costs, uncertainty=uncertainty, title=title, notice=notice))

    def draw(
        self,
        ego: int,
        costs: ArrayLike = (0.0, 0.0, 0.0),
        *,
        uncertainty: float | None = None,
        title: str = "",
        notice: str = "",
    ) -> pygame.Surface:
        """The present of one ego.

        Args:
            costs: proximity, lane and off-road cost of the present.
            uncertainty: within [0, 1], a bar more.
            title: who drives.
            notice: why the drive is over; the ego is then drawn in another colour.
        """
        surface = pygame.Surface(self.size)
        surface.fill(PANEL)
        surface.blit(self._road(ego, EGO if not notice or notice == "arrived" else CRASHED), (0, 0))
        top = self.size[1] - PANEL_HEIGHT
        self._numbers(surface, ego, top, title, notice)
        bars = list(zip(COST_COLOURS, np.asarray(costs, np.float64), strict=True))
        for k, ((name, colour), value) in enumerate(bars):
            draw_bar(surface, name, float(value), (420, top + 26 + 30 * k), 380, colour)
        if uncertainty is not None:
            draw_bar(surface, "uncertainty", uncertainty, (420, top + 26 + 90), 380, UNCERTAINTY_COLOUR)
        self._inset(surface, ego, top)
        return surface

    def camera(self, ego: int) -> Camera:
        """Looks ahead of the ego along the road, and across it so that as much road as possible is in the picture."""
        width, height = self.size[0], self.size[1] - PANEL_HEIGHT
        x, y = self.replay.state[ego, :2].tolist()
        site = self.replay.recordings[self.replay.world.recording[self.replay.vehicle[ego]]].site
        half = height / 2 / self.px_per_m
        low, high = _road_between(site, x, y)
        middle = (low + high) / 2 if high - low <= 2 * half else min(max(y, low + half), high - half)
        return Camera(x + (AHEAD_SHARE - 0.5) * width / self.px_per_m, middle, self.px_per_m, (width, height))

    def _road(self, ego: int, colour: Colour) -> pygame.Surface:
        replay, world = self.replay, self.replay.world
        vehicle, frame = int(replay.vehicle[ego]), int(replay.frame[ego])
        camera = self.camera(ego).enlarged(SUPERSAMPLING)
        big = pygame.Surface(camera.size)
        draw_site(big, camera, replay.recordings[world.recording[vehicle]].site)
        row = world.row(
            np.array(vehicle), np.arange(world.first_frame[vehicle], world.last_frame[vehicle] + 1, 3)
        )
        draw_path(big, camera, world.state[row, :2].astype(np.float64), MARKING, alpha=90)
        history = replay.observe().vectors[ego, :, :2].astype(np.float64)
        draw_path(big, camera, history, colour, alpha=200)
        pose, speed, size = replay.state[ego, :3], float(replay.state[ego, 3]), replay.size[ego]
        draw_reach(big, camera, pose, size, HEADWAY * speed + STANDSTILL_GAP, colour)
        near, num = replay.others(np.array([ego]), math.hypot(*camera.size) / camera.px_per_m)
        others = near[0, : num[0]]
        kinds = self._kind[others[:, 6].astype(int)].tolist()
        draw_vehicles(
            big, camera, others[:, :3], others[:, 4:6], [KIND_COLOURS.get(k, KIND_COLOURS[0]) for k in kinds]
        )
        if frame <= world.last_frame[vehicle]:
            draw_ghost(big, camera, replay.human_state()[ego, :3], size)
        draw_vehicles(big, camera, pose[None], size[None], [colour])
        return smooth(big)

    def _numbers(self, surface: pygame.Surface, ego: int, top: int, title: str, notice: str) -> None:
        replay, world = self.replay, self.replay.world
        vehicle = int(replay.vehicle[ego])
        recording = int(world.recording[vehicle])
        speed, human = float(replay.state[ego, 3]), replay.human_state()[ego]
        seconds = float(world.frame_in_recording(replay.vehicle[ego], replay.frame[ego])) * world.dt
        name = write(surface, title or "replay", (24, top + 20), size=19)
        place = f"{replay.recordings[recording].site.name}, vehicle {self._id[vehicle]}"
        write(surface, place, (name.right + 12, top + 23), size=14, colour=FAINT)
        number = write(surface, f"{speed:.1f}", (24, top + 50), size=34)
        write(surface, "m/s", (number.right + 6, top + 68), size=14, colour=FAINT)
        pygame.draw.rect(surface, GHOST_SWATCH, (150, top + 56, 22, 12), border_radius=3)
        pygame.draw.rect(surface, MARKING, (150, top + 56, 22, 12), 1, border_radius=3)
        write(surface, f"human {human[3]:.1f} m/s", (180, top + 54), size=14, colour=FAINT)
        place = human_place(float(replay.state[ego, 0]), float(human[0]))
        write(surface, place, (180, top + 74), size=14, colour=FAINT)
        time = write(surface, f"{seconds:.1f} s", (24, top + 106), size=17)
        if notice:
            colour = EGO if notice == "arrived" else CRASHED
            write(surface, notice, (time.right + 20, top + 104), size=19, colour=colour)

    def _inset(self, surface: pygame.Surface, ego: int, top: int) -> None:
        """The ego's own picture, a strip per channel, ahead to the right as in the picture above."""
        image = self.replay.observe().images[ego, -1]
        scale = min(2.0, 300 / image.shape[1], (PANEL_HEIGHT - 28) / 3 / image.shape[2])
        strip = round(image.shape[1] * scale), round(image.shape[2] * scale)
        left = self.size[0] - 24 - strip[0]
        for k, (name, colour) in enumerate(CHANNELS):
            share = (
                image[k, ::-1].astype(np.float64)[..., None] / 255
            )  # (ahead, to the right), as pygame wants it
            pixels = (np.array((34, 38, 44)) * (1 - share) + np.array(colour) * share).astype(np.uint8)
            drawn = pygame.transform.scale(pygame.surfarray.make_surface(pixels), strip)
            y = top + 14 + k * (strip[1] + 4)
            surface.blit(drawn, (left, y))
            write(surface, name, (left - 10, y + strip[1] // 2 - 10), size=14, colour=FAINT, align="right")


class SitePicture:
    """A whole recorded site at a moment, vehicles coloured by speed; a long road is cut into rows, left to right."""

    def __init__(self, recording: Recording, *, width: int = 1280, min_px_per_m: float = 4.0) -> None:
        self.recording = recording
        site, inner = recording.site, width - 48
        points = np.concatenate([np.asarray(area) for area in site.drivable] or [np.array([[0.0, 0.0]])])
        inside = points[(points[:, 0] >= -1) & (points[:, 0] <= site.length + 1)]
        seen = np.concatenate(
            [np.stack([recording.x, recording.y], 1), inside if len(inside) else points[:0]]
        )
        low, high = seen.min(0) - 3.0, seen.max(0) + 3.0
        self._rows = max(1, math.ceil((high[0] - low[0]) * min_px_per_m / inner))
        row_length = (high[0] - low[0]) / self._rows
        px_per_m = inner / row_length
        row_height = math.ceil((high[1] - low[1]) * px_per_m)
        self._cameras = [
            Camera(low[0] + (k + 0.5) * row_length, (low[1] + high[1]) / 2, px_per_m, (inner, row_height))
            for k in range(self._rows)
        ]
        self.size = width, 2 * math.ceil((72 + self._rows * (row_height + 34)) / 2)
        self._roads = []
        for camera in self._cameras:
            big = camera.enlarged(SUPERSAMPLING)
            road = pygame.Surface(big.size)
            draw_site(road, big, site)
            self._roads.append(road)

    def picture(self, frame: int) -> NDArray[np.uint8]:
        """`draw` as an array (height, width, 3)."""
        return to_array(self.draw(frame))

    def draw(self, frame: int) -> pygame.Surface:
        """Everybody at a frame of the recording."""
        recording = self.recording
        rows = slice(*recording.frame_offsets[frame : frame + 2])
        surface = pygame.Surface(self.size)
        surface.fill(PANEL)
        name = write(surface, recording.site.name, (24, 20), size=19)
        speed = recording.speed[rows]
        mean = f", {speed.mean():.1f} m/s" if len(speed) else ""
        summary = f"{len(speed)} vehicles{mean}"
        write(surface, summary, (name.right + 14, 23), size=14, colour=FAINT)
        write(surface, f"{frame * recording.dt:.1f} s", (self.size[0] // 2, 20), size=19)
        self._legend(surface)
        for k, (camera, road) in enumerate(zip(self._cameras, self._roads, strict=True)):
            top = 60 + k * (camera.size[1] + 34)
            big, big_camera = road.copy(), camera.enlarged(SUPERSAMPLING)
            self._vehicles(big, big_camera, rows)
            surface.blit(smooth(big), (24, top))
            half = camera.size[0] / 2 / camera.px_per_m
            write(surface, f"{camera.x - half:.0f} m", (24, top + camera.size[1] + 4), size=13, colour=FAINT)
            end = (24 + camera.size[0], top + camera.size[1] + 4)
            write(surface, f"{camera.x + half:.0f} m", end, size=13, colour=FAINT, align="right")
        return surface

    def _vehicles(self, surface: pygame.Surface, camera: Camera, rows: slice) -> None:
        r = self.recording
        poses = np.stack([r.x[rows], r.y[rows], r.heading[rows]], 1)
        sizes = np.stack([r.vehicles.length, r.vehicles.width], 1)[r.vehicle[rows]]
        seen = np.abs(poses[:, 0] - camera.x) <= camera.size[0] / 2 / camera.px_per_m + sizes[:, 0]
        colours = [speed_colour(v) for v in r.speed[rows][seen].tolist()]
        draw_vehicles(surface, camera, poses[seen], sizes[seen], colours)

    def _legend(self, surface: pygame.Surface) -> None:
        width, right = 160, self.size[0] - 24
        unit = write(surface, f"{FAST:.0f} m/s", (right, 23), size=13, colour=FAINT, align="right")
        left = unit.left - 8 - width
        for k in range(width):
            pygame.draw.line(surface, speed_colour(FAST * k / width), (left + k, 27), (left + k, 36))
        write(surface, "0", (left - 8, 23), size=13, colour=FAINT, align="right")


def _road_between(site: Site, x: float, y: float) -> tuple[float, float]:
    """From where to where (y, m) there is road around (x, y), and a little more; a mean along the road, so that a
    picture that follows it glides past ramps."""
    along = np.arange(x - 40.0, x + 81.0, 4.0)
    across = y + np.arange(-60.0, 60.5, 0.5)
    on_road = site.raster.sample(*np.meshgrid(along, across, indexing="ij"))[..., 1] == 0
    here = on_road.any(1)
    if not here.any():
        return y, y
    lowest, highest = across[on_road.argmax(1)], across[::-1][on_road[:, ::-1].argmax(1)]
    return float(lowest[here].mean()) - BESIDE, float(highest[here].mean()) + BESIDE


def human_place(ego_x: float, human_x: float) -> str:
    """Where the human is, seen from the ego.

    >>> human_place(100.0, 112.75), human_place(100.0, 98.0)
    ('12.8 m ahead of us', '2.0 m behind us')
    """
    return f"{abs(human_x - ego_x):.1f} m {'ahead of' if human_x > ego_x else 'behind'} us"
