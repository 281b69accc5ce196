"""A window that shows pictures at the pace of the traffic, and listens to a few keys.

space  pause and go on        right arrow  one step        + and -  faster, slower        q  quit
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pygame
from numpy.typing import NDArray

from envs.drawing import FAINT, write
from envs.errors import InputError

HELP = "space pause   right step   + - speed   q quit"
SPEEDS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # times real time
POLL_SECONDS = 0.02  # while paused


class Window:
    """Opens with the first picture. Once closed it stays closed, and `show` returns at once.

    Args:
        fps: pictures a second at speed 1.
    """

    def __init__(self, fps: float, title: str = "headway") -> None:
        self.fps, self.title = fps, title
        self.closed = self.paused = False
        self._speed = SPEEDS.index(1.0)
        self._screen: pygame.Surface | None = None
        self._clock = pygame.time.Clock()

    @property
    def speed(self) -> float:
        """Times real time."""
        return SPEEDS[self._speed]

    def show(self, picture: pygame.Surface | NDArray[np.uint8]) -> bool:
        """Show a surface, or an array (height, width, 3), for as long as its turn lasts; False once closed.

        Raises:
            InputError: there is no display to open a window on.
        """
        if self.closed:
            return False
        if isinstance(picture, np.ndarray):
            picture = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
        if self._screen is None or self._screen.get_size() != picture.get_size():
            self._screen = self._open(picture.get_size())
        self._draw(picture)
        stepped = self._listen()
        while self.paused and not stepped and not self.closed:
            self._draw(picture)
            pygame.time.wait(round(1000 * POLL_SECONDS))
            stepped = self._listen()
        self._clock.tick(0 if stepped else self.fps * self.speed)
        return not self.closed

    def close(self) -> None:
        """Close the window; a second time does nothing."""
        if self._screen is not None:
            pygame.display.quit()
            self._screen = None
        self.closed = True

    def _open(self, size: tuple[int, int]) -> pygame.Surface:
        # Without a display SDL would draw to nowhere, for as long as the traffic lasts.
        displays = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
        if sys.platform == "linux" and not any(os.environ.get(name) for name in displays):
            raise InputError(
                "there is no display to open a window on; write a video instead (--mp4 FILE.mp4), or in Python"
                ' ask for pictures (render_mode="rgb_array")'
            )
        try:
            pygame.display.init()
            pygame.display.set_caption(self.title)
            return pygame.display.set_mode(size)
        except pygame.error as error:
            raise InputError(f"no window can be opened here: {error}; write a video instead") from error

    def _draw(self, picture: pygame.Surface) -> None:
        if self._screen is None:
            return
        self._screen.blit(picture, (0, 0))
        state = "paused" if self.paused else f"{self.speed:g}x"
        corner = (self._screen.get_width() - 24, self._screen.get_height() - 22)
        write(self._screen, f"{state}   {HELP}", corner, size=13, colour=FAINT, align="right")
        pygame.display.flip()

    def _listen(self) -> bool:
        """Obey the keys pressed since last time; whether one asked for a single step."""
        stepped = False
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self.close()
                break
            if event.type != pygame.KEYDOWN:
                continue
            if event.key in (pygame.K_q, pygame.K_ESCAPE):
                self.close()
                break
            if event.key == pygame.K_SPACE:
                self.paused = not self.paused
            elif event.key == pygame.K_RIGHT:
                self.paused = stepped = True
            elif event.unicode in ("+", "="):
                self._speed = min(self._speed + 1, len(SPEEDS) - 1)
            elif event.unicode == "-":
                self._speed = max(self._speed - 1, 0)
        return stepped
