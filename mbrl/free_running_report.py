"""A free run (mbrl.free_running) for people: what was recorded beside what was imagined, in pictures and in lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pygame
from matplotlib.image import imsave
from numpy.typing import NDArray

from envs.drawing import FAINT, PANEL, to_array, write
from envs.formats.atomic import atomic_path
from envs.video import write_mp4
from mbrl.free_running import FreeRun
from mbrl.strips import CHANNEL_COLOURS, EGO_COLOUR, to_rgb

HEIGHT = 468  # px of a picture in a video, about
SMALL = 234  # px of one in an overview
MIN_WIDTH = 96  # px of a column, for what is written at it
GAP, TOP, BOTTOM = 12, 58, 30  # px between pictures, above and below them
MOMENTS = 9  # in an overview and on the terminal, the start included
LABELS = 90  # px beside its rows


def as_text(run: FreeRun) -> str:
    """Lines for a person: what `to_dict` says at some moments, means over the futures."""
    told = run.to_dict()
    recorded, futures = told["recorded"], told["futures"]
    lines = [
        f"vehicle {run.vehicle}, driven by {run.agent}: {len(futures)} futures of {told['steps']} steps"
        f" ({run.seconds[-1]:.1f} s), {told['recorded_steps']} of them recorded",
        f"{'vehicles in view:':>25}",
        "        " + "".join(f"{name:>10}" for name in ("recorded", "still", "imagined", "error", "spread")),
    ]
    for t in run.moments(MOMENTS)[1:]:
        cells = (
            ([recorded["brightness"]["vehicles"]], ".0%"),
            ([recorded["still_in_view"]], ".0%"),
            ([future["brightness"]["vehicles"] for future in futures], ".0%"),
            ([future["error"] for future in futures], ".4f"),
            ([told["spread"]], ".4f"),
        )
        said = "".join(f"{_mean([x[t - 1] for x in series], form):>10}" for series, form in cells)
        lines.append(f"{run.seconds[t - 1]:6.1f} s{said}")
    for k, broken in enumerate(told["first_step_not_finite"]):
        if broken is not None:
            lines.append(f"future {k + 1} is not finite from step {broken} on")
    return "\n".join(lines)


def _mean(numbers: list[float | None], form: str) -> str:
    """Their mean, if all are known."""
    known = [number for number in numbers if number is not None]
    return format(sum(known) / len(known), form) if len(known) == len(numbers) else "–"


def write_free_run(run: FreeRun, path: Path, about: dict[str, Any]) -> None:
    """A video, or an overview if `path` ends with .png; beside it, its numbers and what they are about, as JSON."""
    with atomic_path(path.with_suffix(".json")) as numbers:
        numbers.write_text(json.dumps(about | run.to_dict(), allow_nan=False))
        if path.suffix.lower() == ".png":
            with atomic_path(path) as picture:
                imsave(picture, overview(run), format="png")
        else:
            write_mp4(path, frames(run), 1 / run.step_seconds)


def frames(run: FreeRun) -> Iterator[NDArray[np.uint8]]:
    """A video's, (height, width, 3) each: the start, then one for each step."""
    scale = max(1, round(HEIGHT / run.start.shape[1]))
    recorded, futures = _with_start(run)
    vehicles = [run.brightness(pictures)[..., 1] for pictures in (run.recorded, *run.imagined)]
    names = ["recorded", *(f"future {k + 1}" for k in range(len(futures)))]
    width = max(scale * run.start.shape[2], MIN_WIDTH)
    size = GAP + len(names) * (width + GAP), TOP + scale * run.start.shape[1] + BOTTOM
    for t in range(len(run.seconds) + 1):
        surface = pygame.Surface(size)
        surface.fill(PANEL)
        write(surface, f"{t * run.step_seconds:.1f} s", (GAP, 10), size=19)
        _legend(surface, size[0] - GAP)
        for k, (name, pictures) in enumerate(zip(names, (recorded, *futures), strict=True)):
            left = GAP + k * (width + GAP)
            write(surface, name, (left, TOP - 20), size=14)
            if t >= len(pictures):
                write(surface, "ended", (left, TOP + 4), size=14, colour=FAINT)
                continue
            _blit(surface, pictures[t], scale, (left + (width - scale * run.start.shape[2]) // 2, TOP))
            share = 1.0 if t == 0 else vehicles[k][t - 1]
            said = f"vehicles {100 * share:.0f} %" if np.isfinite(share) else "no vehicles"
            write(surface, said, (left, size[1] - BOTTOM + 6), size=13, colour=FAINT)
        yield to_array(surface)


def overview(run: FreeRun) -> NDArray[np.uint8]:
    """(height, width, 3): a row for what was recorded and for each future, a column for each of some moments."""
    scale = max(1, round(SMALL / run.start.shape[1]))
    recorded, futures = _with_start(run)
    moments = run.moments(MOMENTS)
    width, height = max(scale * run.start.shape[2], 48), scale * run.start.shape[1]
    rows = [("recorded", recorded), *((f"future {k + 1}", f) for k, f in enumerate(futures))]
    surface = pygame.Surface((LABELS + len(moments) * (width + GAP), TOP + len(rows) * (height + GAP)))
    surface.fill(PANEL)
    _legend(surface, surface.get_width() - GAP)
    for j, t in enumerate(moments):
        write(surface, f"{t * run.step_seconds:.1f} s", (LABELS + j * (width + GAP), TOP - 20), size=14)
    for i, (name, pictures) in enumerate(rows):
        top = TOP + i * (height + GAP)
        write(surface, name, (GAP, top), size=14)
        for j, t in enumerate(moments):
            left = LABELS + j * (width + GAP)
            if t < len(pictures):
                _blit(surface, pictures[t], scale, (left, top))
            else:
                write(surface, "ended", (left, top), size=13, colour=FAINT)
    return to_array(surface)


def _with_start(run: FreeRun) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """RGB pictures (1 + R, H, W, 3) of what was recorded, and (1 + T, H, W, 3) of each future."""
    recorded, *futures = (
        to_rgb(np.concatenate([run.start[None], pictures]), run.size, run.px_per_m)
        for pictures in (run.recorded, *run.imagined)
    )
    return recorded, futures


def _blit(surface: pygame.Surface, picture: NDArray[np.uint8], scale: int, at: tuple[int, int]) -> None:
    big = picture.repeat(scale, 0).repeat(scale, 1)
    surface.blit(pygame.surfarray.make_surface(big.swapaxes(0, 1)), at)


def _legend(surface: pygame.Surface, right: int) -> None:
    """Who is who, in its colour."""
    for text, colour in (("others", CHANNEL_COLOURS[1]), ("ego", EGO_COLOUR)):
        right = write(surface, text, (right, 12), size=14, colour=colour, align="right").left - 10
