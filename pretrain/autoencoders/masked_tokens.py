"""Masked language model: some tokens of a sequence are hidden or changed, and predicted from all others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.learner import Learner, Terms
from pretrain.networks import transformer


@dataclass(frozen=True, kw_only=True)
class MaskedTokensConfig:
    """num_tokens: size of the vocabulary; ids below num_special are special, and neither chosen nor drawn.

    pad, mask: special ids; pad fills the ends of short sequences. chosen: share of tokens to predict; of them, `hidden`
    become mask, `random` any token, and the rest stay.
    """

    num_tokens: int
    length: int  # of sequences, at most
    num_special: int = 2
    pad: int = 0
    mask: int = 1
    chosen: float = 0.15
    hidden: float = 0.8
    random: float = 0.1
    width: int = 64
    depth: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        if not max(self.pad, self.mask) < self.num_special < self.num_tokens:
            raise ValueError(
                f"num_special={self.num_special} must be above pad and mask, and below num_tokens={self.num_tokens}"
            )
        if not 0 < self.chosen <= 1:
            raise ValueError(f"chosen={self.chosen} must be within (0, 1]")
        if min(self.hidden, self.random) < 0 or self.hidden + self.random > 1:
            raise ValueError(f"hidden={self.hidden} and random={self.random} must be shares of 1")


class Masked(NamedTuple):
    """Both (N, T): what the model sees, and which tokens it must predict."""

    tokens: Tensor
    chosen: Tensor


class Filled(NamedTuple):
    """Tokens that were hidden: what is seen, which are hidden, what is guessed and -log p of the truth, all (N, T).

    The guess and the surprise are of every token; of those that are not hidden they say little.
    """

    seen: Tensor
    hidden: Tensor
    guess: Tensor
    surprise: Tensor


def mask_tokens(tokens: Tensor, config: MaskedTokensConfig, generator: torch.Generator) -> Masked:
    """Choose tokens of (N, T) and corrupt them, anew at each call.

    Source: Devlin et al., "BERT", arXiv:1810.04805, section 3.1 (80/10/10); Liu et al., "RoBERTa", arXiv:1907.11692
    (anew for every batch, instead of once).
    """
    choose, how = torch.rand(2, *tokens.shape, generator=generator).to(tokens.device)
    drawn = torch.randint(config.num_special, config.num_tokens, tokens.shape, generator=generator)
    chosen = (choose < config.chosen) & (tokens >= config.num_special)
    seen = torch.where(chosen & (how < config.hidden), config.mask, tokens)
    changed = chosen & (how >= config.hidden) & (how < config.hidden + config.random)
    return Masked(torch.where(changed, drawn.to(tokens.device), seen), chosen)


class MaskedTokens(Learner):
    """A transformer encoder that predicts chosen tokens by cross-entropy, with the embeddings as output weights."""

    def __init__(self, config: MaskedTokensConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.num_tokens, config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(config.length, config.width))
        nn.init.normal_(self.embed.weight, std=config.width**-0.5)
        self.blocks = transformer(config.width, config.depth, config.heads)
        self.bias = nn.Parameter(torch.zeros(config.num_tokens))

    def features(self, tokens: Tensor) -> Tensor:
        """(N, T, width), of tokens (N, T); padding is not looked at.

        Raises:
            ValueError: a longer sequence than was foreseen.
        """
        if tokens.shape[1] > self.config.length:
            raise ValueError(f"{tokens.shape[1]} tokens are more than length={self.config.length}")
        x = self.embed(tokens) + self.positions[: tokens.shape[1]]
        return self.blocks(x, src_key_padding_mask=tokens == self.config.pad)

    def logits(self, tokens: Tensor) -> Tensor:
        """(N, T, num_tokens), of tokens (N, T)."""
        return F.linear(self.features(tokens), self.embed.weight, self.bias)

    def surprise(self, seen: Tensor, tokens: Tensor) -> Tensor:
        """-log p (N, T) of the true tokens where `seen` is seen."""
        return F.cross_entropy(self.logits(seen).mT, tokens, reduction="none")

    def fill(self, y: Tensor, generator: torch.Generator) -> Filled:
        """Hide tokens of y (N, T), as many as are chosen in training, and guess each: the likeliest ordinary one."""
        seen, hidden = mask_tokens(y, replace(self.config, hidden=1.0, random=0.0), generator)
        logits = self.logits(seen)
        special = self.config.num_special
        return Filled(
            seen,
            hidden,
            special + logits[..., special:].argmax(-1),
            F.cross_entropy(logits.mT, y, reduction="none"),
        )

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        """Scaled so that the batch's mean is the mean over chosen tokens."""
        seen, chosen = mask_tokens(y, self.config, generator)
        features = self.features(seen)[chosen]  # (M, width); logits of all others would be most of the work
        logits = F.linear(features, self.embed.weight, self.bias)
        each = F.cross_entropy(logits, y[chosen], reduction="none")
        surprise = each.new_zeros(len(y)).index_add(0, torch.nonzero(chosen)[:, 0], each)
        return {"surprise": surprise * (len(y) / chosen.sum().clamp(min=1))}

    def energy(self, y: Tensor) -> Tensor:
        """The pseudo-energy (N,) of tokens (N, T): -sum_t log p(y_t | all others), special tokens left out.

        Source: Besag 1975; Salazar et al., arXiv:1910.14659. One pass for each t.
        """
        total = torch.zeros(len(y), device=y.device)
        for t in range(y.shape[1]):
            counts = y[:, t] >= self.config.num_special
            seen = y.clone()
            seen[:, t] = torch.where(counts, self.config.mask, y[:, t])
            total = total + torch.where(counts, self.surprise(seen, y)[:, t], 0.0)
        return total
