"""What experiments on small data share: a loop over random batches, and the probe of a representation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

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


def probe(train_y: Tensor, train_labels: Tensor, test_y: Tensor, test_labels: Tensor) -> float:
    """Accuracy of a linear classifier of features (N, K), standardised by those it learns from.

    Its regularisation is chosen by five-fold cross-validation of the training labels.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    mean, std = train_y.mean(0), train_y.std(0).clamp(min=1e-3 * float(train_y.std()) + 1e-12)
    search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": 10.0 ** np.arange(-4, 2)}, cv=5)
    search.fit(((train_y - mean) / std).numpy(), train_labels.numpy())
    return float(search.score(((test_y - mean) / std).numpy(), test_labels.numpy()))


def few_of_each(labels: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Indices of `num` samples of every class of labels (N,), drawn."""
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == label][:num] for label in labels.unique()])
