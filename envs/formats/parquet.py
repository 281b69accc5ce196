"""headway's own file: one Parquet table of vehicle-frames, exact to the bit and small.

Rows are sorted by (vehicle, frame). Columns: vehicle (the source's id, int64), frame (int32), x and y (int32,
in multiples of QUANTUM), length and width (float32, m), kind (int8), heading (float32, rad; that of a vehicle
which never moves, else 0). Positions and frames are stored as differences (DELTA_BINARY_PACKED), the others as
runs of dictionary entries, so what belongs to a vehicle costs a few bytes once. Speeds and the headings of moving
vehicles are not stored: they follow from the positions. The key "headway" of the file's metadata holds JSON with
the format version, dt, the site, the provenance and the fingerprint of the contents; "headway.sha256" guards it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from envs.errors import InputError
from envs.formats.atomic import atomic_path
from envs.formats.fingerprint import fingerprint
from envs.recording import QUANTUM, Recording
from envs.site import Site

VERSION = 1
SCHEMA = pa.schema(
    [
        ("vehicle", pa.int64()),
        ("frame", pa.int32()),
        ("x", pa.int32()),
        ("y", pa.int32()),
        ("length", pa.float32()),
        ("width", pa.float32()),
        ("kind", pa.int8()),
        ("heading", pa.float32()),
    ]
)
DIFFERENCES = ("frame", "x", "y")
OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 12,
    "use_dictionary": [name for name in SCHEMA.names if name not in DIFFERENCES],
    "column_encoding": dict.fromkeys(DIFFERENCES, "DELTA_BINARY_PACKED"),
    "write_statistics": False,
    "write_page_checksum": True,
    "store_schema": False,  # Arrow's copy of the schema would hold the header once more
}


def write_parquet(recording: Recording, path: str | Path) -> None:
    """Write one file, from which `read_parquet` returns the same recording, bit for bit.

    Raises:
        ValueError: the recording cannot be read back exactly (positions beyond int32 quanta or off the grid,
            vehicles out of order, provenance that is no JSON).
        InputError: the file cannot be written; nothing half-written stays.
    """
    table = _to_table(recording)
    header = _dump_header(recording)
    difference = first_difference(recording, _from_table(table, json.loads(header)))
    if difference:
        raise ValueError(f"{difference} would not survive the file; build it with Recording.from_tracks")
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, **OPTIONS) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(
            {"headway": header, "headway.sha256": hashlib.sha256(header.encode()).hexdigest()}
        )


def read_parquet(path: str | Path) -> Recording:
    """Read what `write_parquet` wrote.

    Raises:
        InputError: the file is missing, truncated, damaged, of another program or of another version.
    """
    path = Path(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            header = _read_header(file.metadata.metadata or {}, path)
            missing = [name for name in SCHEMA.names if name not in file.schema_arrow.names]
            if missing:
                raise InputError("the column is missing", path=path, column=missing[0])
            table = file.read(SCHEMA.names)
    except InputError:
        raise
    except (
        OSError,
        pa.ArrowException,
        ValueError,
        LookupError,
        TypeError,
    ) as error:  # all mean damage to Arrow
        reason = error.strerror if isinstance(error, OSError) else None
        reason = reason or f"{error} (`headway import` makes one of other formats)"
        raise InputError(f"no readable headway Parquet file: {reason}", path=path) from error
    for want in SCHEMA:
        column = table.column(want.name)
        if column.type != want.type or column.null_count:
            raise InputError(
                f"{column.type} found, {want.type} without gaps expected", path=path, column=want.name
            )
    try:
        recording = _from_table(table, header)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise InputError(f"inconsistent contents: {error!r}", path=path) from error
    del table, column
    pa.default_memory_pool().release_unused()  # a tenth of what replaying a long recording takes
    if fingerprint(recording) != header["fingerprint"]:
        raise InputError("damaged: the contents do not match their fingerprint", path=path)
    return recording


def _to_table(recording: Recording) -> pa.Table:
    """The rows by (vehicle, frame), positions as whole quanta."""
    rows, vehicles = recording.track_rows, recording.vehicles
    quanta = {}
    for name in ("x", "y"):
        values = np.rint(getattr(recording, name)[rows] / QUANTUM)
        if not (np.abs(values) < 2**31).all():
            raise ValueError(f"{name} must be finite and within {2**31 * QUANTUM:.0f} m to be stored")
        quanta[name] = values.astype(np.int32)
    index = recording.vehicle[rows]
    frames = np.repeat(np.arange(recording.num_frames, dtype=np.int32), np.diff(recording.frame_offsets))
    columns = {
        "vehicle": vehicles.id[index],
        "frame": frames[rows],
        **quanta,
        "length": vehicles.length[index],
        "width": vehicles.width[index],
        "kind": vehicles.kind[index],
        "heading": recording.rest_heading[index],
    }
    return pa.table(columns, schema=SCHEMA)


def _from_table(table: pa.Table, header: dict[str, Any]) -> Recording:
    columns = {name: table.column(name).to_numpy() for name in SCHEMA.names}
    return Recording.from_tracks(
        site=Site.from_dict(header["site"]),
        vehicle_id=columns["vehicle"],
        frame=columns["frame"],
        x=columns["x"] * QUANTUM,
        y=columns["y"] * QUANTUM,
        length=columns["length"],
        width=columns["width"],
        kind=columns["kind"],
        heading=columns["heading"],
        dt=float(header["dt"]),
        smoothing_frames=1,
        provenance=header["provenance"],
    )


def first_difference(a: Recording, b: Recording) -> str | None:
    """The name of the first part in which two recordings differ by a single bit, None if in none."""
    for name in ("frame_offsets", "vehicle", "x", "y", "heading", "speed"):
        if not _same(getattr(a, name), getattr(b, name)):
            return name
    for name in ("id", "length", "width", "kind", "first_frame", "last_frame"):
        if not _same(getattr(a.vehicles, name), getattr(b.vehicles, name)):
            return f"vehicles.{name}"
    for name, one, other in (
        ("dt", a.dt, b.dt),
        ("site", a.site.to_dict(), b.site.to_dict()),
        ("provenance", a.provenance, b.provenance),
    ):
        if one != other:
            return name
    return None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _dump_header(recording: Recording) -> str:
    header = {
        "version": VERSION,
        "dt": recording.dt,
        "site": recording.site.to_dict(),
        "provenance": recording.provenance,
        "fingerprint": fingerprint(recording),
    }
    try:
        return json.dumps(header, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"provenance and site must be plain JSON: {error}") from error


def _read_header(metadata: dict[bytes, bytes], path: Path) -> dict[str, Any]:
    """The JSON of the key "headway", checked against its hash and version."""
    text = metadata.get(b"headway")
    if text is None:
        raise InputError("no headway recording: the metadata lacks the key 'headway'", path=path)
    if metadata.get(b"headway.sha256") != hashlib.sha256(text).hexdigest().encode():
        raise InputError("damaged: the key 'headway' of the metadata does not match its hash", path=path)
    header = json.loads(text)
    if header.get("version") != VERSION:
        raise InputError(f"format version {header.get('version')!r}, {VERSION} expected", path=path)
    return header
