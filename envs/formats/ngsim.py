"""NGSIM vehicle trajectories (U.S. FHWA): the original text and the data portal's CSV.

Local_Y runs along the road and Local_X to its right, in feet, and both belong to the front centre of the vehicle:
x = Local_Y, y = -Local_X, and half a length back to the box's centre. On a motorway back is -x; on a street it is
against the vehicle's own motion. Positions are smoothed by a running mean over 15 frames, as in the paper (Henaff,
Canziani, LeCun, arXiv:1901.02705). Recording periods are put one after the other, a second apart, and from the
second on vehicle ids are raised by PERIOD_IDS, so that two drivers never share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import sites
from envs.errors import InputError
from envs.formats.drawn_site import draw_site
from envs.formats.ngsim_periods import Rows, periods
from envs.formats.ngsim_table import LOCATIONS, Rule, detect, read_columns
from envs.recording import Recording
from envs.site import Site
from envs.units import FOOT

UNITS = {"feet": FOOT, "metres": 1.0}  # m per unit
DT = 0.1  # s
SMOOTHING_FRAMES = 15  # the paper's
GAP_FRAMES = 10  # empty frames between periods
PERIOD_IDS = 1_000_000
MAX_POSITION = 100e3  # m
MIN_SIZE, MAX_SIZE = 0.1, 100.0  # m
MAX_INT = 2**31 - 1
MEDIAN_LENGTH = (2.0, 12.0)  # m; where half of the vehicles are shorter or longer, the unit is another one
STREETS = ("lankershim", "peachtree")  # traffic in all directions
SITE_OF_LOCATION = {"i-80": "i80", "us-101": "us101"}
FILMED = {"i80": 1113433135300, "us101": 1118846979700}  # Global_Time (ms) of the first frame
DAY = 86_400_000  # ms


def read_ngsim(
    paths: str | Path | Sequence[str | Path],
    *,
    site: Site | str | None = None,
    location: str | None = None,
    units: str = "feet",
    portal: bool = False,
    smoothing_frames: int = SMOOTHING_FRAMES,
) -> Recording:
    """Read NGSIM text or portal CSV files of one place into one recording.

    Args:
        site: a Site, or the name of one. None takes it from the location or from the day of Global_Time, and draws it
            from the traffic where neither tells.
        location: which rows of portal files to take, one of LOCATIONS; needed when a file holds several.
        units: of positions and sizes, one of UNITS.
        portal: take nothing but the portal's CSV.
        smoothing_frames: odd length of the running mean over positions.
    Raises:
        InputError: names file, row and column of the first fault.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    if not paths:
        raise InputError("no file given, NGSIM text expected")
    if units not in UNITS:
        raise InputError(f"unknown units {units!r}, one of {', '.join(UNITS)} expected")
    if location is not None and location not in LOCATIONS:
        raise InputError(f"unknown location {location!r}, one of {', '.join(LOCATIONS)} expected")
    known = sites.site(site) if isinstance(site, str) else site
    blocks: list[Rows] = []
    for path in paths:
        if portal and not detect(path).portal:
            raise InputError("no portal CSV: its 25 columns expected", path=path, row=1, column="Location")
        read, location = _read_file(path, location, units)
        blocks += read
    blocks.sort(key=lambda block: float(block.columns["Global_Time"].min()))
    for block, other in pairwise(blocks):
        _check_apart(block, other)
    known = known or _known_site(location, blocks)
    straight = known is not None and location not in STREETS
    try:
        recording = _join(blocks, units, smoothing_frames, straight=straight)
        road = known or draw_site(recording, location or "drawn")
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error), path=paths[0]) from error
    provenance: dict[str, Any] = {
        "format": "ngsim-portal" if blocks[0].layout.portal else "ngsim",
        "source": [Path(path).name for path in paths],
        "units": units,
        "smoothing_frames": smoothing_frames,
    }
    if location is not None:
        provenance["location"] = location
    return replace(recording, site=road, provenance=provenance)


def _rules(units: str) -> dict[str, Rule]:
    """What the columns that are used must hold, in the file's units."""
    position = MAX_POSITION / UNITS[units]
    size = Rule(MIN_SIZE / UNITS[units], MAX_SIZE / UNITS[units])
    return {
        "Vehicle_ID": Rule(0, MAX_INT, whole=True),
        "Frame_ID": Rule(0, MAX_INT, whole=True),
        "Global_Time": Rule(0, 1e15, whole=True),
        "Local_X": Rule(-position, position),
        "Local_Y": Rule(-position, position),
        "v_Length": size,
        "v_Width": size,
        "v_Class": Rule(0, 127, whole=True),
    }


def _read_file(path: str | Path, location: str | None, units: str) -> tuple[list[Rows], str | None]:
    """The periods of one file, and its location."""
    layout = detect(path)
    columns, places, location = read_columns(layout, _rules(units), location)
    rows = Rows(layout, columns, places)
    _check_units(rows, units)
    return periods(rows), location


def _check_units(rows: Rows, units: str) -> None:
    median = float(np.median(rows.columns["v_Length"])) * UNITS[units]
    if not MEDIAN_LENGTH[0] <= median <= MEDIAN_LENGTH[1]:
        what = f"the median length is {median:.2f} m, hardly a car's; are the units not {units}?"
        raise InputError(what, path=rows.layout.path, column="v_Length")


def _check_apart(block: Rows, other: Rows) -> None:
    """Raise InputError if the later of two periods holds a frame of a vehicle of the earlier one too."""
    names = ("Global_Time", "Frame_ID", "Vehicle_ID")
    begin, end = other.columns["Global_Time"].min(), block.columns["Global_Time"].max()
    shared = [
        np.stack([rows.whole(name)[within] for name in names])
        for rows, within in (
            (block, block.columns["Global_Time"] >= begin), (other, other.columns["Global_Time"] <= end)
        )
    ]  # fmt: skip
    both, count = np.unique(np.concatenate(shared, 1), axis=1, return_counts=True)
    if (count > 1).any():
        _, frame, vehicle = both[:, np.argmax(count > 1)]
        what = f"vehicle {vehicle}'s frame {frame} is in {block.layout.path} too; give each period once"
        raise InputError(what, path=other.layout.path)


def _known_site(location: str | None, blocks: list[Rows]) -> Site | None:
    """The motorway of that name or filmed on that day, if it is one."""
    if location is not None:
        return sites.site(SITE_OF_LOCATION[location]) if location in SITE_OF_LOCATION else None
    time = float(blocks[0].columns["Global_Time"].min())
    return next((sites.site(name) for name, begin in FILMED.items() if abs(time - begin) < DAY), None)


def _join(blocks: list[Rows], units: str, smoothing_frames: int, *, straight: bool) -> Recording:
    """All periods in one recording of box centres, its site still to be set."""
    vehicle, frame, begin = [], [], 0
    for k, block in enumerate(blocks):
        ids, frames = block.whole("Vehicle_ID"), block.whole("Frame_ID")
        if len(blocks) > 1 and ids.max() >= PERIOD_IDS:
            what = f"ids below {PERIOD_IDS} expected where periods are joined"
            raise block.error(what, int(np.argmax(ids)), "Vehicle_ID")
        vehicle.append(ids + k * PERIOD_IDS)
        frame.append(frames - frames.min() + begin)
        begin = int(frame[-1].max()) + 1 + GAP_FRAMES

    def in_metres(name: str) -> NDArray[np.float64]:
        return np.concatenate([block.columns[name] for block in blocks]) * UNITS[units]

    length = in_metres("v_Length")
    front = Recording.from_tracks(
        site=Site(name="unknown", length=1.0, markings=(), drivable=()),
        vehicle_id=np.concatenate(vehicle),
        frame=np.concatenate(frame),
        x=in_metres("Local_Y") - (length / 2 if straight else 0.0),
        y=-in_metres("Local_X"),
        length=length,
        width=in_metres("v_Width"),
        kind=np.concatenate([block.columns["v_Class"] for block in blocks]),
        dt=DT,
        smoothing_frames=smoothing_frames,
    )
    return front if straight else _centred(front)


def _centred(front: Recording) -> Recording:
    """The recording of the boxes' centres, half a length behind their fronts in each vehicle's own direction."""
    vehicles, back = front.vehicles, front.vehicles.length[front.vehicle] / 2
    return Recording.from_tracks(
        site=front.site,
        vehicle_id=vehicles.id[front.vehicle],
        frame=np.repeat(np.arange(front.num_frames), np.diff(front.frame_offsets)),
        x=front.x - back * np.cos(front.heading),
        y=front.y - back * np.sin(front.heading),
        length=vehicles.length[front.vehicle],
        width=vehicles.width[front.vehicle],
        kind=vehicles.kind[front.vehicle],
        dt=front.dt,
    )
