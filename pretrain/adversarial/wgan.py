"""WGAN: a critic of slope at most 1; its mean energy gap is how far samples must be carried to become the data.

    critic:     E(y) - E(G(z)) + lambda (|dE/dy(y_e)| - 1)^2,  y_e = e y + (1 - e) G(z), e uniform in [0, 1]
    generator:  E(G(z))

E is minus the papers' critic: low on data. Sources: Arjovsky, Chintala, Bottou, arXiv:1701.07875, algorithm 1, which
bounds the slope by clipping weights to [-c, c]; Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, arXiv:1704.00028,
equation 3, which penalises slopes other than 1 instead. Only differences of E mean anything, and only where samples
are or go: where the generator makes what the data are, a critic trained to the end is flat.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.adversarial.players import Adversarial
from pretrain.energies import Energy, gradient
from pretrain.learner import Terms

CONSTRAINTS = ("penalty", "clip")


@dataclass(frozen=True, kw_only=True)
class WGANConfig:
    """constraint: on the critic's slope; "penalty" (WGAN-GP), of weight lambda, or "clip", of weights to [-c, c].

    With batch normalisation in the critic there is no slope per sample: take another normalisation for the penalty.
    """

    num_latent: int
    constraint: str = "penalty"
    penalty: float = 10.0
    clip: float = 0.01

    def __post_init__(self) -> None:
        if self.num_latent < 1:
            raise ValueError(f"num_latent={self.num_latent} must be at least 1")
        if self.constraint not in CONSTRAINTS:
            raise ValueError(f"constraint={self.constraint!r} must be one of {CONSTRAINTS}")
        for name in ("penalty", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")


class WGAN(Adversarial):
    """A critic of bounded slope against a generator."""

    def __init__(self, config: WGANConfig, critic: nn.Module, generator: nn.Module) -> None:
        super().__init__(critic, generator, config.num_latent)
        self.config = config

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "critic") -> Terms:
        """Of y the generator reads the number alone."""
        if player == "generator":
            return {"energy": self.energy(self.sample(len(y), generator))}
        with torch.no_grad():
            contrast = self.sample(len(y), generator)
        terms = {"real": self.energy(y), "fake": -self.energy(contrast)}
        if self.config.constraint == "penalty":
            e = torch.rand(len(y), *[1] * (y.dim() - 1), generator=generator, device=y.device, dtype=y.dtype)
            between = e * y + (1 - e) * contrast
            terms["slope"] = self.config.penalty * slope_penalty(self.critic, between)
        return terms

    def after_step(self, player: str = "critic") -> None:
        """Clips the critic's weights, where that is the constraint."""
        if player == "critic" and self.config.constraint == "clip":
            with torch.no_grad():
                for weight in self.critic.parameters():
                    weight.clamp_(-self.config.clip, self.config.clip)


def slope_penalty(energy: Energy, y: Tensor) -> Tensor:
    """(|dE/dy| - 1)^2, (N,), at each y (N, ...); gradients flow to the energy's weights.

    A flat energy pays 1; there the norm has no gradient, and 0 is taken.
    """
    return (gradient(energy, y, create_graph=True).flatten(1).norm(dim=1) - 1).square()
