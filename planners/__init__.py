"""Optimisers of action sequences over any dynamics; they know tensors, not traffic. `base` is the face of all."""

from planners.base import Info, IterativeConfig, Plan, Planner, PlannerConfig
from planners.beam import BeamConfig, BeamSearch
from planners.cem import CEM, CEMConfig
from planners.corrected import Corrected
from planners.dynamics import Batch, Dynamics, Stepwise
from planners.futures import SampledFutures
from planners.gradient import GradientConfig, GradientPlanner
from planners.gradient_cem import GradientCEM, GradientCEMConfig
from planners.icem import ICEM, ICEMConfig
from planners.ilqr import ILQR, ILQRConfig
from planners.lbfgs import LBFGSConfig, LBFGSPlanner
from planners.meta_actions import ByPolicy, MetaActions, Table
from planners.mixed import Mixed, MixedConfig
from planners.mppi import MPPI, MPPIConfig
from planners.objective import Cost, Terminal
from planners.predictive_sampling import PredictiveSampling, PredictiveSamplingConfig
from planners.random_shooting import RandomShooting, RandomShootingConfig
from planners.space import Box

__all__ = [
    "CEM",
    "ICEM",
    "ILQR",
    "MPPI",
    "Batch",
    "BeamConfig",
    "BeamSearch",
    "Box",
    "ByPolicy",
    "CEMConfig",
    "Corrected",
    "Cost",
    "Dynamics",
    "GradientCEM",
    "GradientCEMConfig",
    "GradientConfig",
    "GradientPlanner",
    "ICEMConfig",
    "ILQRConfig",
    "Info",
    "IterativeConfig",
    "LBFGSConfig",
    "LBFGSPlanner",
    "MPPIConfig",
    "MetaActions",
    "Mixed",
    "MixedConfig",
    "Plan",
    "Planner",
    "PlannerConfig",
    "PredictiveSampling",
    "PredictiveSamplingConfig",
    "RandomShooting",
    "RandomShootingConfig",
    "SampledFutures",
    "Stepwise",
    "Table",
    "Terminal",
]
