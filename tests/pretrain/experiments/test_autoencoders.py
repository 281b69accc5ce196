"""The experiment runs, and gives the numbers that it makes claims of."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain.experiments.autoencoders import EXPERIMENT


@pytest.mark.slow
def test_it_runs_quickly_and_its_claims_are_of_its_numbers() -> None:
    pytest.importorskip("mlxtend", reason="mlxtend is not installed: pip install 'headway[pretrain]'")
    numbers, pictures = EXPERIMENT.run(0, True)
    assert np.isfinite(list(numbers.values())).all()
    assert all(claim.holds(numbers) in (True, False) for claim in EXPERIMENT.claims)
    assert 0.5 < numbers["pca/probe"] < 0.85
    assert numbers["vae/importance_weighted"] < numbers["vae/bound"]
    assert all(picture.dtype == np.uint8 and picture.std() > 20 for picture in pictures.values())
