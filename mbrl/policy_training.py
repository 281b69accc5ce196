"""How a policy is trained: one configuration for every method.

mpur                  costs and U in imagined futures (Henaff, Canziani, LeCun, arXiv:1901.02705)
mpur-no-uncertainty   costs alone: SVG through a stochastic model, VG through a deterministic one
mper                  costs and the distance to the recorded future, with z inferred from it
imitation             the next recorded action
distill               the actions a planner finds in imagined futures (mbrl.distill)
log-replay            costs among what was recorded, without a model (mbrl.log_replay)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from agents.policies import PolicyConfig, policy_config_from_dict
from envs.costs import Weights
from mbrl.imagination import Gradient

Method = Literal["mpur", "mpur-no-uncertainty", "mper", "imitation", "distill", "log-replay"]
Source = Literal["prior", "posterior", "adversarial"]


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """How a planner teaches a policy: gradient descent on the actions, from what the policy would do."""

    futures: int = 4  # M, of which a plan minimises the mean cost
    iterations: int = 10
    learning_rate: float = 0.3  # of Adam, in ordinary actions (envs.costs.ORDINARY_ACTION)
    driven: int = 10  # steps, at most, that the policy drives before it is taught: its own mistakes are met
    followed: int = 5  # steps of each plan that are imitated

    def __post_init__(self) -> None:
        if (
            min(self.futures, self.iterations, self.followed) < 1
            or self.driven < 0
            or self.learning_rate <= 0
        ):
            raise ValueError(f"{self}: all numbers must be positive, `driven` at least 0")


@dataclass(frozen=True, kw_only=True)
class PolicyTraining:
    """How a policy is trained; the defaults are those of the preset `quick`."""

    method: Method = "mpur"
    policy: PolicyConfig = PolicyConfig()  # noqa: RUF009 (frozen)
    updates: int = 720
    batch_size: int = 32
    learning_rate: float = 2.5e-3  # Adam, falling to 0 along a cosine, `cycles` times
    cycles: int = 2
    clip: float = 5.0
    horizon: int = 20  # steps of the model
    gamma: float = 0.98
    lane_weight: float = 0.2
    off_road_weight: float = 1.0  # as in the public code; the paper has 0.2
    danger_weight: float = 0.0  # of proximity^4, which counts what is nearly a collision
    effort_weight: float = 0.0  # of (a / 1.5 m/s^2)^2 + (k / .005 1/m)^2
    progress_weight: float = 0.0  # of -v, per m/s
    uncertainty_weight: float = 0.05  # lambda; 0 for mpur-no-uncertainty
    masks: int = 2  # K; 1 where U does not count
    expert_weight: float = 1.0  # of the distance to the recorded future, for mper
    value_weight: float = 0.0  # of V at the rollout's end; above 0 a value function is trained along
    z: Source = "prior"  # of the futures; mper always infers them from the recorded one
    ascent_steps: int = 3  # towards the worst z, for z "adversarial" ...
    ascent_rate: float = 0.3  # ... each this share of its norm
    gradient: Gradient | None = None  # how a cost reaches the actions; by default as the model has it
    detach_speed: bool = True  # inside the proximity mask; with its gradient crawling wins
    learned_cost: bool = False  # costs by a network (mbrl.train_learned_cost) instead of envs.costs
    teaching: Teaching = Teaching()
    stochastic: bool = False  # drive imagined futures by samples of the Gaussian policy, not by its mean
    data_share: float = 1.0  # of the training cars, that it learns from
    mixed_precision: bool = False  # unroll the paper's networks in bfloat16; the policy stays in float32
    perturbed: float = 0.5  # share of perturbed contexts
    urgent: float = 0.5  # share of contexts drawn for their short time to collision
    block: int = 15  # batches of futures drawn at a time ...
    epochs: int = 6  # ... and each driven through this often
    validations: int = 3  # times the policy is tried on validation cars, evenly over the second half
    validation_cars: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.updates < 1 or self.batch_size < 1 or self.horizon < 1 or self.block < 1 or self.epochs < 1:
            raise ValueError("updates, batch_size, horizon, block and epochs must be positive")
        if not 0 <= self.gamma <= 1 or self.masks < 1 or self.validations < 1 or self.cycles < 1:
            raise ValueError("gamma must be within [0, 1]; masks, validations and cycles positive")
        if self.counts_uncertainty and self.masks < 2:
            raise ValueError("an uncertainty cost needs at least two masks")
        if self.method == "distill" and self.teaching.followed > self.horizon:
            raise ValueError(f"teaching.followed={self.teaching.followed} exceeds horizon={self.horizon}")
        if self.method in ("imitation", "log-replay", "distill") and self._unrolls_otherwise:
            raise ValueError(
                f"{self.method} does not unroll a model with its policy: z, gradient, value_weight, learned_cost and"
                " stochastic stay as they are"
            )
        if self.method == "mper" and self.z != "prior":
            raise ValueError("mper infers z from what was recorded: z stays as it is")
        for name, value, choices in (
            ("method", self.method, get_args(Method)),
            ("z", self.z, get_args(Source)),
            ("gradient", self.gradient, (None, *get_args(Gradient))),
        ):
            if value not in choices:
                raise ValueError(f"{name}={value!r} must be one of {', '.join(map(str, choices))}")

    @property
    def counts_uncertainty(self) -> bool:
        """Whether U is part of the loss."""
        return self.method in ("mpur", "distill") and self.uncertainty_weight > 0

    @property
    def weights(self) -> Weights:
        """What counts how much in the cost of a step."""
        return Weights(
            lane=self.lane_weight,
            off_road=self.off_road_weight,
            danger=self.danger_weight,
            effort=self.effort_weight,
            progress=self.progress_weight,
        )

    @property
    def needs_model(self) -> bool:
        """Whether it learns through a forward model."""
        return self.method not in ("imitation", "log-replay")

    @property
    def _unrolls_otherwise(self) -> bool:
        """Whether a field asks for another way to unroll a model than the usual one."""
        return (self.z, self.gradient) != ("prior", None) or bool(
            self.value_weight or self.learned_cost or self.stochastic
        )

    @property
    def follows_recorded_future(self) -> bool:
        """Whether z are inferred from what came, so that contexts must not be perturbed."""
        return self.method == "mper" or self.z == "posterior"


def policy_training_to_dict(config: PolicyTraining) -> dict[str, Any]:
    """Plain values."""
    return asdict(config)


def policy_training_from_dict(data: dict[str, Any]) -> PolicyTraining:
    """The inverse of `policy_training_to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
    values = {**data, "policy": policy_config_from_dict(data["policy"])}
    if "teaching" in values:
        values["teaching"] = Teaching(**values["teaching"])
    return PolicyTraining(**values)
