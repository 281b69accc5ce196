"""Policies that learn among what was recorded: no forward model, the others do what they did.

    p_t+1 = drive(p_t, pi(s_t)),   s_t what there is to see from p_t          loss = 1/T sum_t gamma^t C_t

Traffic that does not react goes on as recorded whatever the ego does, so the recorded future is a draw from the true
distribution: nothing is imagined, nothing is uncertain, and pictures are as sharp as at the wheel. Gradients are those
of the ego's own motion under its mask (mbrl.imagination); pictures have none. In each further epoch a batch drives on
from where the policy has got to, so that it meets its own mistakes; who failed or arrived there begins anew.

Beside policies through a model it tells what the model costs them. Sources: policy gradients through replayed logs,
Scheel et al., "Urban Driver", arXiv:2109.13333 (there imitating); Nachkov, Paudel, Van Gool, arXiv:2409.07965.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.policies import Policy
from envs.context import Context, context_of_windows, scaled
from envs.costs import COLLISION_THRESHOLD
from envs.kinematics import drive
from envs.parallel import available_threads
from envs.raster import are_off_road, render
from envs.recording import Recording
from envs.units import View
from envs.windows import Windows
from envs.world import World
from mbrl.forward_models.base import Prediction
from mbrl.imagination import Trajectory, exact_costs, imagine
from mbrl.policy_losses import Loss, imagined_cost
from mbrl.policy_rollouts import Blockwise, starts
from mbrl.policy_training import PolicyTraining


@dataclass(frozen=True, eq=False)
class Moment:
    """B egos in their recordings."""

    frame: NDArray[np.int64]  # (B,) of the world
    ego: Context  # what each has seen


class LogReplay:
    """Recorded traffic that can be unrolled as a forward model is (mbrl.imagination.Dynamics): B egos in it, each
    invisible to the others, every step `stride` recorded frames long. Actions are taken as they are: an actor asks for
    what its vehicle can do.

    Args:
        vehicle: (B,) of the world, the car that each ego replaces.
    """

    def __init__(self, world: World, vehicle: NDArray[np.int64], view: View, stride: int) -> None:
        self.world, self.vehicle, self.view, self.stride = world, vehicle, view, stride
        self._end = world.end_frame[world.recording[vehicle]]
        self._goal = world.goal[world.site[world.recording[vehicle]]]

    def step(self, h: Moment, action: Tensor, z: Tensor) -> tuple[Prediction, Moment]:
        """Drive on by one step; there is nothing for z to decide. Raises ValueError after a recording's last frame."""
        if not self.lasts(h, 1).all():
            raise ValueError("a recording has no next frame; see LogReplay.lasts")
        pose = drive(h.ego.now(), action, self.world.dt, self.stride)
        frame = h.frame + self.stride
        at = pose.detach().double().cpu().numpy()[:, None]
        pictures = render(self.world, frame[:, None], at, self.vehicle, self.view, available_threads())
        image = scaled(pictures[:, 0], pose.device)
        return Prediction(image, pose), Moment(frame, h.ego.push(image, pose))

    def context(self, h: Moment) -> Context:
        """What an actor sees."""
        return h.ego

    def lasts(self, h: Moment, steps: int) -> NDArray[np.bool_]:
        """(B,) whether so many more steps were recorded."""
        return h.frame + steps * self.stride <= self._end

    def left_road(self, poses: Tensor) -> NDArray[np.bool_]:
        """(B,) whether an ego leaves the road in its poses (B, T, 4), by the rule that ends a drive at the wheel."""
        found = are_off_road(self.world, self.vehicle, poses.detach().double().cpu().numpy())
        return np.asarray(found.any(1))

    def arrived(self, h: Moment) -> NDArray[np.bool_]:
        """(B,) whether an ego is at its goal."""
        return h.ego.now()[:, 0].detach().cpu().numpy() >= self._goal


class Replayed(Blockwise):
    """The losses of a policy that drives among what was recorded."""

    def __init__(
        self, config: PolicyTraining, policy: Policy, recordings: Sequence[Recording], device: str = "cpu"
    ) -> None:
        self.config, self.policy, self.device = config, policy, device
        p = config.policy
        self.cost = exact_costs("position", p.view, detach_speed=config.detach_speed)
        # the ego is recorded over the horizon, so that the others are
        self.sampler = starts(config, recordings, (config.horizon * p.stride,))

    def prepare(self, windows: Windows) -> Callable[[], Loss]:
        """Each call drives on from where the last one ended."""
        p = self.config.policy
        replay = LogReplay(self.sampler.world, windows.vehicle, p.view, p.stride)
        begin = now = Moment(windows.frame, context_of_windows(windows, self.device))

        def loss() -> Loss:
            nonlocal now
            driven, end = self.drive(replay, now)
            now = self._next(replay, driven, end, begin)
            return imagined_cost(driven, self.config)

        return loss

    def drive(self, replay: LogReplay, start: Moment) -> tuple[Trajectory, Moment]:
        """The policy's drive over the horizon, and where it ends."""
        steps = self.config.horizon
        z = start.ego.size.new_zeros(len(start.frame), steps, 0)
        driven = imagine(replay, self.policy, start, z, steps, cost=self.cost)
        assert driven.last is not None
        return driven, Moment(start.frame + steps * replay.stride, driven.last)

    def _next(self, replay: LogReplay, driven: Trajectory, end: Moment, begin: Moment) -> Moment:
        """Where the next drives start: at the end of those that go on, else where they began."""
        closest = driven.costs.proximity.detach().amax(1)
        failed = (closest > COLLISION_THRESHOLD).cpu().numpy() | replay.left_road(driven.poses)
        goes_on = ~failed & ~replay.arrived(end) & replay.lasts(end, self.config.horizon)
        return _either(goes_on, end, begin)


def _either(first: NDArray[np.bool_], a: Moment, b: Moment) -> Moment:
    """Row by row a where `first`, else b; without gradients."""
    rows = torch.from_numpy(first).to(a.ego.size.device)

    def chosen(x: Tensor, y: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (x.dim() - 1)), x.detach(), y)

    frames = tuple(chosen(x, y) for x, y in zip(a.ego.frames, b.ego.frames, strict=True))
    return Moment(
        np.where(first, a.frame, b.frame), Context(frames, chosen(a.ego.poses, b.ego.poses), b.ego.size)
    )
