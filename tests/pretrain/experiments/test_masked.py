"""The experiment runs, and its shifts move digits and lose none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.experiments.masked import EXPERIMENT, shifted
from tests.pretrain.toys import generator


@pytest.mark.slow
def test_it_runs_quickly_and_its_claims_are_of_its_numbers() -> None:
    pytest.importorskip("mlxtend", reason="mlxtend is not installed: pip install 'headway[pretrain]'")
    numbers, pictures = EXPERIMENT.run(0, True)
    assert np.isfinite(list(numbers.values())).all()
    assert all(claim.holds(numbers) in (True, False) for claim in EXPERIMENT.claims)
    assert 0.5 < numbers["pixels/probe"] < 0.85
    assert pictures["predictions"].dtype == np.uint8
    assert pictures["predictions"].std() > 20


def test_shifts_are_up_to_two_pixels_in_either_direction() -> None:
    image = torch.zeros(500, 1, 9, 9)
    image[:, 0, 4, 4] = 1
    moved = shifted(image, generator())
    v, u = torch.nonzero(moved[:, 0])[:, 1:].T
    assert len(v) == 500
    assert sorted(set(v.tolist())) == sorted(set(u.tolist())) == [2, 3, 4, 5, 6]
    assert abs(float(torch.corrcoef(torch.stack([v, u]).float())[0, 1])) < 0.15
