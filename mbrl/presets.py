"""Sizes and budgets that fit a purpose: `quick` (two cores), `paper` (one GPU), `debug` (seconds: does it run?)."""

from __future__ import annotations

from typing import Any, Literal

from agents.planning import AT_THE_WHEEL
from agents.policies import PolicyConfig
from mbrl.forward_models import PaperConfig, SeparatedConfig, Timing
from mbrl.model_training import ModelTraining, Stage
from mbrl.policy_training import Method, PolicyTraining, Teaching

Preset = Literal["quick", "paper", "debug"]
# Weights of mbrl.policy_losses, chosen on validation cars: what planners mind too, and what is nearly a collision.
PLANNED_COST: dict[str, Any] = {
    "effort_weight": AT_THE_WHEEL.effort,
    "progress_weight": AT_THE_WHEEL.progress,
}
FULL_COST: dict[str, Any] = {"danger_weight": 1.0, **PLANNED_COST}
COSTS: dict[str, dict[str, Any]] = {
    "distill": {**PLANNED_COST, "uncertainty_weight": 0.0},  # U does not help planners, see docs/planning.md
    "log-replay": FULL_COST,
}  # of methods; others: the paper's
DEBUG_CHANNELS = (4, 8, 8)
SHARES = (0.05, 0.2)  # of the training cars, besides all: how much does a method need?


def of_share(name: str, share: float) -> str:
    """The name of what is learned from a share of the training cars.

    >>> of_share("mpur", 0.05), of_share("mpur", 1.0)
    ('mpur-data-5', 'mpur')
    """
    return name if share == 1 else f"{name}-data-{100 * share:.0f}"


def model_training(preset: Preset, seed: int = 0) -> ModelTraining:
    """How a forward model is trained under a preset."""
    if preset == "quick":
        return ModelTraining(
            model=SeparatedConfig(),
            stages=(
                Stage(steps=4, updates=300, batch_size=32),
                Stage(steps=8, updates=120, batch_size=32),
                Stage(steps=15, updates=160, batch_size=16),
            ),
            perturbed=0.5,
            seed=seed,
        )
    if preset == "paper":  # appendix of arXiv:1901.02705
        return ModelTraining(
            model=PaperConfig(),
            stages=(Stage(steps=20, updates=200_000, batch_size=64),),
            warm_start=(Stage(steps=20, updates=200_000, batch_size=64),),
            learning_rate=1e-4,
            mixed_precision=True,
            horizon=30,
            masks=10,
            seed=seed,
        )
    return ModelTraining(
        model=SeparatedConfig(
            timing=Timing(frames=3, stride=2), channels=DEBUG_CHANNELS, back=(0, 1, 2), z_dim=2
        ),
        stages=(Stage(steps=2, updates=4, batch_size=4), Stage(steps=3, updates=2, batch_size=2)),
        perturbed=0.5,
        horizon=3,
        masks=2,
        uncertainty_batches=1,
        seed=seed,
    )


def policy_training(preset: Preset, method: Method = "mpur", seed: int = 0) -> PolicyTraining:
    """How a policy is trained under a preset; imitation has budgets of its own, since an update costs less."""
    imitates = method == "imitation"
    cost = COSTS.get(method, {})
    if preset == "quick":
        if imitates:
            return PolicyTraining(
                method=method,
                updates=1800,
                batch_size=64,
                learning_rate=1e-3,
                cycles=1,
                validations=2,
                seed=seed,
            )
        return PolicyTraining(method=method, seed=seed, **cost)
    if preset == "paper":
        return PolicyTraining(
            method=method,
            policy=PolicyConfig(
                frames=20, stride=1, back=tuple(range(20)), channels=(64, 128, 256), hidden=256
            ),
            updates=200_000 if imitates else 30_000,
            batch_size=64 if imitates else 6,
            learning_rate=1e-4,
            cycles=1,
            horizon=30,
            gamma=0.99,
            masks=10,
            mixed_precision=True,
            perturbed=0.0,
            urgent=0.0,
            block=1,
            epochs=1,
            validations=10,
            seed=seed,
            **{"uncertainty_weight": 0.5, **cost},
        )
    return PolicyTraining(
        method=method,
        policy=PolicyConfig(channels=DEBUG_CHANNELS, hidden=8, frames=3, stride=2, back=(0, 1, 2)),
        updates=4,
        batch_size=2,
        horizon=3,
        masks=2,
        block=2,
        epochs=1,
        validations=1,
        validation_cars=4,
        teaching=Teaching(futures=2, iterations=2, driven=1, followed=2),
        seed=seed,
        **cost,
    )
