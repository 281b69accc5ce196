"""Small files of each format, written from rows that a test can spoil."""

from __future__ import annotations

from collections.abc import Sequence

from envs.formats.ngsim_table import PORTAL_COLUMNS, TEXT_COLUMNS

I80_BEGIN = 1113433135300  # Global_Time (ms) of I-80's first frame
Cells = dict[str, str]


def ngsim_rows(
    vehicles: Sequence[int] = (7, 8, 9), frames: int = 20, begin: int = I80_BEGIN, step: float = 5.0
) -> list[Cells]:
    """Cars that drive `step` feet a frame beside each other; Local_Y is that of the front."""
    rows = []
    for k, vehicle in enumerate(vehicles):
        for frame in range(100, 100 + frames):
            cells = dict.fromkeys(PORTAL_COLUMNS, "0") | {
                "Vehicle_ID": f"{vehicle}",
                "Frame_ID": f"{frame}",
                "Total_Frames": f"{frames}",
                "Global_Time": f"{begin + 100 * frame}",
                "Local_X": f"{6 + 12 * k:.3f}",
                "Local_Y": f"{300 + 40 * k + step * (frame - 100):.3f}",
                "v_Length": f"{15 + k}",
                "v_Width": "6.5",
                "v_Class": f"{1 + k % 3}",
                "v_Vel": f"{10 * step:.2f}",
                "Location": "i-80",
            }
            rows.append(cells)
    return rows


def ngsim_text(rows: Sequence[Cells], separator: str = "  ") -> str:
    """The original layout: 18 columns, no header."""
    return "".join(separator.join(row[name] for name in TEXT_COLUMNS) + "\n" for row in rows)


def portal_csv(rows: Sequence[Cells]) -> str:
    """The portal's layout: byte order mark, header, thousands separators inside quotes."""
    head = ",".join("v_length" if name == "v_Length" else name for name in PORTAL_COLUMNS)
    lines = [",".join(_grouped(row[name]) for name in PORTAL_COLUMNS) for row in rows]
    return "\ufeff" + "\n".join([head, *lines]) + "\n"


def _grouped(cell: str) -> str:
    return f'"{int(cell):,}"' if cell.isdigit() and 1000 <= int(cell) < 10**6 else cell


def commonroad_xml(
    version: str = "2018b",
    benchmark: str = "USA_US101-10_1_T-1",
    steps: int = 20,
    shape: str = "",
    more: str = "",
) -> str:
    """Two lanelets side by side towards the north-east, one car in each, and a parked one.

    The cars drive 1 m a step along (0.6, 0.8), from (0, 0) + k (12, 16) on the line between the lanes, 2 m to each
    side.

    Args:
        shape: replaces the rectangle of the first car.
        more: further elements.
    """
    old = version == "2018b"
    lanelets = _lanelet(1, 4.0, 0.0, old, "<adjacentRight ref='2' drivingDir='same'/>")
    lanelets += _lanelet(2, 0.0, -4.0, old, "<adjacentLeft ref='1' drivingDir='same'/>")
    cars = "".join(
        _car(30 + k, 20.0 * k, 2.0 - 4.0 * k, steps, old, shape if k == 0 else "") for k in range(2)
    )
    state = "<initialState>" + _state(0, 40.0, -7.0) + "</initialState>"
    parked = _obstacle("static", 40, "parkedVehicle", state, old)
    header = "" if old else f"<location>{LOCATION}</location><scenarioTags><urban/></scenarioTags>"
    return (
        f"<?xml version='1.0' encoding='utf-8'?>\n<commonRoad commonRoadVersion='{version}' "
        f"benchmarkID='{benchmark}' timeStepSize='0.1' author='a' affiliation='b' source='c' tags='urban' "
        f"date='2020-01-01'>\n{header}{lanelets}{cars}{parked}{more}</commonRoad>\n"
    )


LOCATION = "<geoNameId>1</geoNameId><gpsLatitude>34</gpsLatitude><gpsLongitude>-118</gpsLongitude>"


def placed(ahead: float, left: float) -> tuple[float, float]:
    """A point of the road, `ahead` along (0.6, 0.8) and `left` of it, in the axes of the scene."""
    return 0.6 * ahead - 0.8 * left, 0.8 * ahead + 0.6 * left


def _point(ahead: float, left: float) -> str:
    x, y = placed(ahead, left)
    return f"<point><x>{x:.4f}</x><y>{y:.4f}</y></point>\n"


def _lanelet(number: int, left: float, right: float, old: bool, neighbour: str) -> str:
    stations = (-20.0, 10.0, 40.0, 70.0)
    bounds = "".join(
        f"<{name}>{''.join(_point(s, side) for s in stations)}</{name}>"
        for name, side in (("leftBound", left), ("rightBound", right))
    )
    kind = "" if old else "<laneletType>urban</laneletType>"
    return f"<lanelet id='{number}'>{bounds}{neighbour}{kind}</lanelet>\n"


def _state(time: int, ahead: float, left: float, orientation: float = 0.927295218) -> str:
    return (
        f"<position>{_point(ahead, left)}</position>"
        f"<orientation><exact>{orientation}</exact></orientation><time><exact>{time}</exact></time>"
        "<velocity><exact>10</exact></velocity>"
    )


def _obstacle(role: str, number: int, kind: str, content: str, old: bool, shape: str = "") -> str:
    shape = shape or "<rectangle><length>4.5</length><width>1.8</width></rectangle>"
    inside = f"<type>{kind}</type><shape>{shape}</shape>{content}"
    if old:
        return f"<obstacle id='{number}'><role>{role}</role>{inside}</obstacle>\n"
    return f"<{role}Obstacle id='{number}'>{inside}</{role}Obstacle>\n"


def _car(number: int, begin: float, left: float, steps: int, old: bool, shape: str) -> str:
    states = [_state(t, begin + t, left) for t in range(steps)]
    trajectory = "".join(f"<state>{state}</state>\n" for state in states[1:])
    content = f"<initialState>{states[0]}</initialState>\n<trajectory>{trajectory}</trajectory>"
    return _obstacle("dynamic", number, "car", content, old, shape)
