"""Starts off the recording, against the kinematics and what the noise stands for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.perturbation import moved, noise_with_room, perturb
from envs.world import build_world
from tests import reference
from tests.toys import random_traffic


def history(num: int = 5, steps: int = 12) -> NDArray[np.float64]:
    """Cars that turn and speed up by the kinematics."""
    rng = np.random.default_rng(3)
    states = [
        np.concatenate(
            [rng.uniform(0, 50, (num, 2)), rng.normal(0, 1, (num, 1)), rng.uniform(4, 15, (num, 1))], 1
        )
    ]
    for _ in range(steps - 1):
        actions = np.stack([rng.normal(0, 1, num), rng.normal(0, 0.02, num)], 1)
        states.append(np.stack([reference.step(s, a, 0.1) for s, a in zip(states[-1], actions, strict=True)]))
    return np.stack(states, 1)


def test_a_perturbed_history_leads_to_the_perturbed_pose_by_the_kinematics() -> None:
    before = history()
    noise = np.random.default_rng(4).standard_normal((5, 4))
    after = perturb(before, noise, 0.1)
    for b in range(5):
        for here, there in pairwise(after[b]):
            turn = np.tan(there[2] - here[2]) / (here[3] * 0.1)
            action = np.array([(there[3] - here[3]) / 0.1, turn])
            np.testing.assert_allclose(reference.step(here, action, 0.1), there, atol=1e-9)


def test_a_perturbed_pose_is_moved_by_the_noise_in_the_ego_s_frame() -> None:
    before = history()
    noise = np.random.default_rng(5).standard_normal((5, 4))
    after = perturb(before, noise, 0.1)
    for b in range(5):
        x, y, heading, v = before[b, -1]
        ahead, left = noise[b, 0] * (1 + 0.15 * v), noise[b, 1] * 0.5
        assert after[b, -1, :2] == pytest.approx(reference.seen_from((x, y, heading), ahead, left))
        assert after[b, -1, 2] == pytest.approx(heading + 0.02 * noise[b, 3])
        assert after[b, -1, 3] == pytest.approx(v + noise[b, 2] * (0.3 + 0.12 * v))
    np.testing.assert_array_equal(perturb(before, np.zeros((5, 4)), 0.1)[:, -1], before[:, -1])


def test_a_perturbed_car_does_not_reverse() -> None:
    before = history()
    after = perturb(before, np.array([[0, 0, -9.0, 0]] * 5), 0.1)
    assert after[..., 3].min() == 0
    np.testing.assert_array_equal(after[0, -2:, 3], 0)
    np.testing.assert_allclose(after[:, -2, :2] - after[:, -1, :2], 0, atol=1e-9)  # it stood


def test_who_has_no_noise_is_not_touched() -> None:
    before = history()
    noise = np.random.default_rng(6).standard_normal((5, 4)) * np.array([1, 0, 1, 0, 1])[:, None]
    after = moved(before, noise, 0.1)
    np.testing.assert_array_equal(after[[1, 3]], before[[1, 3]])
    np.testing.assert_array_equal(after[[0, 2, 4]], perturb(before, noise, 0.1)[[0, 2, 4]])


def test_noise_is_drawn_for_those_who_are_wanted_and_again_where_it_does_not_fit() -> None:
    world = build_world([random_traffic(num_vehicles=160)])
    rows = slice(world.frame_offsets[200], world.frame_offsets[201])
    vehicle, states = world.vehicle[rows].astype(np.int64), world.state[rows].astype(np.float64)
    frame, wanted = np.full(len(vehicle), 200), np.arange(len(vehicle)) % 3 > 0
    noise = noise_with_room(world, states, vehicle, frame, wanted, np.random.default_rng(0))
    assert not noise[~wanted].any()
    first = np.random.default_rng(0).standard_normal(noise.shape)
    kept = (noise == first).all(1)
    again = noise.any(1) & ~kept
    assert kept.sum() > again.sum() > 0
