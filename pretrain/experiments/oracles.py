"""Fitted methods beside scikit-learn's of the same objective; trained flows beside what must hold of any density."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from pretrain.bounded import PCA, KMeans, KMeansConfig
from pretrain.bounded.kmeans import plus_plus
from pretrain.flows import Flow

REACH = 6.0  # of the square over which densities are integrated, [-REACH, REACH]^2


def kmeans_off_sklearn(y: Tensor, config: KMeansConfig, generator: torch.Generator) -> float:
    """|ours / theirs - 1| of the least inertia on y (N, D), from the same starts, in float64."""
    from sklearn.cluster import KMeans as TheirKMeans

    again = torch.Generator()
    again.set_state(generator.get_state())
    y = y.double()
    ours = KMeans(config).double()
    ours.fit(y, generator)
    starts = [plus_plus(y, config.num_codes, again).numpy() for _ in range(config.num_restarts)]
    theirs = [
        TheirKMeans(len(start), init=start, n_init=1, tol=0).fit(y.numpy()).inertia_ for start in starts
    ]
    return abs(float(ours.energy(y).sum()) / min(theirs) - 1)


def pca_off_sklearn(ours: PCA, y: Tensor) -> float:
    """|ours / theirs - 1| of the squared error on y (N, D), theirs fitted to y in float64."""
    from sklearn.decomposition import PCA as TheirPCA

    samples = y.double().numpy()
    theirs = TheirPCA(ours.config.num_components, svd_solver="full").fit(samples)
    error = samples - theirs.inverse_transform(theirs.transform(samples))
    return abs(float(ours.energy(y).double().sum()) / float((error**2).sum()) - 1)


@torch.no_grad()
def inverse_error(flow: Flow, y: Tensor) -> float:
    """max |y - z^-1(z(y))| over y (N, D), in float64."""
    flow, y = copy.deepcopy(flow).double(), y.double()
    return float((flow.inverse(flow(y)[0]) - y).abs().max())


@torch.no_grad()
def mass(flow: Flow, reach: float = REACH, side: int = 600) -> float:
    """The integral of exp(-E) over [-reach, reach]^2, by the midpoints of side x side cells, summed in float64.

    Of a Gaussian ridge of deviation s, midpoints h apart are off by a share of at most 2 exp(-2 (pi s / h)^2).
    """
    middles = reach * ((2 * torch.arange(side) + 1) / side - 1)
    rows = (torch.cartesian_prod(part, middles) for part in middles.split(10))
    return sum(float((-flow.energy(row)).double().exp().sum()) for row in rows) * (2 * reach / side) ** 2


def sampled_mass(flow: Flow, generator: torch.Generator, reach: float = REACH, num: int = 100_000) -> float:
    """The share of `num` samples of the flow that lie in [-reach, reach]^2: what `mass` must be."""
    return float((flow.sample(num, generator).abs().amax(1) < reach).double().mean())
