"""LISTA with partial mutual inhibition: only the strongest connections between code units are kept.

S is where units explain each other's input away. Most pairs of atoms hardly overlap, so the smallest elements of S, and
the multiplications with them, can be removed at a price: with a fifth of them, seven layers come 2.2 times as far from
the minimum as with all, about as near as three layers with all (docs/pretrain/sparse-inference.md). Products are masked
here, not skipped. Source: LeCun, "Energy-based models, part 2", after Gregor and LeCun 2010.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.sparse.lista import LISTA, LISTAConfig


@dataclass(frozen=True, kw_only=True)
class InhibitionConfig(LISTAConfig):
    """And which part of the mutual connections (pairs of different units) is kept."""

    proportion: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.proportion <= 1:
            raise ValueError(f"proportion={self.proportion} must be within [0, 1]")


def strongest(inhibit: Tensor, proportion: float) -> Tensor:
    """Mask (M, M) of the diagonal and of the given proportion of the other elements, the largest in magnitude.

    A symmetric S gives a symmetric mask: equal elements are kept or removed together.
    """
    eye = torch.eye(len(inhibit), dtype=torch.bool, device=inhibit.device)
    strength = inhibit.detach().abs()
    others = strength[~eye]
    keep = round(proportion * len(others))
    if keep == 0:
        return eye
    return eye | (strength >= others.topk(keep).values[-1])


def drawn(units: int, proportion: float, generator: torch.Generator) -> Tensor:
    """Mask (M, M) as of `strongest`, of pairs of units drawn at random: what the choice is to be compared with."""
    strength = torch.rand(units, units, generator=generator, dtype=torch.float64)
    return strongest(strength + strength.T, proportion)


class PartialLISTA(LISTA):
    """LISTA whose removed connections are 0 and stay 0 while the others are trained."""

    kept: Tensor

    def __init__(
        self,
        dictionary: Tensor,
        alpha: float,
        config: InhibitionConfig | None = None,
        *,
        kept: Tensor | None = None,
    ) -> None:
        """kept: mask (M, M) of the connections; the configured proportion of the strongest by default."""
        config = InhibitionConfig() if config is None else config
        super().__init__(dictionary, alpha, config)
        if kept is None:
            kept = strongest(self.dictionary.T @ self.dictionary, config.proportion)
        self.register_buffer("kept", kept.to(self.dictionary.device))
        self.after_step()

    def after_step(self, player: str = "model") -> None:
        with torch.no_grad():
            self.inhibit.mul_(self.kept)
