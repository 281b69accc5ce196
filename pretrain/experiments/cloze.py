"""Hidden words of news: does a masked language model use the words around them, and their order?

15 % of the words of held-out sentences of the Lee corpus are hidden, anew in each of five copies. `nats` is the mean
-log p of the words that stood there:
- `masked`: a transformer that learned to fill in. In training 30 % are hidden: an update then teaches more.
- `shuffled`: the same, where the words that are seen change places; `alone`: where all are hidden.
- `frequency`: how often a word stands in what was learned from.
- `left`, `right`: how often a word stands beside the one on its left, or right, see `discounted`; `neighbours`: both,
  p(word | left, right) = c p(word | left) p(word | right) / p(word), as if they were independent given the word.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pretrain.autoencoders import MaskedTokens, MaskedTokensConfig, mask_tokens
from pretrain.data import SPECIAL, lee
from pretrain.experiments.figures import pixels
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.training import train

PAD, MASK = SPECIAL.index("[PAD]"), SPECIAL.index("[MASK]")
NUM_COPIES = 5
RANKS = (0, 10, 30, 100, 300, 1000)  # of words by frequency, where bars of the picture begin and end


def run(seed: int, quick: bool) -> Outcome:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rng = torch.Generator().manual_seed(seed)
        learned, words = lee("train")
        y = lee("test").sentences.repeat(NUM_COPIES, 1)
        config = MaskedTokensConfig(
            num_tokens=len(words), length=y.shape[1], num_special=len(SPECIAL), chosen=0.3
        )
        learner = MaskedTokens(config)
        train(learner, learned, rng, num_steps=5 if quick else 3000, batch=32, rate=3e-3)
        seen, hidden = mask_tokens(y, replace(config, chosen=0.15, hidden=1.0, random=0.0), rng)
        given = {"masked": seen, "shuffled": shuffled(seen, rng), "alone": alone(seen)}
        with torch.no_grad():
            nats = {name: learner.surprise(some, y)[hidden] for name, some in given.items()}
        nats |= of_counts(seen, hidden, y, learned, len(words))
        numbers = {f"{name}/nats": float(each.mean()) for name, each in nats.items()}
        return Outcome(numbers, {"by_frequency": by_frequency(nats, y[hidden])})


def shuffled(seen: Tensor, generator: torch.Generator) -> Tensor:
    """Sentences (N, T) whose words that are neither hidden nor padding change places at random."""
    mixed = seen.clone()
    for row in mixed:
        places = torch.nonzero((row != PAD) & (row != MASK)).flatten()
        row[places] = row[places[torch.randperm(len(places), generator=generator)]]
    return mixed


def alone(seen: Tensor) -> Tensor:
    """Sentences (N, T) of which only the length is known."""
    return torch.where(seen == PAD, PAD, MASK)


def of_counts(seen: Tensor, hidden: Tensor, y: Tensor, learned: Tensor, num_tokens: int) -> dict[str, Tensor]:
    """-log p (H,) of the words of y (N, T) that are hidden, by counts in `learned` (M, T)."""
    truth = y[hidden] - len(SPECIAL)
    pairs = pair_counts(learned, num_tokens)
    frequency = pairs.sum(0)[len(SPECIAL) :] + 1  # so that none is 0
    frequency = frequency / frequency.sum()
    around = F.pad(seen, (1, 1), value=PAD)
    left = discounted(pairs, frequency)[around[:, :-2][hidden]]
    right = discounted(pairs.T, frequency)[around[:, 2:][hidden]]
    both = left * right / frequency
    given = {
        "frequency": frequency.expand_as(left),
        "left": left,
        "right": right,
        "neighbours": both / both.sum(1, keepdim=True),
    }
    return {name: -p.gather(1, truth[:, None])[:, 0].log() for name, p in given.items()}


def pair_counts(y: Tensor, num_tokens: int) -> Tensor:
    """How often one token (row) stands before another (column) in sentences (M, T), padding at both ends, (V, V)."""
    around = F.pad(y, (1, 1), value=PAD)
    pairs = around[:, :-1] * num_tokens + around[:, 1:]
    counts = torch.bincount(pairs.flatten(), minlength=num_tokens**2).view(num_tokens, num_tokens).float()
    counts[PAD, PAD] = 0
    return counts


def discounted(pairs: Tensor, frequency: Tensor) -> Tensor:
    """p(word | neighbour) (V, W) of counts (V, V), rows by neighbour; of the W ordinary words, which come last.

        p(w | v) = max(n_vw - d, 0) / n_v + d |{w: n_vw > 0}| / n_v p(w),    d = n_1 / (n_1 + 2 n_2)

    n_1, n_2: how many pairs stand once, and twice. Of a neighbour never seen, p is the frequency. Source: Ney, Essen
    and Kneser 1994 (absolute discounting).
    """
    n = pairs[:, -len(frequency) :]
    once, twice = (n == 1).sum(), (n == 2).sum()
    d = once / (once + 2 * twice).clamp(min=1)
    total = n.sum(1, keepdim=True)
    left_over = d * (n > 0).sum(1, keepdim=True) * frequency
    return torch.where(total > 0, ((n - d).clamp(min=0) + left_over) / total.clamp(min=1), frequency)


def by_frequency(nats: Mapping[str, Tensor], truth: Tensor) -> NDArray:
    """Mean nats of hidden words (H,) by the rank of what stood there."""
    from matplotlib.figure import Figure

    rank = truth - len(SPECIAL)
    shown = ("frequency", "masked", "shuffled", "neighbours")
    figure = Figure(figsize=(7, 3), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    spans = list(itertools.pairwise(RANKS))
    for k, name in enumerate(shown):
        means = [float(nats[name][(rank >= low) & (rank < high)].mean()) for low, high in spans]
        axes.bar([i + 0.2 * (k - 1.5) for i in range(len(spans))], means, 0.2, label=name)
    axes.set_xticks(range(len(spans)), [f"{low + 1} to {high}" for low, high in spans])
    axes.set(xlabel="rank of the hidden word by frequency", ylabel="nats")
    axes.legend(frameon=False)
    return pixels(figure)


EXPERIMENT = Experiment(
    "cloze",
    "Does a masked language model use the words around a hidden one, and their order?",
    run,
    (
        Claim("masked/nats", "below", "frequency/nats"),
        Claim("masked/nats", "below", "alone/nats"),
        Claim("masked/nats", "below", "shuffled/nats"),
        Claim("masked/nats", "below", "left/nats"),
        Claim("masked/nats", "below", "right/nats"),
    ),
)
