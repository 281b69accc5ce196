"""One step of training is the same for all methods."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pretrain.learner import Learner, Terms, step


class Mean(Learner):
    """Learns the mean of y, kept below 1."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.zeros(()))

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {"half": (y - self.m) ** 2 / 2, "more": (y - self.m) ** 2 / 2}

    def after_step(self, player: str = "model") -> None:
        self.m.data.clamp_(max=1)


def test_a_step_descends_the_mean_of_the_sum_of_terms() -> None:
    learner = Mean()
    found = step(
        learner, torch.optim.SGD(learner.parameters(), lr=0.1), torch.tensor([1.0, 2.0]), torch.Generator()
    )
    assert found == pytest.approx({"half": 1.25, "more": 1.25, "loss": 2.5})
    assert float(learner.m.detach()) == pytest.approx(0.3)


def test_weights_are_mended_after_a_step() -> None:
    learner = Mean()
    step(learner, torch.optim.SGD(learner.parameters(), lr=0.5), torch.full((4,), 3.0), torch.Generator())
    assert float(learner.m.detach()) == 1


def test_a_term_that_is_not_finite_is_named_and_changes_nothing() -> None:
    learner = Mean()
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.5)
    with pytest.raises(FloatingPointError, match="Mean: the term 'half' is not finite"):
        step(learner, optimiser, torch.tensor([1.0, torch.nan]), torch.Generator())
    assert float(learner.m.detach()) == 0
