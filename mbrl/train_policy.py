"""Training a policy: in imagination, in the recording, or by imitating its actions (the methods: mbrl.policy_training).

The forward model is frozen. The policy that drives best on validation cars is kept, never the one with the lowest cost:
costs also fall by crawling.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agents.evaluate import cars_of, evaluate
from agents.learned import LearnedAgent
from agents.policies import Policy, PolicyConfig
from envs.errors import InputError
from envs.formats.fingerprint import fingerprint_of_all
from envs.recording import Recording
from mbrl import data_parallel
from mbrl.checkpoint import Checkpoint, load, restore_training_state, save, training_state
from mbrl.critics import LearnedCost, ValueFunction
from mbrl.distill import Distilled
from mbrl.forward_models import Ensemble, SeparatedModel
from mbrl.forward_models.base import ForwardModel
from mbrl.log_replay import Replayed
from mbrl.loop import train
from mbrl.policy_losses import Loss
from mbrl.policy_rollouts import Blockwise, Imagined, imitation_losses
from mbrl.policy_training import PolicyTraining, policy_training_from_dict, policy_training_to_dict
from mbrl.progress import MakeCounter, Progress
from mbrl.schedule import warm_restarts
from mbrl.trained_model import MODEL_FILE, TrainedModel, check_dt

POLICY_FILE = "policy.safetensors"


def train_policy(
    config: PolicyTraining,
    recordings: Sequence[Recording],
    out: Path,
    *,
    trained: TrainedModel | None = None,
    start_from: Policy | None = None,
    learned_cost: LearnedCost | None = None,
    device: str = "cpu",
    tracking_root: Path | None = None,
    progress: MakeCounter = Progress,
) -> Policy:
    """Train (or go on training, or load what is finished) the policy of a config in folder `out`.

    Args:
        trained: the frozen model; imitation and log-replay need none.
        start_from: a policy of the same architecture to begin with.
        learned_cost: judges imagined pictures, if the config wants it.
    """
    if data_parallel.agreed((out / POLICY_FILE).exists()):
        finished = load(out / POLICY_FILE, config=policy_training_to_dict(config))
        return _policy_of(finished, out / POLICY_FILE)[0].to(device)
    if config.needs_model:
        if trained is None:
            raise ValueError(f"method {config.method} needs a trained forward model")
        check_fit(config, trained)
        if config.learned_cost != (learned_cost is not None):
            raise ValueError("config.learned_cost and a learned cost go together")
    check_dt(recordings, config.policy)
    cars_of(recordings, "validation")  # where there are none, say so now
    data_parallel.check_parts(config.batch_size)
    torch.manual_seed(config.seed)
    policy = Policy(config.policy).to(device)
    if start_from is not None:
        policy.load_state_dict(start_from.state_dict())
    best = copy.deepcopy(policy)
    score = {"success": _exactly(-1.0), "distance_m": _exactly(-1.0)}
    record = _Record(score)
    value = ValueFunction(config.policy).to(device) if config.value_weight else None
    learning = nn.ModuleList([policy] if value is None else [policy, value])
    adam = torch.optim.Adam(learning.parameters(), lr=config.learning_rate)
    losses: Iterator[Loss] = iter(())
    if trained is not None:
        trained.model.requires_grad_(False)

    def begin(step: int) -> None:
        nonlocal losses
        if config.method == "imitation":
            losses = imitation_losses(config, policy, recordings, step, device)
        else:
            losses = blockwise().losses(step)

    def blockwise() -> Blockwise:
        if config.method == "log-replay":
            return Replayed(config, policy, recordings, device)
        assert trained is not None
        if config.method == "distill":
            return Distilled(config, policy, trained, recordings, device)
        return Imagined(config, policy, trained, recordings, device, value=value, learned_cost=learned_cost)

    validate_after = {
        round(config.updates * (0.5 + 0.5 * k / config.validations)) for k in range(1, config.validations + 1)
    }

    def update(step: int) -> dict[str, float]:
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * warm_restarts(step / config.updates, config.cycles)
        loss, metrics = next(losses)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        metrics = data_parallel.average(learning.parameters(), metrics)
        metrics["gradient_norm"] = float(nn.utils.clip_grad_norm_(learning.parameters(), config.clip))
        adam.step()
        if step + 1 in validate_after and data_parallel.is_main():
            metrics |= _validate(policy, best, record, recordings, config)
        return metrics

    train(
        update,
        name="train-policy",
        what=f"training the policy ({config.method})",
        out=out,
        config=policy_training_to_dict(config),
        num_updates=config.updates,
        parts={"policy": learning, "best": best, "record": record, "adam": adam},
        begin=begin,
        may_save=lambda step: config.method == "imitation" or step % (config.block * config.epochs) == 0,
        fingerprint=fingerprint_of_all(recordings),
        tracking_root=tracking_root,
        progress=progress,
    )
    if data_parallel.is_main():
        tensors, state = training_state(policy=best)
        meta = {
            "state": state,
            "method": config.method,
            "validation": {k: float(v) for k, v in score.items()},
        }
        save(out / POLICY_FILE, tensors=tensors, config=policy_training_to_dict(config), meta=meta)
    data_parallel.wait()
    return best if data_parallel.is_main() else load_policy(out, device)[0]


def check_sees_alike(policy: PolicyConfig, model: ForwardModel[Any]) -> None:
    """A model is unrolled from what the policy sees. Raises InputError unless both look back alike."""
    p, sees = policy, (policy.view, policy.frames, policy.stride, policy.dt)
    if (model.config.view, model.timing.frames, model.timing.stride, model.timing.dt) != sees:
        of = "" if model.config.view == p.view else f", of {model.config.view} and {p.view}"
        raise InputError(
            f"the model sees {model.timing.frames} frames, {model.timing.stride} apart, the policy {p.frames},"
            f" {p.stride} apart{of}; train both with one preset"
        )


def check_fit(config: PolicyTraining, trained: TrainedModel) -> None:
    """Raise InputError if a policy cannot be trained through a model as its config wants it."""
    model = trained.model
    check_sees_alike(config.policy, model)
    fitted = trained.uncertainty.mean.shape[1]
    if config.method == "distill" and not isinstance(model, SeparatedModel):
        raise InputError("a planner teaches in the separated model's futures; this model is another")
    if config.method == "mper" and model.observer != "ego":
        raise InputError(
            "mper compares what the ego sees: it needs a model that predicts this, such as the paper's"
        )
    if isinstance(model, Ensemble):
        if config.follows_recorded_future or config.z != "prior":
            raise InputError(
                "members of an ensemble agree on no z: choose a method other than mper, and z 'prior'"
            )
        if config.masks != len(model.members):
            raise InputError(f"the model is an ensemble: set masks to its {len(model.members)} members")
    if (config.z == "adversarial" or config.learned_cost) and (config.gradient or model.gradient) != "pixels":
        raise InputError(
            "adversarial z and learned costs need gradients that go through the pixels: set gradient to 'pixels'"
        )
    if config.z == "adversarial" and model.z_dim == 0:
        raise InputError("adversarial z needs a model with z; this one is deterministic")
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


def load_policy(folder: Path, device: str = "cpu") -> tuple[Policy, PolicyTraining]:
    """A finished policy. Raises InputError if there is none, or if it is damaged or foreign."""
    path = folder / POLICY_FILE
    if (folder / MODEL_FILE).exists():
        raise InputError("holds a forward model, not a policy", path=folder)
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
