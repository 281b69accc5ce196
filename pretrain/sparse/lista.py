"""LISTA: k steps of ISTA whose matrices are learned, so that few steps do the work of many.

    z_1 = shrink(We_1 y, theta_1)        z_{k+1} = shrink(We_{k+1} y + S_k z_k, theta_{k+1})

Source: Gregor and LeCun 2010 (ICML), where all layers share We, S and theta (`tied`), and codes are the targets; here
they need not, and the energy of the code is what is lowered. We, S and one threshold per atom begin as ISTA's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.sparse.encoder import Encoder
from pretrain.sparse.energy import Step, shrink


@dataclass(frozen=True, kw_only=True)
class LISTAConfig:
    """Its depth, counted in shrinkages as ISTA's steps are, and whether all layers share their matrices."""

    layers: int = 3
    tied: bool = False

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"layers={self.layers} must be at least 1")


class LISTA(Encoder):
    """Before training it equals ISTA's code after `layers` steps."""

    def __init__(self, dictionary: Tensor, alpha: float, config: LISTAConfig | None = None) -> None:
        super().__init__(dictionary, alpha)
        self.config = config = LISTAConfig() if config is None else config
        step = Step.of(self.dictionary, alpha)
        copies = 1 if config.tied else config.layers
        inhibits = min(copies, config.layers - 1)  # the first layer has nothing to inhibit
        self.encode = nn.Parameter(step.encode.repeat(copies, 1, 1))
        self.inhibit = nn.Parameter(step.inhibit.repeat(inhibits, 1, 1))
        threshold = torch.full_like(step.encode[:, 0], step.threshold)
        self.threshold = nn.Parameter(threshold.repeat(copies, 1))

    def forward(self, y: Tensor) -> Tensor:
        tied = self.config.tied
        z = shrink(y @ self.encode[0].T, self.threshold[0])
        for k in range(1, self.config.layers):
            encode, threshold = (self.encode[0 if tied else k], self.threshold[0 if tied else k])
            inhibit = self.inhibit[0 if tied else k - 1]
            z = shrink(torch.addmm(y @ encode.T, z, inhibit.T), threshold)
        return z
