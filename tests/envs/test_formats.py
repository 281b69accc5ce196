"""Choosing a reader, the I-80 lane streams, and the description of what was read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envs import sites
from envs.describe import as_text, describe, lane_changes_per_vehicle
from envs.errors import InputError
from envs.formats import FORMATS, read, write_parquet
from envs.formats.fingerprint import fingerprint
from envs.formats.lanes import LaneStream, read_lane_stream
from envs.recording import Recording
from tests.envs.format_files import commonroad_xml, ngsim_rows, ngsim_text, portal_csv
from tests.toys import random_traffic

# ---- which reader ----


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One good file of each format, under names that tell nothing."""
    texts = {
        "ngsim": ngsim_text(ngsim_rows()),
        "ngsim-portal": portal_csv(ngsim_rows()),
        "commonroad": "\ufeff" + commonroad_xml(),
    }
    paths = {name: tmp_path / f"file{k}" for k, name in enumerate(FORMATS)}
    for name, text in texts.items():
        paths[name].write_text(text, encoding="utf-8")
    write_parquet(random_traffic(0, num_vehicles=5), paths["parquet"])
    return paths


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_may_be_named_or_seen(name: str, files: dict[str, Path]) -> None:
    named, seen = read(files[name], name), read([str(files[name])])
    assert fingerprint(named) == fingerprint(seen)
    assert named.provenance == seen.provenance
    assert named.provenance.get("format") == (None if name == "parquet" else name)


@pytest.mark.parametrize("name", FORMATS)
def test_no_reader_takes_the_file_of_another(name: str, files: dict[str, Path]) -> None:
    for other in FORMATS:
        if other != name and (name, other) != ("ngsim-portal", "ngsim"):
            with pytest.raises(InputError, match=f"^{files[name]}"):
                read(files[name], other)


def test_what_cannot_be_chosen_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(
        InputError, match="unknown format 'excel', one of ngsim, ngsim-portal, commonroad, parquet"
    ):
        read(files["ngsim"], "excel")
    with pytest.raises(InputError, match="no file given"):
        read([])
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read("nowhere")
    with pytest.raises(InputError, match="2 files given, but each commonroad file is a recording"):
        read([files["commonroad"]] * 2)
    for choice in ({"site": "i80"}, {"location": "i-80"}, {"units": "metres"}):
        with pytest.raises(InputError, match="a parquet file brings its site and units"):
            read(files["parquet"], **choice)  # type: ignore[arg-type]


# ---- lane streams ----


def lane_file(path: Path, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """Two vehicles of one period and one of another, three frames each, not sorted."""
    columns: dict[str, Any] = {
        "period": ["b"] * 3 + ["a"] * 6,
        "id": np.array([5, 5, 5, 5, 9, 5, 9, 5, 9], np.int32),
        "type": np.full(9, 2, np.int8),
        "frame": np.array([7, 8, 9, 2, 2, 1, 1, 3, 3], np.int32),
        "y": np.array([0, 1, 2, 110, 60, 100, 50, 120, 70], np.float32),
        "v": np.array([1, 1, 1, 30, 30, 20, 30, 30, 30], np.float32),
        "a": np.array([0, 0, 0, 10, 0, 0, 0, 0, 0], np.float32),
        "prec": np.array([-1, 0, -1, -1, 5, -1, 5, -1, 5], np.int32),
        "foll": np.array([-1, 0, -1, 9, -1, 9, -1, 9, 0], np.int32),
    }
    if change is not None:
        change(columns)
    pq.write_table(pa.table(columns), path)
    return path


def test_a_lane_stream_is_sorted_and_in_si_units(tmp_path: Path) -> None:
    stream = read_lane_stream(lane_file(tmp_path / "lane.parquet"))
    assert stream.periods == ("a", "b")
    assert stream.period.tolist() == [0] * 6 + [1] * 3
    assert stream.vehicle.tolist() == [5, 5, 5, 9, 9, 9, 5, 5, 5]
    assert stream.frame.tolist() == [1, 2, 3, 1, 2, 3, 7, 8, 9]
    np.testing.assert_allclose(stream.x[:3], [30.48, 33.528, 36.576])
    np.testing.assert_allclose(stream.speed[:3], [8.9408, 13.4112, 13.4112])
    assert stream.acceleration[1] == pytest.approx((13.4112 - 8.9408) / 0.1)
    assert stream.preceding.tolist() == [-1, -1, -1, 5, 5, 5, -1, -1, -1]
    assert stream.following.tolist() == [9, 9, 9, -1, -1, -1, -1, -1, -1]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda c: c.pop("prec"), "prec"),
        (lambda c: c.update(v=np.array([np.nan] + [1.0] * 8)), "row 1, column v: a finite number expected"),
        (
            lambda c: c.update(y=pa.array([1.0, None] + [1.0] * 7)),
            "column y: double found, numbers without gaps",
        ),
        (lambda c: c.update(id=["5"] * 9), "column id: string found, numbers without gaps expected"),
        (lambda c: c.update(period=list(range(9))), "column period: int64 found, text without gaps expected"),
        (lambda c: c["frame"].put(1, 9), "row 3, column frame: vehicle 5 is in frame 9 twice"),
    ],
)
def test_bad_lane_streams(change: Callable[[dict[str, Any]], None], what: str, tmp_path: Path) -> None:
    path = lane_file(tmp_path / "lane.parquet", change)
    with pytest.raises(InputError, match=what) as caught:
        read_lane_stream(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_lane_streams_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("1 2 3")
    with pytest.raises(InputError, match="no readable lane stream"):
        read_lane_stream(tmp_path / "text")
    with pytest.raises(InputError, match="no readable lane stream"):
        read_lane_stream(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "rows", "vehicles", "periods", "speed"),
    [("i80_lane1_0400_0415", 104_284, 378, 1, 16.678), ("i80_lane7_ramp", 154_397, 644, 3, 3.863)],
)
def test_the_real_lane_streams(
    name: str, rows: int, vehicles: int, periods: int, speed: float, real_data: Path
) -> None:
    stream = read_lane_stream(real_data / "ngsim" / f"{name}.parquet")
    assert len(stream) == rows
    assert len(stream.periods) == periods
    assert len(np.unique(np.stack([stream.period, stream.vehicle]), axis=1).T) == vehicles
    assert stream.speed.mean() == pytest.approx(speed, abs=1e-3)
    check_units(stream)


def check_units(stream: LaneStream) -> None:
    """Speed is the change of x, acceleration that of speed."""
    on = (np.diff(stream.vehicle) == 0) & (np.diff(stream.period) == 0) & (np.diff(stream.frame) == 1)
    ratio = np.diff(stream.x)[on].sum() / 0.1 / stream.speed[1:][on].sum()
    assert ratio == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(np.diff(stream.speed)[on] / 0.1, stream.acceleration[1:][on], atol=0.01)


# ---- description ----


def on_i80(y: np.ndarray) -> Recording:
    """Cars at 20 m/s, one for each row of y (metres, or lanes from the left if positive)."""
    cars, frames = y.shape
    return Recording.from_tracks(
        site=sites.i80(),
        vehicle_id=np.repeat(np.arange(cars), frames),
        frame=np.tile(np.arange(frames), cars),
        x=np.tile(np.arange(frames) * 2.0, cars),
        y=-y.ravel() * sites.i80().lane_width,
        length=5.0,
        width=2.0,
        kind=np.repeat(np.arange(cars) % 4, frames),
    )


def test_the_description_counts_what_is_there() -> None:
    recording = replace(on_i80(np.tile(np.arange(6)[:, None] + 0.5, 50)), provenance={"seed": 1})
    told = describe(recording)
    assert json.loads(json.dumps(told)) == told
    assert (told["site"], told["frames"], told["rows"], told["vehicles"]) == ("i80", 50, 300, 6)
    assert told["minutes"] == pytest.approx(5 / 60, abs=1e-3)
    assert told["vehicles_by_kind"] == {"unknown": 2, "motorcycle": 2, "car": 1, "truck or bus": 1}
    assert sum(told["vehicles_by_split"].values()) == 6
    assert (told["vehicles_at_once_mean"], told["vehicles_at_once_max"]) == (6, 6)
    assert told["speed_mean_kmh"] == pytest.approx(72, abs=0.01)
    assert told["lane_changes_per_vehicle"] == 0
    assert told["provenance"] == {"seed": 1}
    assert told["fingerprint"] == fingerprint(recording)
    lines = as_text(told).splitlines()
    assert len(lines) == len(told)
    assert lines[0].split() == ["site", "i80"]


def test_lane_changes_are_counted_once_and_only_between_through_lanes() -> None:
    steady, over = (
        np.full(60, 2.5),
        np.concatenate([np.full(20, 2.5), np.linspace(2.5, 3.5, 20), np.full(20, 3.5)]),
    )
    straddling = 3 + 0.1 * np.sin(np.arange(60))
    merging = np.concatenate([np.full(20, 6.5), np.linspace(6.5, 5.5, 20), np.full(20, 5.5)])
    for tracks, want in (
        ([steady], 0),
        ([over], 1),
        ([over, steady], 0.5),
        ([over + over - 2.5], 2),
        ([straddling], 0),
        ([merging], 0),
        ([over[::-1], over], 1),
    ):
        assert lane_changes_per_vehicle(on_i80(np.stack(tracks))) == want, want


def test_lane_changes_are_unknown_where_lanes_are() -> None:
    recording = random_traffic(0, num_vehicles=5)
    assert lane_changes_per_vehicle(recording) is None
    assert "lane changes per vehicle" in as_text(describe(recording))
    assert "unknown" in as_text(describe(recording))
