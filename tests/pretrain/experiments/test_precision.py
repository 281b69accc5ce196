"""The precision of a Gaussian: equal to maximum likelihood where it must be, and ever nearer to the true one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.experiments.precision import BLUR, FALLING, SIZES, draw_errors, precision_errors, precisions
from tests.pretrain.toys import generator


@pytest.fixture(scope="module")
def numbers() -> dict[str, float]:
    return precision_errors(generator(), draws=3)


def test_exact_score_matching_is_maximum_likelihood(numbers: dict[str, float]) -> None:
    y = torch.randn(200, 3, generator=generator(), dtype=torch.float64) * torch.tensor([0.5, 1.0, 1.5])
    found = precisions(y, generator())
    np.testing.assert_allclose(found["exact"], (y.T @ y / 200).inverse(), rtol=1e-4, atol=1e-5)
    for num in SIZES:
        assert numbers[f"precision exact {num}"] == pytest.approx(
            numbers[f"precision likelihood {num}"], rel=1e-3
        )


def test_the_error_falls_as_one_over_the_root_of_the_number_of_samples(numbers: dict[str, float]) -> None:
    for name in FALLING:
        assert -0.75 < numbers[f"slope {name}"] < -0.3, name
        ends = [numbers[f"precision {name} {num}"] for num in (SIZES[0], SIZES[-1])]
        between = np.log(ends[1] / ends[0]) / np.log(SIZES[-1] / SIZES[0])
        assert numbers[f"slope {name}"] == pytest.approx(between)  # the middle one tells nothing of three


def test_denoising_finds_the_precision_of_blurred_data_until_it_is_corrected(
    numbers: dict[str, float],
) -> None:
    assert numbers["slope denoising"] > -0.1
    assert numbers["precision denoising corrected 30000"] < 0.3 * numbers["precision denoising 30000"]
    y = torch.randn(30_000, 3, generator=generator(), dtype=torch.float64) * torch.tensor([0.5, 1.0, 1.5])
    blurred = y.T @ y / len(y) + BLUR**2 * torch.eye(3)
    np.testing.assert_allclose(precisions(y, generator())["denoising"], blurred.inverse(), atol=0.1)


def test_the_errors_are_drawn(numbers: dict[str, float]) -> None:
    picture = draw_errors(numbers)
    assert picture.dtype == np.uint8
    assert picture.std() > 5
