"""Are filters learned convolutionally better, and less redundant, than atoms of patches put at every place?

Atoms of patches must hold an edge at every offset within the patch; a filter that is put at every place need not.
Source: Kavukcuoglu, Sermanet, Boureau, Gregor, Mathieu and LeCun 2010 (NIPS); Zeiler et al. 2010 (CVPR).

Of images that were not learned from, with as many filters of the same size:
- `energy`: min over z of 1/2 ||y - sum_m d_m * z_m||^2 + alpha |z|_1, per pixel.
- `error`: ||y - sum_m d_m * z_m||^2 per pixel where a quarter of a code per pixel is not 0, for each at an alpha of
  its own (the nearest of ALPHAS where none of them comes to that).
- `copies`: the share of filters of which another one is nearly a shifted copy, see `nearest_copies`.
Controls: atoms learned by sparse coding of patches (`patches`), pieces of images with which both learned ones begin
(`pieces`), and random ones.

`gap of`, `steps from`: of codes under the filters of convolutional PSD, see `pretrain.experiments.prediction`. Its
encoder against the same one untrained, which is a step of ISTA from 0, and against zeros.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pretrain.data import HELD_OUT_IMAGES, natural_patches
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.patches import tiled
from pretrain.experiments.prediction import predictions
from pretrain.experiments.training import train
from pretrain.sparse.adaptive import sparse_codes
from pretrain.sparse.convolutional import (
    ConvolutionalPSD,
    ShrinkEncoder,
    convolutional_energy,
    convolutional_lasso,
    decode,
)
from pretrain.sparse.energy import energy, unit_norm
from pretrain.sparse.fista import fista
from pretrain.sparse.learning import DictionaryLearner
from pretrain.sparse.psd import PSDConfig

FILTERS, FILTER, IMAGE = 16, 9, 28
ALPHA = 0.5
ALPHAS = (0.35, 0.5, 0.7, 1.0, 1.4)  # tried for an equal share of codes that are not 0
SHARE = 0.25  # codes that are not 0, per pixel
COPY = 0.8
WANTED = 0.1  # gap
CONTROLS = ("patches", "pieces", "random")


def run(seed: int, quick: bool) -> Outcome:
    rng = torch.Generator().manual_seed(seed)
    steps, exact = (3, 60) if quick else (300, 100)
    y, test = images(64 if quick else 3000, rng), images(8 if quick else 48, rng, HELD_OUT_IMAGES)
    pieces = natural_patches(500 if quick else 20_000, FILTER, rng)
    start = pieces[torch.randint(len(pieces), (FILTERS,), generator=rng)].view(-1, 1, FILTER, FILTER)
    filters = {
        "convolutional": of_images(y, start, steps, rng),
        "patches": of_patches(pieces, start, steps, rng),
        "pieces": unit_norm(start),
        "random": unit_norm(torch.randn(start.shape, generator=rng)),
    }
    numbers: dict[str, float] = {}
    for name, d in filters.items():
        numbers |= {f"{key}, {name}": value for key, value in measured(test, d, exact).items()}
    numbers |= predicted(y, test, start, steps, exact, rng)
    pictures = {f"filters_{name}": tiled(d[:, 0], 8, zoom=6) for name, d in filters.items()}
    return Outcome(numbers, pictures | {"reconstructions": reconstructions(test[:8], filters, exact)})


def images(num: int, rng: torch.Generator, names: tuple[str, ...] | None = None) -> Tensor:
    """(N, 1, IMAGE, IMAGE), whitened."""
    y = natural_patches(num, IMAGE, rng) if names is None else natural_patches(num, IMAGE, rng, names)
    return y.view(-1, 1, IMAGE, IMAGE)


def of_images(y: Tensor, start: Tensor, steps: int, rng: torch.Generator) -> Tensor:
    """Filters (M, 1, h, w) by convolutional sparse coding of images y."""
    learner = DictionaryLearner(
        start,
        lambda y, d: fista(convolutional_lasso(y, d, ALPHA), 25),
        lambda y, z, d: convolutional_energy(y, z, d, ALPHA),
    )
    train(learner, y, rng, num_steps=steps, batch=16, rate=0.03)
    return learner.dictionary.detach()


def of_patches(pieces: Tensor, start: Tensor, steps: int, rng: torch.Generator) -> Tensor:
    """Filters (M, 1, h, w) by sparse coding of patches (N, h * w)."""
    learner = DictionaryLearner(
        start.flatten(1).T,
        lambda y, w: sparse_codes(y, w, ALPHA, tolerance=0.3, max_steps=40),
        lambda y, z, w: energy(y, z, w, ALPHA),
    )
    train(learner, pieces, rng, num_steps=steps, batch=256, rate=0.03)
    return learner.dictionary.detach().T.reshape(start.shape)


def measured(y: Tensor, filters: Tensor, steps: int) -> dict[str, float]:
    """`energy` at ALPHA, `error` at SHARE, `copies`."""
    shares, errors, least = [], [], 0.0
    for alpha in ALPHAS:
        z = fista(convolutional_lasso(y, filters, alpha), steps)
        shares.append(float((z != 0).sum()) / y.numel())
        errors.append(float((y - decode(z, filters)).square().mean()))
        if alpha == ALPHA:
            least = float(convolutional_energy(y, z, filters, alpha).mean()) / y[0].numel()
    return {
        "energy": least,
        "error": float(np.interp(SHARE, shares[::-1], errors[::-1])),
        "copies": float((nearest_copies(filters) > COPY).float().mean()),
    }


def nearest_copies(filters: Tensor) -> Tensor:
    """Of each filter (M, 1, h, w) of norm 1 the largest correlation with another one, shifted by less than half, (M,).

        max over m' != m and shifts s of  |sum_x d_m(x) d_m'(x + s)| / norms of what overlaps

    1 for a copy, or one of the opposite sign, however shifted: what a shift takes out of the frame is left out.
    """
    height, width = filters.shape[2:]
    pad = (height // 2, width // 2)
    shifted = F.conv2d(filters, filters, padding=pad).abs()  # (M, M', shifts)
    whole = torch.ones_like(filters[:1])
    power = F.conv2d(filters.square(), whole, padding=pad)  # of m where the other's frame lies
    norms = (power * power.flip(2, 3).transpose(0, 1)).clamp(min=1e-12).sqrt()
    largest = (shifted / norms).amax((2, 3))
    return largest.fill_diagonal_(0).amax(1)


def predicted(
    y: Tensor, test: Tensor, start: Tensor, steps: int, exact: int, rng: torch.Generator
) -> dict[str, float]:
    """Of codes of test images under the filters that convolutional PSD learns of y."""
    psd = ConvolutionalPSD(
        start, ShrinkEncoder(unit_norm(start) / 10, 0.05), PSDConfig(alpha=ALPHA, beta=1.0, steps=15)
    )
    train(psd, y, rng, num_steps=steps, batch=16, rate=0.01)
    filters = psd.dictionary.detach()
    problem = convolutional_lasso(test, filters, ALPHA)
    best = float(problem.energy(fista(problem, 4 * exact)).mean())
    untrained = ShrinkEncoder(filters / problem.lipschitz, ALPHA / problem.lipschitz)
    with torch.no_grad():
        codes = {"PSD": psd.encoder(test), "untrained": untrained(test), "zeros": problem.start}
    return predictions(problem, codes, best, WANTED)


def reconstructions(y: Tensor, filters: Mapping[str, Tensor], steps: int) -> NDArray[np.uint8]:
    """Images, and under them what their codes at ALPHA stand for, a row for each of the filters."""
    made = [decode(fista(convolutional_lasso(y, d, ALPHA), steps), d) for d in filters.values()]
    return tiled(torch.cat([y, *made])[:, 0], len(y), zoom=3)


EXPERIMENT = Experiment(
    "convolutional",
    "Are filters learned convolutionally better, and less redundant, than atoms of patches put at every place?",
    run,
    (
        *(
            Claim(f"{number}, convolutional", "below", f"{number}, {control}")
            for number in ("energy", "error")
            for control in CONTROLS
        ),
        Claim("copies, convolutional", "below", "copies, patches"),
        *(Claim("gap of PSD", "below", f"gap of {control}") for control in ("untrained", "zeros")),
        *(Claim("steps from PSD", "below", f"steps from {control}") for control in ("untrained", "zeros")),
    ),
)
