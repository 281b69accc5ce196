"""VQ-VAE: the code is a few words of a small dictionary, so few points can be reconstructed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.autoencoders.autoencoder import AutoEncoder, squared_distance
from pretrain.bounded.kmeans import distances
from pretrain.learner import Terms


@dataclass(frozen=True, kw_only=True)
class VQConfig:
    """num_codes: K. dim: of a code. commitment: beta.

    decay: of the moving averages that the codes are. dead: a code that the average batch uses less often is dead.
    """

    num_codes: int = 64
    dim: int = 16
    commitment: float = 0.25
    decay: float = 0.99
    dead: float = 0.1

    def __post_init__(self) -> None:
        if self.num_codes < 2:
            raise ValueError(f"num_codes={self.num_codes} must be at least 2")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay={self.decay} must be within [0, 1)")
        if not self.commitment > 0:
            raise ValueError(f"commitment={self.commitment} must be positive")


class Quantised(NamedTuple):
    """codes: like the given vectors, with their gradient passed straight through; chosen: their indices (...)."""

    codes: Tensor
    chosen: Tensor


class Codebook(nn.Module):
    """K codes, each the moving average of the vectors that chose it.

        q(h) = e_k,    k = argmin_j ||h - e_j||,    dq/dh := I
        n_k <- g n_k + (1 - g) |chose k|,    m_k <- g m_k + (1 - g) sum of those,    e_k = m_k / n_k

    The first batch gives the codes. A code with n_k below `dead` starts anew at the vector that is worst off. Source:
    van den Oord, Vinyals and Kavukcuoglu, arXiv:1711.00937, appendix A.1 (the averages).

    Buffers: codes (K, C); counts n (K,); sums m (K, C); started, whether a batch was seen.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor
    started: Tensor

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("codes", torch.zeros(config.num_codes, config.dim))
        self.register_buffer("counts", torch.zeros(config.num_codes))
        self.register_buffer("sums", torch.zeros(config.num_codes, config.dim))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, h: Tensor) -> Quantised:
        """Of vectors h (..., C)."""
        index = distances(h.detach().flatten(0, -2), self.codes).argmin(1).view(h.shape[:-1])
        return Quantised(h + (self.codes[index] - h).detach(), index)

    @torch.no_grad()
    def start(self, h: Tensor, generator: torch.Generator) -> None:
        """Let the codes be vectors drawn from h (M, C), without replacement as long as there are enough."""
        num = self.config.num_codes
        order = torch.cat([torch.randperm(len(h), generator=generator) for _ in range(-(-num // len(h)))])
        self.codes.copy_(h[order[:num]])
        self.counts.fill_(len(h) / num)
        self.sums.copy_(self.codes * self.counts[:, None])
        self.started.fill_(True)

    @torch.no_grad()
    def update(self, h: Tensor) -> None:
        """Average with vectors h (M, C), then revive the dead."""
        index = self(h).chosen
        chosen = F.one_hot(index, self.config.num_codes).to(h)
        self.counts.lerp_(chosen.sum(0), 1 - self.config.decay)
        self.sums.lerp_(chosen.T @ h, 1 - self.config.decay)
        dead = torch.nonzero(self.counts < self.config.dead).flatten()[: len(h)]
        worst = (h - self.codes[index]).square().sum(1).topk(len(dead)).indices
        self.counts[dead] = 1.0
        self.sums[dead] = h[worst]
        self.codes.copy_(self.sums / self.counts.clamp(min=torch.finfo(h.dtype).tiny)[:, None])

    def perplexity(self, index: Tensor) -> Tensor:
        """exp of the entropy of the codes' use, 1 to K; it cannot exceed the number of indices."""
        share = torch.bincount(index.flatten(), minlength=self.config.num_codes) / index.numel()
        return torch.exp(torch.special.entr(share).sum())


class VQVAE(AutoEncoder):
    """The decoder sees codes only.

        loss = ||y - g(q(f(y)))||^2 + beta ||f(y) - sg(q(f(y)))||^2

    The encoder gives vectors (N, C) or maps (N, C, ...), quantised at each place. The dictionary changes in
    `after_step`, in training mode only; its codes are averages, so no term pulls them.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, config: VQConfig) -> None:
        super().__init__(encoder, decoder)
        self.config = config
        self.codebook = Codebook(config)
        self._seen: Tensor | None = None

    def quantise(self, y: Tensor) -> Quantised:
        """Codes like the encoder's output, (N, C) or (N, C, ...), and their index (N,) or (N, ...), of y (N, ...)."""
        codes, index = self.codebook(self.encoder(y).movedim(1, -1))
        return Quantised(codes.movedim(-1, 1), index)

    def encode(self, y: Tensor) -> Tensor:
        """The codes that the decoder sees."""
        return self.quantise(y).codes

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        h = self.encoder(y).movedim(1, -1)
        seen = h.detach().flatten(0, -2)
        if self.training and not self.codebook.started:
            self.codebook.start(seen, generator)
        self._seen = seen if self.training else None
        codes, index = self.codebook(h)
        return {
            "reconstruction": squared_distance(y, self.decoder(codes.movedim(-1, 1))),
            "commitment": self.config.commitment * squared_distance(h, self.codebook.codes[index]),
        }

    def after_step(self, player: str = "model") -> None:
        if self._seen is not None:
            self.codebook.update(self._seen)
            self._seen = None
