"""Training a policy: in imagination (MPUR, and the same without the uncertainty cost), or by imitating the next action.

    MPUR       1/T sum_t  gamma^t (C_proximity + w_lane C_lane + w_off C_off_road)_t + lambda U_t
    imitation  -log N(a | mu(s), diag sigma^2)

Source: Henaff, Canziani, LeCun, arXiv:1901.02705, section 3.2 and 4. The trajectory is imagined through a frozen model
from recorded contexts, half of them perturbed, with z from the prior. The policy that drives best on validation cars is
kept, never the one with the lowest cost: costs also fall by crawling.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from agents.evaluate import evaluate
from agents.learned import LearnedAgent
from agents.policies import Policy, PolicyConfig
from envs.context import Context, context_of_windows
from envs.errors import InputError
from envs.recording import Recording
from envs.units import View
from envs.windows import WindowConfig, WindowSampler
from mbrl.checkpoint import Checkpoint, load, restore_training_state, save, training_state
from mbrl.forward_models import SeparatedModel
from mbrl.futures import Futures, foresee
from mbrl.imagination import Trajectory, from_prior, imagine
from mbrl.loop import train
from mbrl.progress import Progress
from mbrl.schedule import warm_restarts
from mbrl.train_model import TrainedModel, check_dt
from mbrl.uncertainty import Uncertainty, disagreement, dropout_on

POLICY_FILE = "policy.safetensors"
Method = Literal["mpur", "mpur-no-uncertainty", "imitation"]


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
    horizon: int = 15  # steps of the model
    gamma: float = 0.98
    lane_weight: float = 0.2
    off_road_weight: float = 1.0  # as in the public code; the paper has 0.2
    uncertainty_weight: float = 0.05  # lambda; 0 for mpur-no-uncertainty
    masks: int = 2  # K; 1 where U does not count
    perturbed: float = 0.5  # share of perturbed contexts
    block: int = 15  # batches of futures drawn at a time ...
    epochs: int = 4  # ... and each driven through this often
    validations: int = 3  # times the policy is tried on validation cars, evenly over the second half
    validation_cars: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.updates < 1 or self.batch_size < 1 or self.horizon < 1 or self.block < 1 or self.epochs < 1:
            raise ValueError("updates, batch_size, horizon, block and epochs must be positive")
        if not 0 <= self.gamma <= 1 or self.masks < 1 or self.validations < 1 or self.cycles < 1:
            raise ValueError("gamma must be within [0, 1]; masks, validations and cycles positive")
        if self.uncertainty_weight and self.masks < 2 and self.method == "mpur":
            raise ValueError("an uncertainty cost needs at least two masks")

    @property
    def counts_uncertainty(self) -> bool:
        """Whether U is part of the loss."""
        return self.method == "mpur" and self.uncertainty_weight > 0


def mpur_loss(
    trajectory: Trajectory, uncertainty: Uncertainty | None, config: PolicyTraining
) -> tuple[Tensor, dict[str, float]]:
    """The loss above on a trajectory of K masks times B examples (mask-major); costs are means over masks."""
    steps = trajectory.actions.shape[1]
    discount = config.gamma ** torch.arange(
        steps, device=trajectory.actions.device, dtype=trajectory.actions.dtype
    )
    cost = trajectory.costs.total(config.lane_weight, config.off_road_weight)
    loss = (discount * cost).mean()
    metrics = {f"cost_{k}": float(v.detach().mean()) for k, v in trajectory.costs._asdict().items()}
    metrics["predicted_cost"] = float(cost.detach().mean())
    if uncertainty is not None:
        u = uncertainty(disagreement(trajectory, config.masks)).mean()
        loss = loss + config.uncertainty_weight * u
        metrics["uncertainty"] = float(u.detach())
    metrics["loss"] = float(loss.detach())
    metrics["action_acceleration"] = float(trajectory.actions.detach()[..., 0].abs().mean())
    metrics["action_curvature"] = float(trajectory.actions.detach()[..., 1].abs().mean())
    metrics["speed"] = float(trajectory.poses.detach()[..., 3].mean())
    return loss, metrics


def imitation_loss(policy: Policy, context: Context, action: Tensor) -> tuple[Tensor, dict[str, float]]:
    """-log N(a | mu, diag sigma^2) in the policy's units, the mean over examples; action (B, 2) in m/s^2, 1/m."""
    wanted = action / policy.scale(action)
    wanted = wanted.clamp(
        -2 * policy.config.bound, 2 * policy.config.bound
    )  # curvature at a crawl is mostly noise
    mu = policy.units(context.images, context.poses, context.size)
    nll = (
        0.5 * ((wanted - mu) * torch.exp(-policy.log_std)).square()
        + policy.log_std
        + 0.5 * math.log(2 * math.pi)
    )
    loss = nll.sum(-1).mean()
    return loss, {
        "loss": float(loss.detach()),
        "squared_error": float((wanted - mu).detach().square().mean()),
    }


def train_policy(
    config: PolicyTraining,
    recordings: Sequence[Recording],
    out: Path,
    *,
    trained: TrainedModel | None = None,
    start_from: Policy | None = None,
    device: str = "cpu",
    tracking_root: Path | None = None,
    progress: Any = Progress,
) -> Policy:
    """Train (or go on training, or load what is finished) the policy of a config in folder `out`.

    Args:
        trained: the frozen model; imitation needs none.
        start_from: a policy of the same architecture to begin with.
    """
    if (out / POLICY_FILE).exists():
        finished = load(out / POLICY_FILE, config=policy_training_to_dict(config))
        return _policy_of(finished, out / POLICY_FILE)[0].to(device)
    if config.method != "imitation":
        if trained is None:
            raise ValueError(f"method {config.method} needs a trained forward model")
        _check_fit(config, trained)
        check_dt(recordings, trained.model.timing)
    torch.manual_seed(config.seed)
    policy = Policy(config.policy).to(device)
    if start_from is not None:
        policy.load_state_dict(start_from.state_dict())
    best = copy.deepcopy(policy)
    score = {"success": _exactly(-1.0), "distance_m": _exactly(-1.0)}
    record = _Record(score)
    adam = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    losses: Iterator[tuple[Tensor, dict[str, float]]] = iter(())
    if trained is not None:
        trained.model.requires_grad_(False)

    def begin(step: int) -> None:
        nonlocal losses
        if config.method == "imitation":
            losses = _imitation_losses(config, policy, recordings, step, device)
        else:
            assert trained is not None
            losses = _imagined_losses(config, policy, trained, recordings, step, device)

    validate_after = {
        round(config.updates * (0.5 + 0.5 * k / config.validations)) for k in range(1, config.validations + 1)
    }

    def update(step: int) -> dict[str, float]:
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * warm_restarts(step / config.updates, config.cycles)
        loss, metrics = next(losses)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        metrics["gradient_norm"] = float(nn.utils.clip_grad_norm_(policy.parameters(), config.clip))
        adam.step()
        if step + 1 in validate_after:
            metrics |= _validate(policy, best, record, recordings, config)
        return metrics

    train(
        update,
        name="train-policy",
        what=f"training the policy ({config.method})",
        out=out,
        config=policy_training_to_dict(config),
        num_updates=config.updates,
        parts={"policy": policy, "best": best, "record": record, "adam": adam},
        begin=begin,
        may_save=lambda step: config.method == "imitation" or step % (config.block * config.epochs) == 0,
        tracking_root=tracking_root,
        progress=progress,
    )
    tensors, state = training_state(policy=best)
    meta = {"state": state, "method": config.method, "validation": {k: float(v) for k, v in score.items()}}
    save(out / POLICY_FILE, tensors=tensors, config=policy_training_to_dict(config), meta=meta)
    return best


def _check_fit(config: PolicyTraining, trained: TrainedModel) -> None:
    """A model is unrolled from what the policy sees: both must look back alike."""
    p, model = config.policy, trained.model
    sees = (p.view, p.frames, p.stride)
    if (model.config.view, model.timing.frames, model.timing.stride) != sees:
        raise InputError(
            f"the model sees {model.timing.frames} frames, {model.timing.stride} apart, of {model.config.view}, the"
            f" policy {p.frames}, {p.stride} apart, of {p.view}; train both with one preset"
        )
    fitted = trained.uncertainty.mean.shape[1]
    if config.counts_uncertainty and config.horizon > fitted:
        raise InputError(
            f"the model's uncertainty is known for {fitted} steps, the policy imagines {config.horizon};"
            " train both with one preset"
        )


class _Record:
    """The best validation numbers so far, kept with the checkpoint."""

    def __init__(self, score: dict[str, Tensor]) -> None:
        self.score = score

    def state_dict(self) -> dict[str, Any]:
        return dict(self.score)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.score.update(state)


def _exactly(value: float) -> Tensor:
    """A number that compares equal to itself when it is read again."""
    return torch.tensor(value, dtype=torch.float64)


def _validate(
    policy: Policy, best: Policy, record: _Record, recordings: Sequence[Recording], config: PolicyTraining
) -> dict[str, float]:
    """Drive validation cars; keep the policy if it did better than any before."""
    device = next(policy.parameters()).device
    agent = LearnedAgent(copy.deepcopy(policy), config.method, device=str(device))
    evaluation = evaluate(
        [agent],
        recordings,
        split="validation",
        max_cars=config.validation_cars,
        view=config.policy.view,
        stop_at_failure=True,
    )
    outcomes = evaluation.runs[0].outcomes
    success, distance = float(outcomes.succeeded().mean()), float(outcomes.distance().mean())
    if (success, distance) > (float(record.score["success"]), float(record.score["distance_m"])):
        best.load_state_dict(policy.state_dict())
        record.score.update(success=_exactly(success), distance_m=_exactly(distance))
    return {"validation_success": success, "validation_distance_m": distance}


def _imitation_losses(
    config: PolicyTraining, policy: Policy, recordings: Sequence[Recording], step: int, device: str
) -> Iterator[tuple[Tensor, dict[str, float]]]:
    """The loss of update `step` and of all that follow."""
    sampler = WindowSampler(
        recordings,
        _windows(config, targets=(1,), perturbed=0.0),
        batch_size=config.batch_size,
        seed=(config.seed, 0),
    )
    for windows in sampler.stream(step, config.updates):
        action = torch.from_numpy(windows.actions[:, 0]).to(device)
        yield imitation_loss(policy, context_of_windows(windows, device), action)


def _imagined_losses(
    config: PolicyTraining,
    policy: Policy,
    trained: TrainedModel,
    recordings: Sequence[Recording],
    step: int,
    device: str,
) -> Iterator[tuple[Tensor, dict[str, float]]]:
    """The same for trajectories imagined through the model, a block of contexts at a time."""
    model = trained.model
    masks, uncertainty = (config.masks, trained.uncertainty) if config.counts_uncertainty else (1, None)
    view: View = config.policy.view

    def loss_through(futures: Futures, noise: Tensor) -> tuple[Tensor, dict[str, float]]:
        h = futures.encode()
        driven = imagine(futures, policy.drive, h, noise, config.horizon, gradient="position", view=view)
        return mpur_loss(futures.under_all_masks(driven), uncertainty, config)

    def loss_under(context: Context, noise: Tensor) -> tuple[Tensor, dict[str, float]]:
        many, z = context.repeat(masks), from_prior(model, noise.repeat(masks, 1, 1))
        with dropout_on(model):
            trajectory = imagine(
                model, policy.drive, model.encode(many), z, config.horizon,
                gradient=model.gradient, view=view, num_masks=masks,
            )  # fmt: skip
        return mpur_loss(trajectory, uncertainty, config)

    sampler = WindowSampler(
        recordings, _windows(config, targets=(), perturbed=config.perturbed), batch_size=config.batch_size,
        seed=(config.seed, 1),
    )  # fmt: skip
    per_block = config.block * config.epochs
    first_block = step // per_block
    num_blocks = math.ceil(config.updates / per_block)
    stream = sampler.stream(first_block * config.block, num_blocks * config.block)
    for block in range(first_block, num_blocks):
        torch.manual_seed(np.random.SeedSequence((config.seed, 2, block)).generate_state(1)[0])  # dropout
        batches: list[Callable[[], tuple[Tensor, dict[str, float]]]] = []
        for _ in range(config.block):
            context = context_of_windows(next(stream), device)
            noise = model.noise(context.batch_size, config.horizon, like=context.size)
            if isinstance(model, SeparatedModel):
                z = from_prior(model, noise.repeat(masks, 1, 1))
                with dropout_on(model):
                    futures = foresee(model, context, z, config.horizon, masks)
                batches.append(partial(loss_through, futures, noise))
            else:
                batches.append(partial(loss_under, context, noise))
        order = np.random.default_rng((config.seed, 3, block))
        for _ in range(config.epochs):
            for k in order.permutation(config.block):
                yield batches[k]()


def _windows(config: PolicyTraining, targets: tuple[int, ...], perturbed: float) -> WindowConfig:
    p = config.policy
    back = tuple(p.stride * k for k in range(p.frames - 1, -1, -1))
    return WindowConfig(context=back, targets=targets, perturbed=perturbed, view=p.view)


def load_policy(folder: Path, device: str = "cpu") -> tuple[Policy, PolicyTraining]:
    """A finished policy. Raises InputError if there is none, or if it is damaged or foreign."""
    path = folder / POLICY_FILE
    if not path.exists():
        raise InputError(
            "no trained policy here; train one with `headway train-policy --out` this folder", path=folder
        )
    policy, config = _policy_of(load(path), path)
    return policy.to(device), config


def _policy_of(checkpoint: Checkpoint, path: Path) -> tuple[Policy, PolicyTraining]:
    try:
        config = policy_training_from_dict(checkpoint.config)
        policy = Policy(config.policy)
        restore_training_state(checkpoint.tensors, checkpoint.meta["state"], policy=policy)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a policy's checkpoint ({error})", path=path) from error
    return policy, config


def policy_training_to_dict(config: PolicyTraining) -> dict[str, Any]:
    """Plain values."""
    return asdict(config)


def policy_training_from_dict(data: dict[str, Any]) -> PolicyTraining:
    """The inverse of `policy_training_to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
    values = dict(data)
    policy: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values["policy"].items()}
    values["policy"] = PolicyConfig(**{**policy, "view": View(**policy["view"])})
    return PolicyTraining(**values)
