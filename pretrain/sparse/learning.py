"""Dictionary learning: find each sample's code, then move the atoms down the energy with the codes held fixed.

    z* = argmin over z of E(y, z; W)        W <- unit_norm(W - rate dE(y, z*; W) / dW)

At the minimum over z this is the gradient of the free energy min_z E(y, z; W) itself. Source: Olshausen and Field 1997.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pretrain.energies import Energy
from pretrain.learner import Learner, Terms
from pretrain.sparse.energy import unit_norm

Infer = Callable[[Tensor, Tensor], Tensor]  # (y, dictionary) -> z


class DictionaryLearner(Learner):
    """Atoms of unit norm for any energy with latent codes and any way to infer them.

    For sparse coding:

        DictionaryLearner(
            random_dictionary(144, 256, generator),
            infer=lambda y, w: fista(lasso(y, w, alpha), 50),
            energy=lambda y, z, w: energy(y, z, w, alpha),
        )
    """

    def __init__(self, dictionary: Tensor, infer: Infer, energy: Energy) -> None:
        """energy: (y, z, dictionary) -> (N,)."""
        super().__init__()
        self.dictionary = nn.Parameter(unit_norm(dictionary.detach().clone()))
        self._infer, self._energy = infer, energy

    @torch.no_grad()
    def infer(self, y: Tensor) -> Tensor:
        """z*, without a gradient."""
        return self._infer(y, self.dictionary)

    def energy(self, y: Tensor, z: Tensor) -> Tensor:
        """E(y, z) (N,)."""
        return self._energy(y, z, self.dictionary)

    def free_energy(self, y: Tensor) -> Tensor:
        """min over z of E(y, z) (N,), as far as the inference goes."""
        return self.energy(y, self.infer(y))

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {"energy": self.free_energy(y)}

    def after_step(self, player: str = "model") -> None:
        with torch.no_grad():
            self.dictionary.copy_(unit_norm(self.dictionary))
