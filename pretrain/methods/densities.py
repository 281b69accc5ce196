"""Methods that are bounded by construction, normalised, or held up by contrasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pretrain.adversarial.ebgan import EBGAN, AutoEncoderEnergy, EBGANConfig
from pretrain.adversarial.wgan import WGAN, WGANConfig
from pretrain.binary import all_states
from pretrain.bounded import (
    ICA,
    PCA,
    GaussianMixture,
    GaussianMixtureConfig,
    ICAConfig,
    KMeans,
    KMeansConfig,
    PCAConfig,
    WhitenedICA,
)
from pretrain.energies import MLPEnergy, MLPEnergyConfig
from pretrain.flows import RealNVP, RealNVPConfig, SplineFlow, SplineFlowConfig
from pretrain.learner import Learner
from pretrain.likelihood import (
    RBM,
    Coins,
    ContrastiveDivergence,
    ExactLikelihood,
    Gaussian,
    Ising,
    IsingConfig,
    MinimumProbabilityFlow,
    NoiseContrastive,
    PersistentContrastiveDivergence,
    RatioMatching,
    RBMConfig,
)
from pretrain.methods.method import (
    COARSE,
    CODES,
    HIDDEN,
    TINY,
    Built,
    Method,
    at_most,
    binary,
)
from pretrain.methods.restored import denoised
from pretrain.networks import mlp
from pretrain.samplers import (
    BlockGibbs,
    DualAveragingConfig,
    Langevin,
    LangevinConfig,
    Replay,
    ReplayConfig,
    adapted,
)
from pretrain.score_matching import (
    DenoisingConfig,
    DenoisingScoreMatching,
    ScoreMatching,
    SlicedScoreMatching,
)
from pretrain.whitened import Whitened

FLAT = 1e-6  # of the largest variance; numbers that vary less are noise of rounding, and are left out
LANGEVIN = Langevin(LangevinConfig(step=0.05))  # of variance 1 in each entry


def net(y: Tensor) -> MLPEnergy:
    """A smooth energy of rows; a bowl keeps chains from running away."""
    return MLPEnergy(
        MLPEnergyConfig(num_inputs=y.shape[1], hidden=(128, 128), activation="silu", confinement=0.5)
    )


def _num_means(y: Tensor) -> int:
    """Codes of K-means: 48, fewer in the plane, and no more than one for four samples."""
    return min(at_most(y, 6) * 8, max(1, len(y) // 4))


def _whitened_ica(y: Tensor) -> Built:
    return WhitenedICA(PCAConfig(dim=y.shape[1], num_components=at_most(y, 2 * CODES)))


def _ebgan(y: Tensor, generator: torch.Generator) -> Built:
    d, width = y.shape[1], 96 if y.shape[1] == 2 else HIDDEN
    critic = AutoEncoderEnergy(mlp((d, width, 16), "relu"), mlp((16, width, d), "relu"))
    config = EBGANConfig(num_latent=8, margin=0.1 * float(y.var()), pull_away=0.02 * float(y.var()))
    return EBGAN(config, critic, mlp((8, width, width, d), "relu"))


def _wgan(y: Tensor, constraint: str) -> Built:
    d, width = y.shape[1], 96 if y.shape[1] == 2 else HIDDEN
    critic = MLPEnergy(MLPEnergyConfig(num_inputs=d, hidden=(width, width), activation="relu"))
    config = WGANConfig(num_latent=8, constraint=constraint, penalty=0.1, clip=0.1)
    return WGAN(config, critic, mlp((8, width, width, d), "relu"))


def _persistent(y: Tensor, generator: torch.Generator) -> Built:
    """Of an RBM; chains begin as coins like the data."""
    rbm = RBM(RBMConfig(units=y.shape[1], hidden=64), generator)
    chains = Replay(ReplayConfig(size=256), Coins.like(y).sample, generator)
    return PersistentContrastiveDivergence(rbm, BlockGibbs(), chains)


def _contrastive_divergence(y: Tensor) -> Learner:
    step = 0.05 if y.shape[1] == 2 else 0.2
    return ContrastiveDivergence(net(y), Langevin(LangevinConfig(step=step)), 10)


def _whitened(y: Tensor, build: Callable[[Tensor], Learner]) -> Built:
    """A learner of points; of longer rows in at most 64 coordinates of variance 1, no more than N / 4 or than vary."""
    if y.shape[1] == 2:
        return build(y)
    num_components = max(1, min(at_most(y, 2 * CODES), len(y) // 4))
    pca = PCA(PCAConfig(dim=y.shape[1], num_components=num_components))
    pca.fit(y)
    varying = int((pca.variances > FLAT * pca.variances[0]).sum())
    if varying < num_components:
        pca = PCA(PCAConfig(dim=y.shape[1], num_components=max(varying, 1)))
        pca.fit(y)
    return Whitened(pca, build(pca.whiten(y)))


def _from_noise(built: Any, num: int, generator: torch.Generator) -> Tensor:
    """Where chains of the energy of `net` are that began at N(0, I), (num, D), their step size found on the way."""
    inner: Any = built.learner if isinstance(built, Whitened) else built
    start = torch.randn(num, inner.model.net[0].in_features, generator=generator)
    sampler, start = adapted(LANGEVIN, inner.energy, start, 200, generator, DualAveragingConfig(target=0.57))
    chains = sampler.sample(inner.energy, start, 500, generator).last
    return built.pca.colour(chains) if isinstance(built, Whitened) else chains


def _ising(build: Callable[[Tensor, torch.Generator], Built], size: int = COARSE) -> Method:
    return Method(
        build=build,
        takes=("images",),
        prepare=lambda y: binary(y, size),
        rate=1e-2,
        atoms=lambda m: m.model.matrix(),
    )


DENSITIES: Mapping[str, Method] = {
    # bounded by construction
    "pca": Method(
        build=lambda y, g: PCA(
            PCAConfig(dim=y.shape[1], num_components=at_most(y, CODES) if y.shape[1] > 2 else 1)
        ),
        atoms=lambda m: m.components,
        reconstruct=lambda m, y: m.decode(m.encode(y)),
    ),
    "k-means": Method(
        build=lambda y, g: KMeans(KMeansConfig(dim=y.shape[1], num_codes=_num_means(y), num_restarts=3)),
        atoms=lambda m: m.codes,
        reconstruct=lambda m, y: m.codes[m.assign(y)],
        codes=lambda m, y: torch.bincount(m.assign(y), minlength=len(m.codes)) / len(y),
    ),
    "mixture": Method(
        build=lambda y, g: GaussianMixture(
            GaussianMixtureConfig(
                dim=y.shape[1],
                num_components=16,
                covariance="full" if y.shape[1] == 2 else "diag",
                floor=1e-4 if y.shape[1] == 2 else 1e-2,
            )
        ),
        atoms=lambda m: m.means,
        codes=lambda m, y: m.weights,
        sample=lambda m, num, generator: m.sample(num, generator),
    ),
    "ica": Method(
        build=lambda y, g: ICA(ICAConfig(dim=2)) if y.shape[1] == 2 else _whitened_ica(y),
        takes=("plane", "patches"),
        atoms=lambda m: m.atoms(),
    ),
    # flows
    "realnvp": Method(
        build=lambda y, g: RealNVP(RealNVPConfig(dim=y.shape[1])),
        takes=("plane", "patches", "signals"),
        sample=lambda m, num, generator: m.sample(num, generator),
    ),
    "spline-flow": Method(
        build=lambda y, g: SplineFlow(SplineFlowConfig(dim=y.shape[1], num_layers=4)),
        takes=("plane", "patches", "signals"),
        sample=lambda m, num, generator: m.sample(num, generator),
    ),
    # score matching
    "score-matching": Method(build=lambda y, g: ScoreMatching(net(y)), takes=("plane",)),
    "sliced-score-matching": Method(
        build=lambda y, g: _whitened(y, lambda x: SlicedScoreMatching(net(x))),
        takes=("plane", "patches", "signals"),
        sample=_from_noise,
    ),
    "denoising-score-matching": Method(
        build=lambda y, g: DenoisingScoreMatching(
            net(y), DenoisingConfig(sigma=0.1 if y.shape[1] == 2 else 0.3)
        ),
        restore=denoised,
    ),
    # likelihood
    "exact-likelihood": _ising(
        lambda y, g: ExactLikelihood(Ising(IsingConfig(units=y.shape[1])), all_states(y.shape[1])), TINY
    ),
    "contrastive-divergence": Method(
        build=lambda y, g: _whitened(y, _contrastive_divergence),
        takes=("plane", "patches", "signals"),
        sample=_from_noise,
    ),
    "persistent-contrastive-divergence": Method(
        build=_persistent, takes=("images",), prepare=binary, rate=1e-2, atoms=lambda m: m.model.W.T
    ),
    "nce": Method(build=lambda y, g: NoiseContrastive(net(y), Gaussian.like(y)), takes=("plane",), rate=5e-3),
    "minimum-probability-flow": _ising(
        lambda y, g: MinimumProbabilityFlow(Ising(IsingConfig(units=y.shape[1])))
    ),
    "ratio-matching": _ising(lambda y, g: RatioMatching(Ising(IsingConfig(units=y.shape[1])))),
    # adversarial
    "ebgan": Method(
        build=_ebgan,
        turns=("critic", "generator"),
        rate=1e-3,
        reconstruct=lambda m, y: m.critic.decoder(m.critic.encoder(y)),
        sample=lambda m, num, generator: m.sample(num, generator),
    ),
    "wgan": Method(
        build=lambda y, g: _wgan(y, "clip"),
        turns=(*["critic"] * 5, "generator"),
        rate=1e-3,
        sample=lambda m, num, generator: m.sample(num, generator),
    ),
    "wgan-gp": Method(
        build=lambda y, g: _wgan(y, "penalty"),
        turns=(*["critic"] * 5, "generator"),
        rate=1e-3,
        sample=lambda m, num, generator: m.sample(num, generator),
    ),
}
