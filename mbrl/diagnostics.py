"""How far a model's predictions of recorded futures can be trusted: U against errors, actions against none.

calibration   does U rank the model's real errors, of pictures and of costs?
sensitivity   how much worse are predictions when the actions are another example's, or z is unknown?

An ensemble is examined whole: every example goes through each member, and numbers are means over them (U: their
disagreement). `headway diagnose` (mbrl.diagnose) computes and draws all of it, with mbrl.executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.context import Context, Recorded, context_of_windows
from envs.recording import Recording, Split
from envs.windows import WindowConfig, Windows, WindowSampler
from mbrl.executed import BATCH, Numbers, correlation
from mbrl.forward_models.base import ForwardModel
from mbrl.forward_models.ensemble import num_disagreeing, num_members
from mbrl.imagination import Latents, Trajectory, exact_costs, from_prior, stepwise, unroll
from mbrl.model_losses import model_windows
from mbrl.policy_rollouts import inferred
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import disagreement, dropout_on


@dataclass(frozen=True)
class Calibration:
    """U of predictions along recorded actions, and how wrong they were; E examples, T steps."""

    uncertainty: Numbers  # (E, T), the variance over masks or members, summed over pixels, not normalised
    minded: Numbers  # (E, T), U as policies mind it: all its terms, normalised (mbrl.uncertainty)
    error: Numbers  # (E, T), the model's squared error (ForwardModel.error), the mean over masks or members
    cost_error: Numbers  # (E, T), |C - C*|: the mean cost of what is predicted, and that of what came
    traffic: Numbers  # (E,) pixels of vehicles in view at the start: more of them, more to be wrong about

    def rank_correlation(self) -> NDArray[np.float64]:
        """(T,) Spearman's of U and error, over examples, at each step; NaN where U is the same for all."""
        return _rank_correlation(self.uncertainty, self.error)

    def rank_correlation_of_traffic(self) -> NDArray[np.float64]:
        """The same of what needs no model, for comparison."""
        return _rank_correlation(np.broadcast_to(self.traffic[:, None], self.error.shape), self.error)

    def rank_correlation_of_costs(self) -> NDArray[np.float64]:
        """(T,) Spearman's of U as policies mind it and of the error of what they pay for."""
        return _rank_correlation(self.minded, self.cost_error)

    def reliability(self, step: int, num_bins: int = 8) -> NDArray[np.float64]:
        """(num_bins, 2): mean U and mean error of the examples in each quantile of U, at one step."""
        return _reliability(self.uncertainty[:, step], self.error[:, step], num_bins)

    def reliability_of_costs(self, step: int, num_bins: int = 8) -> NDArray[np.float64]:
        """The same of U as policies mind it and the error of what they pay for."""
        return _reliability(self.minded[:, step], self.cost_error[:, step], num_bins)


def _rank_correlation(by: Numbers, error: Numbers) -> NDArray[np.float64]:
    steps = range(error.shape[1])
    return np.array([correlation(ranks(by[:, t]), ranks(error[:, t])) for t in steps])


def _reliability(u: Numbers, error: Numbers, num_bins: int) -> NDArray[np.float64]:
    parts = np.array_split(np.argsort(u, kind="stable"), min(num_bins, len(u)))
    return np.array([[u[part].mean(), error[part].mean()] for part in parts])


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
    """Disagreement (under dropout, or of members) and real errors, along recorded actions with z from the prior.

    Args:
        num_masks: of dropout; an ensemble has its members instead.
    """
    model = trained.model
    num = num_disagreeing(model, num_masks)
    cost, found = exact_costs(model.gradient, model.config.view), []
    with torch.random.fork_rng(), dropout_on(model):
        torch.manual_seed(seed)
        for context, recorded, _, noise in _examples(trained, recordings, split, num_examples, seed):
            z, actions = from_prior(model, noise.repeat(num, 1, 1)), recorded.actions.repeat(num, 1, 1)
            truth = recorded.images.repeat(num, 1, 1, 1, 1), recorded.poses.repeat(num, 1, 1)
            predicted, wrong = [], []
            h, horizon = model.encode(context.repeat(num)), actions.shape[1]
            for t, (_, prediction, after) in enumerate(unroll(model, h, stepwise(actions), z, horizon)):
                wrong.append(model.error(after, *(x[:, t] for x in truth)).view(num, -1).mean(0))
                predicted.append(prediction)
            images, poses = (torch.stack(part, 1) for part in zip(*predicted, strict=True))
            costs = cost(images, poses, context.size.repeat(num, 1))
            terms = disagreement(Trajectory(images, poses, actions, costs), num)
            of_truth = cost(recorded.images, recorded.poses, context.size).total()
            away = costs.total().view(num, -1, horizon).mean(0) - of_truth
            in_view = context.frames[-1][:, 1].sum((-2, -1))
            found.append(
                (terms.image, trained.uncertainty(terms), torch.stack(wrong, 1), away.abs(), in_view)
            )
    return Calibration(*(torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True)))


class Errors(NamedTuple):
    """Of what the ego would see and where it would be, against what it saw and where it was; means over examples."""

    picture: NDArray[np.float64]  # (T,) mean squared error of a pixel within [0, 1]
    place: NDArray[np.float64]  # (T,) m


@dataclass(frozen=True)
class Sensitivity:
    """How wrong predictions along recorded futures are, in the ego's view."""

    prior: Errors  # recorded actions, z from the prior
    posterior: Errors  # recorded actions, z from the posterior
    shuffled: Errors  # another example's actions, z from the posterior, which may know the actions ...
    shuffled_prior: Errors  # ... and from the prior, which does not


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
    members = num_members(model)
    sums = {name: np.zeros((2, 1)) for name in Sensitivity.__dataclass_fields__}
    for context, recorded, seen, noise in _examples(trained, recordings, split, num_examples, seed):
        many, eps = context.repeat(members), noise.repeat(members, 1, 1)
        future = Recorded(*(x.repeat(members, *[1] * (x.dim() - 1)) for x in vars(recorded).values()))
        z, blind = stepwise(inferred(model, many, future, eps)), from_prior(model, eps)
        shuffled = recorded.actions.roll(1, 0).repeat(members, 1, 1)
        cases: dict[str, tuple[Tensor, Latents]] = {
            "prior": (future.actions, blind),
            "posterior": (future.actions, z),
            "shuffled": (shuffled, z),
            "shuffled_prior": (shuffled, blind),
        }
        for name, (actions, latent) in cases.items():
            sums[name] = sums[name] + _wrong(model, many, actions, latent, seen)
    return Sensitivity(**{name: Errors(*(total / num_examples)) for name, total in sums.items()})


def _wrong(
    model: ForwardModel[Any], context: Context, actions: Tensor, z: Latents, seen: Recorded
) -> NDArray[np.float64]:
    """(2, T): errors of picture and place, the mean over members, added up over examples."""
    members, horizon = num_members(model), actions.shape[1]
    steps = unroll(model, model.encode(context), stepwise(actions), stepwise(z), horizon)
    errors = []
    for t, (_, prediction, _) in enumerate(steps):
        picture = prediction.image - seen.images[:, t].repeat(members, 1, 1, 1)
        away = (prediction.pose - seen.poses[:, t].repeat(members, 1))[:, :2]
        errors.append(torch.stack([picture.square().mean((-3, -2, -1)).sum(), away.norm(dim=-1).sum()]))
    return (torch.stack(errors, 1).double() / members).cpu().numpy()


def _examples(
    trained: TrainedModel, recordings: Sequence[Recording], split: Split, num_examples: int, seed: int
) -> Iterator[tuple[Context, Recorded, Recorded, Tensor]]:
    """Batches of what was seen, the future as the model's training has it, the same as the ego saw it, and noise."""
    model, horizon = trained.model, trained.uncertainty.mean.shape[1]
    device = next(model.parameters()).device
    size = -(-num_examples // -(-num_examples // BATCH))  # batches as equal as can be: none of one example
    sampler = model_windows(model, recordings, horizon, size, seed=seed, split=split)
    config = WindowConfig(
        context=model.timing.context, targets=model.timing.targets(horizon), view=model.config.view
    )
    as_ego = WindowSampler(recordings, config, batch_size=size, split=split, seed=seed)  # draws the same rows
    generator = torch.Generator().manual_seed(seed)
    for i, first in enumerate(range(0, num_examples, size)):
        num = min(size, num_examples - first)
        windows = _first(sampler.batch(i), num)
        recorded = Recorded.of(windows, device)
        seen = recorded if model.observer == "ego" else Recorded.of(_first(as_ego.batch(i), num), device)
        context = context_of_windows(windows, device)
        noise = model.noise(num, horizon, like=context.size, generator=generator)
        yield context, recorded, seen, noise


def _first(windows: Windows, num: int) -> Windows:
    return Windows(*(column[:num] for column in vars(windows).values()))
