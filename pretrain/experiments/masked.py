"""Masked auto-encoder of digits: does predicting hidden patches teach what labels need?

4,000 MNIST digits without labels, 49 patches each, three quarters of them hidden; then 100 labels. Of 1,000 held-out
digits, `probe` is the accuracy of a linear classifier of all tokens, a mean over five draws of the labels, `tuned` that
of the whole network trained on the labels of the first draw, by the same steps, from the pre-trained weights or
from scratch. Digits are shifted by up to 2 pixels in all training. `energy` is the error of hidden patches,
`energy_of_mean` that of predicting every patch's mean.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pretrain.autoencoders import MaskedAutoEncoder, MaskedAutoEncoderConfig, PatchEncoder
from pretrain.autoencoders.masked_images import images_of, normalised, patches_of
from pretrain.bounded import PCA, PCAConfig
from pretrain.data import Labelled, mnist
from pretrain.experiments.figures import rows_of_images
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.training import few_of_each, probe, train

CONFIG = MaskedAutoEncoderConfig(height=28, width=28, patch=4)
LABELS_PER_DIGIT, NUM_DRAWS = 10, 5


def run(seed: int, quick: bool) -> Outcome:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rng = torch.Generator().manual_seed(seed)
        labelled, test = mnist("train"), mnist("test")
        draws = [few_of_each(labelled.labels, LABELS_PER_DIGIT, rng) for _ in range(NUM_DRAWS)]
        few = draws[0]
        labels = Labelled(labelled.images[few], labelled.labels[few])
        learner = MaskedAutoEncoder(CONFIG)
        untrained = copy.deepcopy(learner.encoder)
        train(learner, labelled.images, rng, num_steps=5 if quick else 2500, batch=64, augment=shifted)
        pca = PCA(PCAConfig(dim=784, num_components=CONFIG.encoder_width))
        pca.fit(labelled.images.flatten(1))
        features = {
            "masked": lambda images: learner.encoder(images).flatten(1),
            "random": lambda images: untrained(images).flatten(1),
            "pca": lambda images: pca.encode(images.flatten(1)),
            "pixels": lambda images: images.flatten(1),
        }
        numbers: dict[str, float] = {}
        with torch.no_grad():
            for name, encode in features.items():
                numbers[f"{name}/probe"] = probe(encode, labelled, test, draws)
            targets = normalised(patches_of(test.images, CONFIG.patch))
            numbers["masked/energy"] = float(learner.energy(test.images).mean())
            numbers["masked/energy_of_mean"] = float(targets.square().mean())
        num_steps = 3 if quick else 300
        for name, encoder in (("masked", learner.encoder), ("scratch", untrained)):
            numbers[f"{name}/tuned"] = tuned(copy.deepcopy(encoder), labels, test, rng, num_steps)
        return Outcome(numbers, {"predictions": predictions(learner, test.images[:8], rng)})


def tuned(
    encoder: PatchEncoder, labels: Labelled, test: Labelled, rng: torch.Generator, num_steps: int
) -> float:
    """Accuracy after training an encoder and a linear layer on a few labels."""
    head = nn.Linear(CONFIG.encoder_width, 10)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, num_steps)
    for _ in range(num_steps):
        drawn = torch.randint(len(labels.labels), (64,), generator=rng)
        logits = head(encoder(shifted(labels.images[drawn], rng)).mean(1))
        optimiser.zero_grad()
        F.cross_entropy(logits, labels.labels[drawn]).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return float((head(encoder(test.images).mean(1)).argmax(1) == test.labels).float().mean())


def shifted(images: Tensor, rng: torch.Generator) -> Tensor:
    """Images (N, 1, H, W), each moved by up to 2 pixels either way; what comes in is black."""
    num, _, height, width = images.shape
    top, left = torch.randint(0, 5, (2, num, 1), generator=rng)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    return F.pad(images, (2, 2, 2, 2))[
        torch.arange(num)[:, None, None], 0, rows[:, :, None], columns[:, None]
    ][:, None]


def predictions(learner: MaskedAutoEncoder, images: Tensor, rng: torch.Generator) -> NDArray:
    """Three rows: digits, what is visible, and what is predicted, at the mean and deviation of each true patch."""
    patches = patches_of(images, CONFIG.patch)
    visible = learner.draw(len(images), rng)[:, : CONFIG.num_visible]
    is_visible = torch.zeros(patches.shape[:2], dtype=torch.bool).scatter(1, visible, True)[..., None]
    with torch.no_grad():
        predicted = learner.predict(images, visible)
    mean, std = patches.mean(-1, keepdim=True), patches.std(-1, keepdim=True, correction=0)
    rows = {
        "given": patches,
        "visible": torch.where(is_visible, patches, 0.3),
        "predicted": torch.where(is_visible, patches, predicted * std + mean),
    }
    return rows_of_images(
        {name: images_of(row, CONFIG.patch, 28, 28)[:, 0] for name, row in rows.items()}, inches=9
    )


EXPERIMENT = Experiment(
    "masked",
    "Does predicting hidden patches of digits teach what 100 labels alone do not?",
    run,
    (
        Claim("masked/tuned", "above", "scratch/tuned", 1.1),
        Claim("masked/probe", "above", "random/probe"),
        Claim("masked/probe", "above", "pca/probe"),
        Claim("masked/energy", "below", "masked/energy_of_mean", 0.95),
    ),
)
