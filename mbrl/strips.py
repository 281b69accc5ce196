"""Observations as pictures for people: several frames side by side, in the colours of the road."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from envs.units import View
from mbrl.page import data_uri

ASPHALT = (44, 50, 58)
CHANNEL_COLOURS = {
    2: (132, 116, 84),
    0: (222, 226, 230),
    1: (110, 174, 250),
}  # off road, markings, vehicles: later on top
EGO_COLOUR = (255, 196, 61)
EGO_SIZE = (4.6, 1.9)  # m; length and width where the ego's are not known
GAP = 2  # px between frames


def to_rgb(
    images: NDArray[np.uint8], size: tuple[float, float] = EGO_SIZE, px_per_m: float = View().px_per_m
) -> NDArray[np.uint8]:
    """Observations (T, 3, H, W) as (T, H, W, 3), with the ego drawn as a box in the middle.

    Args:
        size: length and width of the ego, m.
    """
    rgb = np.full((len(images), *images.shape[2:], 3), ASPHALT, np.float64)
    for channel, colour in CHANNEL_COLOURS.items():
        share = images[:, channel, :, :, None] / 255
        rgb = rgb * (1 - share) + np.array(colour) * share
    height, width = images.shape[2:]
    half_l, half_b = (s / 2 * px_per_m for s in size)
    rows, columns = (np.abs(np.arange(n) - (n - 1) / 2) for n in (height, width))
    rgb[:, (rows <= half_l)[:, None] & (columns <= half_b)[None, :]] = EGO_COLOUR
    return np.round(rgb).astype(np.uint8)


def strip(images: NDArray[np.uint8], size: tuple[float, float] = EGO_SIZE) -> str:
    """Frames (T, 3, H, W) from left to right as the address of a PNG with see-through gaps."""
    rgb = to_rgb(images, size)
    num, height, width, _ = rgb.shape
    out = np.zeros((height, num * (width + GAP) - GAP, 4), np.uint8)
    for k in range(num):
        left = k * (width + GAP)
        out[:, left : left + width, :3], out[:, left : left + width, 3] = rgb[k], 255
    buffer = io.BytesIO()
    imsave(buffer, out, format="png")
    return data_uri(buffer.getvalue(), "image/png")


def times(seconds: NDArray[np.floating]) -> str:
    """Labels for the columns of a strip, in s."""
    return f"<div class=times>{''.join(f'<span>{t:+.1f}</span>' for t in seconds)}</div>"
