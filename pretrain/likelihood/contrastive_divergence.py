"""Maximum likelihood by samples of the model: energies of data go down, those of chains go up.

    d(-log p)/dw = E_data dF(y)/dw - E_model dF(y)/dw,   the second by chains that ran k steps

CD begins the chains at the data, PCD where they stopped in the batch before. Both give the gradient of the likelihood
as k grows; at small k CD overlooks modes far from data, and PCD lags behind a model that changes fast. The loss itself
(data minus chains) is no likelihood and need not fall. Sources: Hinton, "Training products of experts by minimizing
contrastive divergence" (Neural Computation 2002); Tieleman, "Training restricted Boltzmann machines using
approximations to the likelihood gradient" (ICML 2008).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretrain.learner import Learner, Terms
from pretrain.samplers import Replay, Sampler


class ContrastiveDivergence(Learner):
    """CD-k, with k steps of any sampler. Terms: "data", F(y); "chains", -F of where the chains got from there."""

    def __init__(self, model: nn.Module, sampler: Sampler, steps: int = 1) -> None:
        super().__init__()
        self.model, self.sampler, self.steps = model, sampler, steps

    def energy(self, y: Tensor) -> Tensor:
        """F (N,), that is -log p up to a constant."""
        return self.model(y)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        chains = self.sampler.sample(self.model, y, self.steps, generator).last
        return {"data": self.model(y), "chains": -self.model(chains)}


class PersistentContrastiveDivergence(Learner):
    """PCD-k: as many chains of a buffer as there are data go on by k steps; the terms move them.

    Terms: "data", F(y); "chains", -F of where the chains are now.

    Raises:
        ValueError: a batch is larger than the buffer.
    """

    def __init__(self, model: nn.Module, sampler: Sampler, replay: Replay, steps: int = 1) -> None:
        super().__init__()
        self.model, self.sampler, self.replay, self.steps = model, sampler, replay, steps
        self.largest_batch = replay.config.size

    def energy(self, y: Tensor) -> Tensor:
        """F (N,), that is -log p up to a constant."""
        return self.model(y)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        where, begun = self.replay.draw(len(y), generator)
        chains = self.sampler.sample(self.model, begun, self.steps, generator).last
        self.replay.put(where, chains)
        return {"data": self.model(y), "chains": -self.model(chains)}
