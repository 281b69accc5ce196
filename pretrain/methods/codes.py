"""Methods whose codes hold little: auto-encoders and sparse coding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
from pretrain.data import SPECIAL
from pretrain.methods.method import (
    ALPHA,
    ATOMS,
    CODES,
    GREYS,
    HIDDEN,
    MAP,
    PICTURES,
    POOL,
    SENSED,
    Built,
    Method,
    as_pictures,
    in_quarters,
    samples,
    words,
)
from pretrain.methods.restored import guessed_pixels, predicted_patches
from pretrain.networks import mlp
from pretrain.sparse import (
    LISTA,
    PSD,
    ConvolutionalPSD,
    DictionaryLearner,
    LCoD,
    PartialLISTA,
    convolutional_energy,
    convolutional_lasso,
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


def halves(y: Tensor) -> int:
    """Entries of a row that are given to the conditional VAE: the first half."""
    return y.shape[1] // 2


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
    """Maps of codes of a quarter of the image's size, or a row of a quarter of the signal's."""
    config = VQConfig(num_codes=64, dim=8, dead=1.0)
    channels, flat = y.shape[1], y.dim() == 3
    down, up = (nn.Conv1d, nn.ConvTranspose1d) if flat else (nn.Conv2d, nn.ConvTranspose2d)
    encoder = nn.Sequential(
        down(channels, 16, 4, 2, 1),
        nn.ReLU(),
        down(16, 32, 4, 2, 1),
        nn.ReLU(),
        down(32, config.dim, 1),
    )
    decoder = nn.Sequential(up(config.dim, 16, 4, 2, 1), nn.ReLU(), up(16, channels, 4, 2, 1))
    return VQVAE(encoder, decoder, config)


def _filters(y: Tensor, generator: torch.Generator) -> Tensor:
    """Square ones (16, C, h, w), or of signals as images of one row, longer ones of one row."""
    height, width = y.shape[2:]
    size = (1, min(32, width // 2)) if height == 1 else (min(9, height // 2, width // 2),) * 2
    return unit_norm(torch.randn(16, y.shape[1], *size, generator=generator))


def _convolutional(y: Tensor, generator: torch.Generator) -> Built:
    return DictionaryLearner(
        _filters(y, generator),
        lambda y, w: fista(convolutional_lasso(y, w, ALPHA), 30),
        lambda y, z, w: convolutional_energy(y, z, w, ALPHA),
    )


def _convolutional_psd(y: Tensor, generator: torch.Generator) -> Built:
    filters = _filters(y, generator)
    return ConvolutionalPSD(filters, ShrinkEncoder(filters, 0.1))


def _masked_tokens(y: Tensor) -> Built:
    """The vocabulary ends with the largest number in y, or behind the grey levels of images."""
    num_tokens = max(len(SPECIAL) + GREYS, 1 + int(y.max()))
    return MaskedTokens(
        MaskedTokensConfig(num_tokens=num_tokens, length=y.shape[1], num_special=len(SPECIAL))
    )


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
        takes=SENSED,
        rate=2e-2,
        energy=lambda m, y: m.free_energy(y),
        atoms=lambda m: m.dictionary.T,
        reconstruct=lambda m, y: m.infer(y) @ m.dictionary.T,
        codes=lambda m, y: m.infer(y).abs().mean(0),
    )


def _convolved(
    build: Callable[[Tensor, torch.Generator], Built], energy: Callable[[Any, Tensor], Tensor]
) -> Method:
    """Filters whose maps of codes are inferred."""
    return Method(
        build=build,
        takes=SENSED,
        prepare=as_pictures,
        rate=2e-2,
        energy=energy,
        atoms=lambda m: m.dictionary,
        reconstruct=lambda m, y: F.conv_transpose2d(m.infer(y), m.dictionary),
        codes=lambda m, y: m.infer(y).abs().mean((0, 2, 3)),
    )


def _inference(build: Callable[[Tensor], Built]) -> Method:
    """An encoder that learns to infer the codes of a given dictionary: of samples."""
    return Method(
        build=lambda y, generator: build(samples(y, ATOMS, generator)),
        takes=SENSED,
        reconstruct=lambda m, y: m(y) @ m.dictionary.T,
        codes=lambda m, y: m(y).abs().mean(0),
    )


CODED: Mapping[str, Method] = {
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
        takes=SENSED,
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
        takes=SENSED,
        prepare=in_quarters,
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
        restore=predicted_patches,
    ),
    "masked-tokens": Method(
        build=lambda y, g: _masked_tokens(y),
        takes=("images", "text"),
        prepare=words,
        rate=3e-3,
        restore=guessed_pixels,
        fill=lambda m, y, generator: m.fill(y, generator),
    ),
    # sparse coding
    "sparse-coding": _sparse(_dictionary),
    "group-sparse-coding": _sparse(_groups),
    "topographic": _sparse(_topographic),
    "psd": Method(
        build=lambda y, g: PSD(atoms := samples(y, ATOMS, g), TanhEncoder(atoms)),
        takes=SENSED,
        rate=1e-2,
        energy=lambda m, y: m.energy(y, m.infer(y)),
        atoms=lambda m: m.dictionary.T,
        reconstruct=lambda m, y: m.encoder(y) @ m.dictionary.T,
        codes=lambda m, y: m.encoder(y).abs().mean(0),
    ),
    "convolutional-sparse-coding": _convolved(_convolutional, lambda m, y: m.free_energy(y)),
    "convolutional-psd": _convolved(_convolutional_psd, lambda m, y: m.energy(y, m.infer(y))),
    "lista": _inference(lambda atoms: LISTA(atoms, ALPHA)),
    "partial-lista": _inference(lambda atoms: PartialLISTA(atoms, ALPHA)),
    "lcod": _inference(lambda atoms: LCoD(atoms, ALPHA)),
}
