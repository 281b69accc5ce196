"""The experiment runs, and gives the numbers that it makes claims of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.experiments.autoencoders import EXPERIMENT, NUM_NEIGHBOURS, across_to_along
from tests.pretrain.toys import generator


@pytest.mark.slow
def test_it_runs_quickly_and_its_claims_are_of_its_numbers() -> None:
    pytest.importorskip("mlxtend", reason="mlxtend is not installed: pip install 'headway[pretrain]'")
    numbers, pictures = EXPERIMENT.run(0, True)
    assert np.isfinite(list(numbers.values())).all()
    assert all(claim.holds(numbers) in (True, False) for claim in EXPERIMENT.claims)
    assert 0.5 < numbers["pca/probe"] < 0.85
    assert 100 < numbers["mixture/nats"] < 200
    assert all(picture.dtype == np.uint8 and picture.std() > 20 for picture in pictures.values())


def test_across_to_along_is_one_of_the_identity_and_the_squared_scale_of_what_is_across() -> None:
    """Of data in a plane of NUM_NEIGHBOURS dimensions out of 15."""
    learned = torch.zeros(200, 15)
    learned[:, :NUM_NEIGHBOURS] = torch.randn(200, NUM_NEIGHBOURS, generator=generator())
    scale = torch.where(torch.arange(15) < NUM_NEIGHBOURS, 2.0, 0.6)
    assert across_to_along(lambda y: y, learned[:5], learned[5:]) == pytest.approx(1, rel=1e-4)
    assert across_to_along(lambda y: scale * y, learned[:5], learned[5:]) == pytest.approx(0.09, rel=1e-3)
