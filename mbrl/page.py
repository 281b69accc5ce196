"""Pieces of a page that needs nothing but itself, for light and dark, wide and narrow screens."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #16202b; --faint: #66727f; --line: #dde2e8; --accent: #1f6fd0;
  --road: #dfe3e8; --beside: #eef0f2; --marking: #ffffff;
  --arrived: #1f6fd0; --collision: #d6333f; --off-road: #d97a00; --out-of-time: #7d8793;
  --s0: #1f6fd0; --s1: #d97a00; --s2: #13946a; --s3: #8a57cf; --s4: #d6333f; --s5: #7d8793;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #10141a; --card: #181e26; --text: #e4e9ef; --faint: #93a0ae; --line: #2b343f; --accent: #6aa9f4;
    --road: #2b333d; --beside: #1c232b; --marking: #5a6673;
    --arrived: #6aa9f4; --collision: #ff6b72; --off-road: #f2a33c; --out-of-time: #93a0ae;
    --s0: #6aa9f4; --s1: #f2a33c; --s2: #43c79a; --s3: #b592f0; --s4: #ff6b72; --s5: #93a0ae;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.05rem; font-weight: 600; color: var(--faint); margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .3rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
p { margin: .3rem 0 .9rem; max-width: 46rem; }
.headline { font-size: clamp(1.25rem, 4vw, 1.7rem); line-height: 1.35; margin: 0 0 1.2rem; max-width: none;
  text-wrap: balance; }
.note, figcaption { color: var(--faint); font-size: .875rem; }
.grid { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); }
.tiles { display: grid; gap: .7rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem; min-width: 0; }
.card + .card.wide { margin-top: .9rem; }
.tile b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th { min-width: 3.2rem; text-align: right; font-weight: 600; color: var(--faint); vertical-align: bottom; }
td { text-align: right; white-space: nowrap; vertical-align: top; }
td.text { text-align: left; white-space: normal; min-width: 8rem; overflow-wrap: anywhere; }
th, td { padding: .4rem .7rem .4rem 0; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--card); text-align: left;
  white-space: normal; max-width: 9rem; }
td.text:first-child { min-width: 0; max-width: none; }
tr.chosen td:first-child { font-weight: 600; }
.interval { position: relative; height: 6px; min-width: 4.5rem; margin: 4px 0 2px; background: var(--line);
  border-radius: 3px; }
.interval i { position: absolute; top: 0; bottom: 0; background: var(--accent); opacity: .45; border-radius: 3px; }
.interval b { position: absolute; top: -2px; width: 4px; height: 10px; margin-left: -2px; border-radius: 2px;
  background: var(--accent); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .875rem; color: var(--faint); margin: 0 0 .6rem; }
.legend i { display: inline-block; width: .9rem; height: .3rem; border-radius: .15rem; margin-right: .35rem;
  vertical-align: .18rem; }
figure { margin: 0; }
.strips { max-width: 30rem; }
.strips img, .strip { width: 100%; display: block; image-rendering: pixelated; border-radius: .25rem; }
.strip { max-width: 22rem; }
.strips .row { display: grid; grid-template-columns: 1.4rem 1fr; margin-bottom: .25rem; }
.strips .row > span { writing-mode: vertical-rl; transform: rotate(180deg); text-align: center; font-size: .8rem;
  color: var(--faint); }
.times { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; font-size: .72rem; color: var(--faint);
  text-align: center; font-variant-numeric: tabular-nums; }
.strips .times { margin-left: 1.4rem; }
.failure .times { max-width: 22rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--faint); }
.road svg { min-width: 36rem; }
video { width: 100%; border-radius: .6rem; display: block; }
details { margin: .8rem 0; }
summary { cursor: pointer; color: var(--accent); }
"""
MAX_EMBEDDED = 6 * 2**20  # bytes of video that a page still carries


def page(title: str, body: Iterable[str]) -> str:
    """A whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, *parts: str, note: str = "") -> str:
    """A heading, a sentence on how to read what follows, and that; nothing if there is nothing to show."""
    shown = [part for part in parts if part]
    if not shown:
        return ""
    return "\n".join(
        [f"<h2>{escape(title)}</h2>", f"<p class=note>{escape(note)}</p>" if note else "", *shown]
    )


def card(*parts: str, title: str = "", kind: str = "") -> str:
    """A framed box."""
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<div class="card {kind}">{heading}{"".join(parts)}</div>'


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    chosen: int | None = None,
    text_columns: Sequence[int] = (),
) -> str:
    """A table that scrolls sideways on narrow screens.

    Args:
        header: plain text; all empty for none.
        rows: cells that are HTML already.
        chosen: the row to stress.
        text_columns: those that hold sentences rather than numbers.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header) if any(header) else ""
    body = []
    for k, row in enumerate(rows):
        cells = (f"<td{' class=text' if c in text_columns else ''}>{cell}</td>" for c, cell in enumerate(row))
        body.append(f"<tr{' class=chosen' if k == chosen else ''}>{''.join(cells)}</tr>")
    inside = f"<thead><tr>{head}</tr></thead>" if head else ""
    inside += f"<tbody>{''.join(body)}</tbody>"
    return f"<div class=scroll><table>{inside}</table></div>"


def interval_bar(value: float, low: float, high: float) -> str:
    """A share and its interval on a bar from 0 to 1."""
    return (
        f'<div class=interval><i style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i>'
        f'<b style="left:{100 * value:.1f}%"></b></div>'
    )


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Names with their colours (CSS)."""
    items = (f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in entries)
    return f"<div class=legend>{''.join(items)}</div>"


def details(summary: str, *parts: str) -> str:
    """Something to open."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address, so that the page needs no other file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def video(path: Path) -> str:
    """A video inside the page, or where it lies if it is too large for that."""
    if path.stat().st_size > MAX_EMBEDDED:
        return f"<p>The video is too large for this page: see <code>{escape(path.name)}</code> beside it.</p>"
    return f'<video controls muted playsinline src="{data_uri(path.read_bytes(), "video/mp4")}"></video>'
