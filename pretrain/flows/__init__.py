"""Normalising flows: energies -log p that are normalised, can be sampled, and are learned by maximum likelihood."""

from pretrain.flows.coupling import Coupling, Flow, Monotone
from pretrain.flows.realnvp import RealNVP, RealNVPConfig
from pretrain.flows.spline import SplineFlow, SplineFlowConfig

__all__ = ["Coupling", "Flow", "Monotone", "RealNVP", "RealNVPConfig", "SplineFlow", "SplineFlowConfig"]
