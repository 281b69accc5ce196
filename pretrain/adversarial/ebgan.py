"""EBGAN: the critic is an auto-encoder, its energy the error of reconstruction, held up to a margin off the data.

    E(y)         = |Dec(Enc(y)) - y|^2 / D
    critic:        E(y) + [m - E(G(z))]+                                   equation 1
    generator:     E(G(z)) + w f_PT,                                       equation 2
    f_PT         = mean over i, j != i of cos(S_i, S_j)^2, S = Enc(G(z))   the pulling-away term

Source: Zhao, Mathieu, LeCun, "Energy-based generative adversarial network", arXiv:1609.03126. The critic's loss is the
simple pairwise loss. The pulling-away term keeps the samples of a batch from all being the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.adversarial.players import Adversarial
from pretrain.learner import Terms


@dataclass(frozen=True, kw_only=True)
class EBGANConfig:
    """margin: m > 0, in mean squares of y. pull_away: w >= 0; 0 leaves the term out."""

    num_latent: int
    margin: float = 1.0
    pull_away: float = 0.0

    def __post_init__(self) -> None:
        if self.num_latent < 1:
            raise ValueError(f"num_latent={self.num_latent} must be at least 1")
        if not self.margin > 0:
            raise ValueError(f"margin={self.margin} must be above 0")
        if self.pull_away < 0:
            raise ValueError(f"pull_away={self.pull_away} must not be below 0")


class AutoEncoderEnergy(nn.Module):
    """E(y) (N,) of y (N, ...): the mean over coordinates of the squared error of reconstruction.

    encoder: y -> codes (N, K). decoder: codes -> y.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, y: Tensor) -> Tensor:
        return (self.decoder(self.encoder(y)) - y).square().flatten(1).mean(1)


class EBGAN(Adversarial):
    """An auto-encoder against a generator."""

    critic: AutoEncoderEnergy

    def __init__(self, config: EBGANConfig, critic: AutoEncoderEnergy, generator: nn.Module) -> None:
        super().__init__(critic, generator, config.num_latent)
        self.config = config

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "critic") -> Terms:
        """Of y the generator reads the number alone."""
        if player == "critic":
            with torch.no_grad():
                contrast = self.sample(len(y), generator)
            return {"real": self.energy(y), "fake": torch.relu(self.config.margin - self.energy(contrast))}
        made = self.sample(len(y), generator)
        terms = {"energy": self.energy(made)}
        if self.config.pull_away > 0:
            terms["pull-away"] = self.config.pull_away * pulling_away(self.critic.encoder(made))
        return terms


def pulling_away(codes: Tensor) -> Tensor:
    """Each sample's mean squared cosine (N,) with the others' codes (N, K); 0 for orthogonal ones, 1 for parallel ones.

    A code of 0 counts as orthogonal to all. A sample alone has no others: 0.
    """
    num = len(codes)
    unit = F.normalize(codes.flatten(1), dim=1)
    squares = (unit @ unit.T).square()
    others = ~torch.eye(num, dtype=torch.bool, device=codes.device)
    return torch.where(others, squares, 0).sum(1) / max(num - 1, 1)
