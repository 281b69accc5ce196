"""Charts as inline SVG, drawn in the colours of the page they stand on (see mbrl.page)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from envs.site import Site
from mbrl.axes import Numbers, axes_around

Points = Sequence[tuple[float, float]]
NUM_SERIES_COLOURS = 6
SCATTER_HEIGHT = 330  # in the SVG's units
MAX_POINTS = 240  # a longer curve is shown by means over equal parts
ROAD_WIDTH = 760
ROAD_HEIGHTS = (110, 190)  # the least and the most; the road is stretched sideways to fit
TRACE_STEP = 5  # frames between drawn points of a drive
ENDINGS = {
    name: f"var(--{name.replace(' ', '-')})" for name in ("arrived", "collision", "off road", "out of time")
}


def series_colour(index: int) -> str:
    """CSS colour of the index-th line of a chart."""
    return f"var(--s{index % NUM_SERIES_COLOURS})"


def line_chart(
    series: Mapping[str, Points],
    colours: Mapping[str, str],
    *,
    x_label: str = "",
    y_label: str = "",
    shows: Points = (),
    is_log: bool | None = None,
) -> str:
    """Lines (step, value) over one pair of axes; values that are not finite are left out.

    Args:
        x_label, y_label: what the axes show, with the unit.
        shows: points that lie on the axes, whatever the lines are: (0, 0) for an axis that begins at zero.
        is_log: see axes_around.
    """
    curves = {name: _thinned(points) for name, points in series.items()}
    curves = {name: curve for name, curve in curves.items() if len(curve)}
    if not curves:
        return "<p class=note>no finite value</p>"
    everything = np.concatenate([*curves.values(), np.reshape(np.asarray(shows, np.float64), (-1, 2))])
    axes = axes_around(everything, x_label=x_label, y_label=y_label, is_log=is_log)
    lines = []
    for name, curve in curves.items():
        stroke = f'stroke="{colours[name]}" stroke-width="1.8" stroke-linejoin="round" stroke-linecap="round"'
        lines.append(
            f'<path d="{_path(axes.place(curve))}" fill="none" {stroke}><title>{escape(name)}</title></path>'
        )
    return axes.chart(*lines)


def scatter_chart(points: Points, *, x_label: str, y_label: str) -> str:
    """Dots over axes of one scale, which begin at zero, and the line on which both numbers are the same."""
    table = _finite(points)
    if not len(table):
        return "<p class=note>no finite value</p>"
    low, high = min(0.0, float(table.min())), float(table.max())
    corners = np.array([[low, low], [high, high]])
    axes = axes_around(corners, x_label=x_label, y_label=y_label, is_log=False, height=SCATTER_HEIGHT)
    ends = axes.place(np.array([[axes.x_span[0]] * 2, [axes.x_span[1]] * 2]))
    same = f'<path d="{_path(ends)}" fill="none" stroke="var(--faint)" stroke-dasharray="3 4"/>'
    dots = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="var(--accent)" opacity=".5"/>'
        for x, y in axes.place(table)
    )
    return axes.chart(same, *dots)


def front_chart(points: Mapping[str, tuple[float, float]], *, x_label: str, y_label: str) -> str:
    """Named dots, the horizontal axis logarithmic, and the Pareto front: nobody is both further left and higher.

    Points whose x is not positive, or that are not finite, are left out.
    """
    kept = {k: (math.log10(x), y) for k, (x, y) in points.items() if x > 0 and math.isfinite(x + y)}
    if not kept:
        return "<p class=note>no finite value</p>"
    table = np.array(list(kept.values()))
    axes = axes_around(table, x_label=x_label, y_label=y_label, is_log=False, height=SCATTER_HEIGHT)
    axes = replace(axes, x_power=True)
    best = front(table)
    steps = [table[best[0]]]
    for k in best[1:]:
        steps += [np.array([table[k, 0], steps[-1][1]]), table[k]]
    line = f'<path d="{_path(axes.place(np.array(steps)))}" fill="none" stroke="var(--faint)"/>'
    dots = []
    for k, (name, (x, y)) in enumerate(zip(kept, axes.place(table), strict=True)):
        dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="var(--accent)"/>')
        left = x > axes.place(np.array([[np.mean(axes.x_span), 0]]))[0, 0]
        at = f'x="{x + (-7 if left else 7):.1f}" y="{y + 4:.1f}" text-anchor="{"end" if left else "start"}"'
        stress = ' font-weight="600"' if k in best else ""
        dots.append(f"<text {at}{stress}>{escape(name)}</text>")
    return axes.chart(line, *dots)


def front(points: Numbers) -> list[int]:
    """Indices of the points (n, 2) that no other beats: as small in x and larger in y, or smaller and as large; by x.

    >>> front(np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 9.0], [3.0, 8.0]]))
    [0, 2]
    """
    kept: list[int] = []
    for k in np.lexsort((-points[:, 1], points[:, 0])):
        if not kept or points[k, 1] > points[kept[-1], 1]:
            kept.append(int(k))
    return kept


def _finite(points: Points) -> Numbers:
    table = np.asarray(points, np.float64).reshape(-1, 2)
    return table[np.isfinite(table).all(1)]


def _thinned(points: Points) -> Numbers:
    """(n, 2) with n <= MAX_POINTS: finite points, averaged over equal parts if there are more."""
    table = _finite(points)
    if len(table) <= MAX_POINTS:
        return table
    return np.stack([part.mean(0) for part in np.array_split(table, MAX_POINTS)])


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
