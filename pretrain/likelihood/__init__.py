"""Maximum likelihood, and what stands for it where the normaliser is out of reach."""

from pretrain.likelihood.contrastive_divergence import ContrastiveDivergence, PersistentContrastiveDivergence
from pretrain.likelihood.densities import Coins, Density, Gaussian
from pretrain.likelihood.exact import ExactLikelihood
from pretrain.likelihood.ising import Ising, IsingConfig
from pretrain.likelihood.mpf import MinimumProbabilityFlow
from pretrain.likelihood.nce import NCEConfig, NoiseContrastive
from pretrain.likelihood.ratio_matching import RatioMatching
from pretrain.likelihood.rbm import RBM, RBMConfig

__all__ = [
    "RBM",
    "Coins",
    "ContrastiveDivergence",
    "Density",
    "ExactLikelihood",
    "Gaussian",
    "Ising",
    "IsingConfig",
    "MinimumProbabilityFlow",
    "NCEConfig",
    "NoiseContrastive",
    "PersistentContrastiveDivergence",
    "RBMConfig",
    "RatioMatching",
]
