"""Figures as arrays of pixels; matplotlib is imported by the experiments that draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pixels(figure: Figure) -> NDArray:
    """A figure drawn to uint8 (H, W, 3), by the Agg backend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def rows_of_images(rows: Mapping[str, Tensor], inches: float) -> NDArray:
    """A labelled row for each of several (N, H, W) of grey images in [0, 1], side by side; `inches` wide."""
    from matplotlib.figure import Figure

    num, height, width = next(iter(rows.values())).shape
    figure = Figure(
        figsize=(inches, 1.15 * inches * len(rows) * height / (num * width)), dpi=100, layout="constrained"
    )
    for k, (name, row) in enumerate(rows.items()):
        axes = figure.add_subplot(len(rows), 1, k + 1)
        axes.imshow(torch.cat([*row], 1).numpy(), cmap="gray", vmin=0, vmax=1, aspect="equal")
        axes.set(xticks=[], yticks=[])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return pixels(figure)
