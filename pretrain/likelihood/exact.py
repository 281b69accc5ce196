"""Maximum likelihood where all answers can be listed.

    -log p(y) = F(y) + log Z,   Z = sum_y' exp(-F(y')),   d(-log p)/dw = dF(y)/dw - E_p dF(y')/dw

Source: LeCun et al., "A tutorial on energy-based learning" (2006), section 2.2.4, the negative log-likelihood loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretrain.energies import Energy, free_energy, gibbs
from pretrain.learner import Learner, Terms


def log_partition(energy: Energy, answers: Tensor) -> Tensor:
    """log Z, a number, over all answers (M, ...)."""
    return -free_energy(energy(answers), 1.0)


def probabilities(energy: Energy, answers: Tensor) -> Tensor:
    """p (M,) of all answers (M, ...)."""
    return gibbs(energy(answers))


def draw(energy: Energy, answers: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Independent samples (num, ...) of p."""
    with torch.no_grad():
        p = probabilities(energy, answers)
    return answers[torch.multinomial(p, num, replacement=True, generator=generator)]


class ExactLikelihood(Learner):
    """Lowers the energy of data, and raises that of all answers as they are probable. No randomness.

    Terms: "data", the energy; "log_partition", log Z, the same for each sample. Their sum is -log p.
    """

    answers: Tensor

    def __init__(self, model: nn.Module, answers: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("answers", answers, persistent=False)

    def energy(self, y: Tensor) -> Tensor:
        """F (N,), that is -log p - log Z."""
        return self.model(y)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        data = self.model(y)
        return {"data": data, "log_partition": log_partition(self.model, self.answers).expand(data.shape)}
