"""Why a drive failed: its last moments as they came, and as the model imagined them from the same actions.

If the model saw it coming, the policy chose badly; if it did not, and U stayed low, the model was sure and wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agents.evaluate import Evaluation, Run
from envs.context import Context, scaled
from envs.costs import Costs, costs, pixel_grid
from envs.kinematics import inverse
from envs.raster import render
from envs.units import View
from mbrl.forward_models.ensemble import num_disagreeing
from mbrl.imagination import along, from_prior
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import disagreement, dropout_on


@dataclass(frozen=True)
class LookBack:
    """The last T steps (of the model) of a failed drive; the last is that of the failure."""

    seconds: NDArray[np.float64]  # (T,) before the end, 0 at it
    real_images: NDArray[np.uint8]  # (T, 3, H, W)
    imagined_images: NDArray[
        np.uint8
    ]  # as many, from what was seen before the first of them, under the first mask
    real: Costs  # (T,) each
    imagined: Costs  # (T,) each, the mean over masks
    uncertainty: NDArray[np.float32]  # (T,) U
    actions: NDArray[np.float32]  # (T, 2) m/s^2, 1/m


@torch.no_grad()
def look_back(
    evaluation: Evaluation, run: Run, car: int, trained: TrainedModel, *, num_masks: int = 4, seed: int = 0
) -> LookBack | None:
    """What led to the end of a drive; None if it was too short to look back on.

    Args:
        evaluation: of blind traffic: cars that yielded are not where the recording has them.
        car: its number in the evaluation.
        num_masks: of dropout; an ensemble has its members instead.
    Raises:
        ValueError: the traffic was not blind.
    """
    if evaluation.traffic != "blind":
        raise ValueError("only drives in blind traffic can be looked back on")
    model, out, timing = trained.model, run.outcomes, trained.model.timing
    num_masks = num_disagreeing(model, num_masks)
    ended = int(out.ended()[car])
    num = min((ended - timing.context[0]) // timing.stride, trained.uncertainty.mean.shape[1])
    if num < 1:
        return None
    now = ended - num * timing.stride
    states = out.states[car].astype(np.float64)
    past, ahead = now - np.array(timing.context), now + np.array(timing.targets(num))
    view = model.config.view
    context = Context.of(
        scaled(seen(evaluation, car, states[past, :3], past, view), "cpu")[None],
        torch.from_numpy(states[None, past]).float(),
        torch.from_numpy(evaluation.world.size[evaluation.drives.vehicle[car]][None]),
    )
    at = states[np.concatenate([[now], ahead])]
    taken = np.stack(inverse(at[:, 2], at[:, 3], timing.step_seconds), -1)
    actions = torch.from_numpy(taken)[None].float()
    noise = model.noise(1, num, like=context.size, generator=torch.Generator().manual_seed(seed))
    with torch.random.fork_rng(), dropout_on(model):  # torch's dropout takes no generator
        torch.manual_seed(seed)
        z = from_prior(model, noise.repeat(num_masks, 1, 1))
        trajectory = along(model, context, actions, z, num_masks)
    real = seen(evaluation, car, states[ahead, :3], ahead, view)
    size, speed = context.size.expand(num, -1), torch.from_numpy(states[ahead, 3]).float()
    return LookBack(
        (ahead - ended) * out.dt,
        real,
        (trajectory.images[0] * 255).round().byte().numpy(),
        costs(scaled(real, "cpu"), speed, size, *pixel_grid(view, speed)),
        Costs(*(cost.mean(0) for cost in trajectory.costs)),
        trained.uncertainty(disagreement(trajectory, num_masks))[0].numpy(),
        actions[0].numpy(),
    )


def seen(
    evaluation: Evaluation, car: int, poses: NDArray[np.floating], steps: NDArray[np.int64], view: View
) -> NDArray[np.uint8]:
    """(T, 3, H, W): what the ego saw from poses (T, 3) at steps (T,) of its drive."""
    frames = evaluation.drives.start_frame[car] + steps
    return render(evaluation.world, frames[None], poses[None], evaluation.drives.vehicle[[car]], view)[0]
