"""Adam, for variables that are many problems at once.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   x <- x - eta (m / (1 - b1^k)) / ((v / (1 - b2^k))^1/2 + eps)

Source: Kingma, Ba, arXiv:1412.6980, algorithm 1. torch.optim.Adam takes as long as a small model's whole gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Adam:
    """Every number on its own.

    Args:
        learning_rate: eta of the first step.
        decay: of eta from one step to the next.
    """

    def __init__(
        self,
        learning_rate: float,
        decay: float = 1.0,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self._eta, self._decay, self._betas, self._eps = learning_rate, decay, betas, eps
        self._k, self._m, self._v = 0, torch.zeros(()), torch.zeros(())

    def step(self, g: Tensor) -> Tensor:
        """How far x moves, of its gradient g; where that has always been 0, not at all."""
        (b1, b2), self._k = self._betas, self._k + 1
        self._m = b1 * self._m.to(g) + (1 - b1) * g
        self._v = b2 * self._v.to(g) + (1 - b2) * g.square()
        eta = self._eta * self._decay ** (self._k - 1)
        root = (self._v / (1 - b2**self._k)).sqrt() + self._eps
        return -eta * (self._m / (1 - b1**self._k)) / root
