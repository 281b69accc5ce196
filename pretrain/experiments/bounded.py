"""Energies that are bounded by construction: what each can and cannot follow, in the plane and on natural images.

In the plane: the lecture's spiral and parabola, held out, against the same points with the second coordinate shuffled
among them; `ranked` is the probability that a point of data has the lower energy. On images: nats per dimension of
patches of images that were not learned from, after PCA to 24 dimensions of variance 1 (on the others). ICA: the Amari
distance to a known mixing. scikit-learn's own mixture and FastICA stand beside.

`off_sklearn` is how far the objective on the data is from scikit-learn's, as a share of it: K-means in the plane from
the same starts, PCA on images. `above_sklearn`: the mixture's held-out energy less scikit-learn's, in nats. Of trained
flows: `inverse_error` is the largest of |y - z^-1(z(y))| over what is held out, in float64; `mass` the integral of
exp(-E) over [-6, 6]^2, which must be `sampled_mass`, the share of the flow's own samples that lie there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.bounded import (
    ICA,
    PCA,
    GaussianMixture,
    GaussianMixtureConfig,
    ICAConfig,
    KMeans,
    KMeansConfig,
    PCAConfig,
    amari_distance,
)
from pretrain.data import HELD_OUT_IMAGES, natural_patches, parabola, spiral
from pretrain.experiments import planes
from pretrain.experiments.figures import pixels
from pretrain.experiments.oracles import (
    inverse_error,
    kmeans_off_sklearn,
    mass,
    pca_off_sklearn,
    sampled_mass,
)
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.training import train
from pretrain.flows import Flow, RealNVP, RealNVPConfig, SplineFlow, SplineFlowConfig

Energies = dict[str, Callable[[Tensor], Tensor]]
TOYS = {"spiral": spiral, "parabola": parabola}
NUM_CODES = 20  # of K-means and of the mixture in the plane
NUM_DIMENSIONS = 24  # of patches


def run(seed: int, quick: bool) -> Outcome:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rng = torch.Generator().manual_seed(seed)
        numbers: dict[str, float] = {}
        learned: dict[str, Energies] = {}
        for toy in TOYS:
            found, learned[toy] = in_the_plane(toy, rng, quick)
            numbers |= found
        numbers |= on_patches(rng, quick) | of_a_mixing(rng, quick)
        return Outcome(numbers, {"surfaces": surfaces(learned)})


def points(toy: str, num: int, rng: torch.Generator) -> Tensor:
    """(N, 2), of a size that flows like."""
    return 2 * TOYS[toy](num, rng, 0.02)


def in_the_plane(toy: str, rng: torch.Generator, quick: bool) -> tuple[dict[str, float], Energies]:
    from sklearn.mixture import GaussianMixture as TheirMixture

    y, held_out = points(toy, 2000, rng), points(toy, 1000, rng)
    shuffled = torch.stack([held_out[:, 0], held_out[torch.randperm(1000, generator=rng), 1]], 1)
    config = KMeansConfig(dim=2, num_codes=NUM_CODES)
    fitted: dict[str, PCA | KMeans | GaussianMixture | ICA] = {
        "pca": PCA(PCAConfig(dim=2, num_components=1)),
        "kmeans": KMeans(config),
        "gaussian": GaussianMixture(GaussianMixtureConfig(dim=2, num_components=1)),
        "mixture": GaussianMixture(GaussianMixtureConfig(dim=2, num_components=NUM_CODES)),
        "ica": ICA(ICAConfig(dim=2)),
    }
    flows: dict[str, Flow] = {
        "realnvp": RealNVP(RealNVPConfig(dim=2)),
        "spline": SplineFlow(SplineFlowConfig(dim=2)),
    }
    for method in fitted.values():
        method.fit(y, rng)
    for flow in flows.values():
        train(flow, y, rng, num_steps=5 if quick else 1000, batch=256, rate=5e-3)
    energies: Energies = {name: method.energy for name, method in [*fitted.items(), *flows.items()]}
    numbers = {f"{toy}/kmeans/off_sklearn": kmeans_off_sklearn(y, config, rng)}
    for name, flow in flows.items():
        numbers[f"{toy}/{name}/inverse_error"] = inverse_error(flow, held_out)
        numbers[f"{toy}/{name}/mass"] = mass(flow, side=100 if quick else 600)
        numbers[f"{toy}/{name}/sampled_mass"] = sampled_mass(flow, rng)
    for name, energy in energies.items():
        with torch.no_grad():
            low, high = energy(held_out), energy(shuffled)
        numbers[f"{toy}/{name}/energy"] = float(low.mean())
        numbers[f"{toy}/{name}/energy_shuffled"] = float(high.mean())
        numbers[f"{toy}/{name}/ranked"] = planes.ranked_below(energy, held_out, shuffled)
    mixture = TheirMixture(NUM_CODES, random_state=0).fit(y.numpy())
    theirs = -float(mixture.score(held_out.numpy()))
    numbers[f"{toy}/sklearn_mixture/energy"] = theirs
    numbers[f"{toy}/mixture/above_sklearn"] = numbers[f"{toy}/mixture/energy"] - theirs
    return numbers, energies


def on_patches(rng: torch.Generator, quick: bool) -> dict[str, float]:
    """Held-out nats per dimension."""
    num = 1000 if quick else 10_000
    y = natural_patches(num, 8, rng)
    held_out = natural_patches(2000, 8, rng, HELD_OUT_IMAGES)
    pca = PCA(PCAConfig(dim=64, num_components=NUM_DIMENSIONS))
    pca.fit(y)
    numbers = {"patches/pca/off_sklearn": pca_off_sklearn(pca, y)}
    y, held_out = (pca.whiten(part) for part in (y, held_out))
    fitted: dict[str, GaussianMixture | ICA] = {
        "gaussian": GaussianMixture(GaussianMixtureConfig(dim=NUM_DIMENSIONS, num_components=1)),
        "mixture": GaussianMixture(GaussianMixtureConfig(dim=NUM_DIMENSIONS, num_components=8, floor=1e-2)),
        "ica": ICA(ICAConfig(dim=NUM_DIMENSIONS)),
    }
    flows: dict[str, Flow] = {
        "realnvp": RealNVP(RealNVPConfig(dim=NUM_DIMENSIONS, num_layers=6)),
        "spline": SplineFlow(SplineFlowConfig(dim=NUM_DIMENSIONS, num_layers=4, bound=6.0)),
    }
    for method in fitted.values():
        method.fit(y, rng)
    for name, flow in flows.items():
        train(flow, y, rng, num_steps=3 if quick else 1000, batch=256, rate=2e-3)
        numbers[f"patches/{name}/inverse_error"] = inverse_error(flow, held_out)
    energies: Energies = {name: method.energy for name, method in [*fitted.items(), *flows.items()]}
    with torch.no_grad():
        for name, energy in energies.items():
            numbers[f"patches/{name}/energy"] = float(energy(held_out).mean()) / NUM_DIMENSIONS
    return numbers


def of_a_mixing(rng: torch.Generator, quick: bool) -> dict[str, float]:
    """Amari distances to the mixing of four peaked and four flat sources."""
    from sklearn.decomposition import FastICA

    u = 2 * torch.rand(500 if quick else 5000, 8, generator=rng) - 1
    peaked = -u.sign() * torch.log1p(-u.abs())
    mixing = torch.randn(8, 8, generator=rng)
    y = torch.cat([peaked[:, :4], u[:, 4:]], 1) @ mixing.T
    ica = ICA(ICAConfig(dim=8))
    ica.fit(y)
    theirs = FastICA(whiten="unit-variance", random_state=0, max_iter=2000, tol=1e-3).fit(y.numpy())
    whitening = torch.linalg.inv(torch.linalg.cholesky(torch.cov(y.T)))
    return {
        "mixing/ica": amari_distance(ica.unmixing, mixing),
        "mixing/sklearn_fastica": amari_distance(torch.from_numpy(theirs.components_).float(), mixing),
        "mixing/whitening": amari_distance(whitening, mixing),
    }


def surfaces(learned: dict[str, Energies]) -> NDArray:
    """A row for each toy, a column for each method."""
    from matplotlib.figure import Figure

    names = [name for name in learned["spiral"] if name != "gaussian"]
    figure = Figure(figsize=(2.6 * len(names), 5.6), dpi=100, layout="constrained")
    for row, toy in enumerate(learned):
        low, high = (-2.6, 2.6) if toy == "spiral" else (-2.6, 3.2)
        data = points(toy, 300, torch.Generator().manual_seed(0))
        for column, name in enumerate(names):
            axes = figure.add_subplot(len(learned), len(names), row * len(names) + column + 1)
            energy = learned[toy][name]
            top = planes.top_of(energy, data)
            planes.draw(axes, energy, data, name if row == 0 else "", reach=(low, high), top=top)
    return pixels(figure)


EXPERIMENT = Experiment(
    "bounded",
    "Which data do energies follow whose low volume is bounded by construction?",
    run,
    (
        *(
            Claim(f"{toy}/{name}/ranked", "above", f"{toy}/pca/ranked")
            for toy in TOYS
            for name in ("kmeans", "mixture", "realnvp", "spline")
        ),
        *(
            Claim(f"{toy}/{name}/energy", "below", f"{toy}/gaussian/energy")
            for toy in TOYS
            for name in ("mixture", "realnvp", "spline")
        ),
        *(
            Claim(f"patches/{name}/energy", "below", "patches/gaussian/energy")
            for name in ("mixture", "ica", "realnvp", "spline")
        ),
        *(Claim(f"{toy}/kmeans/off_sklearn", "below", 1e-4) for toy in TOYS),
        Claim("patches/pca/off_sklearn", "below", 1e-4),
        *(
            Claim(f"{data}/{name}/inverse_error", "below", 1e-5)
            for data in (*TOYS, "patches")
            for name in ("realnvp", "spline")
        ),
        *(
            Claim(f"{toy}/{name}/mass", is_, f"{toy}/{name}/sampled_mass", bound)
            for toy in TOYS
            for name in ("realnvp", "spline")
            for is_, bound in (("above", 0.995), ("below", 1.005))
        ),
        *(Claim(f"{toy}/mixture/above_sklearn", "below", 0.1) for toy in TOYS),
        Claim("mixing/ica", "below", "mixing/whitening", 0.3),
        Claim("mixing/ica", "below", "mixing/sklearn_fastica", 1.5),
    ),
)
