"""How far what a model says can be trusted: imagination against the replay, U against errors, actions against none.

imagined against executed   the same actions, driven in the model's futures and among the recorded cars
calibration                 does U rank the model's real errors?
sensitivity                 how much worse are predictions when the actions are another example's, or z is unknown?
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.policies import Policy
from envs.context import Recorded, context_of_observation, context_of_windows
from envs.costs import Costs
from envs.drives import Drives, find_drives
from envs.recording import Recording, Split
from envs.replay import Replay
from envs.windows import Windows
from envs.world import build_world
from mbrl.imagination import exact_costs, from_prior, imagine, stepwise, unroll
from mbrl.policy_rollouts import inferred
from mbrl.train_model import TrainedModel, model_windows
from mbrl.uncertainty import dropout_on

BATCH = 32


@dataclass(frozen=True)
class Executed:
    """The same actions of E examples, imagined and executed; T steps of the model."""

    imagined_cost: NDArray[np.float32]  # (E, T): C_proximity + 0.2 C_lane + 0.2 C_off_road
    executed_cost: NDArray[np.float32]  # (E, T)
    imagined_way: NDArray[np.float32]  # (E, T) m from where it began
    executed_way: NDArray[np.float32]  # (E, T)

    @property
    def correlation(self) -> float:
        """Pearson's, between the examples' mean costs."""
        return float(np.corrcoef(self.imagined_cost.mean(1), self.executed_cost.mean(1))[0, 1])


@torch.no_grad()
def imagined_against_executed(
    policy: Policy,
    trained: TrainedModel,
    recordings: Sequence[Recording],
    *,
    split: Split = "validation",
    num_examples: int = 128,
    seed: int = 0,
) -> Executed:
    """Let a policy drive through the model from recorded situations, then drive the same actions in the replay."""
    model, horizon = trained.model, trained.uncertainty.mean.shape[1]
    timing, view = model.timing, model.config.view
    history = (timing.frames - 1) * timing.stride + 1
    drives = _anywhere(recordings, split, history, horizon * timing.stride, num_examples, seed)
    device = next(model.parameters()).device
    replay = Replay(recordings, len(drives), history=history, view=view)
    context = context_of_observation(replay.reset(drives), timing.frames, timing.stride, device)
    noise = model.noise(
        len(drives), horizon, like=context.size, generator=torch.Generator().manual_seed(seed)
    )
    trajectory = imagine(
        model, policy, model.encode(context), from_prior(model, noise), horizon,
        cost=exact_costs(model.gradient, view),
    )  # fmt: skip
    start, actions = replay.state[:, :2].copy(), trajectory.actions.cpu().numpy()
    costs, ways = [], []
    for t in range(horizon):
        for _ in range(timing.stride):
            _, step = replay.step(actions[:, t])
        costs.append(_total(step.costs))
        ways.append(np.hypot(*(replay.state[:, :2] - start).T))
    way = (trajectory.poses[..., :2] - context.now()[:, None, :2]).norm(dim=-1)
    return Executed(
        trajectory.costs.total().cpu().numpy(),
        np.stack(costs, 1).astype(np.float32),
        way.cpu().numpy(),
        np.stack(ways, 1).astype(np.float32),
    )


def _total(costs: NDArray[np.float32]) -> NDArray[np.float32]:
    return Costs(*torch.from_numpy(costs).unbind(-1)).total().numpy()


def _anywhere(
    recordings: Sequence[Recording], split: Split, history: int, ahead: int, num: int, seed: int
) -> Drives:
    """`num` drives of a split's cars, each from a random frame on, `ahead` frames before its human arrives."""
    drives = find_drives(build_world(recordings), recordings, split, history=history)
    drives = drives.take(np.flatnonzero(drives.human_frame - drives.start_frame >= ahead))
    rng = np.random.default_rng(seed)
    drives = drives.take(rng.integers(len(drives), size=num))
    begin = rng.integers(drives.start_frame, drives.human_frame - ahead + 1)
    return Drives(drives.vehicle, begin, drives.human_frame, drives.limit_frame)


@dataclass(frozen=True)
class Calibration:
    """U of predictions along recorded actions, and how wrong they were; E examples, T steps."""

    uncertainty: NDArray[np.float32]  # (E, T), the variance over masks, not normalised
    error: NDArray[np.float32]  # (E, T), the model's squared error, the mean over masks

    def rank_correlation(self) -> NDArray[np.float64]:
        """(T,) Spearman's, over examples, at each step."""
        steps = range(self.error.shape[1])
        return np.array(
            [np.corrcoef(ranks(self.uncertainty[:, t]), ranks(self.error[:, t]))[0, 1] for t in steps]
        )

    def reliability(self, num_bins: int = 10) -> NDArray[np.float64]:
        """(num_bins, 2): mean U and mean error of the examples (all steps) in each quantile of U."""
        order = np.argsort(self.uncertainty, axis=None)
        parts = np.array_split(order, num_bins)
        return np.array([[self.uncertainty.flat[p].mean(), self.error.flat[p].mean()] for p in parts])


def ranks(x: NDArray[Any]) -> NDArray[np.float64]:
    """0 ... n - 1 in the order of x; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return (first + (counts - 1) / 2)[inverse].reshape(len(x))


@torch.no_grad()
def calibration(
    trained: TrainedModel,
    recordings: Sequence[Recording],
    *,
    split: Split = "validation",
    num_examples: int = 256,
    num_masks: int = 8,
    seed: int = 0,
) -> Calibration:
    """Disagreement under dropout and real errors, along recorded actions with z from the prior."""
    model = trained.model
    uncertainties, errors = [], []
    for windows, recorded in _windows(trained, recordings, split, num_examples, seed):
        context = context_of_windows(windows, recorded.poses.device)
        horizon = recorded.actions.shape[1]
        noise = model.noise(
            context.batch_size, horizon, like=context.size, generator=torch.Generator().manual_seed(seed)
        )
        torch.manual_seed(seed)
        z = from_prior(model, noise.repeat(num_masks, 1, 1))
        with dropout_on(model):
            many = context.repeat(num_masks)
            actions = recorded.actions.repeat(num_masks, 1, 1)
            wrong, frames = [], []
            for t, (_, prediction, h) in enumerate(
                unroll(model, model.encode(many), stepwise(actions), z, horizon)
            ):
                truth = (
                    x[:, t].repeat(num_masks, *[1] * (x.dim() - 2)) for x in (recorded.images, recorded.poses)
                )
                wrong.append(model.error(h, *truth).view(num_masks, -1).mean(0))
                frames.append(prediction.image)
        by_mask = torch.stack(frames, 1).view(num_masks, context.batch_size, horizon, -1)
        uncertainties.append(by_mask.var(0).sum(-1))
        errors.append(torch.stack(wrong, 1))
    return Calibration(torch.cat(uncertainties).cpu().numpy(), torch.cat(errors).cpu().numpy())


@dataclass(frozen=True)
class Sensitivity:
    """Mean squared errors (T,) of predictions along recorded futures."""

    prior: NDArray[np.float32]  # recorded actions, z from the prior
    posterior: NDArray[np.float32]  # recorded actions, z from the posterior
    shuffled: NDArray[np.float32]  # another example's actions, z from the posterior


@torch.no_grad()
def sensitivity(
    trained: TrainedModel,
    recordings: Sequence[Recording],
    *,
    split: Split = "validation",
    num_examples: int = 256,
    seed: int = 0,
) -> Sensitivity:
    """What predictions owe to the actions and to z. A model that ignores actions is as good with shuffled ones."""
    model = trained.model
    found: dict[str, list[Tensor]] = {"prior": [], "posterior": [], "shuffled": []}
    for windows, recorded in _windows(trained, recordings, split, num_examples, seed):
        context = context_of_windows(windows, recorded.poses.device)
        actions, horizon = recorded.actions, recorded.actions.shape[1]
        noise = model.noise(
            context.batch_size, horizon, like=context.size, generator=torch.Generator().manual_seed(seed)
        )
        z = inferred(model, context, recorded, noise)
        cases = {
            "prior": (actions, from_prior(model, noise)),
            "posterior": (actions, stepwise(z)),
            "shuffled": (actions.roll(1, 0), stepwise(z)),
        }
        for name, (chosen, latent) in cases.items():
            steps = unroll(model, model.encode(context), stepwise(chosen), latent, horizon)
            error = [
                model.error(h, recorded.images[:, t], recorded.poses[:, t]).mean()
                for t, (_, _, h) in enumerate(steps)
            ]
            found[name].append(torch.stack(error))
    return Sensitivity(**{name: torch.stack(errors).mean(0).cpu().numpy() for name, errors in found.items()})


def _windows(
    trained: TrainedModel, recordings: Sequence[Recording], split: Split, num_examples: int, seed: int
) -> Iterator[tuple[Windows, Recorded]]:
    """Batches of recorded futures as the model's training has them, unperturbed."""
    model, horizon = trained.model, trained.uncertainty.mean.shape[1]
    device = next(model.parameters()).device
    sampler = model_windows(model, recordings, horizon, min(BATCH, num_examples), seed=seed, split=split)
    for i in range(-(-num_examples // BATCH)):
        windows = sampler.batch(i)
        yield windows, Recorded.of(windows, device)
