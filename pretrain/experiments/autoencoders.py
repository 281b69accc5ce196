"""Auto-encoders of digits: what each regulariser does that reconstruction alone does not.

Of held-out MNIST:
- `error`: squared error of the reconstruction, per pixel; `denoised`: of a noisy digit's, to the clean one.
- `ranked_halves`: the probability that a digit has a lower energy than the upper half of one above the lower half of
  another.
- `active`: share of units that are not 0; `flat`: share of units where a change of their input changes nothing.
- `across`: how much the code changes across the data, in units of how much along them, see `across_to_along`.
- `probe`: accuracy of a linear classifier of the code with 100 labels, the mean over five draws of them.
- `vq/perplexity`: of the codes where there is ink; most of the rest is black, and has one code.
- `vae/importance_weighted`: -log p in nats, grey values as probabilities, by the bound of that name.

Controls: PCA of 32 components, the raw pixels, and the same networks with nothing but reconstruction: `plain` of
`denoising` and `sparse`, `plain_sigmoid` of `contracting`, `plain_clamped` of `saturating`, `plain_narrow` of the VAE.
K-means of patches (`patch_means`) has as many codes as VQ-VAE, at as many places. `mixture` is a density as the VAE is:
K-means of digits, whose pixels are on with the probability of the mean.
"""

from __future__ import annotations

import functools
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
    sigmoid_jacobian_norm,
)
from pretrain.autoencoders.masked_images import patches_of
from pretrain.bounded import PCA, KMeans, KMeansConfig, PCAConfig
from pretrain.data import Labelled, mnist
from pretrain.experiments import planes
from pretrain.experiments.figures import pixels, rows_of_images
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.training import few_of_each, probe, train
from pretrain.networks import mlp

NUM_PIXELS = 784
NUM_UNITS = 256
NUM_LATENT = 16  # of the VAE's code
NUM_CODES = 64  # of the VQ-VAE's dictionary
NOISE = 0.5
NUM_NEIGHBOURS = 10  # of a digit, that span the directions along the data
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
        vae, vq, others = variational(), quantised(), plain_and_regularised()
        for learner in (vae, vq, *others.values()):
            num_steps = 5 if quick else 2000 if learner is vq else 1000  # its codes are found slowly
            train(learner, y, rng, num_steps=num_steps, batch=64, rate=2e-3)
        methods |= {name: Method(one.encode, one.reconstruct, one.energy) for name, one in others.items()}
        methods["vae"] = Method(
            lambda y: vae.posterior(y).mean,
            lambda y: torch.sigmoid(vae.decoder(vae.posterior(y).mean)),
            vae.energy,
        )
        methods["vq"] = Method(lambda y: vq.encode(y).flatten(1), vq.reconstruct, vq.energy)
        with torch.no_grad():
            noisy = test + NOISE * torch.randn(test.shape, generator=rng)
            numbers = of_energies(methods, test, noisy, rng) | of_codes(methods, labelled, held_out, rng)
            for name in ("pca", "plain", "denoising", "plain_sigmoid", "contracting"):
                few = test[: 5 if quick else 100]
                numbers[f"{name}/across"] = across_to_along(methods[name].encode, few, y)
            chosen = vq.quantise(test).chosen
            has_ink = F.max_pool2d(held_out.images, 4)[:, 0] > 0
            numbers["vq/perplexity"] = float(vq.codebook.perplexity(chosen[has_ink]))
            numbers["patch_means/error"] = error_of_patch_means(labelled, held_out, rng, quick)
            numbers["vae/importance_weighted"] = float(
                vae.importance_weighted(test, rng, 5 if quick else 50).mean()
            )
            numbers["mixture/nats"] = nats_of_mixture(y, test, rng)
            first = torch.stack([torch.nonzero(held_out.labels == digit)[0, 0] for digit in range(10)])
            return Outcome(
                numbers,
                {
                    "reconstructions": reconstructions(methods, test[first], noisy[first]),
                    "vq_codes": code_usage(chosen, has_ink, held_out.labels),
                },
            )


def plain_and_regularised() -> dict[str, AutoEncoder]:
    """Of one layer each way, but `plain_narrow`."""

    def layer() -> nn.Linear:
        return nn.Linear(NUM_PIXELS, NUM_UNITS)

    def back() -> nn.Linear:
        return nn.Linear(NUM_UNITS, NUM_PIXELS)

    tied, contracted = layer(), layer()
    return {
        "plain": AutoEncoder(nn.Sequential(layer(), nn.ReLU()), back()),
        "denoising": DenoisingAutoEncoder(
            nn.Sequential(layer(), nn.ReLU()), back(), DenoisingConfig(noise=NOISE)
        ),
        "sparse": SparseAutoEncoder(SparseConfig(dim=NUM_PIXELS, num_units=NUM_UNITS, sparsity=0.6)),
        "plain_sigmoid": AutoEncoder(nn.Sequential(tied, nn.Sigmoid()), TiedDecoder(tied)),
        "contracting": ContractingAutoEncoder(
            nn.Sequential(contracted, nn.Sigmoid()),
            TiedDecoder(contracted),
            ContractingConfig(contraction=5.0),
            functools.partial(sigmoid_jacobian_norm, contracted),
        ),
        "plain_clamped": AutoEncoder(nn.Sequential(layer(), nn.Hardtanh(0, 1)), back()),
        "saturating": SaturatingAutoEncoder(layer(), back(), SaturatingConfig(saturation=0.3)),
        "plain_narrow": AutoEncoder(
            mlp([NUM_PIXELS, NUM_UNITS, NUM_LATENT], "relu"),
            nn.Sequential(mlp([NUM_LATENT, NUM_UNITS, NUM_PIXELS], "relu"), nn.Sigmoid()),
        ),
    }


def variational() -> VAE:
    """Grey values as probabilities."""
    return VAE(
        mlp([NUM_PIXELS, NUM_UNITS, 2 * NUM_LATENT], "relu"),
        mlp([NUM_LATENT, NUM_UNITS, NUM_PIXELS], "relu"),
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
    half = NUM_PIXELS // 2
    halves = torch.cat([test[:, :half], test[torch.randperm(len(test), generator=rng), half:]], 1)
    numbers = {}
    for name, method in methods.items():
        numbers[f"{name}/error"] = float((method.reconstruct(test) - test).square().mean())
        numbers[f"{name}/denoised"] = float((method.reconstruct(noisy) - test).square().mean())
        numbers[f"{name}/ranked_halves"] = planes.ranked_below(method.energy, test, halves)
    for name in ("plain", "denoising", "sparse"):
        numbers[f"{name}/active"] = float((methods[name].encode(test) > 0).float().mean())
    for name in ("plain_clamped", "saturating"):
        z = methods[name].encode(test)
        numbers[f"{name}/flat"] = float(((z == 0) | (z == 1)).float().mean())
    return numbers


def across_to_along(encode: OfRows, y: Tensor, learned: Tensor) -> float:
    """How much a code (N, K) changes in a direction across the data, in units of its change along them.

        (||J||_F^2 - ||J Q||_F^2) / (D - M)  /  (||J Q||_F^2 / M),    J = dz/dy,  the mean over digits

    Q: an orthonormal basis (D, M) of the differences of y (N, D) to its M nearest samples of `learned`. It is 1 of the
    identity. Source: Rifai et al. 2011 (what contracting is for: directions across the data only).
    """
    near = torch.cdist(y, learned).topk(NUM_NEIGHBOURS, largest=False).indices
    along = torch.linalg.qr((learned[near] - y[:, None]).mT).Q
    jacobians = [torch.func.jacrev(lambda one: encode(one[None])[0])(one) for one in y]
    ratios = []
    for jacobian, basis in zip(jacobians, along, strict=True):
        inside, total = (jacobian @ basis).square().sum(), jacobian.square().sum()
        ratios.append((total - inside) / (y.shape[1] - NUM_NEIGHBOURS) / (inside / NUM_NEIGHBOURS))
    return float(torch.stack(ratios).mean())


def error_of_patch_means(labelled: Labelled, held_out: Labelled, rng: torch.Generator, quick: bool) -> float:
    """Per pixel, of the nearest of as many codes as VQ-VAE's for each of 7 x 7 patches: what K-means makes of them."""
    patches, others = (patches_of(of.images, 4).flatten(0, 1) for of in (labelled, held_out))
    some = patches[torch.randperm(len(patches), generator=rng)[: 500 if quick else 20_000]]
    means = KMeans(KMeansConfig(dim=patches.shape[1], num_codes=NUM_CODES, num_restarts=1))
    means.fit(some, rng)
    return float(means.energy(others).mean()) / patches.shape[1]


def nats_of_mixture(y: Tensor, test: Tensor, rng: torch.Generator) -> float:
    """-log p of `test` (N, D), the mean, under a mixture of independent pixels: the clusters of K-means of y (M, D).

    Means are counted with half a pixel on and half a pixel off.
    """
    clusters = KMeans(KMeansConfig(dim=NUM_PIXELS, num_codes=NUM_CODES, num_restarts=1))
    clusters.fit(y, rng)
    counts = torch.bincount(clusters.assign(y), minlength=NUM_CODES)[:, None]
    on = (clusters.codes * counts + 0.5) / (counts + 1)
    each = test @ on.log().T + (1 - test) @ (1 - on).log().T + (counts[:, 0] / len(y)).log()
    return -float(torch.logsumexp(each, 1).mean())


def of_codes(
    methods: dict[str, Method], labelled: Labelled, held_out: Labelled, rng: torch.Generator
) -> dict[str, float]:
    draws = [few_of_each(labelled.labels, LABELS_PER_DIGIT, rng) for _ in range(NUM_DRAWS)]
    probed = methods.keys() - {"plain_clamped", "plain_narrow"}
    encoders: dict[str, OfRows] = {name: methods[name].encode for name in methods if name in probed}
    encoders["pixels"] = lambda y: y
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
    "What does each regulariser of auto-encoders do that reconstruction alone does not?",
    run,
    (
        Claim("denoising/denoised", "below", "plain/denoised", 0.8),
        Claim("denoising/denoised", "below", "pca/denoised"),
        Claim("contracting/across", "below", "plain_sigmoid/across", 0.6),
        Claim("contracting/across", "below", "pca/across"),
        Claim("sparse/active", "below", "plain/active", 0.5),
        Claim("sparse/error", "below", "pca/error"),
        Claim("saturating/flat", "above", "plain_clamped/flat", 1.3),
        *(
            Claim(f"{name}/ranked_halves", "above", f"{control}/ranked_halves")
            for name, plain in (
                ("denoising", "plain"),
                ("sparse", "plain"),
                ("saturating", "plain_clamped"),
            )
            for control in (plain, "pca")
        ),
        Claim("vae/importance_weighted", "below", "mixture/nats"),
        Claim("vq/perplexity", "above", 0.5 * NUM_CODES),
        Claim("vq/error", "below", "patch_means/error", 0.9),
        *(
            Claim(f"{name}/probe", "above", f"{control}/probe")
            for name, plain in (
                ("denoising", "plain"),
                ("sparse", "plain"),
                ("contracting", "plain_sigmoid"),
            )
            for control in ("pixels", "pca", plain)
        ),
    ),
)
