"""Sentences with hidden words: what was guessed and what stood there, and what a guess by frequency is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pretrain.autoencoders.masked_tokens import Filled
from pretrain.data import SPECIAL


class Cloze(NamedTuple):
    """Mean -log p, in nats, of words that were hidden: by the method, and by their frequency alone."""

    surprise: float
    by_frequency: float
    right: float  # share of them that the method guesses


def judged(filled: Filled, y: Tensor, train: Tensor) -> Cloze:
    """Of what a method says of sentences y (N, T), beside how often each word stands in those that it learned from.

    Frequencies are counted with one more of each word, so that none is 0.
    """
    hidden, words = filled.hidden, y[filled.hidden]
    counts = (
        torch.bincount(train[train >= len(SPECIAL)], minlength=int(train.max()) + 1)[len(SPECIAL) :] + 1.0
    )
    frequency = counts / counts.sum()
    return Cloze(
        float(filled.surprise[hidden].mean()),
        -float(frequency[words - len(SPECIAL)].log().mean()),
        float((filled.guess[hidden] == words).float().mean()),
    )


def as_markdown(filled: Filled, y: Tensor, words: Sequence[str], cloze: Cloze, num: int) -> str:
    """A page: the numbers, then the first sentences of y (N, T) that have hidden words, at most `num`."""
    lines = [
        "# Hidden words",
        "",
        f"{100 * cloze.right:.0f} % are guessed. -log p: {cloze.surprise:.2f} nats a word, "
        f"by frequency alone {cloze.by_frequency:.2f}.",
        "Each stands as **truth** (guess).",
        "",
    ]
    some = torch.nonzero(filled.hidden.any(1)).flatten()[:num].tolist()
    return "\n".join([*lines, *(f"- {_sentence(k, filled, y, words)}" for k in some)]) + "\n"


def _sentence(k: int, filled: Filled, y: Tensor, words: Sequence[str]) -> str:
    shown = [
        f"**{words[word]}** ({words[guess]})" if hidden else words[word]
        for word, guess, hidden in zip(
            y[k].tolist(), filled.guess[k].tolist(), filled.hidden[k].tolist(), strict=True
        )
        if words[word] != SPECIAL[0]
    ]
    return " ".join("..." if word == SPECIAL[2] else word for word in shown)
