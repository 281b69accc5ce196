"""Figures as arrays of pixels; matplotlib is imported by the experiments that draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pixels(figure: Figure) -> NDArray:
    """A figure drawn to uint8 (H, W, 3), by the Agg backend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
