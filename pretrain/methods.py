"""Every method by name: which data it takes, how it is built from them, and what of it can be shown.

    method = METHODS["sparse-coding"]
    y = method.prepare(patches)
    learner = method.build(y, generator)

Sizes fit small images and a CPU. What a method is built from are samples y (N, ...), prepared: their shape, and of some
methods more (atoms begin at samples, the noise of NCE is like them). Weights that torch draws by itself come from its
global generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.adversarial.ebgan import EBGAN, AutoEncoderEnergy, EBGANConfig
from pretrain.adversarial.wgan import WGAN, WGANConfig
from pretrain.autoencoders import (
    VAE,
    VQVAE,
    AutoEncoder,
    ConditionalVAE,
    ContractingAutoEncoder,
    ContractingConfig,
    DenoisingAutoEncoder,
    DenoisingConfig,
    MaskedAutoEncoder,
    MaskedAutoEncoderConfig,
    MaskedTokens,
    MaskedTokensConfig,
    SaturatingAutoEncoder,
    SaturatingConfig,
    SparseAutoEncoder,
    SparseConfig,
    TiedDecoder,
    VAEConfig,
    VQConfig,
)
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
)
from pretrain.data import resized
from pretrain.energies import MLPEnergy, MLPEnergyConfig
from pretrain.flows import RealNVP, RealNVPConfig, SplineFlow, SplineFlowConfig
from pretrain.learner import Fitted, Learner
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
from pretrain.networks import mlp
from pretrain.samplers import BlockGibbs, Langevin, LangevinConfig, Replay, ReplayConfig
from pretrain.score_matching import DenoisingScoreMatching, ScoreMatching, SlicedScoreMatching
from pretrain.sparse import (
    LISTA,
    PSD,
    ConvolutionalPSD,
    DictionaryLearner,
    LCoD,
    PartialLISTA,
    TopographicConfig,
    energy,
    fista,
    group_energy,
    group_lasso,
    lasso,
    topographic_codes,
    topographic_energy,
    unit_norm,
)
from pretrain.sparse.convolutional import ShrinkEncoder
from pretrain.sparse.psd import TanhEncoder
from pretrain.sparse.topographic import pools

Kind = Literal[
    "plane", "patches", "images"
]  # (N, 2); (N, 1, H, W) of mean 0 and variance 1; (N, 1, H, W) in [0, 1]
PICTURES: tuple[Kind, ...] = ("patches", "images")
ANY: tuple[Kind, ...] = ("plane", *PICTURES)

HIDDEN, CODES = 256, 32  # units of a hidden layer, and of a code
ATOMS, ALPHA, POOL = 144, 0.5, 4
GREYS = 8  # of images as sequences of words
COARSE, TINY = (
    7,
    4,
)  # pixels along the images whose pixels are binary units, and along those that can be enumerated
MAP = TopographicConfig(side=12, width=1.2, alpha=0.5, epsilon=0.05, steps=20)

Built = Learner | Fitted


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method.

    build: of samples and a generator.
    takes: kinds of data.
    prepare: what it makes of such data, (N, ...).
    rate: of Adam.
    turns: the players of one round of training, in order.
    energy: (built, y) -> (N,).
    atoms: what it composes samples of, (K, D) or (K, h, w), in an order that means something (a map) or not.
    reconstruct: (built, y) -> like y.
    codes: (built, y) -> how much each code is used, (K,).
    sample: (built, num, generator) -> like y.
    """

    build: Callable[[Tensor, torch.Generator], Built]
    takes: tuple[Kind, ...] = ANY
    prepare: Callable[[Tensor], Tensor] = lambda y: y.flatten(1)
    rate: float = 2e-3
    turns: tuple[str, ...] = ("model",)
    energy: Callable[[Any, Tensor], Tensor] = lambda m, y: m.energy(y)
    atoms: Callable[[Any], Tensor] | None = None
    reconstruct: Callable[[Any, Tensor], Tensor] | None = None
    codes: Callable[[Any, Tensor], Tensor] | None = None
    sample: Callable[[Any, int, torch.Generator], Tensor] | None = None


def as_pictures(y: Tensor) -> Tensor:
    """As they are."""
    return y


def binary(images: Tensor, size: int = COARSE) -> Tensor:
    """(N, size * size): whether a quarter of a coarse pixel of images (N, 1, H, W) is bright."""
    return (resized(images, size).flatten(1) > 0.25).to(images)


def words(images: Tensor) -> Tensor:
    """Grey levels of coarse images (N, 1, H, W) as words (N, T) behind the two special ones."""
    return 2 + (resized(images, COARSE).flatten(1).clamp(0, 1) * (GREYS - 1)).round().long()


def net(y: Tensor) -> MLPEnergy:
    """A smooth energy of rows; a bowl keeps chains from running away."""
    return MLPEnergy(
        MLPEnergyConfig(num_inputs=y.shape[1], hidden=(128, 128), activation="silu", confinement=0.5)
    )


def samples(y: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Atoms of unit norm (D, num): samples, and a little noise, so that none is 0 and none twice."""
    chosen = y[torch.randint(len(y), (num,), generator=generator)].T
    return unit_norm(chosen + 1e-2 * torch.randn(chosen.shape, generator=generator))


def halves(y: Tensor) -> int:
    """Entries of a row that are given to the conditional VAE: the first half."""
    return y.shape[1] // 2


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


def _contracting(y: Tensor, generator: torch.Generator) -> Built:
    layer = nn.Linear(y.shape[1], 2 * CODES)
    encoder = nn.Sequential(layer, nn.Sigmoid())
    return ContractingAutoEncoder(encoder, TiedDecoder(layer), ContractingConfig(contraction=0.1))


def _vae(y: Tensor) -> Built:
    d, k = y.shape[1], min(y.shape[1], CODES // 2)
    return VAE(mlp((d, HIDDEN, 2 * k)), mlp((k, HIDDEN, d)), VAEConfig())


def _conditional(y: Tensor) -> Built:
    d, given = y.shape[1], halves(y)
    k = min(d, CODES // 2)
    return ConditionalVAE(
        mlp((d, HIDDEN, 2 * k)),
        mlp((given, HIDDEN, 2 * k)),
        mlp((given + k, HIDDEN, d - given)),
        given,
        VAEConfig(),
    )


def _vqvae(y: Tensor) -> Built:
    """Maps of codes of a quarter of the image's size."""
    config = VQConfig(num_codes=64, dim=8, dead=1.0)
    encoder = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, config.dim, 1),
    )
    decoder = nn.Sequential(
        nn.ConvTranspose2d(config.dim, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1)
    )
    return VQVAE(encoder, decoder, config)


def _convolutional(y: Tensor, generator: torch.Generator) -> Built:
    size = min(9, *(side // 2 for side in y.shape[2:]))
    filters = unit_norm(torch.randn(16, 1, size, size, generator=generator))
    return ConvolutionalPSD(filters, ShrinkEncoder(filters, 0.1))


def _dictionary(y: Tensor, generator: torch.Generator) -> DictionaryLearner:
    return DictionaryLearner(
        samples(y, ATOMS, generator),
        lambda y, w: fista(lasso(y, w, ALPHA), 30),
        lambda y, z, w: energy(y, z, w, ALPHA),
    )


def _groups(y: Tensor, generator: torch.Generator) -> DictionaryLearner:
    return DictionaryLearner(
        samples(y, ATOMS, generator),
        lambda y, w: fista(group_lasso(y, w, 2 * ALPHA, POOL), 30),
        lambda y, z, w: group_energy(y, z, w, 2 * ALPHA, POOL),
    )


def _topographic(y: Tensor, generator: torch.Generator) -> DictionaryLearner:
    pool = pools(MAP)
    return DictionaryLearner(
        samples(y, MAP.side**2, generator),
        lambda y, w: topographic_codes(y, w, pool, MAP),
        lambda y, z, w: topographic_energy(y, z, w, pool, MAP),
    )


def _auto_encoder(build: Callable[[Tensor], Built], rate: float = 2e-3) -> Method:
    return Method(build=lambda y, generator: build(y), rate=rate, reconstruct=lambda m, y: m.reconstruct(y))


def _sparse(build: Callable[[Tensor, torch.Generator], Built]) -> Method:
    """A dictionary whose codes are inferred."""
    return Method(
        build=build,
        takes=PICTURES,
        rate=2e-2,
        energy=lambda m, y: m.free_energy(y),
        atoms=lambda m: m.dictionary.T,
        reconstruct=lambda m, y: m.infer(y) @ m.dictionary.T,
        codes=lambda m, y: m.infer(y).abs().mean(0),
    )


def _inference(build: Callable[[Tensor], Built]) -> Method:
    """An encoder that learns to infer the codes of a given dictionary: of samples."""
    return Method(
        build=lambda y, generator: build(samples(y, ATOMS, generator)),
        takes=PICTURES,
        reconstruct=lambda m, y: m(y) @ m.dictionary.T,
        codes=lambda m, y: m(y).abs().mean(0),
    )


def _binary(build: Callable[[Tensor, torch.Generator], Built], size: int = COARSE) -> Method:
    return Method(build=build, takes=("images",), prepare=lambda y: binary(y, size), rate=1e-2)


def _wide(y: Tensor, num: int) -> int:
    return min(num, y.shape[1])


METHODS: Mapping[str, Method] = {
    # bounded by construction
    "pca": Method(
        build=lambda y, g: PCA(
            PCAConfig(dim=y.shape[1], num_components=_wide(y, CODES) if y.shape[1] > 2 else 1)
        ),
        atoms=lambda m: m.components,
        reconstruct=lambda m, y: m.decode(m.encode(y)),
    ),
    "k-means": Method(
        build=lambda y, g: KMeans(KMeansConfig(dim=y.shape[1], num_codes=_wide(y, 6) * 8, num_restarts=3)),
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
    "ica": Method(build=lambda y, g: ICA(ICAConfig(dim=y.shape[1])), takes=("plane",)),
    # flows
    "realnvp": Method(
        build=lambda y, g: RealNVP(RealNVPConfig(dim=y.shape[1])),
        takes=("plane", "patches"),
        sample=lambda m, num, generator: m.sample(num, generator),
    ),
    "spline-flow": Method(
        build=lambda y, g: SplineFlow(SplineFlowConfig(dim=y.shape[1], num_layers=4)),
        takes=("plane", "patches"),
        sample=lambda m, num, generator: m.sample(num, generator),
    ),
    # auto-encoders
    "autoencoder": _auto_encoder(
        lambda y: AutoEncoder(mlp((y.shape[1], HIDDEN, CODES)), mlp((CODES, HIDDEN, y.shape[1])))
    ),
    "denoising": _auto_encoder(
        lambda y: DenoisingAutoEncoder(
            mlp((y.shape[1], HIDDEN, HIDDEN)),
            mlp((HIDDEN, HIDDEN, y.shape[1])),
            DenoisingConfig(noise=0.1 if y.shape[1] == 2 else 0.3),
        )
    ),
    "sparse-autoencoder": Method(
        build=lambda y, g: SparseAutoEncoder(SparseConfig(dim=y.shape[1], num_units=ATOMS, sparsity=0.3)),
        takes=PICTURES,
        atoms=lambda m: m.dictionary.T,
        reconstruct=lambda m, y: m.reconstruct(y),
        codes=lambda m, y: m.encode(y).mean(0),
    ),
    "contracting": Method(build=_contracting, reconstruct=lambda m, y: m.reconstruct(y)),
    "saturating": _auto_encoder(
        lambda y: SaturatingAutoEncoder(
            nn.Linear(y.shape[1], HIDDEN), nn.Linear(HIDDEN, y.shape[1]), SaturatingConfig(saturation=0.01)
        )
    ),
    "vae": Method(
        build=lambda y, g: _vae(y),
        reconstruct=lambda m, y: m.decoder(m.posterior(y).mean),
        sample=lambda m, num, generator: m.decoder(
            m.prior(torch.zeros(num, m.encoder[0].in_features)).sample(generator)
        ),
    ),
    "conditional-vae": Method(
        build=lambda y, g: _conditional(y),
        energy=lambda m, y: m.energy(y[:, : m.num_given], y[:, m.num_given :]),
        reconstruct=lambda m, y: torch.cat(
            [
                y[:, : m.num_given],
                m.decoder(torch.cat([y[:, : m.num_given], m.prior(y).mean], 1)),  # from what is given alone
            ],
            1,
        ),
    ),
    "vq-vae": Method(
        build=lambda y, g: _vqvae(y),
        takes=PICTURES,
        prepare=as_pictures,
        reconstruct=lambda m, y: m.reconstruct(y),
        codes=lambda m, y: torch.bincount(
            m.quantise(y).chosen.flatten(), minlength=m.config.num_codes
        ).float(),
    ),
    "masked-autoencoder": Method(
        build=lambda y, g: MaskedAutoEncoder(MaskedAutoEncoderConfig(height=y.shape[2], width=y.shape[3])),
        takes=PICTURES,
        prepare=as_pictures,
        rate=1e-3,
    ),
    "masked-tokens": Method(
        build=lambda y, g: MaskedTokens(MaskedTokensConfig(num_tokens=2 + GREYS, length=y.shape[1])),
        takes=("images",),
        prepare=words,
        rate=1e-3,
    ),
    # score matching
    "score-matching": Method(build=lambda y, g: ScoreMatching(net(y)), takes=("plane",)),
    "sliced-score-matching": Method(
        build=lambda y, g: SlicedScoreMatching(net(y)), takes=("plane", "patches")
    ),
    "denoising-score-matching": Method(build=lambda y, g: DenoisingScoreMatching(net(y))),
    # likelihood
    "exact-likelihood": _binary(
        lambda y, g: ExactLikelihood(Ising(IsingConfig(units=y.shape[1])), all_states(y.shape[1])), TINY
    ),
    "contrastive-divergence": Method(
        build=lambda y, g: ContrastiveDivergence(
            net(y), Langevin(LangevinConfig(step=0.05 if y.shape[1] == 2 else 0.1)), 10
        ),
        takes=("plane", "patches"),
    ),
    "persistent-contrastive-divergence": Method(
        build=_persistent, takes=("images",), prepare=binary, rate=1e-2, atoms=lambda m: m.model.W.T
    ),
    "nce": Method(build=lambda y, g: NoiseContrastive(net(y), Gaussian.like(y)), takes=("plane",), rate=5e-3),
    "minimum-probability-flow": _binary(
        lambda y, g: MinimumProbabilityFlow(Ising(IsingConfig(units=y.shape[1])))
    ),
    "ratio-matching": _binary(lambda y, g: RatioMatching(Ising(IsingConfig(units=y.shape[1])))),
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
    # sparse coding
    "sparse-coding": _sparse(_dictionary),
    "group-sparse-coding": _sparse(_groups),
    "topographic": _sparse(_topographic),
    "psd": Method(
        build=lambda y, g: PSD(atoms := samples(y, ATOMS, g), TanhEncoder(atoms)),
        takes=PICTURES,
        rate=1e-2,
        energy=lambda m, y: m.energy(y, m.infer(y)),
        atoms=lambda m: m.dictionary.T,
        reconstruct=lambda m, y: m.encoder(y) @ m.dictionary.T,
        codes=lambda m, y: m.encoder(y).abs().mean(0),
    ),
    "convolutional-psd": Method(
        build=_convolutional,
        takes=PICTURES,
        prepare=as_pictures,
        rate=2e-2,
        energy=lambda m, y: m.energy(y, m.infer(y)),
        atoms=lambda m: m.dictionary[:, 0],
        reconstruct=lambda m, y: F.conv_transpose2d(m.infer(y), m.dictionary),
        codes=lambda m, y: m.infer(y).abs().mean((0, 2, 3)),
    ),
    "lista": _inference(lambda atoms: LISTA(atoms, ALPHA)),
    "partial-lista": _inference(lambda atoms: PartialLISTA(atoms, ALPHA)),
    "lcod": _inference(lambda atoms: LCoD(atoms, ALPHA)),
}
