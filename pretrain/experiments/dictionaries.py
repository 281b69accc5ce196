"""Which atoms do the ways of sparse coding learn, and do they fit patches of other images better than PCA's?

Dictionaries are compared by the free energy of sparse coding of held-out patches, min over z of
1/2 ||y - W z||^2 + alpha |z|_1, whatever they were trained for. Controls: random atoms and samples, as many; PCA's, as
many as there are inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.data import HELD_OUT_IMAGES, natural_patches
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.patches import sparse_dictionary, tiled
from pretrain.experiments.training import train
from pretrain.sparse.adaptive import sparse_codes
from pretrain.sparse.convolutional import ConvolutionalPSD, ShrinkEncoder, convolutional_lasso
from pretrain.sparse.energy import energy, random_dictionary, unit_norm
from pretrain.sparse.fista import fista
from pretrain.sparse.groups import group_energy, group_lasso
from pretrain.sparse.learning import DictionaryLearner
from pretrain.sparse.psd import PSD, PSDConfig, TanhEncoder

SIZE, ATOMS, ALPHA, POOL = 12, 192, 0.5, 4
FILTERS, FILTER, IMAGE = 16, 9, 24


def run(seed: int, quick: bool) -> Outcome:
    rng = torch.Generator().manual_seed(seed)
    steps = 5 if quick else 400
    y = natural_patches(500 if quick else 20_000, SIZE, rng)
    test = natural_patches(100 if quick else 1000, SIZE, rng, HELD_OUT_IMAGES)
    random = random_dictionary(SIZE**2, ATOMS, rng)
    start = y[torch.randint(len(y), (ATOMS,), generator=rng)].T

    psd = PSD(start, TanhEncoder(unit_norm(start)), PSDConfig(alpha=ALPHA, beta=0.5, steps=20))
    train(psd, y, rng, num_steps=steps, batch=256, rate=0.01)
    group = DictionaryLearner(
        start,
        lambda y, w: fista(group_lasso(y, w, 2 * ALPHA, POOL), 25),
        lambda y, z, w: group_energy(y, z, w, 2 * ALPHA, POOL),
    )
    train(group, y, rng, num_steps=steps, batch=256, rate=0.02)
    dictionaries = {
        "sparse coding": sparse_dictionary(y, ATOMS, ALPHA, steps, rng).dictionary.detach(),
        "PSD": psd.dictionary.detach(),
        "group sparse": group.dictionary.detach(),
        "samples": unit_norm(start),
        "random": random,
        "PCA": torch.linalg.svd(y, full_matrices=False).Vh.T,
    }
    numbers = {name: free_energy(test, w) for name, w in dictionaries.items()}
    pictures = {
        f"atoms_{name.replace(' ', '_')}": tiled(
            (w if name == "group sparse" else by_use(w, test)).T.unflatten(1, (SIZE, SIZE)), 16
        )
        for name, w in dictionaries.items()
    }
    filters = convolutional(numbers, rng, quick)
    pictures["atoms_convolutional"] = tiled(filters[:, 0], 8, zoom=8)
    return Outcome(numbers, pictures)


def free_energy(y: Tensor, dictionary: Tensor) -> float:
    """The mean over samples of min over z of E(y, z)."""
    return float(energy(y, sparse_codes(y, dictionary, ALPHA), dictionary, ALPHA).mean())


def by_use(dictionary: Tensor, y: Tensor) -> Tensor:
    """The atoms, the most used first."""
    return dictionary[:, sparse_codes(y, dictionary, ALPHA).abs().sum(0).argsort(descending=True)]


def convolutional(numbers: dict[str, float], rng: torch.Generator, quick: bool) -> Tensor:
    """Filters learned by convolutional PSD; adds free energies per pixel of theirs and of random ones."""
    y = natural_patches(64 if quick else 3000, IMAGE, rng).view(-1, 1, IMAGE, IMAGE)
    test = natural_patches(16 if quick else 200, IMAGE, rng, HELD_OUT_IMAGES).view(-1, 1, IMAGE, IMAGE)
    start = unit_norm(torch.randn(FILTERS, 1, FILTER, FILTER, generator=rng))
    learner = ConvolutionalPSD(start, ShrinkEncoder(start, 0.1), PSDConfig(alpha=1.0, beta=0.5, steps=15))
    train(learner, y, rng, num_steps=3 if quick else 500, batch=16, rate=0.02)
    filters = learner.dictionary.detach()
    for name, one in (("convolutional PSD", filters), ("random filters", start)):
        problem = convolutional_lasso(test, one, ALPHA)
        numbers[name] = float(problem.energy(fista(problem, 30 if quick else 100)).mean()) / IMAGE**2
    return filters


EXPERIMENT = Experiment(
    "dictionaries",
    "Do learned atoms fit patches of other images better than PCA's or random ones?",
    run,
    (
        *(
            Claim(name, "below", control)
            for name in ("sparse coding", "PSD", "group sparse")
            for control in ("random", "samples", "PCA")
        ),
        Claim("convolutional PSD", "below", "random filters", 0.9),
    ),
)
