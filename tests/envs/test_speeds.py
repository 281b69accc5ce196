"""Windows of speeds are of one car each, of its split, and as it drove."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from envs.errors import InputError
from envs.recording import Recording
from envs.speeds import speed_windows
from tests.toys import random_traffic


def counting() -> Recording:
    """Traffic whose k-th car goes 1000 k m/s, and 1 m/s more from each frame to the next."""
    recording = random_traffic(num_vehicles=40, num_frames=120)
    frame = np.repeat(np.arange(recording.num_frames), np.diff(recording.frame_offsets))
    since = frame - recording.vehicles.first_frame[recording.vehicle]
    return replace(recording, speed=(1000 * recording.vehicle + since).astype(np.float32))


def test_a_window_is_one_car_of_the_split_in_time() -> None:
    recording = counting()
    found = {}
    for split in ("train", "test"):
        windows = speed_windows(recording, split, 300, 20, np.random.default_rng(0))
        assert windows.shape == (300, 20)
        np.testing.assert_array_equal(np.diff(windows, axis=1), 1)
        found[split] = set((windows[:, 0] // 1000).astype(int).tolist())
        assert found[split] <= set(np.flatnonzero(recording.in_split(split)).tolist())
    assert not found["train"] & found["test"]


def test_every_window_can_be_drawn_and_a_seed_repeats_them() -> None:
    recording = counting()
    lengths = np.diff(recording.track_offsets)[recording.in_split("test")]
    windows = speed_windows(recording, "test", 20_000, 20, np.random.default_rng(1))
    assert len(np.unique(windows[:, 0])) == np.maximum(lengths - 19, 0).sum()
    np.testing.assert_array_equal(
        windows, speed_windows(recording, "test", 20_000, 20, np.random.default_rng(1))
    )


def test_more_frames_a_second_are_thinned_out() -> None:
    windows = speed_windows(replace(counting(), dt=0.04), "train", 50, 10, np.random.default_rng(0))
    np.testing.assert_array_equal(np.diff(windows, axis=1), 2)


def test_cars_that_are_seen_too_shortly_are_refused() -> None:
    with pytest.raises(InputError, match="no car of the test split is recorded for 500 frames"):
        speed_windows(counting(), "test", 1, 500, np.random.default_rng(0))
