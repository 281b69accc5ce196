"""headway's own file: exact, whole or not there, and suspicious of everything else."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.errors import InputError
from envs.formats.atomic import atomic_path
from envs.formats.fingerprint import fingerprint
from envs.formats.parquet import SCHEMA, first_difference, read_parquet, write_parquet
from envs.recording import Recording
from envs.site import Site
from tests.toys import random_traffic, straight_site


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traffic.parquet"


def traffic(**changes: Any) -> Recording:
    """Two cars of one id with a gap between, one that never moves, one that turns; odd sizes and provenance."""
    t = np.arange(40)
    columns: dict[str, Any] = {
        "site": straight_site(),
        "vehicle_id": np.concatenate([np.full(40, 5), np.full(40, 5), np.full(40, -3), np.full(40, 2**40)]),
        "frame": np.concatenate([t, t + 41, t, t]),
        "x": np.concatenate([t * 1.1, t * 0.7, np.full(40, 30.0), 10 * np.cos(t / 9)]),
        "y": np.concatenate([t * 0.01, -t * 0.02, np.full(40, -5.0), 10 * np.sin(t / 9)]),
        "length": np.repeat([4.321, 4.321, 12.5, 2.1], 40),
        "width": np.repeat([1.7, 1.8, 2.55, 0.8], 40),
        "kind": np.repeat([2, 2, 3, 1], 40),
        "heading": np.repeat([0.0, 0.0, 1.234567890123, 0.0], 40),
        "provenance": {"source": "ünïcode", "seed": 3, "scene": None, "nested": {"a": [1.5, True]}},
    }
    return Recording.from_tracks(**columns | changes)


RECORDINGS = {
    "all kinds of cars": traffic(),
    "random traffic": random_traffic(2),
    "another step": traffic(dt=1 / 30),
    "smoothed": traffic(smoothing_frames=15),
    "far away": traffic(x=np.linspace(-131071, 131071, 160)),
    "one row": Recording.from_tracks(
        site=straight_site(), vehicle_id=[1], frame=[7], x=[-1e-6], y=[0.0], length=4.0, width=2.0
    ),
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_file_gives_back_the_recording_bit_by_bit(name: str, path: Path) -> None:
    recording = RECORDINGS[name]
    write_parquet(recording, path)
    again = read_parquet(path)
    assert first_difference(recording, again) is None
    assert fingerprint(again) == fingerprint(recording)
    write_parquet(again, path.with_suffix(".second"))
    assert path.read_bytes() == path.with_suffix(".second").read_bytes()


@settings(max_examples=50)
@given(
    tracks=st.lists(
        st.tuples(
            st.integers(-(2**62), 2**62),
            st.integers(0, 50),
            st.lists(st.tuples(*(2 * [st.floats(-1e5, 1e5, width=32)])), min_size=1, max_size=20),
            st.floats(0.125, 50, width=32),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda track: track[0],
    )
)
def test_any_tracks_survive(
    tracks: list[tuple[int, int, list[tuple[float, float]], float]], tmp_path_factory: Any
) -> None:
    rows = [(v, f + k, x, y, size) for v, f, points, size in tracks for k, (x, y) in enumerate(points)]
    vehicle, frame, x, y, size = zip(*rows, strict=True)
    recording = Recording.from_tracks(
        site=straight_site(), vehicle_id=vehicle, frame=frame, x=x, y=y, length=size, width=size
    )
    path = tmp_path_factory.mktemp("any") / "a.parquet"
    write_parquet(recording, path)
    assert first_difference(recording, read_parquet(path)) is None


def test_first_difference_sees_a_single_bit_anywhere() -> None:
    one = traffic()
    assert first_difference(one, traffic()) is None
    assert first_difference(one, traffic(provenance={})) == "provenance"
    assert first_difference(one, traffic(site=straight_site(name="other"))) == "site"
    assert first_difference(one, traffic(length=4.0)) == "vehicles.length"
    assert first_difference(one, traffic(heading=0.0)) == "heading"
    nudged = traffic()
    nudged.speed[7] = np.nextafter(nudged.speed[7], np.float32(99))
    assert first_difference(one, nudged) == "speed"


def test_the_fingerprint_follows_the_contents_not_the_provenance() -> None:
    one = fingerprint(traffic())
    assert fingerprint(traffic(provenance={})) == one
    others = [
        traffic(dt=0.2),
        traffic(kind=1),
        traffic(heading=0.1),
        traffic(site=straight_site(goal=250.0)),
        traffic(x=np.arange(160) * 0.5),
    ]
    assert len({one, *map(fingerprint, others)}) == 6


def test_a_quarter_hour_of_dense_traffic_takes_a_few_megabytes(path: Path) -> None:
    recording = random_traffic(0, num_vehicles=500, num_frames=2000)
    write_parquet(recording, path)
    assert path.stat().st_size / recording.num_rows < 4e6 / 1.1e6


@pytest.mark.parametrize(
    ("recording", "what"),
    [
        (lambda: traffic(x=np.full(160, 131073.0)), "x must be finite and within 131072 m"),
        (lambda: traffic(provenance={"a": (1, 2)}), "provenance would not survive"),
        (lambda: traffic(provenance={"a": np.float32(1)}), "must be plain JSON"),
        (lambda: traffic(provenance={"a": float("nan")}), "must be plain JSON"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(recording: Any, what: str, path: Path) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        write_parquet(recording(), path)
    assert not isinstance(caught.value, InputError)
    assert list(path.parent.iterdir()) == []


def test_a_recording_that_was_tampered_with_is_not_written(path: Path) -> None:
    recording = random_traffic(0, num_vehicles=5)
    recording.x[3] += 2.0**-20
    with pytest.raises(ValueError, match="x would not survive the file"):
        write_parquet(recording, path)


# ---- whole or not there ----


def write_half(path: Path, error: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_failed_write_leaves_what_was_there(path: Path) -> None:
    path.write_text("precious")
    for error in (OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), RuntimeError("bug")):
        expected = InputError if isinstance(error, OSError) else type(error)
        with pytest.raises(expected) as caught:
            write_half(path, error)
        if isinstance(error, OSError):
            assert str(caught.value) == f"{path}: cannot be written: No space left on device"
        assert path.read_text() == "precious"
        assert list(path.parent.iterdir()) == [path]


def test_folders_that_cannot_be_written_to(tmp_path: Path) -> None:
    recording = random_traffic(0, num_vehicles=3)
    for folder in (tmp_path / "none", Path("/proc")):
        with pytest.raises(InputError, match=rf"^{folder}/a.parquet: cannot be written: "):
            write_parquet(recording, folder / "a.parquet")
    (tmp_path / "b.parquet").mkdir()
    with pytest.raises(InputError, match="cannot be written: Is a directory"):
        write_parquet(recording, tmp_path / "b.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["b.parquet"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pq.ParquetWriter
    monkeypatch.setattr(pq, "ParquetWriter", lambda _, *rest, **more: real("/dev/full", *rest, **more))
    with pytest.raises(InputError, match=rf"^{path}: cannot be written: .*space left") as caught:
        write_parquet(random_traffic(0), path)
    assert "\n" not in str(caught.value)
    assert list(path.parent.iterdir()) == []


def test_the_file_has_the_permissions_of_any_other(path: Path) -> None:
    write_parquet(random_traffic(0, num_vehicles=3), path)
    other = path.with_name("other")
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


# ---- bad files ----


def rewritten(path: Path, *, header: Any = None, **columns: Any) -> None:
    """The file again, some columns (None: left out) or entries of the header replaced, its hashes made to fit."""
    table, text = pq.read_table(path), pq.ParquetFile(path).metadata.metadata[b"headway"]
    data = {name: table.column(name) for name in table.column_names} | columns
    table = pa.table({name: column for name, column in data.items() if column is not None})
    text = json.dumps(json.loads(text) | (header or {})).encode()
    with pq.ParquetWriter(path, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"headway": text, "headway.sha256": hashlib.sha256(text).hexdigest()})


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"header": {"version": 2}}, "format version 2, 1 expected"),
        ({"header": {"dt": -1.0}}, "inconsistent contents"),
        ({"header": {"dt": "soon"}}, "inconsistent contents"),
        ({"header": {"dt": 0.2}}, "the contents do not match their fingerprint"),
        ({"header": {"site": {"name": "a"}}}, "inconsistent contents"),
        ({"header": {"site": 3}}, "inconsistent contents"),
        ({"header": {"fingerprint": "0" * 64}}, "the contents do not match their fingerprint"),
        ({"x": None}, "column x: the column is missing"),
        ({"x": pa.array(np.zeros(160))}, "column x: double found, int32 without gaps expected"),
        ({"kind": pa.array([None] * 160, pa.int8())}, "column kind: int8 found, int8 without gaps expected"),
        (
            {"frame": pa.array(np.zeros(160, np.int32))},
            "inconsistent contents: .*vehicle -3 is in frame 0 twice",
        ),
        (
            {"length": pa.array(np.zeros(160, np.float32))},
            "inconsistent contents: .*length and width must be",
        ),
        ({"width": pa.array(np.full(160, np.nan, np.float32))}, "inconsistent contents: .*must be finite"),
        (
            {"frame": pa.array(np.arange(160, dtype=np.int32) * 10**7)},
            "inconsistent contents: .*span more than",
        ),
        ({"y": pa.array(np.zeros(160, np.int32))}, "the contents do not match their fingerprint"),
    ],
)
def test_files_that_contradict_themselves(changes: dict[str, Any], what: str, path: Path) -> None:
    write_parquet(traffic(), path)
    rewritten(path)
    assert first_difference(traffic(), read_parquet(path)) is None
    rewritten(path, **changes)
    with pytest.raises(InputError, match=what) as caught:
        read_parquet(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_truncated_foreign_and_missing_files(path: Path) -> None:
    write_parquet(traffic(), path)
    whole = path.read_bytes()
    for size in (0, 3, 4, 100, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=rf"^{path}: no readable headway Parquet file"):
            read_parquet(path)
    path.write_text("1 2 3\n")
    with pytest.raises(InputError, match="no readable headway Parquet file"):
        read_parquet(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(InputError, match="no headway recording: the metadata lacks the key 'headway'"):
        read_parquet(path)
    with pytest.raises(InputError, match=r"no readable headway Parquet file: .*No such file"):
        read_parquet(path.with_name("none"))
    with pytest.raises(InputError, match="no readable headway Parquet file"):
        read_parquet(path.parent)


def test_a_changed_header_is_noticed(path: Path) -> None:
    write_parquet(traffic(), path)
    path.write_bytes(path.read_bytes().replace(b'"start": 60.0', b'"start": 61.0'))
    with pytest.raises(
        InputError, match="damaged: the key 'headway' of the metadata does not match its hash"
    ):
        read_parquet(path)


def test_the_layout_is_the_documented_one(path: Path) -> None:
    write_parquet(traffic(), path)
    file = pq.ParquetFile(path)
    assert file.schema_arrow.remove_metadata() == SCHEMA
    columns = [file.metadata.row_group(0).column(i) for i in range(len(SCHEMA))]
    differences = {c.path_in_schema for c in columns if "DELTA_BINARY_PACKED" in c.encodings}
    assert differences == {"frame", "x", "y"}
    assert {c.compression for c in columns} == {"ZSTD"}
    rows = file.read()
    order = np.lexsort((rows.column("frame"), rows.column("vehicle")))
    np.testing.assert_array_equal(order, np.arange(160))
    site = json.loads(file.metadata.metadata[b"headway"])["site"]
    assert Site.from_dict(site).to_dict() == straight_site().to_dict()
