"""Signals as lines, each in a panel of its own, its channels below each other in colours of their own."""

from __future__ import annotations

import math

import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.experiments.figures import pixels

WIDTH, HEIGHT, BAND = 0.9, 0.6, 0.15  # inches of a panel, and of each channel of several
FILLED = 0.86  # share of a panel that its signal fills; of several channels,
REACH = 1.5  # how many of their bands the largest fills: most are far smaller
MAGNIFIED = 3.0  # a signal that is smaller than the largest by more than this fills one part of so many


def panels(signals: Tensor, behind: Tensor | None = None) -> NDArray:
    """A picture uint8 (H, W, 3) of signals (K, C, T) in about a square of panels, row by row.

    All are on one scale, but small ones, which would be flat, are magnified to fill a third of their panels.

    Args:
        behind: others (K, C, T) in the same panels on the same scales, in grey.
    """
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    num, channels, _ = signals.shape
    columns = math.ceil(math.sqrt(num))
    rows = math.ceil(num / columns)
    extent = _extent(signals if behind is None else torch.cat([signals, behind], -1))
    extent = extent / (FILLED if channels == 1 else REACH)
    figure = Figure((columns * WIDTH, rows * max(HEIGHT, BAND * channels)), dpi=120)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, columns), ylim=(-rows, 0))
    axes.axis("off")
    axes.vlines(range(1, columns), -rows, 0, color="0.9", linewidth=0.6)
    axes.hlines(range(1 - rows, 0), 0, columns, color="0.9", linewidth=0.6)
    hues = [colormaps["tab10"](channel % 10) for channel in range(channels)]
    if behind is not None:
        axes.add_collection(LineCollection(_placed(behind / extent, columns), colors="0.7", linewidths=2.0))
    axes.add_collection(LineCollection(_placed(signals / extent, columns), colors=hues * num, linewidths=1.0))
    return pixels(figure)


def _extent(signals: Tensor) -> Tensor:
    """Half of the height (K, 1, 1) of each panel in units of signals (K, C, T)."""
    most = signals.abs().amax((1, 2), keepdim=True)
    return torch.minimum(most.max(), MAGNIFIED * most).clamp(min=1e-12)


def _placed(signals: Tensor, columns: int) -> list[NDArray]:
    """Lines (T, 2) of the channels of signals (K, C, T) in [-1, 1], in units of panels, from the upper left."""
    num, channels, steps = signals.shape
    along = (1 - FILLED) / 2 + FILLED * torch.linspace(0, 1, steps)
    k = torch.arange(num)[:, None, None]
    channel = torch.arange(channels)[:, None]
    x = k % columns + along
    y = (signals / 2 - channel - 0.5) / channels - k // columns
    return list(torch.stack([x.expand_as(y), y], -1).flatten(0, 1).numpy())
