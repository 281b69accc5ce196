"""A pair of axes with round numbers, as inline SVG in the colours of the page (see mbrl.page)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
WIDTH, HEIGHT = 420, 230  # of a chart, in the SVG's units
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24  # margins around its axes
ABOVE, BELOW = 16, 14  # what labels need besides
LOG_RATIO = 100  # positive values that span more than this are drawn on a logarithmic axis


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Where values lie in a chart. A label says what an axis shows, with its unit."""

    x_ticks: Numbers
    y_ticks: Numbers
    x_span: tuple[float, float]
    y_span: tuple[float, float]
    is_log: bool  # the vertical one
    x_label: str = ""
    y_label: str = ""
    height: int = HEIGHT
    x_power: bool = False  # whether the horizontal values are decimal logarithms of what they stand for

    @property
    def top(self) -> int:
        return TOP + (ABOVE if self.y_label else 0)

    @property
    def bottom(self) -> int:
        """The y of the lowest value."""
        return self.height - BOTTOM - (BELOW if self.x_label else 0)

    def place(self, points: Numbers) -> Numbers:
        """Points (n, 2) of values to points of the SVG."""
        y, low, high = (np.log10(v) if self.is_log else v for v in (points[:, 1], *self.y_span))
        right = (points[:, 0] - self.x_span[0]) / (self.x_span[1] - self.x_span[0])
        up = (y - low) / (high - low)
        x = LEFT + right * (WIDTH - LEFT - RIGHT)
        return np.stack([x, self.bottom - up * (self.bottom - self.top)], 1)

    def chart(self, *drawn: str) -> str:
        """The whole SVG: lines, ticks and labels, and what is drawn between them."""
        parts = [f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img">']
        for value in self.y_ticks:
            y = self.place(np.array([[self.x_span[0], value]]))[0, 1]
            parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="var(--line)"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick_label(value)}</text>')
        for value in self.x_ticks:
            x = self.place(np.array([[value, self.y_span[0]]]))[0, 0]
            label = tick_label(10**value if self.x_power else value)
            text = f'<text x="{x:.1f}" y="{self.bottom + 18}" text-anchor="middle">{label}</text>'
            parts.append(text)
        if self.y_label:
            parts.append(f'<text x="4" y="{TOP + 4}">{escape(self.y_label)}</text>')
        if self.x_label:
            at = f'x="{WIDTH - RIGHT}" y="{self.height - 5}" text-anchor="end"'
            parts.append(f"<text {at}>{escape(self.x_label)}</text>")
        return "".join([*parts, *drawn, "</svg>"])


def axes_around(
    points: Numbers, *, x_label: str = "", y_label: str = "", is_log: bool | None = None, height: int = HEIGHT
) -> Axes:
    """Axes on which all of (n, 2) finite points can be placed.

    Args:
        is_log: whether the vertical axis is; by default where all its values are positive and span more than LOG_RATIO.
    """
    low, high = points.min(0), points.max(0)
    if is_log is None:
        is_log = bool(low[1] > 0 and high[1] / low[1] > LOG_RATIO)
    x_ticks = _ticks(low[0], high[0])
    y_ticks = _decades(low[1], high[1]) if is_log else _ticks(low[1], high[1])
    x_span, y_span = (
        (float(min(low[k], ticks[0])), float(max(high[k], ticks[-1])))
        for k, ticks in enumerate((x_ticks, y_ticks))
    )
    return Axes(
        x_ticks=x_ticks, y_ticks=y_ticks, x_span=x_span, y_span=y_span, is_log=is_log,
        x_label=x_label, y_label=y_label, height=height,
    )  # fmt: skip


def _ticks(low: float, high: float) -> Numbers:
    """A few round numbers from at most `low` to at least `high`."""
    if not high > low:
        return np.array([low, low + max(abs(low), 1.0)])
    return np.asarray(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high), np.float64)


def _decades(low: float, high: float) -> Numbers:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return np.power(10.0, np.arange(first, last + 1, max(1, (last - first) // 5), dtype=np.float64))


def tick_label(value: float) -> str:
    """A short number.

    >>> [tick_label(v) for v in (0.25, 200.0, 15000.0, 2e6, 1e-6)]
    ['0.25', '200', '15k', '2M', '1e-06']
    """
    for size, unit in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{round(value, 10):g}"
