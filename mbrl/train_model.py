"""Training a forward model on recorded windows.

    loss = 1/T sum_t || s_t+1 - f(s_t, a_t, z_t) ||^2 + beta KL(q(z_t | s_t, a_t, s_t+1) || p(z_t | s_t))

unrolled on its own predictions; after a warm start, from the weights of the same model trained without z. With
z-dropout a step's z comes from the prior instead of the posterior with some probability, so that the model also learns
to make sense of z it was not told (where z encodes errors, it is 0 then, and f(s, a, 0) learns to predict without).
Source: Henaff, Canziani, LeCun, arXiv:1901.02705, section 3.1. The unroll grows in stages (4, 8, 15 steps), and
contexts are perturbed where the training observer allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from envs.context import Context, Recorded, context_of_windows
from envs.errors import InputError
from envs.recording import Recording, Split
from envs.units import View
from envs.windows import WindowConfig, Windows, WindowSampler
from mbrl import data_parallel
from mbrl.checkpoint import Checkpoint, load, restore_training_state, save, training_state
from mbrl.forward_models import (
    Ensemble,
    EnsembleConfig,
    ModelConfig,
    PaperModel,
    Timing,
    build,
    config_from_dict,
    config_to_dict,
)
from mbrl.forward_models.base import ForwardModel, reparameterise
from mbrl.forward_models.layers import shared_weights
from mbrl.imagination import Latents, Trajectory, exact_costs, from_prior, stepwise, unroll
from mbrl.loop import train
from mbrl.progress import Progress
from mbrl.schedule import cosine
from mbrl.uncertainty import Terms, Uncertainty, disagreement, dropout_on

MODEL_FILE = "model.safetensors"
MAX_MEMBERS = 1000  # of an ensemble; the seeds of two ensembles' members are then apart
WITHOUT_Z = "without-z"  # folder of the model that a warm start begins with


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Part of a training: `updates` updates of `batch_size` windows, unrolled over `steps` steps."""

    steps: int
    updates: int
    batch_size: int

    def __post_init__(self) -> None:
        if min(self.steps, self.updates, self.batch_size) < 1:
            raise ValueError(f"{self}: steps, updates and batch_size must be positive")


@dataclass(frozen=True, kw_only=True)
class ModelTraining:
    """How a forward model is trained."""

    model: ModelConfig
    stages: tuple[Stage, ...]
    warm_start: tuple[Stage, ...] = ()  # of the same model without z, with whose weights it begins
    learning_rate: float = 1e-3  # Adam, falling to 0 along a cosine
    clip: float = 5.0  # of the gradient's norm
    beta: float = 1e-6  # weight of the KL
    z_dropout: float = 0.5  # probability that a step's z comes from the prior
    data_share: float = 1.0  # of the training cars, that it learns from
    perturbed: float = 0.0  # share of perturbed contexts, where the training observer allows it
    varied: float = 0.0  # share of windows with varied actions, where it sees what the ego sees
    mixed_precision: bool = False  # networks in bfloat16, weights in float32
    horizon: int = 20  # steps for which the uncertainty is normalised
    masks: int = 2  # K of the uncertainty
    uncertainty_batches: int = 8  # of 32 windows, to normalise it
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages or not 0 <= self.z_dropout <= 1 or self.masks < 2:
            raise ValueError("a training needs at least one stage, z_dropout within [0, 1] and two masks")


@dataclass(frozen=True)
class TrainedModel:
    """A forward model and the scale of its disagreement with itself."""

    model: ForwardModel[Any]
    uncertainty: Uncertainty


def train_model(
    config: ModelTraining,
    recordings: Sequence[Recording],
    out: Path,
    *,
    device: str = "cpu",
    tracking_root: Path | None = None,
    progress: Any = Progress,
) -> TrainedModel:
    """Train (or go on training, or load what is finished) the model of a config in folder `out`."""
    as_dict = training_to_dict(config)
    if data_parallel.agreed((out / MODEL_FILE).exists()):
        return _trained_of(load(out / MODEL_FILE, config=as_dict), out / MODEL_FILE, device)
    check_dt(recordings, config.model.timing)
    data_parallel.check_parts(*(stage.batch_size for stage in (*config.warm_start, *config.stages)))
    if isinstance(config.model, EnsembleConfig):
        return _train_members(config, config.model, recordings, out, device, tracking_root or out, progress)
    without_z = _train_without_z(config, recordings, out, device, tracking_root, progress)
    torch.manual_seed(config.seed)
    model = build(config.model).to(device)
    if isinstance(model, PaperModel):
        _fit_normalisers(model, recordings, config)
    if without_z is not None:
        begin_with(model, without_z)
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
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        if torch.isfinite(norm):
            adam.step()
        return metrics | {"gradient_norm": float(norm)}

    train(
        update,
        name="train-model",
        what="training the forward model",
        out=out,
        config=as_dict,
        num_updates=num_updates,
        parts={"model": model, "adam": adam, "noise": noise, "dropout": _dropout_generator(device)},
        begin=begin,
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
    progress: Any,
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


def _train_without_z(
    config: ModelTraining,
    recordings: Sequence[Recording],
    out: Path,
    device: str,
    tracking_root: Path | None,
    progress: Any,
) -> ForwardModel[Any] | None:
    """The deterministic model that a config wants to begin with, trained in a folder of its own."""
    if not config.warm_start or isinstance(config.model, EnsembleConfig):
        return None
    alone = replace(
        config,
        model=replace(config.model, z_dim=0, latent="normal"),
        stages=config.warm_start,
        warm_start=(),
        z_dropout=0.0,
    )
    folder = out / WITHOUT_Z
    return train_model(
        alone, recordings, folder, device=device, tracking_root=tracking_root or out, progress=progress
    ).model


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


def check_dt(recordings: Sequence[Recording], timing: Timing) -> None:
    """Raise InputError if a recording's frames are not as far apart as a model takes them to be."""
    for recording in recordings:
        if abs(recording.dt - timing.dt) > 1e-6:
            raise InputError(
                f"a recording of {recording.site.name} has a frame every {recording.dt:g} s, the model expects one"
                f" every {timing.dt:g} s"
            )


def _dropout_generator(device: str) -> torch.Generator:
    """The global generator that dropout on a device draws from."""
    if torch.device(device).type == "cuda":
        index = torch.device(device).index
        return torch.cuda.default_generators[torch.cuda.current_device() if index is None else index]
    return torch.default_generator


def rollout_error(
    model: ForwardModel[Any],
    windows: Windows,
    steps: int,
    device: str,
    noise: torch.Generator | None,
    z_dropout: float,
    mixed_precision: bool = False,
) -> tuple[Tensor, Tensor]:
    """Squared error (B, T) of an unroll on recorded actions, and the mean KL per step.

    z is from the posterior, or from the prior with probability z_dropout, independently for each example and step.
    """
    context = context_of_windows(windows, device)
    after = Recorded.of(windows, device)
    divergences: list[Tensor] = []

    def shared(draw: Callable[[int], Tensor]) -> Tensor:
        return data_parallel.shared(draw, context.batch_size)

    def normal(num: int) -> Tensor:
        return model.noise(num, 1, like=after.actions, generator=noise)[:, 0]

    def latent(t: int, h: Any) -> Tensor:
        prior = model.latent(h, shared(normal))
        if model.z_dim == 0 or z_dropout == 1:
            return prior
        mu, log_var = model.posterior(h, after.actions[:, t], after.images[:, t], after.poses[:, t])
        divergences.append(model.divergence(h, mu, log_var).mean())
        dropped = shared(lambda num: torch.rand(num, 1, generator=noise)).to(device) < z_dropout
        return torch.where(dropped, prior, reparameterise(mu, log_var, shared(normal)))

    precision = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=mixed_precision)
    with precision, shared_weights(model):
        errors = [
            model.error(h, after.images[:, t], after.poses[:, t])
            for t, (_, _, h) in enumerate(
                unroll(model, model.encode(context, along=after), stepwise(after.actions), latent, steps)
            )
        ]
    kl = torch.stack(divergences).mean() if divergences else errors[0].new_zeros(())
    return torch.stack(errors, 1), kl


@torch.no_grad()
def met_in_training(
    config: ModelTraining, model: ForwardModel[Any], recordings: Sequence[Recording], device: str = "cpu"
) -> Tensor:
    """(M, z_dim): the posterior's means along training windows."""
    model.eval()
    steps, batch_size = config.stages[-1].steps, config.stages[-1].batch_size
    sampler = model_windows(
        model, recordings, steps, batch_size, (config.seed, len(config.stages)),
        share=config.data_share, perturbed=config.perturbed,
    )  # fmt: skip
    found: list[Tensor] = []
    for i in range(config.uncertainty_batches):
        windows = sampler.batch(i)
        after = Recorded.of(windows, device)
        h = model.encode(context_of_windows(windows, device))
        for t in range(steps):
            mu, _ = model.posterior(h, after.actions[:, t], after.images[:, t], after.poses[:, t])
            found.append(mu)
            _, h = model.step(h, after.actions[:, t], mu)
    return torch.cat(found)


@torch.no_grad()
def fit_uncertainty(
    config: ModelTraining, model: ForwardModel[Any], recordings: Sequence[Recording], device: str = "cpu"
) -> Uncertainty:
    """Normalise the disagreement of K masks along recorded actions of training windows."""
    windows = WindowConfig(
        context=model.timing.context,
        targets=model.timing.targets(config.horizon),
        observer=model.observer,
        view=config.model.view,
    )
    sampler = WindowSampler(recordings, windows, batch_size=32, share=config.data_share, seed=config.seed + 1)
    noise = torch.Generator().manual_seed(config.seed + 1)
    samples: list[Terms] = []
    with dropout_on(model):
        for i in range(config.uncertainty_batches):
            batch = sampler.batch(i)
            context = context_of_windows(batch, device)
            actions = torch.from_numpy(batch.actions).to(device)
            eps = model.noise(len(actions), config.horizon, like=actions, generator=noise)
            z = from_prior(model, eps.repeat(config.masks, 1, 1))
            samples.append(disagreement(along(model, context, actions, z, config.masks), config.masks))
    uncertainty = Uncertainty(config.horizon).to(device)
    uncertainty.fit(samples)
    return uncertainty


def along(
    model: ForwardModel[Any], context: Context, actions: Tensor, z: Latents, num_masks: int
) -> Trajectory:
    """The trajectory of given actions (B, T, 2) under K masks (mask-major), z of K * B examples."""
    many, many_actions = context.repeat(num_masks), actions.repeat(num_masks, 1, 1)
    predictions = [
        prediction
        for _, prediction, _ in unroll(
            model, model.encode(context, num_masks), stepwise(many_actions), stepwise(z), actions.shape[1]
        )
    ]
    images = torch.stack([p.image for p in predictions], 1)
    poses = torch.stack([p.pose for p in predictions], 1)
    cost = exact_costs(model.gradient, model.config.view)
    return Trajectory(images, poses, many_actions, cost(images, poses, many.size))


def load_model(folder: Path, device: str = "cpu") -> TrainedModel:
    """A finished model. Raises InputError if there is none, or if it is damaged or foreign."""
    path = folder / MODEL_FILE
    if not path.exists():
        raise InputError(
            "no trained model here; train one with `headway train-model --out` this folder", path=folder
        )
    return _trained_of(load(path), path, device)


def _trained_of(checkpoint: Checkpoint, path: Path, device: str) -> TrainedModel:
    try:
        config = training_from_dict(checkpoint.config)
        model, uncertainty = build(config.model), Uncertainty(config.horizon)
        state = checkpoint.meta["state"]
        restore_training_state(checkpoint.tensors, state, model=model, uncertainty=uncertainty)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a forward model's checkpoint ({error})", path=path) from error
    return TrainedModel(model.to(device).eval(), uncertainty.to(device))


def training_to_dict(config: ModelTraining) -> dict[str, Any]:
    """Plain values."""
    return {**asdict(config), "model": config_to_dict(config.model)}


def training_from_dict(data: dict[str, Any]) -> ModelTraining:
    """The inverse of `training_to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
    values = dict(data)
    values["model"] = config_from_dict(values["model"])
    for name in ("stages", "warm_start"):
        values[name] = tuple(Stage(**stage) for stage in values.get(name, ()))
    return ModelTraining(**values)


def _batches(
    config: ModelTraining, model: ForwardModel[Any], recordings: Sequence[Recording], step: int
) -> Iterator[tuple[Stage, Windows]]:
    """The windows of update `step` and all that follow."""
    first = 0
    for k, stage in enumerate(config.stages):
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


def model_windows(
    model: ForwardModel[Any],
    recordings: Sequence[Recording],
    steps: int,
    batch_size: int,
    seed: int | tuple[int, ...],
    *,
    split: Split = "train",
    share: float = 1.0,
    perturbed: float = 0.0,
    varied: float = 0.0,
) -> WindowSampler:
    """The windows a model learns from, or is examined on; perturbed or varied only where its observer allows it."""
    windows = WindowConfig(
        context=model.timing.context,
        targets=model.timing.targets(steps),
        observer=model.observer,
        perturbed=perturbed if model.observer == "straight" else 0.0,
        varied=varied if model.observer == "ego" else 0.0,
        view=model.config.view,
    )
    return WindowSampler(recordings, windows, batch_size=batch_size, split=split, share=share, seed=seed)


def _fit_normalisers(model: PaperModel, recordings: Sequence[Recording], config: ModelTraining) -> None:
    """Mean and deviation of vectors and actions over training windows."""
    windows = WindowConfig(context=(0,), targets=model.timing.targets(1), view=View(height=1, width=1))
    sampler = WindowSampler(recordings, windows, batch_size=2048, share=config.data_share, seed=config.seed)
    batch = sampler.batch(0)
    model.vector_normaliser.fit(torch.from_numpy(batch.vectors))
    model.action_normaliser.fit(torch.from_numpy(batch.actions))
