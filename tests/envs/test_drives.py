"""Drives against a slow reference, and at frames that can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from envs.drives import LATE_ENTRY, Drives, find_drives
from envs.perturbation import look_around, perturb
from envs.recording import Recording
from envs.site import Site
from envs.world import build_world, recorded_history
from tests import reference
from tests.toys import lane_centre, random_traffic, straight_site


def steady(site: Site, cars: Sequence[tuple[float, float, int, int]], num_frames: int = 400) -> Recording:
    """Cars given by x in their first frame, speed, first frame, number of frames; one more makes the recording long."""
    parts = [(k + 1, x, v, begin, count) for k, (x, v, begin, count) in enumerate(cars)]
    parts.append((len(cars) + 1, -90.0, 0.0, 0, num_frames))
    columns = [
        (np.full(n, k), begin + np.arange(n), x + 0.1 * v * np.arange(n)) for k, x, v, begin, n in parts
    ]
    vehicle, frame, x = (np.concatenate(c) for c in zip(*columns, strict=True))
    return Recording.from_tracks(
        site=site, vehicle_id=vehicle, frame=frame, x=x, y=lane_centre(0), length=4.5, width=1.9
    )


def found(recording: Recording, **options: float) -> Drives:
    return find_drives(build_world([recording]), [recording], **options)  # type: ignore[arg-type]


def columns(drives: Drives) -> dict[str, np.ndarray]:
    """What every drive has."""
    return {name: column for name, column in vars(drives).items() if column is not None}


@pytest.mark.parametrize("history", [1, 20, 60])
@pytest.mark.parametrize(
    ("start", "goal"),
    [(60.0, 260.0), (-math.inf, math.inf), (60.0, math.inf), (-math.inf, 200.0), (10.0, 300.0)],
)
def test_drives_equal_the_reference(start: float, goal: float, history: int) -> None:
    base = random_traffic(3)
    recording = Recording(**{**vars(base), "site": straight_site(start=start, goal=goal)})
    drives = found(recording, history=history)
    want = reference.drives(recording, history, min_seconds=5.0)
    assert list(zip(drives.vehicle, drives.start_frame, drives.human_frame, strict=True)) == want
    assert history > 20 or len(want) > 10


def test_frames_of_a_steady_car() -> None:
    recording = steady(straight_site(start=60.0, goal=260.0), [(10.0, 10.0, 30, 300)])
    drives = found(recording)
    assert drives.vehicle.tolist() == [0]
    assert drives.start_frame.tolist() == [80]  # x = 60 after 5 s
    assert drives.human_frame.tolist() == [280]
    assert drives.limit_frame.tolist() == [399]  # twice 20 s and 5 s more would be after the recording's end
    longer = found(steady(straight_site(start=60.0, goal=260.0), [(10.0, 10.0, 30, 300)], num_frames=1000))
    assert longer.limit_frame.tolist() == [80 + 2 * 200 + 50]


def test_without_a_goal_a_drive_lasts_as_long_as_its_recording() -> None:
    recording = steady(straight_site(start=-math.inf, goal=math.inf), [(10.0, 10.0, 30, 100)])
    drives = found(recording, history=20).take(slice(0, 1))
    assert (drives.start_frame[0], drives.human_frame[0], drives.limit_frame[0]) == (49, 129, 129)


@pytest.mark.parametrize(
    ("car", "why"),
    [
        ((60.0 + LATE_ENTRY, 10.0, 0, 300), "enters too far beyond the start"),
        ((10.0, 10.0, 0, 200), "leaves before the goal"),
        ((10.0, 60.0, 0, 100), "is done in less than 5 s"),
        ((58.0, 20.0, 0, 200), "has its history only where it is too far beyond the start"),
        ((300.0, 10.0, 0, 100), "is past the goal"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_cars_that_do_not_drive_the_scored_part_are_left_out(
    car: tuple[float, float, int, int], why: str
) -> None:
    ordinary = (10.0, 10.0, 0, 300)
    drives = found(steady(straight_site(), [car, ordinary]))
    assert drives.vehicle.tolist() == [1], why


def test_a_car_that_enters_just_in_time_waits_for_its_history() -> None:
    drives = found(steady(straight_site(), [(65.0, 10.0, 0, 300)]), history=20)
    assert drives.start_frame.tolist() == [19]


def test_drives_of_several_recordings_are_theirs_renumbered() -> None:
    recordings = [random_traffic(k, num_vehicles=30) for k in range(3)]
    world = build_world(recordings)
    together = find_drives(world, recordings)
    vehicles = frames = 0
    parts = []
    for r in recordings:
        alone = find_drives(build_world([r]), [r])
        parts.append({n: c + (vehicles if n == "vehicle" else frames) for n, c in columns(alone).items()})
        vehicles, frames = vehicles + len(r.vehicles), frames + r.num_frames
    for name, column in columns(together).items():
        np.testing.assert_array_equal(column, np.concatenate([p[name] for p in parts]))


def test_splits_share_out_the_drives() -> None:
    recording = random_traffic(5, num_vehicles=200)
    world = build_world([recording])
    all_of_them = find_drives(world, [recording], "all").vehicle
    parts = [find_drives(world, [recording], s).vehicle for s in ("train", "validation", "test")]
    assert sorted(np.concatenate(parts)) == sorted(all_of_them)
    assert all(len(p) > 0 for p in parts)
    assert recording.in_split("test")[parts[2]].all()
    with pytest.raises(ValueError, match="split"):
        find_drives(world, [recording], "tset")  # type: ignore[arg-type]


def test_every_drive_has_its_history_and_its_time() -> None:
    recording = random_traffic(8)
    world, drives = build_world([recording]), found(recording, history=20)
    assert (drives.start_frame - 19 >= world.first_frame[drives.vehicle]).all()
    assert (drives.human_frame <= world.last_frame[drives.vehicle]).all()
    assert (drives.limit_frame >= drives.human_frame).all()
    assert (drives.limit_frame <= world.end_frame[0]).all()
    few = drives.take(np.array([2, 0]))
    assert [c[0] for c in columns(few).values()] == [c[2] for c in columns(drives).values()]
    assert len(few) == 2


# --- off the recording -----------------------------------------------------------------------------------------------


def test_perturbed_starts_have_room_and_are_the_same_again() -> None:
    recording = random_traffic(8)
    world, drives = build_world([recording]), found(recording)
    moved = drives.perturbed(world, seed=3)
    assert moved.noise is not None
    assert moved.noise.any(1).mean() > 0.5
    histories = perturb(
        recorded_history(world, drives.vehicle, drives.start_frame, 20), moved.noise, world.dt
    )
    free, _ = look_around(world, histories[:, -1], drives.vehicle, drives.start_frame)
    assert free[moved.noise.any(1)].all()
    np.testing.assert_array_equal(moved.noise, drives.perturbed(world, seed=3).noise)
    assert (moved.noise != drives.perturbed(world, seed=4).noise).any()
    np.testing.assert_array_equal(moved.take(np.array([2, 0])).noise, moved.noise[[2, 0]])


def test_a_start_without_room_stays_where_it_was_recorded() -> None:
    """Bumper to bumper in a lane as wide as the cars, off the road beside it."""
    row = [(4.5 * k, 5.0, 0, 300) for k in range(20)]
    recording = steady(straight_site(num_lanes=1, start=20.0, goal=math.inf), row)
    drives = found(recording, history=1)
    noise = drives.perturbed(build_world([recording]), seed=0).noise
    assert noise is not None
    assert not noise[1:-1].any()


def test_history_before_the_first_frame_repeats_it() -> None:
    recording = steady(straight_site(), [(10.0, 10.0, 30, 300)])
    x = recorded_history(build_world([recording]), np.array([0]), np.array([32]), 6)[0, :, 0]
    np.testing.assert_allclose(x, [10, 10, 10, 10, 11, 12], atol=1e-5)
