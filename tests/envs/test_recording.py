"""Headings and speeds derived from positions, those of cars that hardly move above all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from envs.recording import MIN_HEADING_SPEED, Recording
from tests.toys import random_traffic, straight_site

DT = 0.1


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
