"""The rows of an NGSIM file in time: no vehicle twice in a frame, none going back, one block per recording period.

Frames and vehicle ids start anew in each period. A file of text is one period; a portal file may hold several, told
apart by the time of their frame 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.errors import InputError
from envs.formats.ngsim_table import Layout, line_of
from envs.recording import MAX_FRAMES

FRAME_MS = 100  # Global_Time per frame
PERIOD_GAP_MS = (
    1000  # periods whose frames 0 are further apart are different ones (on Peachtree Street 11.7 s are)
)


@dataclass(frozen=True)
class Rows:
    """Rows of one file: columns in its units, and each row's place among the file's rows."""

    layout: Layout
    columns: dict[str, NDArray[np.float64]]
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def whole(self, name: str) -> NDArray[np.int64]:
        return self.columns[name].astype(np.int64)

    def take(self, index: NDArray[Any] | slice) -> Rows:
        return Rows(self.layout, {k: v[index] for k, v in self.columns.items()}, self.places[index])

    def error(self, what: str, index: int, column: str) -> InputError:
        row = line_of(self.layout, int(self.places[index]))
        return InputError(what, path=self.layout.path, row=row, column=column)


def periods(rows: Rows) -> list[Rows]:
    """The rows of each period, sorted by (vehicle, frame).

    A portal file's second copies of a row, which the portal is known to serve, are dropped.

    Raises:
        InputError: a vehicle twice in a frame; text in which a vehicle's frames go back; a Global_Time that goes back
            from one frame to the next; more than MAX_FRAMES in a period.
    """
    number = _period_numbers(rows) if rows.layout.portal else np.zeros(len(rows), np.int64)
    vehicle, frame = rows.whole("Vehicle_ID"), rows.whole("Frame_ID")
    order = np.lexsort((frame, vehicle, number))
    again = _same(number[order], vehicle[order], frame[order])
    if rows.layout.portal:
        copies = again & _same(*(column[order] for column in rows.columns.values()))
        order, again = order[~copies], again[~copies]
    if again.any():
        index = int(order[np.argmax(again)])
        raise rows.error(f"vehicle {vehicle[index]} is in frame {frame[index]} twice", index, "Frame_ID")
    if not rows.layout.portal:
        _check_file_order(rows, vehicle, frame)
    ordered = len(order) == len(rows) and bool((order[1:] > order[:-1]).all())
    if not ordered:  # a large file need not be copied where its rows are in order
        rows, number = rows.take(order), number[order]
    _check_time(rows, number)
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1), len(rows)]
    blocks = [rows.take(slice(a, b)) for a, b in pairwise(edges)]
    for block in blocks:
        frame = block.whole("Frame_ID")
        if frame.max() - frame.min() >= MAX_FRAMES:
            what = f"frames {frame.min()} to {frame.max()} span more than {MAX_FRAMES}"
            raise block.error(what, int(np.argmax(frame)), "Frame_ID")
    return blocks


def _period_numbers(rows: Rows) -> NDArray[np.int64]:
    """For each row, which period it belongs to, in time."""
    start = rows.whole("Global_Time") - FRAME_MS * rows.whole("Frame_ID")
    starts = np.unique(start)
    numbers = np.cumsum(np.diff(starts, prepend=starts[0]) > PERIOD_GAP_MS, dtype=np.int64)
    return numbers[np.searchsorted(starts, start)]


def _same(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows equal the row before them."""
    same = np.zeros(len(columns[0]), bool)
    same[1:] = np.all([column[1:] == column[:-1] for column in columns], axis=0)
    return same


def _check_file_order(rows: Rows, vehicle: NDArray[np.int64], frame: NDArray[np.int64]) -> None:
    """Refuse a vehicle whose frames go back from one line to a later one."""
    order = np.argsort(vehicle, kind="stable")
    back = _same(vehicle[order]) & (np.diff(frame[order], prepend=0) < 0)
    if back.any():
        k = int(np.argmax(back))
        index, before = int(order[k]), int(order[k - 1])
        what = f"vehicle {vehicle[index]} goes back from frame {frame[before]} to {frame[index]}"
        raise rows.error(what, index, "Frame_ID")


def _check_time(rows: Rows, number: NDArray[np.int64]) -> None:
    """Refuse a Global_Time that goes back between a vehicle's frames; rows sorted by (period, vehicle, frame)."""
    vehicle, time = rows.whole("Vehicle_ID"), rows.whole("Global_Time")
    back = _same(number, vehicle) & (np.diff(time, prepend=0) < 0)
    if back.any():
        i = int(np.argmax(back))
        what = (
            f"time of vehicle {vehicle[i]} goes back from {time[i - 1]} to {time[i]} ms as its frames go on"
        )
        raise rows.error(what, i, "Global_Time")
