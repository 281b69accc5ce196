"""Streams of one lane of I-80: who follows whom, where and how fast; no lateral positions, no sizes, no recording.

The files hold NGSIM rows as Parquet: y in feet along the road (of the vehicle's front), v in miles per hour, and a,
by its values, as the change of v from frame to frame of 0.1 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from envs.errors import InputError
from envs.units import FOOT, MPH

DT = 0.1  # s
COLUMNS = ("period", "id", "type", "frame", "y", "v", "a", "prec", "foll")


@dataclass(frozen=True, eq=False)
class LaneStream:
    """N vehicle-frames of one lane, sorted by (period, vehicle, frame); frames are 0.1 s."""

    period: NDArray[
        np.int32
    ]  # index into `periods`; frames of two periods have nothing to do with each other
    periods: tuple[str, ...]
    vehicle: NDArray[np.int64]  # the source's id, unique within a period
    kind: NDArray[np.int8]  # NGSIM's classes: 1 motorcycle, 2 car, 3 truck or bus
    frame: NDArray[np.int64]
    x: NDArray[np.float64]  # m along the road, of the front
    speed: NDArray[np.float64]  # m/s
    acceleration: NDArray[np.float64]  # m/s^2
    preceding: NDArray[np.int64]  # the vehicle ahead, -1 for none
    following: NDArray[np.int64]  # the vehicle behind, -1 for none

    def __len__(self) -> int:
        return len(self.vehicle)


def read_lane_stream(path: str | Path) -> LaneStream:
    """Read one stream.

    Raises:
        InputError: no such file, no Parquet, a missing column, a gap or a number that is not finite.
    """
    try:
        table = pq.read_table(path, columns=list(COLUMNS))
    except (OSError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise InputError(f"no readable lane stream: {reason or error}", path=path) from error
    for name in COLUMNS:
        if name not in table.column_names:
            raise InputError("the column is missing", path=path, column=name)
        _check(table.column(name), name, path)
    numbers = {name: table.column(name).to_numpy() for name in COLUMNS[1:]}
    names = np.asarray(table.column("period").to_pylist(), str)
    periods, period = np.unique(names, return_inverse=True)
    order = np.lexsort((numbers["frame"], numbers["id"], period))
    again = [(np.diff(column[order]) == 0) for column in (period, numbers["id"], numbers["frame"])]
    if np.all(again, axis=0).any():
        index = int(order[int(np.argmax(np.all(again, axis=0))) + 1])
        what = f"vehicle {numbers['id'][index]} is in frame {numbers['frame'][index]} twice"
        raise InputError(what, path=path, row=index + 1, column="frame")
    numbers = {name: column[order] for name, column in numbers.items()}
    return LaneStream(
        period=period[order].astype(np.int32),
        periods=tuple(map(str, periods)),
        vehicle=numbers["id"].astype(np.int64),
        kind=numbers["type"].astype(np.int8),
        frame=numbers["frame"].astype(np.int64),
        x=numbers["y"].astype(np.float64) * FOOT,
        speed=numbers["v"].astype(np.float64) * MPH,
        acceleration=numbers["a"].astype(np.float64) * MPH / DT,
        preceding=_neighbour(numbers["prec"]),
        following=_neighbour(numbers["foll"]),
    )


def _neighbour(ids: NDArray[np.integer]) -> NDArray[np.int64]:
    """Ids, with -1 for none; the files use 0 and -1 for it."""
    return np.where(ids > 0, ids, -1).astype(np.int64)


def _check(column: pa.ChunkedArray, name: str, path: str | Path) -> None:
    text = name == "period"
    fits = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not text:
        fits = pa.types.is_integer(column.type) or (name in "yva" and pa.types.is_floating(column.type))
    if not fits or column.null_count:
        what = f"{column.type} found, {'text' if text else 'numbers'} without gaps expected"
        raise InputError(what, path=path, column=name)
    if not text:
        finite = np.isfinite(column.to_numpy())
        if not finite.all():
            row = int(np.argmin(finite)) + 1
            raise InputError("a finite number expected", path=path, row=row, column=name)
