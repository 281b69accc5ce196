"""How a learned cost is trained (mbrl.train_learned_cost)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from agents.policies import PolicyConfig, policy_config_from_dict


@dataclass(frozen=True, kw_only=True)
class CostTraining:
    """The defaults are those of the preset `quick`."""

    network: PolicyConfig = PolicyConfig()  # noqa: RUF009 (frozen); its perception
    updates: int = 600
    batch_size: int = 64
    learning_rate: float = 1e-3  # Adam, falling to 0 along a cosine
    perturbed: float = 0.5  # share of pictures seen from an ego that was moved
    seed: int = 0


def cost_training_to_dict(config: CostTraining) -> dict[str, Any]:
    """Plain values."""
    return asdict(config)


def cost_training_from_dict(data: dict[str, Any]) -> CostTraining:
    """The inverse of `cost_training_to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
    return CostTraining(**{**data, "network": policy_config_from_dict(data["network"])})
