"""The text of NGSIM's trajectory files as columns of numbers, checked cell by cell.

Three layouts: the original 18 columns between white space, without a header; the same between commas, with or
without one; the data portal's CSV with 25 columns, a header, and thousands separators inside quotes. pandas reads
them fast and only notices that something is wrong; then a slow second reading finds the row and the column.
"""

from __future__ import annotations

import csv
import io
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from envs.errors import InputError

TEXT_COLUMNS = (
    *("Vehicle_ID", "Frame_ID", "Total_Frames", "Global_Time", "Local_X", "Local_Y", "Global_X", "Global_Y"),
    *("v_Length", "v_Width", "v_Class", "v_Vel", "v_Acc", "Lane_ID"),
    *("Preceding", "Following", "Space_Headway", "Time_Headway"),
)
STREET_COLUMNS = ("O_Zone", "D_Zone", "Int_ID", "Section_ID", "Direction", "Movement")  # empty on motorways
PORTAL_COLUMNS = (*TEXT_COLUMNS[:14], *STREET_COLUMNS, *TEXT_COLUMNS[14:], "Location")
LOCATIONS = ("i-80", "us-101", "lankershim", "peachtree")
BLANK = " \t\r\n"  # what pandas takes for white space; Python knows more
CHUNK_ROWS = 2**18
HEAD_BYTES = 2**16
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Layout:
    """How one file is written.

    Args:
        columns: names in the file's order, in the spelling of TEXT_COLUMNS and PORTAL_COLUMNS.
        separator: "," or None for white space.
        header_lines: lines before the first row of data, 1-based line of the header or 0.
    """

    path: Path
    columns: tuple[str, ...]
    separator: str | None
    header_lines: int

    @property
    def portal(self) -> bool:
        return "Location" in self.columns

    def split(self, line: str) -> list[str]:
        """The cells of one line."""
        if self.separator is None:
            return re.split("[ \t]+", line.strip(BLANK))
        return next(csv.reader([line])) if self.portal else [cell.strip(BLANK) for cell in line.split(",")]


@dataclass(frozen=True)
class Rule:
    """What the cells of a column have to be, in the file's own units."""

    low: float
    high: float
    whole: bool = False

    def holds(self, values: NDArray[np.float64]) -> bool:
        fine = (values >= self.low) & (values <= self.high)
        if self.whole:
            fine &= values == np.floor(values)
        return bool(fine.all())

    def __str__(self) -> str:
        return f"a {'whole ' if self.whole else ''}number from {self.low:.6g} to {self.high:.10g}"


def detect(path: str | Path) -> Layout:
    """The layout of a file, judged by its first line.

    Raises:
        InputError: no such file, an empty one, no UTF-8 text, or columns that are none of the three layouts.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=path) from error
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(head) < HEAD_BYTES or error.start < len(head) - 4:  # else a character cut by the head's end
            raise InputError(f"no UTF-8 text (byte {error.start}), NGSIM text expected", path=path) from error
        text = head.decode("utf-8-sig", "ignore")
    if "\0" in text:
        raise InputError("no text but binary data, NGSIM text expected", path=path)
    lines = io.StringIO(text, newline=None)  # which ends lines as files do, unlike str.splitlines
    number, first = next(((i, line) for i, line in enumerate(lines, 1) if line.strip(BLANK)), (0, ""))
    if not first:
        raise InputError("the file is empty, NGSIM text expected", path=path)
    separator = "," if "," in first else None
    cells = [cell.strip().strip('"') for cell in (first.split(",") if separator else first.split())]
    names = {cell.lower() for cell in cells}
    if names.isdisjoint(name.lower() for name in PORTAL_COLUMNS):
        return Layout(path, TEXT_COLUMNS, separator, 0)
    portal = not names.isdisjoint(name.lower() for name in (*STREET_COLUMNS, "Location"))
    want = PORTAL_COLUMNS if portal else TEXT_COLUMNS
    return Layout(path, _spell(cells, want, path, number), separator, number)


def _spell(cells: list[str], want: tuple[str, ...], path: Path, row: int) -> tuple[str, ...]:
    """A header's names in our spelling, after checking that each is there once."""
    spelling = {name.lower(): name for name in want}
    found = [cell.lower() for cell in cells]
    for cell in cells:
        if cell.lower() not in spelling:
            what = f"unknown column, the {len(want)} of NGSIM expected"
            raise InputError(what, path=path, row=row, column=repr(cell))
        if found.count(cell.lower()) > 1:
            raise InputError("the column is there twice", path=path, row=row, column=spelling[cell.lower()])
    for name in want:
        if name.lower() not in found:
            raise InputError("the column is missing", path=path, row=row, column=name)
    return tuple(spelling[name] for name in found)


def read_columns(
    layout: Layout, rules: dict[str, Rule], location: str | None = None
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64], str | None]:
    """The columns named by `rules`, of the rows of one location.

    Args:
        location: which rows of a portal file to take; None takes the only one there is.
    Returns:
        the columns; for each row its place among the file's rows of data, for `line_of`; the location.
    Raises:
        InputError: a cell breaks its rule or is no finite number, a row has too many or too few cells, there are no
            rows, or the location is unknown, missing or ambiguous.
    """
    parts: list[dict[str, NDArray[np.float64]]] = []
    places: list[NDArray[np.int64]] = []
    seen: set[str] = set()
    begin = 0
    for chunk in _chunks(layout):
        if chunk.empty:
            continue
        if not _is_valid(chunk, layout, rules):
            explain(layout, rules, begin)
        place = np.arange(begin, begin + len(chunk))
        begin += len(chunk)
        if layout.portal:
            seen.update(chunk["Location"].cat.categories)
            if location is None and len(seen) > 1:
                what = f"several locations ({', '.join(sorted(seen))}), choose one"
                raise InputError(what, path=layout.path, column="Location")
            keep = np.asarray(chunk["Location"] == (location or min(seen)))
            chunk, place = chunk[keep], place[keep]
        parts.append({name: chunk[name].to_numpy() for name in rules})
        places.append(place)
    if not sum(map(len, places)):
        what = f"no rows of location {location}, only of {', '.join(sorted(seen))}" if seen else "no rows"
        raise InputError(what, path=layout.path, column="Location" if seen else None)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in rules}
    return columns, np.concatenate(places), location or (min(seen) if seen else None)


def _chunks(layout: Layout) -> Iterator[pd.DataFrame]:
    """The file in pieces of numbers; anything pandas cannot digest ends in `explain`."""
    numbers = [name for name in layout.columns if name != "Location"]
    options: dict[str, Any] = {
        "sep": layout.separator or r"\s+",
        "header": None,
        "skiprows": layout.header_lines,
        "names": [*layout.columns, "surplus"],
        "index_col": False,
        "dtype": dict.fromkeys([*numbers, "surplus"], np.float64) | {"Location": "category"},
        "thousands": "," if layout.portal else None,
        "quoting": csv.QUOTE_MINIMAL if layout.portal else csv.QUOTE_NONE,
        "keep_default_na": False,
        "na_values": {name: [""] for name in [*numbers, "surplus"]},
        "encoding": "utf-8",
        "compression": None,
        "chunksize": CHUNK_ROWS,
    }
    rows = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            with pd.read_csv(layout.path, **options) as reader:
                for chunk in reader:
                    yield chunk
                    rows += len(chunk)
    except pd.errors.EmptyDataError:
        return
    except (ValueError, OverflowError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        if isinstance(error, InputError):
            raise
        explain(layout, {}, rows, str(error))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=layout.path) from error


def _is_valid(chunk: pd.DataFrame, layout: Layout, rules: dict[str, Rule]) -> bool:
    if chunk["surplus"].notna().any():
        return False
    if layout.portal and not set(chunk["Location"].cat.categories) <= set(LOCATIONS):
        return False
    required = [name for name in layout.columns if name not in (*STREET_COLUMNS, "Location")]
    return all(np.isfinite(chunk[name].to_numpy()).all() for name in required) and all(
        rule.holds(chunk[name].to_numpy()) for name, rule in rules.items()
    )


def _lines(layout: Layout) -> Iterator[tuple[int, str]]:
    """The lines of data that are not blank, with their 1-based numbers in the file."""
    with layout.path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if number > layout.header_lines and line.strip(BLANK):
                yield number, line.rstrip("\r\n")


def line_of(layout: Layout, place: int) -> int:
    """The 1-based line in the file of its row of data number `place`, counted from 0."""
    return next(islice(_lines(layout), place, None))[0]


def explain(
    layout: Layout, rules: dict[str, Rule], begin: int, otherwise: str = "the rows cannot be told apart"
) -> None:
    """Raise the InputError of the first cell that breaks the layout or a rule; a slow reading, line by line.

    Args:
        begin: rows of data that are known to be fine.
        otherwise: what to say if no such cell is found.
    """
    for row, line in islice(_lines(layout), begin, None):
        cells = layout.split(line)
        if len(cells) != len(layout.columns):
            what = f"{len(cells)} columns, {len(layout.columns)} expected"
            column = layout.columns[len(cells)] if len(cells) < len(layout.columns) else str(len(cells))
            raise InputError(what, path=layout.path, row=row, column=column)
        for name, cell in zip(layout.columns, cells, strict=True):
            fault = _fault(name, cell, layout, rules.get(name))
            if fault:
                raise InputError(fault, path=layout.path, row=row, column=name)
    raise InputError(otherwise, path=layout.path)


def _fault(name: str, cell: str, layout: Layout, rule: Rule | None) -> str | None:
    """What is wrong with a cell, or None."""
    if name == "Location":
        unknown = f"unknown location {_shown(cell)}, one of {', '.join(LOCATIONS)} expected"
        return None if cell in LOCATIONS else unknown
    if name in STREET_COLUMNS and not cell:
        return None
    text = cell.strip(BLANK).replace(",", "") if layout.portal else cell
    if not NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        return f"{_shown(cell)} is no finite number"
    if rule is not None and not rule.holds(np.array([float(text)])):
        return f"{_shown(cell)}, {rule} expected"
    return None


def _shown(cell: str) -> str:
    """A cell as messages quote it."""
    return repr(cell if len(cell) <= 40 else cell[:40] + "…")
