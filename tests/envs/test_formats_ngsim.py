"""NGSIM's files: the numbers that come out, and what is said about the ones that cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from envs import sites
from envs.errors import InputError
from envs.formats import ngsim
from envs.formats.ngsim import PERIOD_IDS, read_ngsim
from envs.formats.ngsim_export import write_ngsim
from envs.formats.ngsim_table import PORTAL_COLUMNS, TEXT_COLUMNS
from envs.recording import MAX_FRAMES, QUANTUM, Recording
from envs.units import FOOT
from tests.envs.format_files import I80_BEGIN, Cells, ngsim_rows, ngsim_text, portal_csv
from tests.toys import random_traffic

US101_BEGIN = 1118846979700
LAYOUTS: dict[str, Callable[[Sequence[Cells]], str]] = {
    "white space": ngsim_text,
    "tabs": lambda rows: ngsim_text(rows, " \t "),
    "commas": lambda rows: ngsim_text(rows, ","),
    "commas and header": lambda rows: ",".join(TEXT_COLUMNS) + "\n" + ngsim_text(rows, ", "),
    "portal": portal_csv,
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a file's text and returns its path."""

    def to_file(text: str, name: str = "traffic.txt") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def state(recording: Recording, vehicle: int) -> tuple[np.ndarray, ...]:
    """x, y, heading, speed of the vehicle of that id, in time."""
    rows = recording.track(int(np.flatnonzero(recording.vehicles.id == vehicle)[0]))
    return recording.x[rows], recording.y[rows], recording.heading[rows], recording.speed[rows]


# ---- good files ----


@pytest.mark.parametrize("layout", LAYOUTS)
def test_feet_at_the_front_become_metres_at_the_centre(layout: str, write: Callable[..., Path]) -> None:
    recording = read_ngsim(write(LAYOUTS[layout](ngsim_rows())))
    assert recording.vehicles.id.tolist() == [7, 8, 9]
    assert recording.vehicles.kind.tolist() == [1, 2, 3]
    np.testing.assert_allclose(recording.vehicles.length, np.array([15, 16, 17]) * FOOT, rtol=1e-6)
    np.testing.assert_allclose(recording.vehicles.width, 6.5 * FOOT, rtol=1e-6)
    assert (recording.num_frames, recording.dt) == (20, 0.1)
    for k in range(3):  # the running mean leaves straight, even motion as it is
        x, y, heading, speed = state(recording, 7 + k)
        front = (300 + 40 * k + 5 * np.arange(20)) * FOOT
        np.testing.assert_allclose(x, front - (15 + k) / 2 * FOOT, atol=QUANTUM)
        np.testing.assert_allclose(y, -(6 + 12 * k) * FOOT, atol=QUANTUM)
        np.testing.assert_allclose(speed, 50 * FOOT, atol=2e-3)
        assert (heading == 0).all()
    assert recording.site.name == "i80"
    assert recording.provenance["source"] == ["traffic.txt"]
    assert recording.provenance["smoothing_frames"] == 15


def test_the_site_is_told_from_day_location_or_argument(write: Callable[..., Path]) -> None:
    assert read_ngsim(write(ngsim_text(ngsim_rows(begin=US101_BEGIN + 3600_000)))).site.name == "us101"
    rows = [row | {"Location": "us-101"} for row in ngsim_rows()]
    assert read_ngsim(write(portal_csv(rows))).site.name == "us101"
    assert read_ngsim(write(ngsim_text(ngsim_rows(begin=0))), site="i80").site.name == "i80"
    own = sites.us101()
    assert read_ngsim(write(ngsim_text(ngsim_rows())), site=own).site is own


def test_an_unknown_road_is_drawn_where_cars_drove(write: Callable[..., Path]) -> None:
    recording = read_ngsim(write(ngsim_text(ngsim_rows(begin=0))))
    assert recording.site.name == "drawn"
    raster = recording.site.raster
    assert (raster.sample(recording.x, recording.y)[:, 1] == 0).all()
    beside = recording.y + np.where(recording.y > -4, 2.2, -2.2)  # more than half a lane off the outer tracks
    outer = recording.vehicles.id[recording.vehicle] != 8
    assert (raster.sample(recording.x, beside)[outer, 1] == 255).all()


def test_units_may_be_metres(write: Callable[..., Path]) -> None:
    rows = [row | {"v_Length": "4.5", "v_Width": "1.9"} for row in ngsim_rows(step=1.5)]
    x, y, _, speed = state(read_ngsim(write(ngsim_text(rows)), units="metres"), 7)
    np.testing.assert_allclose(x, 300 + 1.5 * np.arange(20) - 2.25, atol=QUANTUM)
    np.testing.assert_allclose((y, speed), [np.full(20, -6), np.full(20, 15)], atol=1e-3)


@pytest.mark.parametrize(
    ("along", "across", "heading"),
    [(-5.0, 0.0, np.pi), (5.0, 0.0, 0.0), (0.0, 5.0, -np.pi / 2), (0.0, -5.0, np.pi / 2)],
)
def test_on_a_street_the_centre_is_behind_the_front(
    along: float, across: float, heading: float, write: Callable[..., Path]
) -> None:
    rows = [
        row
        | {"Location": "lankershim", "Direction": "2"}
        | {"Local_Y": f"{900 + along * k:.3f}", "Local_X": f"{100 + across * k:.3f}"}
        for k, row in enumerate(ngsim_rows([7], frames=30))
    ]
    recording = read_ngsim(write(portal_csv(rows)))
    front = np.array([900 + along * np.arange(30), -100 - across * np.arange(30)]) * FOOT
    back = 7.5 * FOOT * np.array([[np.cos(heading)], [np.sin(heading)]])
    np.testing.assert_allclose([recording.x, recording.y], front - back, atol=1e-3)
    np.testing.assert_allclose(np.cos(recording.heading - heading), 1, atol=1e-6)
    assert recording.site.name == "lankershim"
    assert (recording.site.raster.sample(recording.x, recording.y)[:, 1] == 0).all()


def test_rows_of_a_portal_file_may_come_in_any_order_and_twice(write: Callable[..., Path]) -> None:
    rows = ngsim_rows()
    want = read_ngsim(write(portal_csv(rows)))
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))] + rows[5:9]
    got = read_ngsim(write(portal_csv(shuffled)))
    for name in ("x", "y", "heading", "speed", "vehicle", "frame_offsets"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))


def test_one_location_of_several_is_taken(write: Callable[..., Path]) -> None:
    rows = ngsim_rows() + [row | {"Location": "us-101"} for row in ngsim_rows([3])]
    path = write(portal_csv(rows))
    assert read_ngsim(path, location="us-101").vehicles.id.tolist() == [3]
    assert read_ngsim(path, location="i-80").vehicles.id.tolist() == [7, 8, 9]
    with pytest.raises(InputError, match=r"Location: several locations \(i-80, us-101\), choose one"):
        read_ngsim(path)
    with pytest.raises(InputError, match="no rows of location peachtree, only of i-80, us-101"):
        read_ngsim(path, location="peachtree")


def test_one_id_in_two_periods_is_two_vehicles(write: Callable[..., Path]) -> None:
    later = ngsim_rows(begin=I80_BEGIN + 3_600_000)
    first, second = write(ngsim_text(ngsim_rows()), "a.txt"), write(ngsim_text(later), "b.txt")
    together = read_ngsim([second, first])
    portal = read_ngsim(write(portal_csv(later + ngsim_rows())))
    for recording in (together, portal):
        assert recording.vehicles.id.tolist() == [7, 8, 9, *(PERIOD_IDS + np.array([7, 8, 9]))]
        assert recording.vehicles.last_frame[:3].max() + 10 < recording.vehicles.first_frame[3:].min()
        assert recording.num_rows == 120
    np.testing.assert_array_equal(together.x, portal.x)


@pytest.mark.parametrize("other", [ngsim_text, portal_csv])
def test_one_period_twice_is_refused(
    other: Callable[[Sequence[Cells]], str], write: Callable[..., Path]
) -> None:
    """Its drivers would be in two splits. Periods may overlap in time: their frames are counted anew."""
    first, again = write(ngsim_text(ngsim_rows()), "a.txt"), write(other(ngsim_rows()), "b.csv")
    with pytest.raises(InputError, match=r"vehicle 7's frame \d+ is in .*a\.txt too; give each period once"):
        read_ngsim([first, again])
    overlapping = write(ngsim_text(ngsim_rows(begin=I80_BEGIN + 500)), "c.txt")
    assert len(read_ngsim([first, overlapping]).vehicles) == 6


def test_a_road_that_cannot_be_drawn_is_no_traceback(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise ValueError("site drawn: too many to draw; are its units metres?")

    monkeypatch.setattr(ngsim, "draw_site", too_large)
    path = write(ngsim_text(ngsim_rows(begin=0)))
    with pytest.raises(InputError, match=r"traffic\.txt: site drawn: too many to draw"):
        read_ngsim(path)


def test_blank_lines_and_line_ends_do_not_matter(write: Callable[..., Path]) -> None:
    text = ngsim_text(ngsim_rows())
    want = read_ngsim(write(text))
    for other in (text.replace("\n", "\r\n"), "\n  \n" + text + "\n\n", text.rstrip("\n"), "\ufeff" + text):
        path = write("")
        path.write_bytes(other.encode())
        np.testing.assert_array_equal(read_ngsim(path).x, want.x)


def test_what_the_export_writes_is_read_back(tmp_path: Path) -> None:
    recording = random_traffic(3, num_vehicles=30, num_frames=200)
    write_ngsim(recording, tmp_path / "out.txt")
    again = read_ngsim(tmp_path / "out.txt", site=recording.site, smoothing_frames=1)
    np.testing.assert_array_equal(again.frame_offsets, recording.frame_offsets)
    np.testing.assert_array_equal(again.vehicle, recording.vehicle)
    np.testing.assert_allclose(again.x, recording.x, atol=0.002 * FOOT)
    np.testing.assert_allclose(again.y, recording.y, atol=0.001 * FOOT)
    np.testing.assert_allclose(again.vehicles.length, recording.vehicles.length, atol=0.001 * FOOT)


def test_the_real_portal_file(real_data: Path) -> None:
    recording = read_ngsim(real_data / "ngsim" / "peachtree_portal_head.csv")
    assert recording.num_rows == 10_000
    assert recording.site.name == "peachtree"
    assert len(recording.vehicles) == 229
    # its rows, the first 10,000 by Local_Y, are of two periods that share ids
    assert (recording.vehicles.id >= PERIOD_IDS).any()
    assert recording.speed.max() < 25
    assert (recording.site.raster.sample(recording.x, recording.y)[:, 1] == 0).all()


# ---- bad files ----


def spoiled(row: int, column: str, value: str) -> list[Cells]:
    """The rows of a good file, one cell replaced; `row` counts lines of text from 1."""
    rows = ngsim_rows()
    rows[row - 1] = rows[row - 1] | {column: value}
    return rows


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("row", "column", "value", "what"),
    [
        (17, "Local_X", "left", "'left' is no finite number"),
        (1, "Local_Y", "nan", "'nan' is no finite number"),
        (60, "v_Vel", "inf", "'inf' is no finite number"),
        (9, "Global_X", "1e999", "'1e999' is no finite number"),
        (4, "Vehicle_ID", "7.5", "'7.5', a whole number from 0 to 2147483647 expected"),
        (4, "Vehicle_ID", "-1", "'-1', a whole number from 0 to 2147483647 expected"),
        (5, "Frame_ID", "1e12", "'1e12', a whole number from 0 to 2147483647 expected"),
        (5, "Global_Time", "-1", "'-1', a whole number from 0 to 1e+15 expected"),
        (30, "v_Length", "0", "'0', a number from"),
        (31, "v_Width", "-6.5", "'-6.5', a number from"),
        (31, "v_Class", "200", "'200', a whole number from 0 to 127 expected"),
        (2, "Local_Y", "1e7", "'1e7', a number from"),
    ],
)
def test_a_bad_cell_is_named(
    layout: str, row: int, column: str, value: str, what: str, write: Callable[..., Path]
) -> None:
    path = write(LAYOUTS[layout](spoiled(row, column, value)))
    line = row + ("header" in layout or layout == "portal")
    with pytest.raises(InputError) as caught:
        read_ngsim(path)
    assert str(caught.value).startswith(f"{path}, row {line}, column {column}: {what}")
    assert "\n" not in str(caught.value)
    assert (caught.value.path, caught.value.row, caught.value.column) == (path, line, column)


def test_rows_are_counted_in_lines_of_the_file(write: Callable[..., Path]) -> None:
    path = write("\n\n" + ngsim_text(spoiled(3, "Local_X", "x")).replace("\n", "\n\n"))
    with pytest.raises(InputError, match=r"row 7, column Local_X: 'x' is no finite number"):
        read_ngsim(path)


@pytest.mark.parametrize("separator", ["  ", ","])
def test_missing_and_extra_columns_are_named(separator: str, write: Callable[..., Path]) -> None:
    lines = ngsim_text(ngsim_rows(), separator).splitlines()
    for row in (1, 12, 60):
        for line, what in (
            (
                lines[row - 1].rsplit(separator.strip() or None, 1)[0],
                "column Time_Headway: 17 columns, 18 expected",
            ),
            (lines[row - 1] + separator + "1", "column 19: 19 columns, 18 expected"),
            (lines[row - 1] + separator + "1" + separator + "2", "column 20: 20 columns, 18 expected"),
        ):
            path = write("\n".join([*lines[: row - 1], line, *lines[row:]]) + "\n")
            with pytest.raises(InputError, match=f"row {row}, {what}"):
                read_ngsim(path)


def test_all_rows_with_another_number_of_columns(write: Callable[..., Path]) -> None:
    text = "".join(line + " 3\n" for line in ngsim_text(ngsim_rows()).splitlines())
    with pytest.raises(InputError, match="row 1, column 19: 19 columns, 18 expected"):
        read_ngsim(write(text))


@pytest.mark.parametrize("name", PORTAL_COLUMNS)
def test_a_portal_header_without_a_column_or_with_another_is_refused(
    name: str, write: Callable[..., Path]
) -> None:
    rows = ngsim_rows()
    head, *lines = portal_csv(rows).splitlines()
    cells = head.split(",")
    place = PORTAL_COLUMNS.index(name)
    without = ",".join(cell for k, cell in enumerate(cells) if k != place)
    with pytest.raises(InputError, match=f"row 1, column {name}: the column is missing"):
        read_ngsim(write("\n".join([without, *lines])))
    with pytest.raises(InputError, match="row 1, column 'Colour': unknown column, the 25 of NGSIM expected"):
        read_ngsim(write("\n".join([head + ",Colour", *lines])))
    twice = ",".join("Frame_ID" if k == place else cell for k, cell in enumerate(cells))
    if name != "Frame_ID":
        with pytest.raises(InputError, match="row 1, column"):
            read_ngsim(write("\n".join([twice, *lines])))


def test_columns_of_a_portal_file_may_come_in_any_order(write: Callable[..., Path]) -> None:
    rows = ngsim_rows()
    lines = [[*PORTAL_COLUMNS[::-1]], *([row[name] for name in PORTAL_COLUMNS[::-1]] for row in rows)]
    got = read_ngsim(write("\n".join(",".join(line).lower() for line in lines)))
    np.testing.assert_array_equal(got.x, read_ngsim(write(portal_csv(rows))).x)


def test_empty_street_columns_are_fine_and_empty_others_are_not(write: Callable[..., Path]) -> None:
    rows = [
        row | dict.fromkeys(("O_Zone", "D_Zone", "Int_ID", "Section_ID", "Direction", "Movement"), "")
        for row in ngsim_rows()
    ]
    assert read_ngsim(write(portal_csv(rows))).num_rows == 60
    rows[3] = rows[3] | {"v_Acc": ""}
    with pytest.raises(InputError, match="row 5, column v_Acc: '' is no finite number"):
        read_ngsim(write(portal_csv(rows)))


def test_unknown_locations_sites_and_units(write: Callable[..., Path]) -> None:
    path = write(portal_csv(spoiled(8, "Location", "atlantis")))
    with pytest.raises(InputError, match="row 9, column Location: unknown location 'atlantis', one of i-80"):
        read_ngsim(path)
    good = write(ngsim_text(ngsim_rows()))
    with pytest.raises(InputError, match="unknown location 'atlantis', one of i-80, us-101"):
        read_ngsim(good, location="atlantis")
    with pytest.raises(InputError, match="unknown site 'atlantis'; known sites: i80, us101"):
        read_ngsim(good, site="atlantis")
    with pytest.raises(InputError, match="unknown units 'yards', one of feet, metres expected"):
        read_ngsim(good, units="yards")


@pytest.mark.parametrize(
    ("length", "units", "metres"), [("4.5", "feet", "1.37"), ("15.0", "metres", "15.00")]
)
def test_metres_taken_for_feet_are_noticed_and_feet_for_metres(
    length: str, units: str, metres: str, write: Callable[..., Path]
) -> None:
    path = write(ngsim_text([row | {"v_Length": length} for row in ngsim_rows()]))
    said = rf"column v_Length: the median length is {metres} m, .* are the units not {units}\?"
    with pytest.raises(InputError, match=said):
        read_ngsim(path, units=units)


def test_a_vehicle_twice_in_a_frame(write: Callable[..., Path]) -> None:
    rows = ngsim_rows()
    with pytest.raises(InputError, match="row 61, column Frame_ID: vehicle 7 is in frame 104 twice"):
        read_ngsim(write(ngsim_text([*rows, rows[4]])))
    moved = rows[4] | {"Local_X": "7.5"}
    with pytest.raises(InputError, match="row 62, column Frame_ID: vehicle 7 is in frame 104 twice"):
        read_ngsim(write(portal_csv([*rows, moved])))


def test_time_that_goes_back(write: Callable[..., Path]) -> None:
    rows = ngsim_rows()
    rows[4], rows[5] = rows[5], rows[4]
    with pytest.raises(InputError, match="row 6, column Frame_ID: vehicle 7 goes back from frame 105 to 104"):
        read_ngsim(write(ngsim_text(rows)))
    rows = spoiled(25, "Global_Time", f"{I80_BEGIN}")
    with pytest.raises(
        InputError, match=r"row 25, column Global_Time: time of vehicle 8 goes back from .* as its"
    ):
        read_ngsim(write(ngsim_text(rows)))


def test_frames_far_apart_do_not_cost_memory(write: Callable[..., Path]) -> None:
    rows = ngsim_rows()
    rows += [row | {"Frame_ID": "2000000000"} for row in ngsim_rows([50], frames=1)]
    with pytest.raises(
        InputError, match=f"row 61, column Frame_ID: frames 100 to 2000000000 span more than {MAX_FRAMES}"
    ):
        read_ngsim(write(ngsim_text(rows)))


def test_ids_too_large_to_be_told_apart_by_period(write: Callable[..., Path]) -> None:
    later = ngsim_rows([PERIOD_IDS], begin=I80_BEGIN + 3_600_000)
    with pytest.raises(InputError, match="row 62, column Vehicle_ID: ids below 1000000 expected"):
        read_ngsim(write(portal_csv(ngsim_rows() + later)))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (bytes(range(256)) * 4, "no UTF-8 text"),
        ("1 2 é".encode("latin-1"), "no UTF-8 text"),
        ("1 2 3\n".encode("utf-16"), "no UTF-8 text"),
        (b"1 2\0 3\n", "no text but binary data"),
        (b"PK\x03\x04\x14\x00\x08", "no text but binary data"),
        ("Vehicle_ID,größe\n".encode("latin-1"), "no UTF-8 text"),
        ("Vehicle_ID,größe\n".encode(), "unknown column"),
        (b"hello world\n", "row 1, column Total_Frames: 2 columns, 18 expected"),
        (portal_csv([]).encode(), "no rows"),
    ],
)
def test_files_that_are_no_such_text(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=what) as caught:
        read_ngsim(path)
    assert str(caught.value).startswith(str(path))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_ngsim(tmp_path / "none.txt")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_ngsim(tmp_path)
    with pytest.raises(InputError, match="no file given"):
        read_ngsim([])


def test_text_is_refused_where_the_portals_is_wanted(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="column Location: no portal CSV"):
        read_ngsim(write(ngsim_text(ngsim_rows())), portal=True)
