"""The experiment runs, its neighbours are digits to learn from, and the best of several is the nearest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.experiments.conditional import EXPERIMENT, halves, judged, of_neighbours
from tests.pretrain.toys import generator


@pytest.mark.slow
def test_it_runs_quickly_and_its_claims_are_of_its_numbers() -> None:
    pytest.importorskip("mlxtend", reason="mlxtend is not installed: pip install 'headway[pretrain]'")
    numbers, pictures = EXPERIMENT.run(0, True)
    assert np.isfinite(list(numbers.values())).all()
    assert all(claim.holds(numbers) in (True, False) for claim in EXPERIMENT.claims)
    assert numbers["regressor/best_of_10"] == numbers["regressor/mean"]
    assert 0.9 < numbers["neighbours/grey"] < 1.1
    assert pictures["halves"].dtype == np.uint8
    assert pictures["halves"].std() > 20


def test_the_nearest_neighbour_of_a_digit_that_was_learned_from_is_itself() -> None:
    learned = torch.rand(50, 784, generator=generator())
    upper, lower = halves(learned)
    assert torch.equal(torch.cat([upper, lower], 1), learned)
    found = of_neighbours(upper[:7], learned)
    assert found.shape == (10, 7, 392)
    assert torch.equal(found[0], lower[:7])


def test_the_best_of_several_is_the_nearest_and_halfway_is_grey() -> None:
    lower = torch.tensor([[0.0, 1.0], [0.2, 0.8]])
    black_or_white = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.2, 0.6]]])
    found = judged(black_or_white, lower)
    assert found["best_of_10"].tolist() == pytest.approx([0, 0.02])
    assert found["mean"].tolist() == pytest.approx([0.25, 0.005])
    assert float(judged(lower[None], lower)["grey"]) == pytest.approx(1)
    assert float(judged(torch.full((1, 2, 2), 0.5), lower)["grey"]) == pytest.approx(0.25 / 0.08)
