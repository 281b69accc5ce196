"""Variational auto-encoder, plain and conditional: a noisy code holds little, so few points have low energy."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.energies import free_energy
from pretrain.learner import Learner, Terms


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """likelihood: "gaussian", of one learned deviation for all entries, or "bernoulli", of y in [0, 1].

    beta: weight of the KL term while learning; the bounds below are of beta = 1.
    """

    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.likelihood not in ("gaussian", "bernoulli"):
            raise ValueError(f"likelihood='{self.likelihood}' must be 'gaussian' or 'bernoulli'")
        if not self.beta > 0:
            raise ValueError(f"beta={self.beta} must be positive")


class Gaussian(NamedTuple):
    """Independent Gaussians (N, K), by mean and logarithm of the variance."""

    mean: Tensor
    log_var: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """(N, K), differentiable in both parameters."""
        noise = torch.randn(
            self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device
        )
        return self.mean + torch.exp(self.log_var / 2) * noise

    def energy(self, z: Tensor) -> Tensor:
        """-log density (N,) at z (N, K)."""
        each = (z - self.mean).square() * torch.exp(-self.log_var) + self.log_var + math.log(2 * math.pi)
        return each.sum(-1) / 2

    def divergence(self, other: Gaussian) -> Tensor:
        """KL(self || other) (N,)."""
        ratio = self.log_var - other.log_var
        away = (self.mean - other.mean).square() * torch.exp(-other.log_var)
        return (torch.exp(ratio) - 1 - ratio + away).sum(-1) / 2


class Variational(Learner):
    """What the two share. A sample is a row: what is to be modelled and, in the conditional one, what is given.

        E(y, z) = -log p(y | z) - log p(z),    F(y) = -log p(y) <= E_q[-log p(y | z)] + KL(q(z | y) || p(z))

    Source: Kingma and Welling, arXiv:1312.6114.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.log_var = nn.Parameter(torch.zeros(()), requires_grad=config.likelihood == "gaussian")

    @abstractmethod
    def posterior(self, rows: Tensor) -> Gaussian:
        """q(z | y), of K dimensions."""

    @abstractmethod
    def prior(self, rows: Tensor) -> Gaussian:
        """p(z), or p(z | x)."""

    @abstractmethod
    def reconstruction(self, rows: Tensor, z: Tensor) -> Tensor:
        """-log p(y | z) (N,) at z (N, K)."""

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        """The negative evidence lower bound of one z each."""
        q = self.posterior(y)
        return {
            "reconstruction": self.reconstruction(y, q.sample(generator)),
            "divergence": self.config.beta * q.divergence(self.prior(y)),
        }

    def bound(self, rows: Tensor, generator: torch.Generator, num: int = 1) -> Tensor:
        """An estimate (N,), of `num` draws of z, of what is never below F in the mean."""
        q = self.posterior(rows)
        draws = [self.reconstruction(rows, q.sample(generator)) for _ in range(num)]
        return torch.stack(draws).mean(0) + q.divergence(self.prior(rows))

    def importance_weighted(self, rows: Tensor, generator: torch.Generator, num: int) -> Tensor:
        """The tighter bound (N,) that reaches F as num grows.

            -log 1/num sum_i exp(-E(y, z_i)) / q(z_i | y),    z_i ~ q(z | y)

        Source: Burda, Grosse and Salakhutdinov, arXiv:1509.00519.
        """
        q, p = self.posterior(rows), self.prior(rows)
        draws = [q.sample(generator) for _ in range(num)]
        energies = [self.reconstruction(rows, z) + p.energy(z) - q.energy(z) for z in draws]
        return math.log(num) + free_energy(torch.stack(energies), 1.0, 0)

    def at_mean(self, rows: Tensor) -> Tensor:
        """-log p(y | z) at q's mean plus KL (N,): nothing is drawn. The bound has its expectation instead, so that this
        is none: it may lie below -log p(y)."""
        q = self.posterior(rows)
        return self.reconstruction(rows, q.mean) + q.divergence(self.prior(rows))

    def negative_log_likelihood(self, y: Tensor, output: Tensor) -> Tensor:
        """-log p (N,) of y (N, D) where the decoder says `output`: a mean, or logits."""
        if self.config.likelihood == "bernoulli":
            return F.binary_cross_entropy_with_logits(output, y, reduction="none").sum(-1)
        return Gaussian(output, self.log_var.expand_as(output)).energy(y)


class VAE(Variational):
    """p(z) = N(0, I). The encoder gives mean and log variance (N, 2 K) of y (N, D), the decoder the mean, or logits."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, config: VAEConfig) -> None:
        super().__init__(config)
        self.encoder, self.decoder = encoder, decoder

    def posterior(self, rows: Tensor) -> Gaussian:
        return Gaussian(*self.encoder(rows).chunk(2, -1))

    def prior(self, rows: Tensor) -> Gaussian:
        return _standard(self.posterior(rows).mean)

    def reconstruction(self, rows: Tensor, z: Tensor) -> Tensor:
        return self.negative_log_likelihood(rows, self.decoder(z))

    def energy(self, y: Tensor) -> Tensor:
        """Of y (N, D) at the mean code, (N,), about -log p; `importance_weighted` is nearer."""
        return self.at_mean(y)


class ConditionalVAE(Variational):
    """p(y | x) by p(z | x) and p(y | x, z). A row is (x, y), x first, of `num_given` entries.

    encoder: of (x, y), gives (N, 2 K). prior: of x, gives (N, 2 K). decoder: of (x, z). Source: Sohn, Lee and Yan 2015.
    """

    def __init__(
        self, encoder: nn.Module, prior: nn.Module, decoder: nn.Module, num_given: int, config: VAEConfig
    ) -> None:
        super().__init__(config)
        self.encoder, self.prior_net, self.decoder = encoder, prior, decoder
        self.num_given = num_given

    def posterior(self, rows: Tensor) -> Gaussian:
        return Gaussian(*self.encoder(rows).chunk(2, -1))

    def prior(self, rows: Tensor) -> Gaussian:
        return Gaussian(*self.prior_net(rows[:, : self.num_given]).chunk(2, -1))

    def reconstruction(self, rows: Tensor, z: Tensor) -> Tensor:
        x, y = rows[:, : self.num_given], rows[:, self.num_given :]
        return self.negative_log_likelihood(y, self.decoder(torch.cat([x, z], 1)))

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """Of y (N, D) given x (N, X), at the mean code, (N,), about -log p."""
        return self.at_mean(torch.cat([x, y], 1))

    def sample(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The decoder's output (N, D) at one z ~ p(z | x) each, of x (N, X)."""
        z = self.prior(x).sample(generator)
        return self.decoder(torch.cat([x, z], 1))


def _standard(like: Tensor) -> Gaussian:
    return Gaussian(torch.zeros_like(like), torch.zeros_like(like))
