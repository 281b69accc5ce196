"""CommonRoad scenes: where their cars end up, and what is refused before anything is built from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from envs.errors import InputError
from envs.formats.commonroad import read_commonroad, scene_number
from envs.formats.commonroad_xml import VERSIONS
from envs.recording import Recording
from tests.envs.format_files import commonroad_xml, placed

TURNED = "<orientation><exact>0.927295218</exact></orientation>"


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Recording]:
    """Reads a scene from its text."""

    def from_text(text: str) -> Recording:
        path = tmp_path / "scene.xml"
        path.write_text(text, encoding="utf-8")
        return read_commonroad(path)

    return from_text


Reader = Callable[[str], Recording]

# ---- good scenes ----


@pytest.mark.parametrize("version", VERSIONS)
def test_cars_are_laid_along_the_road(version: str, read: Reader) -> None:
    recording = read(commonroad_xml(version))
    assert recording.vehicles.id.tolist() == [30, 31, 40]
    assert recording.vehicles.kind.tolist() == [2, 2, 2]
    np.testing.assert_allclose(recording.vehicles.length, 4.5)
    np.testing.assert_allclose(recording.vehicles.width, 1.8)
    assert (recording.num_frames, recording.num_rows, recording.dt) == (20, 60, 0.1)
    for vehicle, begin, y, metres in ((0, 0, -2, 1), (1, 20, -6, 1), (2, 40, -11, 0)):  # y = 0: the left edge
        rows = recording.track(vehicle)
        np.testing.assert_allclose(recording.x[rows], begin + metres * np.arange(20), atol=1e-3)
        np.testing.assert_allclose(recording.y[rows], y, atol=1e-3)
        np.testing.assert_allclose(recording.speed[rows], 10 * metres, atol=1e-2)
        np.testing.assert_allclose(recording.heading[rows], 0, atol=1e-3)
    assert recording.provenance == {
        "format": "commonroad",
        "source": ["scene.xml"],
        "scenario": "USA_US101-10_1_T-1",
        "scene": 10,
        "smoothing_frames": 15,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_lanelets_become_lanes_that_go_on_beyond_the_map(version: str, read: Reader) -> None:
    site = read(commonroad_xml(version)).site
    assert site.name == "usa_us101-10"
    assert site.length == pytest.approx(40, abs=1e-3)
    assert site.lane_width == pytest.approx(4)
    assert (site.start, site.goal) == (-np.inf, np.inf)
    levels = sorted(float(line[:, 1].mean().round(3)) for line in site.markings)
    assert levels == [-8, -4, 0]  # the bound between the lanes is drawn once
    for line in site.markings:
        assert line[:, 0].min() == pytest.approx(-60, abs=1e-3)
        assert line[:, 0].max() == pytest.approx(100, abs=1e-3)
    x, y = np.meshgrid(np.arange(-58.5, 98), np.arange(-12.3, 4.0))
    on_road = site.raster.sample(x, y)[..., 1] == 0
    np.testing.assert_array_equal(on_road, (y > -8) & (y < 0))


@pytest.mark.parametrize(
    ("shape", "centre", "size"),
    [
        ("<circle><radius>1.5</radius></circle>", (0, 0), (3, 3)),
        (
            "<rectangle><length>6</length><width>2</width><originXShift>-1.5</originXShift></rectangle>",
            (1.5, 0),
            (6, 2),
        ),
        (
            "<polygon><point><x>-1</x><y>-1</y></point><point><x>3</x><y>-1</y></point>"
            "<point><x>1</x><y>2</y></point></polygon>",
            (1, 0.5),
            (4, 3),
        ),
    ],
)
def test_other_shapes_become_bounding_boxes(
    shape: str, centre: tuple[float, float], size: tuple[float, float], read: Reader
) -> None:
    plain, shaped = read(commonroad_xml("2020a")), read(commonroad_xml("2020a", shape=shape))
    gap = np.array([r.x[r.track(1)] - r.x[r.track(0)] for r in (plain, shaped)])
    np.testing.assert_allclose(gap[0] - gap[1], centre[0], atol=1e-3)
    aside = np.array([r.y[r.track(0)] - r.y[r.track(1)] for r in (plain, shaped)])
    np.testing.assert_allclose(aside[1] - aside[0], centre[1], atol=1e-3)
    assert (shaped.vehicles.length[0], shaped.vehicles.width[0]) == pytest.approx(size, abs=0.01)


def test_a_car_that_never_moves_keeps_its_orientation(read: Reader) -> None:
    head, tail = commonroad_xml().rsplit(TURNED, 1)  # the parked car's
    recording = read(f"{head}<orientation><exact>2.0</exact></orientation>{tail}")
    np.testing.assert_allclose(recording.heading[recording.track(2)], 2 - 0.927295218, atol=1e-6)


def test_x_points_where_most_metres_are_driven(read: Reader) -> None:
    text = commonroad_xml(steps=10)
    back = text.split("<obstacle id='30'>")[1].split("</obstacle>")[0]
    for t in range(10):  # four more cars drive the same way back, and each no further
        (x, y), (other_x, other_y) = placed(t, 2), placed(9 - t, 2)
        back = back.replace(f"<x>{x:.4f}</x><y>{y:.4f}</y>", f"<X>{other_x:.4f}</X><Y>{other_y:.4f}</Y>")
    back = back.replace("X>", "x>").replace("Y>", "y>")
    more = "".join(f"<obstacle id='{50 + k}'>{back}</obstacle>" for k in range(4))
    recording = read(text.replace("</commonRoad>", more + "</commonRoad>"))
    directions = {
        int(v): round(float(np.cos(recording.heading[recording.track(i)[0]])))
        for i, v in enumerate(recording.vehicles.id)
    }
    assert {directions[k] for k in (50, 51, 52, 53)} == {1}
    assert {directions[k] for k in (30, 31)} == {-1}
    assert recording.x.min() == 0


def test_scenes_are_split_by_the_stretch_they_were_cut_from() -> None:
    assert scene_number("USA_US101-10_1_T-1") == scene_number("C-USA_US101-10_7_T-1") == 10
    names = [
        "USA_US101-10_1_T-1",
        "USA_Lanker-10_1_T-1",
        "USA_Peach-10_1_T-1",
        "DEU_US101-10_1_T-1",
        "whatever",
    ]
    numbers = [scene_number(name) for name in names]
    assert len(set(numbers)) == len(names)
    assert all(number > 2**31 for number in numbers[1:])
    assert scene_number("USA_Lanker-10_1_T-1") == scene_number("USA_Lanker-10_99_S-2")


@pytest.mark.parametrize("pattern", ["*-4_1_T-1.xml", pytest.param("*.xml", marks=pytest.mark.slow)])
def test_the_real_scenes(pattern: str, real_data: Path) -> None:
    files = sorted((real_data / "commonroad").glob(pattern))
    assert len(files) >= 2
    headings = []
    for path in files:
        recording = read_commonroad(path)
        assert recording.x.min() == pytest.approx(0, abs=0.5), path.name  # smoothing may draw it in a little
        assert recording.x.max() <= recording.site.length + 0.01
        on_road = recording.site.raster.sample(recording.x, recording.y)[:, 1] == 0
        assert on_road.mean() > 0.99, path.name
        assert recording.speed.max() < 35
        if "US101" in path.name:
            headings.append(np.abs(recording.heading))
            assert recording.provenance["scene"] == int(path.name.split("-")[1].split("_")[0])
    assert np.quantile(np.concatenate(headings), 0.99) < 0.2  # the road is straight


# ---- bad scenes ----

BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<commonRoad commonRoadVersion="2020a">&b;</commonRoad>"""
EXTERNAL = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]>
<commonRoad commonRoadVersion="2020a">&f;</commonRoad>"""
DTD = '<!DOCTYPE commonRoad SYSTEM "http://127.0.0.1/x.dtd"><commonRoad commonRoadVersion="2020a"/>'


@pytest.mark.parametrize("text", [BOMB, EXTERNAL, DTD], ids=["entities", "external", "dtd"])
def test_entities_and_dtds_are_refused(text: str, read: Reader) -> None:
    with pytest.raises(InputError, match=r"scene.xml, row \d: XML with a DTD or entities is refused"):
        read(text)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (
            "<length>4.5<",
            "<length>long<",
            r"row 21, column obstacle 30/shape/rectangle/length: 'long' is no finite",
        ),
        (
            "<width>1.8<",
            "<width>0<",
            r"column obstacle 30/shape/rectangle/width: '0' is no size above 0 and up to 100",
        ),
        ("<width>1.8<", "<width>-2<", r"column obstacle 30/shape/rectangle/width: '-2' is no size above 0"),
        ("<x>", "<x>nan", r"column lanelet/leftBound/point/x: 'nan-.* is no finite number"),
        ("<exact>10<", "<exact>inf<", r"column obstacle 30/initialState/velocity/exact: 'inf' is no finite"),
        (
            "'2018b'",
            "'2006'",
            r"row 2, column commonRoadVersion: version '2006', one of 2018b, 2020a expected",
        ),
        ("'0.1'", "'fast'", r"row 2, column timeStepSize: 'fast', seconds from 0.001 to 10 expected"),
        ("'0.1'", "'0'", r"row 2, column timeStepSize: '0', seconds from 0.001 to 10 expected"),
        ("</lanelet>", "", r"row \d+: no well-formed XML: mismatched tag"),
        ("<role>dynamic", "<role>flying", r"no readable CommonRoad scene"),
        ("<obstacle id='31'>", "<obstacle id='30'>", r"no readable CommonRoad scene"),
        (
            "<time><exact>3<",
            "<time><exact>4<",
            r"row \d+, column obstacle 30: time step 4 does not come after",
        ),
        (
            "<time><exact>19<",
            "<time><exact>90000<",
            r"obstacles that move during 1 to 36000 time steps expected",
        ),
        ("<exact>0.927295218<", "<exact>927295218<", r"orientation/exact: '927295218' is beyond 100"),
        ("<x>-1.6000", "<x>1e300", r"position/point/x: '1e300' is beyond 1e\+08"),
        ("<time><exact>19<", "<time><exact>1.5<", r"no readable CommonRoad scene"),
        ("<x>-1.6000", "<x>9000000", r"more than 5000 m apart"),
        (
            "<exact>0.927295218</exact>",
            "<intervalStart>0</intervalStart><intervalEnd>1</intervalEnd>",
            r"orientation",
        ),
    ],
)
def test_spoiled_scenes_are_refused_in_one_line(old: str, new: str, what: str, read: Reader) -> None:
    text = commonroad_xml()
    assert old in text
    with pytest.raises(InputError, match=what) as caught:
        read(text.replace(old, new, 1) if "id='31'" not in old else text.replace(old, new))
    assert "scene.xml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sets_of_occupancies_are_no_trajectories(read: Reader) -> None:
    box = "<rectangle><length>4</length><width>2</width><center><x>0</x><y>0</y></center></rectangle>"
    occupancy = f"<occupancySet><occupancy><shape>{box}</shape><time><exact>1</exact></time></occupancy></occupancySet>"
    head, rest = commonroad_xml().split("<trajectory>", 1)
    with pytest.raises(
        InputError, match=r"column obstacle 30: a set of occupancies, a trajectory expected|no readable"
    ):
        read(head + occupancy + rest.split("</trajectory>", 1)[1])


def test_files_that_are_no_scenes(tmp_path: Path, read: Reader) -> None:
    with pytest.raises(InputError, match="the file is empty"):
        read(" \n")
    with pytest.raises(InputError, match="row 1: root <html>, <commonRoad> expected"):
        read("<html/>")
    with pytest.raises(InputError, match="row 1: no well-formed XML"):
        read("7 8 9\n")
    with pytest.raises(InputError, match=r"no well-formed XML|no readable XML"):
        read("<?xml version='1.0' encoding='klingon'?><commonRoad/>")
    with pytest.raises(InputError, match="obstacles that move during"):
        read(commonroad_xml().split("<obstacle id='30'>")[0] + "</commonRoad>")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_commonroad(tmp_path / "none.xml")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_commonroad(tmp_path)
