"""Samplers of p(y) = exp(-F(y)) / Z: Langevin, HMC, Gibbs; chains are the batch dimension."""

from pretrain.samplers.chain import Chain, Sampler
from pretrain.samplers.diagnostics import effective_sample_size
from pretrain.samplers.gibbs import BlockGibbs, Gibbs, GibbsConfig
from pretrain.samplers.hmc import HMC, HMCConfig
from pretrain.samplers.langevin import Langevin, LangevinConfig
from pretrain.samplers.replay import Replay, ReplayConfig
from pretrain.samplers.step_size import DualAveragingConfig, adapted

__all__ = [
    "HMC",
    "BlockGibbs",
    "Chain",
    "DualAveragingConfig",
    "Gibbs",
    "GibbsConfig",
    "HMCConfig",
    "Langevin",
    "LangevinConfig",
    "Replay",
    "ReplayConfig",
    "Sampler",
    "adapted",
    "effective_sample_size",
]
