"""What policies promise themselves: predicted cost and uncertainty of each in the same imagined futures.

The paper's comparison (Henaff, Canziani, LeCun, arXiv:1901.02705, section 5): without the uncertainty cost the
predicted cost may fall while U explodes, because the policy has found where the model is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from agents.policies import Policy
from envs.context import context_of_windows
from envs.recording import Recording, Split
from envs.windows import WindowConfig, WindowSampler
from mbrl.forward_models.ensemble import num_disagreeing, num_members
from mbrl.imagination import along, exact_costs, from_prior, imagine
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import disagreement, dropout_on


class Promise(NamedTuple):
    """Means over examples, masks and steps."""

    predicted_cost: float  # C_proximity + 0.2 C_lane + 0.2 C_off_road
    uncertainty: float  # U, normalised and hinged, see mbrl.uncertainty
    cost_deviation: float  # root of the mean variance of the cost over masks, in units of the cost


@torch.no_grad()
def promises(
    policies: Mapping[str, Policy],
    trained: TrainedModel,
    recordings: Sequence[Recording],
    *,
    split: Split = "validation",
    num_examples: int = 128,
    num_masks: int = 3,
    seed: int = 0,
) -> dict[str, Promise]:
    """Let every policy drive through the same futures: same contexts, same z, same dropout masks.

    Args:
        num_examples: contexts, in whole batches of 32.
        num_masks: of dropout; an ensemble has its members instead.
    """
    model, uncertainty = trained.model, trained.uncertainty
    num_masks = num_disagreeing(model, num_masks)
    horizon, device = uncertainty.mean.shape[1], uncertainty.mean.device
    sampler = WindowSampler(
        recordings, WindowConfig(context=model.timing.context, targets=(), view=model.config.view),
        batch_size=32, split=split, seed=seed,
    )  # fmt: skip
    sums = {name: np.zeros(3) for name in policies}
    num_batches = max(num_examples // 32, 1)
    for i in range(num_batches):
        context = context_of_windows(sampler.batch(i), device).repeat(num_masks)
        noise = model.noise(
            context.batch_size // num_masks, horizon, like=context.size, generator=_generator(seed, i)
        )
        z = from_prior(model, noise.repeat(num_masks, 1, 1))
        for name, policy in policies.items():
            with torch.random.fork_rng(), dropout_on(model):
                torch.manual_seed(_seed(seed, i))
                trajectory = imagine(
                    model, policy, model.encode(context), z, horizon,
                    cost=exact_costs(model.gradient, model.config.view), num_masks=num_masks,
                )  # fmt: skip
            terms = disagreement(trajectory, num_masks)
            sums[name] += [
                float(trajectory.costs.total().mean()), float(uncertainty(terms).mean()), float(terms.cost.mean()),
            ]  # fmt: skip
    return {
        name: Promise(total[0] / num_batches, total[1] / num_batches, float(np.sqrt(total[2] / num_batches)))
        for name, total in sums.items()
    }


class ImaginedFuture(NamedTuple):
    """A recorded future and the one a model imagines for the recorded actions."""

    imagined: NDArray[np.uint8]  # (T, 3, H, W)
    real: NDArray[np.uint8]  # (T, 3, H, W)


@torch.no_grad()
def imagined_futures(
    trained: TrainedModel, recordings: Sequence[Recording], num: int, *, split: Split = "test", seed: int = 0
) -> list[ImaginedFuture]:
    """`num` windows of a split, seen by the recorded car: as they came, and as imagined from their contexts.

    An ensemble's first member imagines.
    """
    model = trained.model
    horizon = trained.uncertainty.mean.shape[1]
    config = WindowConfig(
        context=model.timing.context, targets=model.timing.targets(horizon), view=model.config.view
    )
    windows = WindowSampler(recordings, config, batch_size=num, split=split, seed=seed).batch(0)
    device = next(model.parameters()).device
    actions = torch.from_numpy(windows.actions).to(device)
    noise = model.noise(num, horizon, like=actions, generator=_generator(seed, 0))
    members = num_members(model)
    z = from_prior(model, noise.repeat(members, 1, 1))
    imagined = along(model, context_of_windows(windows, device), actions, z, members).images[:num]
    frames = (imagined * 255).round().byte().cpu().numpy()
    return [ImaginedFuture(frames[k], windows.target_images[k]) for k in range(num)]


def _seed(seed: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


def _generator(seed: int, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(seed, index))
