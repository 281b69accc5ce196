"""Recordings built from rows: their tables, the splits, and the headings and speeds of cars that hardly move."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from envs import kinematics
from envs.formats import read
from envs.recording import MAX_FRAMES, MIN_HEADING_SPEED, QUANTUM, Recording, Split, _hash_unit
from tests.toys import random_traffic, straight_site

DT = 0.1
Row = tuple[int, int, float, float, float]  # vehicle, frame, x, y, length


def one_car(x: ArrayLike, y: ArrayLike = 0.0) -> Recording:
    """A recording of a single car."""
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    return Recording.from_tracks(
        site=straight_site(),
        vehicle_id=np.ones(len(x)),
        frame=np.arange(len(x)),
        x=x,
        y=y,
        length=4.5,
        width=1.9,
    )


def integrated(recording: Recording) -> NDArray[np.float64]:
    """(T, 2): where speeds and headings lead from the first position."""
    v, h = recording.speed.astype(float), recording.heading.astype(float)
    steps = np.stack([v * np.cos(h), v * np.sin(h)], 1)[:-1] * DT
    return np.concatenate([[[recording.x[0], recording.y[0]]], steps]).cumsum(0)


def test_heading_and_speed_lead_to_the_next_position() -> None:
    recording = random_traffic(1, num_vehicles=30, num_frames=300)
    for vehicle in range(len(recording.vehicles)):
        rows = recording.track(vehicle)
        x, y = recording.x[rows], recording.y[rows]
        v, h = recording.speed[rows].astype(float), recording.heading[rows].astype(float)
        moving = v[:-1] > MIN_HEADING_SPEED
        assert moving.mean() > 0.9
        np.testing.assert_allclose((x[:-1] + v[:-1] * np.cos(h[:-1]) * DT)[moving], x[1:][moving], atol=1e-5)
        np.testing.assert_allclose((y[:-1] + v[:-1] * np.sin(h[:-1]) * DT)[moving], y[1:][moving], atol=1e-5)
        assert (v[-1], h[-1]) == (v[-2], h[-2])


def test_a_car_that_waits_has_the_heading_it_leaves_with_and_one_that_stops_keeps_its() -> None:
    along = np.concatenate([np.zeros(20), np.arange(1, 30) ** 2 * 0.01, np.full(20, 8.41)])
    recording = one_car(3 + along * math.cos(2), 4 + along * math.sin(2))
    np.testing.assert_allclose(recording.heading, 2.0, atol=2e-3)
    assert (recording.speed[:19] == 0).all()
    assert (recording.speed[-20:] == 0).all()


@pytest.mark.parametrize("direction", [0.0, 2.5])
def test_noise_that_throws_a_waiting_car_back_does_not_turn_it_round(direction: float) -> None:
    along = np.concatenate([[0.0, -0.08], np.full(20, -0.08), np.arange(60) * 0.5])
    recording = one_car(along * math.cos(direction), along * math.sin(direction))
    np.testing.assert_allclose(recording.heading, direction, atol=0.01)
    assert recording.speed[30:].min() > 4
    np.testing.assert_allclose(integrated(recording)[-1], [recording.x[-1], recording.y[-1]], atol=0.01)


def test_noise_that_turns_a_stopped_car_bit_by_bit_is_forgotten_when_it_drives() -> None:
    # first to the left, then back: each step within a right angle of the one before
    x = np.concatenate([np.arange(20) * 1.0, [19.01, 18.95, 18.95], 18.95 + np.arange(60) * 0.5])
    y = np.concatenate([np.zeros(20), [0.06, 0.08, 0.08], np.full(60, 0.08)])
    recording = one_car(x, y)
    np.testing.assert_allclose(recording.heading[25:], 0, atol=0.02)
    assert recording.speed[25:].min() > 4


def test_a_parked_car_stays_parked_however_its_position_trembles() -> None:
    noise = np.random.default_rng(0).normal(0, 0.03, (2, 600))
    recording = one_car(50 + noise[0], -5 + noise[1])
    assert (recording.heading == 0).all()
    assert np.abs(integrated(recording) - [50, -5]).max() < 0.2
    assert (recording.speed > 0).mean() < 0.05


def test_a_stopped_car_does_not_creep_on_its_own_noise() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([np.arange(50) * 1.0, 49 + rng.normal(0, 0.01, 600), 49 + np.arange(1, 50) * 1.0])
    recording = one_car(x)
    assert np.abs(integrated(recording)[:, 0] - recording.x).max() < 0.1
    assert (recording.heading == 0).all()


def test_a_car_that_turns_round_turns_round() -> None:
    angle = np.concatenate([np.zeros(30), np.linspace(0, math.pi, 40), np.full(30, math.pi)])
    recording = one_car(np.cumsum(0.3 * np.cos(angle)), np.cumsum(0.3 * np.sin(angle)))
    np.testing.assert_allclose(np.abs(recording.heading[-10:]), math.pi, atol=0.01)
    np.testing.assert_allclose(recording.speed, 3.0, atol=0.01)


def test_a_single_frame_stands() -> None:
    recording = one_car([5.0])
    assert (recording.heading[0], recording.speed[0]) == (0, 0)


@pytest.mark.parametrize("dt", [0.0, -0.1, math.nan, math.inf])
def test_time_steps_that_are_none_are_refused(dt: float) -> None:
    with pytest.raises(ValueError, match="dt"):
        Recording.from_tracks(
            site=straight_site(), vehicle_id=[1], frame=[0], x=[0.0], y=[0.0], length=4.0, width=2.0, dt=dt
        )


# ---- tables ----


def built(rows: list[Row], **options: Any) -> Recording:
    vehicle, frame, x, y, length = zip(*rows, strict=True)
    return Recording.from_tracks(
        site=straight_site(), vehicle_id=vehicle, frame=frame, x=x, y=y, length=length, width=2.0, **options
    )


def slow_tracks(
    rows: list[Row], smoothing_frames: int
) -> list[tuple[int, int, float, list[tuple[float, float]]]]:
    """(id, first frame, length, smoothed positions) of each gapless part, in plain Python."""
    first = min(frame for _, frame, *_ in rows)
    parts: list[list[Row]] = []
    for row in sorted(rows):
        if parts and parts[-1][-1][0] == row[0] and parts[-1][-1][1] + 1 == row[1]:
            parts[-1].append(row)
        else:
            parts.append([row])
    tracks = []
    for part in parts:
        positions = []
        for i in range(len(part)):
            reach = min(smoothing_frames // 2, i, len(part) - 1 - i)
            near = part[i - reach : i + reach + 1]
            mean = (math.fsum(row[axis] for row in near) / len(near) for axis in (2, 3))
            positions.append(tuple(round(value / QUANTUM) * QUANTUM for value in mean))
        tracks.append((part[0][0], part[0][1] - first, part[0][4], positions))
    return tracks  # type: ignore[return-value]


ROWS = st.lists(
    st.tuples(
        st.integers(-3, 5),
        st.integers(10, 40),
        st.floats(-1000, 1000),
        st.floats(-100, 100),
        st.floats(1, 20, width=32),
    ),
    min_size=1,
    max_size=120,
    unique_by=lambda row: row[:2],
)


@settings(max_examples=60)
@given(rows=ROWS, smoothing_frames=st.sampled_from([1, 3, 15]))
def test_tables_agree_with_plain_python(rows: list[Row], smoothing_frames: int) -> None:
    recording = built(rows, smoothing_frames=smoothing_frames)
    tracks = slow_tracks(rows, smoothing_frames)
    vehicles = recording.vehicles
    assert [t[:3] for t in tracks] == list(
        zip(vehicles.id, vehicles.first_frame, vehicles.length, strict=True)
    )
    assert vehicles.last_frame.tolist() == [t[1] + len(t[3]) - 1 for t in tracks]
    for vehicle, (_, _, _, positions) in enumerate(tracks):
        k = recording.track(vehicle)
        np.testing.assert_allclose(
            np.stack([recording.x[k], recording.y[k]], 1), positions, atol=1.01 * QUANTUM
        )
    seen = [
        sorted(v for v, t in enumerate(tracks) if t[1] <= frame < t[1] + len(t[3]))
        for frame in range(recording.num_frames)
    ]
    offsets = recording.frame_offsets
    assert [recording.vehicle[a:b].tolist() for a, b in pairwise(offsets)] == seen
    assert offsets[-1] == len(rows)


@settings(max_examples=30)
@given(rows=ROWS, seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(rows: list[Row], seed: int) -> None:
    one = built(rows)
    other = built([rows[i] for i in np.random.default_rng(seed).permutation(len(rows))])
    for name in ("frame_offsets", "vehicle", "x", "y", "heading", "speed"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_the_running_mean_leaves_straight_even_motion_as_it_is() -> None:
    t = np.arange(50)
    rows = [(1, k, 1.25 * k, -0.125 * k, 4.0) for k in t.tolist()]
    smoothed = built(rows, smoothing_frames=15)
    np.testing.assert_allclose(smoothed.x, 1.25 * t, atol=QUANTUM)
    np.testing.assert_allclose(smoothed.y, -0.125 * t, atol=QUANTUM)


def test_the_running_mean_takes_15_frames_and_averages_noise_out() -> None:
    rows = [(1, k, 30.0 if k == 50 else 0.0, (-1.0) ** k, 4.0) for k in range(100)]
    smoothed = built(rows, smoothing_frames=15)
    np.testing.assert_allclose(smoothed.x, np.where(abs(np.arange(100) - 50) <= 7, 2.0, 0.0), atol=QUANTUM)
    np.testing.assert_allclose(np.abs(smoothed.y[7:-7]), 1 / 15, atol=QUANTUM)
    assert abs(smoothed.y[0]) == 1  # no neighbours on both sides


def test_positions_are_whole_quanta_and_zero_has_no_sign() -> None:
    recording = built([(1, 0, 0.1, -1e-9, 4.0), (1, 1, 1 / 3, -2e5, 4.0)])
    for values in (recording.x, recording.y):
        assert (values / QUANTUM == np.rint(values / QUANTUM)).all()
    assert math.copysign(1, recording.y[0]) == 1


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([], "at least one row"),
        ([(1, 0, 0, 0, 4), (1, 0, 1, 0, 4)], "vehicle 1 is in frame 0 twice"),
        ([(1, 0, math.nan, 0, 4)], "x must be finite"),
        ([(1, 0, 0, math.inf, 4)], "y must be finite"),
        ([(1, 0, 0, 0, 0)], "length and width must be positive"),
        ([(1, 0, 0, 0, -4)], "length and width must be positive"),
        ([(1, 0, 0, 0, 4), (1, MAX_FRAMES, 0, 0, 4)], "frames 0 to 16777216 span more than 16777216"),
    ],
)
def test_rows_that_are_no_recording(rows: list[Row], what: str) -> None:
    vehicle_id, frame, x, y, length = np.array(rows, float).reshape(-1, 5).T
    with pytest.raises(ValueError, match=what):
        Recording.from_tracks(
            site=straight_site(),
            vehicle_id=vehicle_id,
            frame=frame,
            x=x,
            y=y,
            length=length,
            width=2.0,
        )


@pytest.mark.parametrize("smoothing_frames", [0, 2, -1])
def test_the_running_mean_is_centred(smoothing_frames: int) -> None:
    with pytest.raises(ValueError, match=f"smoothing_frames={smoothing_frames} must be odd and positive"):
        built([(1, 0, 0.0, 0.0, 4.0)], smoothing_frames=smoothing_frames)


# ---- splits ----


def test_splits_never_change() -> None:
    numbers = _hash_unit(np.array([0, 1, 2, 1972, -1, 2**62]))
    assert (
        numbers[0] == (16294208416658607535 >> 11) * 2.0**-53
    )  # the published first output of SplitMix64(0)
    want = [
        0.5665615751722809,
        0.5911897341980794,
        0.25614128927328395,
        0.8939429202831845,
        0.002598817123781516,
    ]
    assert numbers[1:].tolist() == want


def test_splits_are_80_10_10_and_leave_nobody_out() -> None:
    count = 20_000
    recording = built([(vehicle, 0, 0.0, 0.0, 4.0) for vehicle in range(count)])
    parts: list[Split] = ["train", "validation", "test"]
    members = np.stack([recording.in_split(part) for part in parts])
    assert (members.sum(0) == 1).all()
    for share, part in zip((0.8, 0.1, 0.1), members, strict=True):
        assert part.mean() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / count))
    assert recording.in_split("all").all()
    with pytest.raises(ValueError, match="split='dev' must be one of train, validation, test, all"):
        recording.in_split("dev")  # type: ignore[arg-type]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_share_of_a_split_is_part_of_any_larger_share(split: Split) -> None:
    count = 20_000
    recording = built([(vehicle, 0, 0.0, 0.0, 4.0) for vehicle in range(count)])
    whole = recording.in_split(split)
    larger = whole
    for share in (1.0, 0.2, 0.05):
        part = recording.in_split(split, share)
        assert (larger >= part).all()
        p = share * whole.mean()
        assert part.mean() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / count))
        larger = part
    assert not recording.in_split(split, 0.0).any()
    with pytest.raises(ValueError, match=r"share=1\.5 within"):
        recording.in_split(split, 1.5)


def test_a_scene_is_in_one_split_as_a_whole() -> None:
    counts = np.zeros(3)
    for scene in range(200):
        recording = built([(v, 0, 0.0, 0.0, 4.0) for v in range(5)], provenance={"scene": scene})
        parts = [recording.in_split(part).mean() for part in ("train", "validation", "test")]
        assert sorted(parts) == [0, 0, 1]
        counts += parts
    assert counts.tolist() == pytest.approx([160, 20, 20], abs=15)


# ---- cars that hardly move, again ----


@pytest.mark.parametrize("drift", [0.3, 0.8, 1.5])
def test_a_car_that_drifts_back_before_it_departs_faces_forward(drift: float) -> None:
    back = -np.linspace(0, drift, 20)
    recording = one_car(10 + np.concatenate([back, np.full(20, -drift), -drift + 0.02 * np.arange(40) ** 2]))
    assert (recording.heading == 0).all()
    assert recording.speed[-1] > 10


def test_a_car_that_really_drives_back_is_seen_as_such() -> None:
    recording = one_car(100 - 0.8 * np.arange(40))
    np.testing.assert_allclose(np.abs(recording.heading), math.pi, atol=1e-6)
    np.testing.assert_allclose(recording.speed, 8, atol=1e-3)


def test_a_parked_car_may_face_anywhere_and_a_moving_one_may_not() -> None:
    t = np.arange(30)
    recording = Recording.from_tracks(
        site=straight_site(),
        vehicle_id=np.repeat([1, 2], 30),
        frame=np.tile(t, 2),
        x=np.concatenate([np.full(30, 9.0), t * 1.0]),
        y=0.0,
        length=4.0,
        width=2.0,
        heading=2.5,
    )
    np.testing.assert_allclose(recording.heading[recording.vehicle == 0], 2.5)
    np.testing.assert_allclose(recording.heading[recording.vehicle == 1], 0)
    np.testing.assert_allclose(recording.rest_heading, [2.5, 0])


# ---- real tracks ----


def test_inverse_then_forward_kinematics_recover_real_tracks(real_data: Path) -> None:
    """To 0.01 mm for cars that keep moving, and to a metre for those that creep and wait."""
    slowest, errors = [], []
    for name in ("US101-10", "US101-15", "US101-28"):
        recording = read(real_data / "commonroad" / f"USA_{name}_1_T-1.xml")
        columns = np.stack([recording.x, recording.y, recording.heading, recording.speed], 1)
        tracks = [columns[recording.track(vehicle)] for vehicle in range(len(recording.vehicles))]
        actions = torch.zeros(len(tracks), recording.num_frames - 1, 2, dtype=torch.float64)
        for track, action in zip(tracks, actions, strict=True):
            action[: len(track) - 1] = torch.tensor(
                np.stack(kinematics.inverse(track[:, 2], track[:, 3], DT), 1)
            )
        driven = [torch.tensor(np.stack([track[0] for track in tracks]))]
        for action in actions.unbind(1):
            driven.append(kinematics.step(driven[-1], action, DT))
        reached = torch.stack(driven, 1).numpy()
        errors += [np.hypot(*(r[: len(t)] - t)[:, :2].T).max() for r, t in zip(reached, tracks, strict=True)]
        slowest += [track[:, 3].min() for track in tracks]
    moving = np.array(slowest) > MIN_HEADING_SPEED
    assert moving.mean() > 0.7
    assert np.array(errors)[moving].max() < 1e-5
    assert np.array(errors).max() < 1.0
