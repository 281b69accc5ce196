"""Auto-encoders: energies of reconstruction, and what keeps them from being low everywhere."""

from pretrain.autoencoders.autoencoder import AutoEncoder
from pretrain.autoencoders.contracting import (
    ContractingAutoEncoder,
    ContractingConfig,
    TiedDecoder,
    jacobian_norm,
    sigmoid_jacobian_norm,
)
from pretrain.autoencoders.denoising import DenoisingAutoEncoder, DenoisingConfig
from pretrain.autoencoders.masked_images import MaskedAutoEncoder, MaskedAutoEncoderConfig, PatchEncoder
from pretrain.autoencoders.masked_tokens import MaskedTokens, MaskedTokensConfig, mask_tokens
from pretrain.autoencoders.saturating import SaturatingAutoEncoder, SaturatingConfig
from pretrain.autoencoders.sparse import SparseAutoEncoder, SparseConfig
from pretrain.autoencoders.vae import VAE, ConditionalVAE, VAEConfig
from pretrain.autoencoders.vq import VQVAE, Codebook, VQConfig

__all__ = [
    "VAE",
    "VQVAE",
    "AutoEncoder",
    "Codebook",
    "ConditionalVAE",
    "ContractingAutoEncoder",
    "ContractingConfig",
    "DenoisingAutoEncoder",
    "DenoisingConfig",
    "MaskedAutoEncoder",
    "MaskedAutoEncoderConfig",
    "MaskedTokens",
    "MaskedTokensConfig",
    "PatchEncoder",
    "SaturatingAutoEncoder",
    "SaturatingConfig",
    "SparseAutoEncoder",
    "SparseConfig",
    "TiedDecoder",
    "VAEConfig",
    "VQConfig",
    "jacobian_norm",
    "mask_tokens",
    "sigmoid_jacobian_norm",
]
