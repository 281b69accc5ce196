"""The experiment runs, and gives the numbers that it makes claims of."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain.experiments.bounded import EXPERIMENT


@pytest.mark.slow
def test_it_runs_quickly_and_its_claims_are_of_its_numbers() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed: pip install 'headway[pretrain]'")
    numbers, pictures = EXPERIMENT.run(0, True)
    assert np.isfinite(list(numbers.values())).all()
    held = [claim for claim in EXPERIMENT.claims if claim.holds(numbers)]
    assert {claim.better.split("/")[1] for claim in held} >= {
        "kmeans",
        "mixture",
        "ica",
    }  # no training needed
    for ending in ("off_sklearn", "inverse_error", "above_sklearn", "mixing/ica"):
        claims = [claim for claim in EXPERIMENT.claims if claim.better.endswith(ending)]
        assert claims
        assert all(claim.holds(numbers) for claim in claims), ending
    assert pictures["surfaces"].dtype == np.uint8
    assert pictures["surfaces"].std() > 20
