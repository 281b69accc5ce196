"""Training a forward model on recorded windows.

The loss is that of mbrl.model_losses; after a warm start, from the weights of the same model trained without z. The
unroll grows in stages (4, 8, 15 steps), and contexts are perturbed where the training observer allows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from envs.formats.fingerprint import fingerprint_of_all
from envs.recording import Recording
from envs.windows import Windows
from mbrl import data_parallel
from mbrl.checkpoint import load, save, training_state
from mbrl.forward_models import Ensemble, EnsembleConfig, PaperModel, build
from mbrl.forward_models.base import ForwardModel
from mbrl.loop import train
from mbrl.model_losses import model_windows, rollout_error
from mbrl.model_training import ModelTraining, Stage, training_to_dict
from mbrl.model_uncertainty import fit_uncertainty, met_in_training
from mbrl.normaliser import usual
from mbrl.progress import MakeCounter, Progress
from mbrl.schedule import cosine
from mbrl.trained_model import MODEL_FILE, TrainedModel, check_dt, load_model, trained_of

MAX_MEMBERS = 1000  # of an ensemble; the seeds of two ensembles' members are then apart
WITHOUT_Z = "without-z"  # folder of the model that a warm start begins with


def train_model(
    config: ModelTraining,
    recordings: Sequence[Recording],
    out: Path,
    *,
    start_from: TrainedModel | None = None,
    device: str = "cpu",
    tracking_root: Path | None = None,
    progress: MakeCounter = Progress,
) -> TrainedModel:
    """Train (or go on training, or load what is finished) the model of a config in folder `out`.

    Args:
        start_from: the model that `config.without_z()` trains, where somebody has trained it; else it is trained first.
    """
    as_dict = training_to_dict(config)
    if data_parallel.agreed((out / MODEL_FILE).exists()):
        return trained_of(load(out / MODEL_FILE, config=as_dict), out / MODEL_FILE, device)
    check_dt(recordings, config.model.timing)
    data_parallel.check_parts(*config.batch_sizes)
    if isinstance(config.model, EnsembleConfig):
        return _train_members(config, config.model, recordings, out, device, tracking_root or out, progress)
    alone = config.without_z()
    if alone is not None and start_from is None:
        start_from = train_model(
            alone, recordings, out / WITHOUT_Z,
            device=device, tracking_root=tracking_root or out, progress=progress,
        )  # fmt: skip
    torch.manual_seed(config.seed)
    model = build(config.model).to(device)
    if isinstance(model, PaperModel):
        _fit_normalisers(model, recordings, config)
    if start_from is not None:
        begin_with(model, start_from.model)
    adam = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    noise = torch.Generator().manual_seed(config.seed)
    num_updates = sum(stage.updates for stage in config.stages)
    batches: Iterator[tuple[Stage, Windows]] = iter(())

    def begin(step: int) -> None:
        nonlocal batches
        batches = _batches(config, model, recordings, step)

    def update(step: int) -> dict[str, float]:
        stage, windows = next(batches)
        data_parallel.seed_dropout(config.seed, step)
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * cosine(step / num_updates)
        model.train()
        error, kl = rollout_error(
            model, windows, stage.steps, device, noise, config.z_dropout, config.mixed_precision
        )
        loss = error.mean() + config.beta * kl
        adam.zero_grad(set_to_none=True)
        loss.backward()
        metrics = {"loss": float(loss.detach()), "error": float(error.detach().mean()), "kl": float(kl.detach()),
                   "error_last_step": float(error.detach()[:, -1].mean())}  # fmt: skip
        metrics = data_parallel.average(model.parameters(), metrics)
        metrics["gradient_norm"] = float(nn.utils.clip_grad_norm_(model.parameters(), config.clip))
        adam.step()
        return metrics

    train(
        update,
        name="train-model",
        what="training the forward model",
        out=out,
        config=as_dict,
        num_updates=num_updates,
        parts={"model": model, "adam": adam, "noise": noise, "dropout": _dropout_generator(device)},
        begin=begin,
        fingerprint=fingerprint_of_all(recordings),
        tracking_root=tracking_root,
        progress=progress,
    )
    return _finish(config, model, recordings, out, device)


def _finish(
    config: ModelTraining, model: ForwardModel[Any], recordings: Sequence[Recording], out: Path, device: str
) -> TrainedModel:
    """Fill a trained model's bank, scale its uncertainty, and write both."""
    if data_parallel.is_main():
        if model.bank is not None:
            model.bank.fill(met_in_training(config, model, recordings, device))
        uncertainty = fit_uncertainty(config, model, recordings, device)
        tensors, state = training_state(model=model, uncertainty=uncertainty)
        save(out / MODEL_FILE, tensors=tensors, config=training_to_dict(config), meta={"state": state})
    data_parallel.wait()
    return load_model(out, device=device)


def _train_members(
    config: ModelTraining,
    ensemble: EnsembleConfig,
    recordings: Sequence[Recording],
    out: Path,
    device: str,
    tracking_root: Path,
    progress: MakeCounter,
) -> TrainedModel:
    """Train each member in a folder of its own, from its own seed, and put them together."""
    if config.masks != ensemble.members:
        raise ValueError(f"masks={config.masks} must be the number of members, {ensemble.members}")
    members = [
        train_model(
            replace(config, model=ensemble.member, seed=config.seed * MAX_MEMBERS + k),
            recordings, out / f"member-{k}", device=device, tracking_root=tracking_root, progress=progress,
        ).model
        for k in range(ensemble.members)
    ]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    return _finish(config, Ensemble(ensemble, members), recordings, out, device)


def begin_with(model: ForwardModel[Any], without_z: ForwardModel[Any]) -> None:
    """Copy the weights of a deterministic model; what only z needs stays as it is.

    Raises:
        ValueError: they differ in more than z.
    """
    own, given = model.state_dict(), without_z.state_dict()
    unlike = [name for name, value in given.items() if name not in own or own[name].shape != value.shape]
    if unlike or without_z.z_dim:
        raise ValueError(f"not the same model without z: {unlike or without_z.z_dim}")
    model.load_state_dict(own | given)


def _dropout_generator(device: str) -> torch.Generator:
    """The global generator that dropout on a device draws from."""
    if torch.device(device).type == "cuda":
        index = torch.device(device).index
        return torch.cuda.default_generators[torch.cuda.current_device() if index is None else index]
    return torch.default_generator


def _batches(
    config: ModelTraining, model: ForwardModel[Any], recordings: Sequence[Recording], step: int
) -> Iterator[tuple[Stage, Windows]]:
    """The windows of update `step` and all that follow."""
    first = 0
    for k, stage in enumerate(config.stages, len(config.warm_start)):  # other windows than the warm start's
        end = first + stage.updates
        if step < end:
            sampler = model_windows(
                model, recordings, stage.steps, stage.batch_size, (config.seed, k),
                share=config.data_share, perturbed=config.perturbed, varied=config.varied,
            )  # fmt: skip
            part = data_parallel.part(stage.batch_size)
            for windows in sampler.stream(max(step - first, 0), stage.updates, part=part):
                yield stage, windows
        first = end


def _fit_normalisers(model: PaperModel, recordings: Sequence[Recording], config: ModelTraining) -> None:
    """Mean and deviation of vectors and actions over training windows."""
    steps = max(stage.steps for stage in config.stages)
    batch = usual(
        recordings, model.timing.targets(steps), share=config.data_share, seed=config.seed,
        perturbed=config.perturbed, varied=config.varied,
    )  # fmt: skip
    model.vector_normaliser.fit(torch.from_numpy(batch.target_vectors))
    model.action_normaliser.fit(torch.from_numpy(batch.actions))
