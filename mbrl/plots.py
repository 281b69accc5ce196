"""Charts as inline SVG, drawn in the colours of the page they stand on (see mbrl.page)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from envs.site import Site

Points = Sequence[tuple[float, float]]
Numbers = NDArray[np.float64]
NUM_SERIES_COLOURS = 6
WIDTH, HEIGHT = 420, 230  # of a line chart, in the SVG's units
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24  # margins around its axes
MAX_POINTS = 240  # a longer curve is shown by means over equal parts
LOG_RATIO = 100  # a positive curve that spans more than this is drawn on a logarithmic axis
ROAD_WIDTH = 760
ROAD_HEIGHTS = (110, 190)  # the least and the most; the road is stretched sideways to fit
TRACE_STEP = 5  # frames between drawn points of a drive
ENDINGS = {
    name: f"var(--{name.replace(' ', '-')})" for name in ("arrived", "collision", "off road", "out of time")
}


def series_colour(index: int) -> str:
    """CSS colour of the index-th line of a chart."""
    return f"var(--s{index % NUM_SERIES_COLOURS})"


def line_chart(series: Mapping[str, Points], colours: Mapping[str, str]) -> str:
    """Lines (step, value) over one pair of axes; values that are not finite are left out.

    The vertical axis is logarithmic where all values are positive and span more than LOG_RATIO.
    """
    curves = {name: _thinned(points) for name, points in series.items()}
    curves = {name: curve for name, curve in curves.items() if len(curve)}
    if not curves:
        return "<p class=note>no finite value</p>"
    everything = np.concatenate(list(curves.values()))
    low, high = everything.min(0), everything.max(0)
    is_log = low[1] > 0 and high[1] / low[1] > LOG_RATIO
    x_ticks = _ticks(low[0], high[0])
    y_ticks = _decades(low[1], high[1]) if is_log else _ticks(low[1], high[1])
    x_span = (
        (min(low[0], x_ticks[0]), max(high[0], x_ticks[-1]))
        if len(x_ticks) > 1
        else (low[0] - 1, high[0] + 1)
    )
    y_span = (min(low[1], y_ticks[0]), max(high[1], y_ticks[-1]))

    def place(points: Numbers) -> Numbers:
        y, bottom, top = (np.log10(v) if is_log else v for v in (points[:, 1], *y_span))
        right = (points[:, 0] - x_span[0]) / (x_span[1] - x_span[0])
        up = (y - bottom) / (top - bottom)
        x = LEFT + right * (WIDTH - LEFT - RIGHT)
        return np.stack([x, HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)], 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for value in y_ticks:
        y = place(np.array([[x_span[0], value]]))[0, 1]
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="var(--line)"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick_label(value)}</text>')
    for value in x_ticks:
        x = place(np.array([[value, y_span[0]]]))[0, 0]
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{tick_label(value)}</text>')
    for name, curve in curves.items():
        stroke = f'stroke="{colours[name]}" stroke-width="1.8" stroke-linejoin="round" stroke-linecap="round"'
        parts.append(
            f'<path d="{_path(place(curve))}" fill="none" {stroke}><title>{escape(name)}</title></path>'
        )
    return "".join([*parts, "</svg>"])


def _thinned(points: Points) -> Numbers:
    """(n, 2) with n <= MAX_POINTS: finite points, averaged over equal parts if there are more."""
    table = np.asarray(points, np.float64).reshape(-1, 2)
    table = table[np.isfinite(table).all(1)]
    if len(table) <= MAX_POINTS:
        return table
    return np.stack([part.mean(0) for part in np.array_split(table, MAX_POINTS)])


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


def _path(points: Numbers) -> str:
    """Move to the first point, then lines by relative tenths: half the text of absolute numbers."""
    tenths = np.round(points * 10).astype(np.int64)
    steps = "".join(f"l{dx / 10:g} {dy / 10:g}" for dx, dy in np.diff(tenths, axis=0))
    return f"M{tenths[0, 0] / 10:g} {tenths[0, 1] / 10:g}{steps}"


class Trace(NamedTuple):
    """One drive on the road, up to its end."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    ending: str  # a key of ENDINGS


def road_chart(site: Site, traces: Sequence[Trace], *, x_range: tuple[float, float]) -> str:
    """A site from above with drives on it; failures on top, a dot where each ended."""
    low, high = x_range
    y_low, y_high = _road_edges(site, low, high, traces)
    scale_x = ROAD_WIDTH / (high - low)
    height = float(np.clip((y_high - y_low) * scale_x, *ROAD_HEIGHTS))
    scale_y = height / (y_high - y_low)

    def place(points: Numbers) -> Numbers:
        return np.stack([(points[:, 0] - low) * scale_x, (y_high - points[:, 1]) * scale_y], 1)

    parts = [f'<svg viewBox="0 0 {ROAD_WIDTH} {height + 18:.0f}" role="img">']
    parts.append(f'<svg width="{ROAD_WIDTH}" height="{height:.1f}">')  # clips what lies beyond the stretch
    parts.append('<rect width="100%" height="100%" fill="var(--beside)"/>')
    parts += [f'<path d="{_path(place(area))}Z" fill="var(--road)"/>' for area in site.drivable]
    parts += [
        f'<path d="{_path(place(line))}" fill="none" stroke="var(--marking)" stroke-width="1.2"/>'
        for line in site.markings
    ]
    for x in (site.start, site.goal):
        if low < x < high:
            at = (x - low) * scale_x
            parts.append(
                f'<path d="M{at:.1f} 0V{height:.1f}" stroke="var(--text)" stroke-dasharray="3 4" opacity=".6"/>'
            )
    for trace in sorted(traces, key=lambda t: t.ending != "arrived"):
        parts.append(_trace(trace, place))
    parts.append("</svg>")
    for x in MaxNLocator(nbins=8).tick_values(low, high):
        at = (x - low) * scale_x
        if 12 < at < ROAD_WIDTH - 16:
            parts.append(f'<text x="{at:.1f}" y="{height + 14:.1f}" text-anchor="middle">{x:g} m</text>')
    return "".join([*parts, "</svg>"])


def _trace(trace: Trace, place: Callable[[Numbers], Numbers]) -> str:
    points = place(np.stack([trace.x, trace.y], 1))
    thinned = np.concatenate([points[:-1:TRACE_STEP], points[-1:]])
    colour, ok = ENDINGS[trace.ending], trace.ending == "arrived"
    opacity = 0.35 if ok else 0.8
    line = f'<path d="{_path(thinned)}" fill="none" stroke="{colour}" stroke-width="1" opacity="{opacity}"/>'
    x, y = thinned[-1]
    return line if ok else f'{line}<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'


def _road_edges(site: Site, low: float, high: float, traces: Sequence[Trace]) -> tuple[float, float]:
    """y of the right and left edge of what is drawn: the drivable area between two x, and 2 m more."""
    x = np.linspace(low, high, 200)
    ys = [trace.y for trace in traces]
    for polygon in site.drivable:
        for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if a[0] != b[0]:
                within = x[(x >= min(a[0], b[0])) & (x <= max(a[0], b[0]))]
                ys.append(a[1] + (within - a[0]) * (b[1] - a[1]) / (b[0] - a[0]))
    together = np.concatenate(ys)
    return float(together.min()) - 2, float(together.max()) + 2
