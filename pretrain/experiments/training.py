"""What experiments on small data share: a loop over random batches, and the probe of a representation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pretrain.data import Labelled
from pretrain.learner import Learner, step


def train(
    learner: Learner,
    y: Tensor,
    generator: torch.Generator,
    *,
    num_steps: int,
    batch: int = 128,
    rate: float = 1e-3,
    augment: Callable[[Tensor, torch.Generator], Tensor] = lambda y, generator: y,
) -> float:
    """Adam on random batches of samples y (N, ...), its rate falling to 0 as a cosine; the last batch's loss.

    The learner is left in evaluation mode.
    """
    optimiser = torch.optim.Adam(learner.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, num_steps)
    learner.train()
    loss = float("nan")
    for _ in range(num_steps):
        samples = y[torch.randint(len(y), (batch,), generator=generator)]
        loss = step(learner, optimiser, augment(samples, generator), generator)["loss"]
        schedule.step()
    learner.eval()
    return loss


def probe(
    encode: Callable[[Tensor], Tensor], labelled: Labelled, held_out: Labelled, draws: Sequence[Tensor]
) -> float:
    """Accuracy of a linear classifier of a code (N, K) that learns from few labels, the mean over draws of them.

    Codes are centred, and scaled as a whole, by all images to learn from, which takes no labels. Scaled one by one, the
    directions of a code that hardly vary would count as much as the others: PCA loses .05 by it. The classifier's
    regularisation is chosen by five-fold cross-validation of its labels.

    Args:
        draws: of indices into `labelled`, see `few_of_each`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    y, test = encode(labelled.images), encode(held_out.images)
    mean = y.mean(0)
    scale = (y - mean).square().mean().sqrt()
    y, test = (y - mean) / scale, (test - mean) / scale
    scores = []
    for few in draws:
        search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": 10.0 ** np.arange(-4, 3)}, cv=5)
        search.fit(y[few].numpy(), labelled.labels[few].numpy())
        scores.append(search.score(test.numpy(), held_out.labels.numpy()))
    return float(np.mean(scores))


def few_of_each(labels: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Indices of `num` samples of every class of labels (N,), drawn."""
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == label][:num] for label in labels.unique()])
