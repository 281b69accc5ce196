"""The experiments on losses, surfaces and adversaries run, give every number they claim about, and repeat."""

from __future__ import annotations

import math

import pytest

from pretrain.experiments import adversarial, energy_surfaces, losses
from pretrain.experiments.outcome import Experiment


@pytest.mark.parametrize(
    "module", [pytest.param(losses, marks=pytest.mark.slow), energy_surfaces, adversarial]
)
def test_a_quick_run_gives_what_is_claimed_about(module: object) -> None:
    if module is losses:
        pytest.importorskip("mlxtend", reason="mlxtend is not installed: pip install 'headway[pretrain]'")
    experiment: Experiment = module.EXPERIMENT  # type: ignore[attr-defined]
    outcome = experiment.run(0, True)
    assert all(math.isfinite(value) for value in outcome.numbers.values())
    assert experiment.claims
    for claim in experiment.claims:
        assert isinstance(claim.holds(outcome.numbers), bool)
    for picture in outcome.pictures.values():
        assert picture.dtype == "uint8"
        assert picture.std() > 10
