"""The experiment of the scores: quickly, and what it judges by."""

from __future__ import annotations

import numpy as np
import torch

from pretrain.data import mixture_of_gaussians
from pretrain.experiments import score
from pretrain.score_matching import score_of


def test_it_runs_and_learns_something() -> None:
    outcome = score.EXPERIMENT.run(0, True)
    numbers = outcome.numbers
    for method in score.METHODS:
        assert numbers[f"field {method}"] < 0.8 * numbers[f"field {method} untrained"]
    for name in ("precision", "field"):
        assert outcome.pictures[name].dtype == np.uint8
        assert outcome.pictures[name].std() > 5
    names = {claim.better for claim in score.EXPERIMENT.claims}
    assert names <= set(numbers)
    assert {claim.control for claim in score.EXPERIMENT.claims if isinstance(claim.control, str)} <= set(
        numbers
    )


def test_the_true_score_is_that_of_the_data() -> None:
    """Stein's identity, E s(y) y' = -I, holds for the score of the density that y is drawn from alone."""
    y = mixture_of_gaussians(50_000, torch.Generator().manual_seed(0), score.MODES, score.STD)
    with torch.no_grad():
        s = score_of(lambda y: score.circle(y, score.STD))(y)
    np.testing.assert_allclose(s.T @ y / len(y), -torch.eye(2), atol=0.1)
