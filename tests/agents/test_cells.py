"""The picture as cells."""

from __future__ import annotations

import numpy as np
import pytest

from agents.cells import CELL, features, num_features


def observation(height: int = 27, width: int = 8, frames: int = 2, num: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "images": rng.integers(0, 256, (num, frames, 3, height, width), dtype=np.uint8),
        "vectors": rng.normal(0, 10, (num, frames, 4)).astype(np.float32),
        "heading": rng.normal(0, 0.1, (num, frames)).astype(np.float32),
        "size": rng.uniform(2, 5, (num, 2)).astype(np.float32),
    }


@pytest.mark.parametrize(("height", "width"), [(27, 8), (25, 7)])
def test_a_cell_is_the_mean_of_its_pixels(height: int, width: int) -> None:
    seen = observation(height, width)
    out = features(seen)
    assert out.shape == (3, num_features(2, height, width))
    planes = [
        seen["images"][:, 0, 1],
        seen["images"][:, 1, 1],
        seen["images"][:, 1, 0],
        seen["images"][:, 1, 2],
    ]
    means = [
        plane[:, top : top + CELL[0], left : left + CELL[1]].mean((1, 2)) / 255
        for plane in planes
        for top in range(0, height, CELL[0])
        for left in range(0, width, CELL[1])
    ]
    np.testing.assert_allclose(out[:, :-5], np.stack(means, 1), rtol=1e-5)


def test_where_a_car_is_makes_no_difference_but_how_it_moves_does() -> None:
    seen = observation()
    elsewhere = {**seen, "vectors": seen["vectors"] + np.array([100, -7, 0, 0], np.float32)}
    np.testing.assert_array_equal(features(seen), features(elsewhere))
    faster = {**seen, "vectors": seen["vectors"] + np.array([0, 0, 1, 0], np.float32)}
    np.testing.assert_allclose((features(faster) - features(seen))[:, -5], 0.1, rtol=1e-4)


def test_threads_change_nothing() -> None:
    seen = observation(num=40)
    np.testing.assert_array_equal(features(seen, 1), features(seen, 3))
