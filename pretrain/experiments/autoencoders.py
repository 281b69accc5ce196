"""Auto-encoders of digits: what their energies tell from noise, and what their codes know.

Of held-out MNIST:
- `error`: squared error of the reconstruction, per pixel; `denoised`: of a noisy digit's, to the clean one.
- `ranked`: the probability that a digit has a lower energy than one whose pixels were shuffled; `ranked_halves`: than
  the upper half of one digit above the lower half of another.
- `contrast`: the mean energy of digits with Gaussian noise of deviation 0.3 over that of clean ones.
- `probe`: accuracy of a linear classifier of the code with 100 labels, the mean over five draws of them.
- `vq/perplexity`: of the codes where there is ink; most of the rest is black, and has one code.

Controls: PCA of 32 components, the raw pixels, a random encoder, and `plain`, the networks of `denoising` with nothing
but reconstruction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pretrain.autoencoders import (
    VAE,
    VQVAE,
    AutoEncoder,
    ContractingAutoEncoder,
    ContractingConfig,
    DenoisingAutoEncoder,
    DenoisingConfig,
    SaturatingAutoEncoder,
    SaturatingConfig,
    SparseAutoEncoder,
    SparseConfig,
    TiedDecoder,
    VAEConfig,
    VQConfig,
)
from pretrain.bounded import PCA, PCAConfig
from pretrain.data import Labelled, mnist
from pretrain.experiments.figures import pixels, rows_of_images
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.training import few_of_each, probe, train
from pretrain.networks import mlp

NUM_PIXELS = 784
NUM_UNITS = 256
NUM_CODES = 64  # of the VQ-VAE's dictionary
NOISE = 0.3
REGULARISED = ("denoising", "sparse", "contracting", "saturating", "vae", "vq")
LABELS_PER_DIGIT, NUM_DRAWS = 10, 5

OfRows = Callable[[Tensor], Tensor]


class Method(NamedTuple):
    """A code, a reconstruction and an energy, of rows (N, 784)."""

    encode: OfRows
    reconstruct: OfRows
    energy: OfRows


def run(seed: int, quick: bool) -> Outcome:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rng = torch.Generator().manual_seed(seed)
        labelled, held_out = mnist("train"), mnist("test")
        y, test = labelled.images.flatten(1), held_out.images.flatten(1)
        pca = PCA(PCAConfig(dim=NUM_PIXELS, num_components=32))
        pca.fit(y)
        methods = {"pca": Method(pca.encode, lambda y: pca.decode(pca.encode(y)), pca.energy)}
        vae, vq, others = variational(), quantised(), regularised()
        for learner in (vae, vq, *others.values()):
            train(learner, y, rng, num_steps=5 if quick else 1500, batch=64, rate=2e-3)
        methods |= {name: Method(one.encode, one.reconstruct, one.energy) for name, one in others.items()}
        methods["vq"] = Method(lambda y: vq.encode(y).flatten(1), vq.reconstruct, vq.energy)
        methods["vae"] = Method(
            lambda y: vae.posterior(y).mean,
            lambda y: torch.sigmoid(vae.decoder(vae.posterior(y).mean)),
            vae.energy,
        )
        with torch.no_grad():
            noisy = test + NOISE * torch.randn(test.shape, generator=rng)
            numbers = of_energies(methods, test, noisy, rng) | of_codes(methods, labelled, held_out, rng)
            chosen = vq.quantise(test).chosen
            has_ink = F.max_pool2d(held_out.images, 4)[:, 0] > 0
            numbers["vq/perplexity"] = float(vq.codebook.perplexity(chosen[has_ink]))
            numbers["vae/bound"] = float(vae.bound(test, rng, 5).mean())
            numbers["vae/importance_weighted"] = float(
                vae.importance_weighted(test, rng, 5 if quick else 100).mean()
            )
            first = torch.stack([torch.nonzero(held_out.labels == digit)[0, 0] for digit in range(10)])
            return Outcome(
                numbers,
                {
                    "reconstructions": reconstructions(methods, test[first], noisy[first]),
                    "vq_codes": code_usage(chosen, has_ink, held_out.labels),
                },
            )


def regularised() -> dict[str, AutoEncoder]:
    """Of one layer each way."""

    def rectified() -> nn.Module:
        return nn.Sequential(nn.Linear(NUM_PIXELS, NUM_UNITS), nn.ReLU())

    def linear() -> nn.Linear:
        return nn.Linear(NUM_UNITS, NUM_PIXELS)

    layer = nn.Linear(NUM_PIXELS, NUM_UNITS // 4)  # a Jacobian of 64 rows is quickly had
    return {
        "plain": AutoEncoder(rectified(), linear()),
        "denoising": DenoisingAutoEncoder(rectified(), linear(), DenoisingConfig(noise=NOISE)),
        "sparse": SparseAutoEncoder(SparseConfig(dim=NUM_PIXELS, num_units=NUM_UNITS, sparsity=0.3)),
        "contracting": ContractingAutoEncoder(
            nn.Sequential(layer, nn.Sigmoid()), TiedDecoder(layer), ContractingConfig(contraction=0.3)
        ),
        "saturating": SaturatingAutoEncoder(
            nn.Linear(NUM_PIXELS, NUM_UNITS), linear(), SaturatingConfig(saturation=0.3)
        ),
    }


def variational() -> VAE:
    """16 codes, grey values as probabilities."""
    return VAE(
        mlp([NUM_PIXELS, NUM_UNITS, 32], "relu"),
        mlp([16, NUM_UNITS, NUM_PIXELS], "relu"),
        VAEConfig(likelihood="bernoulli"),
    )


def quantised() -> VQVAE:
    """7 x 7 codes of 8 numbers."""
    config = VQConfig(num_codes=NUM_CODES, dim=8, dead=1.0)
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
        nn.Conv2d(32, config.dim, 1),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.ConvTranspose2d(config.dim, 16, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1),
        nn.Flatten(),
    )
    return VQVAE(encoder, decoder, config)


def of_energies(
    methods: dict[str, Method], test: Tensor, noisy: Tensor, rng: torch.Generator
) -> dict[str, float]:
    shuffled = test.gather(1, torch.rand(test.shape, generator=rng).argsort(1))
    half = NUM_PIXELS // 2
    halves = torch.cat([test[:, :half], test[torch.randperm(len(test), generator=rng), half:]], 1)
    numbers = {}
    for name, method in methods.items():
        energy = method.energy(test)
        numbers[f"{name}/error"] = float((method.reconstruct(test) - test).square().mean())
        numbers[f"{name}/denoised"] = float((method.reconstruct(noisy) - test).square().mean())
        numbers[f"{name}/contrast"] = float(method.energy(noisy.clamp(0, 1)).mean() / energy.mean())
        for others, contrast in (("ranked", shuffled), ("ranked_halves", halves)):
            numbers[f"{name}/{others}"] = float((energy[:, None] < method.energy(contrast)).float().mean())
    return numbers


def of_codes(
    methods: dict[str, Method], labelled: Labelled, held_out: Labelled, rng: torch.Generator
) -> dict[str, float]:
    draws = [few_of_each(labelled.labels, LABELS_PER_DIGIT, rng) for _ in range(NUM_DRAWS)]
    encoders: dict[str, OfRows] = {name: method.encode for name, method in methods.items()}
    encoders["pixels"] = lambda y: y
    encoders["random"] = nn.Sequential(nn.Linear(NUM_PIXELS, NUM_UNITS), nn.ReLU())
    rows, held_out_rows = (Labelled(of.images.flatten(1), of.labels) for of in (labelled, held_out))
    return {f"{name}/probe": probe(encode, rows, held_out_rows, draws) for name, encode in encoders.items()}


def reconstructions(methods: dict[str, Method], clean: Tensor, noisy: Tensor) -> NDArray:
    """A row for each method: digits, their reconstructions, and the same of noisy ones."""
    given = torch.cat([clean, noisy])
    rows = {"given": given} | {name: method.reconstruct(given) for name, method in methods.items()}
    return rows_of_images({name: row.view(-1, 28, 28) for name, row in rows.items()}, inches=11)


def code_usage(chosen: Tensor, has_ink: Tensor, labels: Tensor) -> NDArray:
    """How often each digit uses each code where it has ink, codes by frequency."""
    from matplotlib.figure import Figure

    counts = torch.stack(
        [
            torch.bincount(chosen[labels == digit][has_ink[labels == digit]], minlength=NUM_CODES)
            for digit in range(10)
        ]
    )
    order = counts.sum(0).argsort(descending=True)
    figure = Figure(figsize=(9, 2.6), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    share = counts[:, order] / counts.sum(1, keepdim=True)
    image = axes.imshow(share.numpy(), cmap="magma", aspect="auto")
    axes.set(xlabel="code, most used first", ylabel="digit", yticks=range(10))
    figure.colorbar(image, label="share of places")
    return pixels(figure)


EXPERIMENT = Experiment(
    "autoencoders",
    "Do regularised auto-encoders tell digits from noise, and do their codes know digits?",
    run,
    (
        *(Claim(f"{name}/ranked", "above", 0.99) for name in REGULARISED),
        Claim("denoising/denoised", "below", "plain/denoised", 0.8),
        Claim("denoising/denoised", "below", "pca/denoised"),
        Claim("vae/importance_weighted", "below", "vae/bound"),
        Claim("vq/perplexity", "above", 0.5 * NUM_CODES),
        *(Claim(f"{name}/probe", "above", "random/probe") for name in REGULARISED),
        Claim("sparse/probe", "above", "pca/probe"),
    ),
)
