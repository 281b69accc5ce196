"""Recordings laid end to end say what each of them said."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from envs import kinematics
from envs.recording import Recording
from envs.sites import i80
from envs.world import MAX_COORDINATE, build_world, recorded_state
from tests.toys import random_traffic, straight_site


def three_recordings() -> list[Recording]:
    """Two on one road, one on another."""
    first, second, third = (random_traffic(k, num_vehicles=25, num_frames=200) for k in range(3))
    return [first, dataclasses.replace(second, site=i80()), third]


def test_rows_frames_and_vehicles_are_numbered_through() -> None:
    recordings = three_recordings()
    world = build_world(recordings)
    row = frame = vehicle = 0
    for index, r in enumerate(recordings):
        rows, vehicles = slice(row, row + r.num_rows), slice(vehicle, vehicle + len(r.vehicles))
        columns = np.stack([r.x, r.y, r.heading, r.speed], 1)
        np.testing.assert_array_equal(world.state[rows], columns.astype(np.float32))
        np.testing.assert_array_equal(world.vehicle[rows] - vehicle, r.vehicle)
        offsets = world.frame_offsets[frame : frame + r.num_frames + 1]
        np.testing.assert_array_equal(offsets - row, r.frame_offsets)
        np.testing.assert_array_equal(
            world.size[vehicles], np.stack([r.vehicles.length, r.vehicles.width], 1)
        )
        np.testing.assert_array_equal(world.first_frame[vehicles] - frame, r.vehicles.first_frame)
        np.testing.assert_array_equal(world.last_frame[vehicles] - frame, r.vehicles.last_frame)
        assert (world.recording[vehicles] == index).all()
        assert world.end_frame[index] == frame + r.num_frames - 1
        for v in range(len(r.vehicles)):
            at = np.arange(r.vehicles.first_frame[v], r.vehicles.last_frame[v] + 1) + frame
            np.testing.assert_array_equal(world.row(np.array(v + vehicle), at) - row, r.track(v))
        row, frame, vehicle = row + r.num_rows, frame + r.num_frames, vehicle + len(r.vehicles)
    assert (len(world.state), len(world.size), world.frame_offsets[-1]) == (row, vehicle, row)


def test_equal_sites_are_kept_once() -> None:
    recordings = three_recordings()
    world = build_world(recordings)
    assert world.site.tolist() == [0, 1, 0]
    assert world.goal.tolist() == [260.0, recordings[1].site.goal]
    for site, r in enumerate(recordings[:2]):
        raster = r.site.raster
        shape = tuple(world.raster_shape[site])
        begin = world.raster_offset[site]
        cells = world.raster_cells[begin : begin + shape[0] * shape[1]].reshape(shape)
        np.testing.assert_array_equal(cells & 255, raster.cells[..., 0])
        np.testing.assert_array_equal(cells >> 8, raster.cells[..., 1])


def test_actions_are_those_between_the_rows_of_one_vehicle() -> None:
    recording = random_traffic(4, num_vehicles=25, num_frames=200)
    world = build_world([recording])
    for v in range(len(recording.vehicles)):
        rows = recording.track(v)
        heading, speed = recording.heading[rows].astype(float), recording.speed[rows].astype(float)
        a, kappa = kinematics.inverse(heading, speed, recording.dt)
        np.testing.assert_allclose(world.action[rows[:-1]], np.stack([a, kappa], 1), rtol=1e-6)
        assert (world.action[rows[-1]] == 0).all()


def test_a_recorded_state_is_that_of_the_nearest_frame() -> None:
    recording = random_traffic(4, num_vehicles=10, num_frames=200)
    world = build_world([recording])
    for v in range(10):
        rows = recording.track(v)
        first, last = int(world.first_frame[v]), int(world.last_frame[v])
        for frame, row in (
            (first - 5, rows[0]),
            (first, rows[0]),
            (first + 3, rows[3]),
            (last + 9, rows[-1]),
        ):
            assert recorded_state(world, v, frame) == tuple(world.state[row])


def test_a_vehicle_seen_in_one_frame_only() -> None:
    recording = Recording.from_tracks(
        site=straight_site(),
        vehicle_id=[1, 2, 2],
        frame=[0, 0, 1],
        x=[5.0, 9, 10],
        y=0.0,
        length=4.0,
        width=2.0,
    )
    world = build_world([recording])
    assert recorded_state(world, 0, 7)[0] == 5.0
    assert np.isfinite(world.action).all()


def test_recordings_must_share_their_time_step_and_be_there() -> None:
    recording = random_traffic(0, num_vehicles=3, num_frames=120)
    with pytest.raises(ValueError, match="at least one recording"):
        build_world([])
    with pytest.raises(ValueError, match="dt"):
        build_world([recording, dataclasses.replace(recording, dt=0.2)])
    assert build_world([recording]).dt == 0.1


def test_positions_that_single_precision_cannot_hold_are_refused() -> None:
    """In UTM coordinates, say: cars would stand on a grid of half a metre."""
    recording = random_traffic(5, num_vehicles=3, num_frames=120)
    build_world([dataclasses.replace(recording, x=recording.x - MAX_COORDINATE)])
    for far in (
        dataclasses.replace(recording, y=recording.y + 4.2e6),
        dataclasses.replace(recording, x=-1e5 - recording.x),
    ):
        with pytest.raises(ValueError, match="recording 1 on site"):
            build_world([recording, far])
