"""Conditional VAE: does it know what may stand below the upper half of a digit?

Of held-out MNIST, the lower half (14 x 28, D = 392) given the upper, grey values as probabilities:
- `nats`: -log p(lower | upper), by the importance-weighted bound where there is a latent variable.
- `best_of_10`: squared error, per pixel, of the nearest of ten predictions; `mean`: of their mean.
- `grey`: the mean of p (1 - p) over that of the true halves: 1 is as sharp as digits are, more is blurred.

Controls: `regressor`, the prior's and the decoder's networks without noise; `shuffled`, the conditional VAE given the
upper halves of other digits; `unconditional`, a VAE of lower halves alone; `neighbours`, the lower halves of the ten
digits to learn from whose upper halves are nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pretrain.autoencoders import VAE, ConditionalVAE, VAEConfig
from pretrain.data import mnist
from pretrain.experiments.figures import rows_of_images
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.training import train
from pretrain.learner import Learner, Terms
from pretrain.networks import mlp

NUM_PIXELS, NUM_GIVEN = 784, 392
NUM_UNITS, NUM_CODES = 256, 16
NUM_SAMPLES = 10
BERNOULLI = VAEConfig(likelihood="bernoulli")


class Regressor(Learner):
    """One answer y to each x: a code of x, and what the decoder makes of both."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def logits(self, x: Tensor) -> Tensor:
        """(N, D - X) of x (N, X)."""
        return self.decoder(torch.cat([x, self.encoder(x)], 1))

    def nats(self, rows: Tensor) -> Tensor:
        """-log p(y | x) (N,) of rows (x, y) (N, D)."""
        x, y = halves(rows)
        return F.binary_cross_entropy_with_logits(self.logits(x), y, reduction="none").sum(1)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {"nats": self.nats(y)}


def run(seed: int, quick: bool) -> Outcome:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rng = torch.Generator().manual_seed(seed)
        y, test = (mnist(part).images.flatten(1) for part in ("train", "test"))
        conditional, regressor, unconditional = learners()
        num_steps = 5 if quick else 1000
        for learner, rows in ((conditional, y), (regressor, y), (unconditional, halves(y)[1])):
            train(learner, rows, rng, num_steps=num_steps, batch=64, rate=2e-3)
        upper, lower = halves(test)
        others = upper[torch.randperm(len(upper), generator=rng)]
        num_draws = 2 if quick else 50
        with torch.no_grad():
            given_others = torch.cat([others, lower], 1)
            numbers = {
                "conditional/nats": conditional.importance_weighted(test, rng, num_draws),
                "shuffled/nats": conditional.importance_weighted(given_others, rng, num_draws),
                "unconditional/nats": unconditional.importance_weighted(lower, rng, num_draws),
                "regressor/nats": regressor.nats(test),
            }
            predictions = {
                "conditional": several(lambda: conditional.sample(upper, rng)),
                "shuffled": several(lambda: conditional.sample(others, rng)),
                "unconditional": several(
                    lambda: unconditional.decoder(torch.randn(len(lower), NUM_CODES, generator=rng))
                ),
                "regressor": regressor.logits(upper).sigmoid()[None],
                "neighbours": of_neighbours(upper, y),
            }
        for name, predicted in predictions.items():
            numbers |= {f"{name}/{key}": value for key, value in judged(predicted, lower).items()}
        return Outcome(
            {name: float(value.mean()) for name, value in numbers.items()},
            {"halves": picture(test, predictions)},
        )


def halves(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower half (N, 392) of digits (N, 784)."""
    return rows[:, :NUM_GIVEN], rows[:, NUM_GIVEN:]


def learners() -> tuple[ConditionalVAE, Regressor, VAE]:
    """Of the same networks, but for what goes into them and comes out."""
    d, k = NUM_PIXELS - NUM_GIVEN, NUM_CODES
    return (
        ConditionalVAE(
            mlp([NUM_PIXELS, NUM_UNITS, 2 * k], "relu"),
            mlp([NUM_GIVEN, NUM_UNITS, 2 * k], "relu"),
            mlp([NUM_GIVEN + k, NUM_UNITS, d], "relu"),
            NUM_GIVEN,
            BERNOULLI,
        ),
        Regressor(
            mlp([NUM_GIVEN, NUM_UNITS, k], "relu"),
            mlp([NUM_GIVEN + k, NUM_UNITS, d], "relu"),
        ),
        VAE(mlp([d, NUM_UNITS, 2 * k], "relu"), mlp([k, NUM_UNITS, d], "relu"), BERNOULLI),
    )


def several(draw: Callable[[], Tensor]) -> Tensor:
    """Probabilities (K, N, D) of K draws of logits (N, D)."""
    return torch.stack([draw() for _ in range(NUM_SAMPLES)]).sigmoid()


def of_neighbours(upper: Tensor, learned: Tensor) -> Tensor:
    """Lower halves (K, N, D) of the K digits of `learned` (M, 2 D) whose upper halves are nearest, nearest first."""
    given, lower = halves(learned)
    return lower[torch.cdist(upper, given).topk(NUM_SAMPLES, largest=False).indices].movedim(1, 0)


def judged(predicted: Tensor, lower: Tensor) -> dict[str, Tensor]:
    """Errors of predictions (K, N, D) of lower halves (N, D), each (N,), and how grey they are."""
    errors = (predicted - lower).square().mean(2)
    return {
        "mean": (predicted.mean(0) - lower).square().mean(1),
        f"best_of_{NUM_SAMPLES}": errors.min(0).values,
        "grey": (predicted * (1 - predicted)).mean() / (lower * (1 - lower)).mean(),
    }


def picture(test: Tensor, predictions: Mapping[str, Tensor], num: int = 12) -> NDArray:
    """Digits whose neighbours' lower halves differ most, and what is predicted below their upper halves."""
    upper, lower = halves(test)
    shown = predictions["neighbours"].var(0).sum(1).topk(num).indices
    below = {"given": torch.full_like(lower, 0.3), "true": lower, "regressor": predictions["regressor"][0]}
    below |= {f"sample {k + 1}": predictions["conditional"][k] for k in range(4)}
    below |= {f"neighbour {k + 1}": predictions["neighbours"][k] for k in range(2)}
    return rows_of_images(
        {name: torch.cat([upper, row], 1)[shown].view(num, 28, 28) for name, row in below.items()}, inches=8
    )


EXPERIMENT = Experiment(
    "conditional",
    "Does a conditional VAE know what may stand below the upper half of a digit?",
    run,
    (
        Claim("conditional/nats", "below", "regressor/nats"),
        Claim("conditional/nats", "below", "unconditional/nats"),
        Claim("conditional/nats", "below", "shuffled/nats"),
        Claim("conditional/best_of_10", "below", "unconditional/best_of_10"),
        Claim("conditional/best_of_10", "below", "neighbours/best_of_10"),
        Claim("conditional/grey", "below", "regressor/grey"),
    ),
)
