"""Write a motorway recording as NGSIM's original text, for tools that read nothing else.

18 columns without a header: Vehicle_ID Frame_ID Total_Frames Global_Time Local_X Local_Y Global_X Global_Y v_Length
v_Width v_Class v_Vel v_Acc Lane_ID Preceding Following Space_Headway Time_Headway; feet, feet/s and ms, positions of
the front's centre. Source: NGSIM trajectory data dictionary, U.S. Federal Highway Administration.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from envs.errors import InputError
from envs.formats.atomic import atomic_path
from envs.formats.ngsim import DT, FILMED
from envs.recording import Recording
from envs.sites import LAYOUTS
from envs.units import FOOT

NO_HEADWAY = 9999.99  # s, NGSIM's for a standing vehicle
MS_PER_S = 1000


def write_ngsim(recording: Recording, path: str | Path) -> None:
    """Write one text file, sorted by vehicle and frame; `read_ngsim(path, smoothing_frames=1)` returns the same traffic
    within half a thousandth of a foot.

    Global_Time begins when the real site was filmed, by which readers know the site; where none was, at 0. Global_X
    and Global_Y, which are map coordinates in NGSIM, repeat Local_X and Local_Y. A source id that stands for several
    gapless parts stands for them again.

    Raises:
        InputError: its frames are not 0.1 s apart, as NGSIM's are.
    """
    if recording.dt != DT:
        raise InputError(f"NGSIM has a frame every {DT:g} s, this recording one every {recording.dt:g} s")
    order = recording.track_rows
    vehicle = recording.vehicle[order]
    vehicles = recording.vehicles
    frame = np.repeat(np.arange(recording.num_frames), np.diff(recording.frame_offsets))[order]
    first = vehicles.first_frame[vehicle]
    front = recording.x + vehicles.length[recording.vehicle] / 2
    lane = np.floor(-recording.y / recording.site.lane_width).astype(np.int64) + 1
    layout = LAYOUTS.get(recording.site.name)
    if layout is not None:  # the lane beyond the through lanes is the ramp, however far out it bends
        lane = lane.clip(1, layout.lanes + 1)
    ahead, behind = _neighbours(recording, front, lane)
    space = np.where(ahead >= 0, front[ahead] - front, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        time = np.where(ahead < 0, 0.0, np.minimum(space / recording.speed, NO_HEADWAY))

    def name(row: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(row >= 0, vehicles.id[recording.vehicle[row]], 0)[order]

    begin = FILMED.get(recording.site.name, 0)
    local_x, local_y = -recording.y[order] / FOOT, front[order] / FOOT
    table = {
        "Vehicle_ID": vehicles.id[vehicle],
        "Frame_ID": frame + 1,
        "Total_Frames": vehicles.last_frame[vehicle] - first + 1,
        "Global_Time": begin + np.round(frame * recording.dt * MS_PER_S).astype(np.int64),
        "Local_X": local_x,
        "Local_Y": local_y,
        "Global_X": local_x,
        "Global_Y": local_y,
        "v_Length": vehicles.length[vehicle].astype(np.float64) / FOOT,
        "v_Width": vehicles.width[vehicle].astype(np.float64) / FOOT,
        "v_Class": vehicles.kind[vehicle],
        "v_Vel": recording.speed[order].astype(np.float64) / FOOT,
        "v_Acc": _acceleration(recording)[order] / FOOT,
        "Lane_ID": lane[order],
        "Preceding": name(ahead),
        "Following": name(behind),
        "Space_Headway": space[order] / FOOT,
        "Time_Headway": time[order],
    }
    with atomic_path(path) as temporary:
        pd.DataFrame(table).to_csv(temporary, sep=" ", header=False, index=False, float_format="%.3f")


def _neighbours(
    recording: Recording, front: NDArray[np.float64], lane: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows ahead and behind in the same lane and frame; -1 for none."""
    frame = np.repeat(np.arange(recording.num_frames), np.diff(recording.frame_offsets))
    order = np.lexsort((front, lane, frame))
    same = (frame[order][1:] == frame[order][:-1]) & (lane[order][1:] == lane[order][:-1])
    ahead, behind = (np.full(len(front), -1, np.int64) for _ in range(2))
    ahead[order[:-1][same]] = order[1:][same]
    behind[order[1:][same]] = order[:-1][same]
    return ahead, behind


def _acceleration(recording: Recording) -> NDArray[np.float64]:
    """Each row's change of speed to the next of its vehicle, m/s^2; 0 in the last."""
    order = recording.track_rows
    speed = recording.speed[order].astype(np.float64)
    change = np.append(np.diff(speed), 0.0) / recording.dt
    change[recording.track_offsets[1:] - 1] = 0.0
    out = np.empty_like(change)
    out[order] = change
    return out
