"""A forward model that runs on its own predictions, far beyond what it was trained on: do its futures stay sane?

From one recorded situation K futures are drawn, z of each from the prior, and held against what came:

    brightness    the mean intensity of a channel, as a share of what it was at the start: of the vehicles, how much of
                  the traffic is still in view; of the others, whether the road fades or floods
    error         the mean over channels and pixels of (imagined - recorded)^2, the recorded traffic being seen from
                  where the ego is imagined to be
    spread        the mean over channels and pixels of the variance over futures; 0 where z decides nothing
    distance      metres from where it began

No model can know who enters the view, so `still_in_view` says, for comparison, what share of the vehicles of the start
were in view at each later step of the recording.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.base import Agent
from agents.constant import NoAction
from agents.learned import LearnedAgent
from agents.recorded import Human
from envs.context import Recorded, context_of_windows
from envs.drives import Drives
from envs.errors import InputError
from envs.raster import render
from envs.recording import Recording
from envs.units import View
from envs.viewer import choose_drives
from envs.windows import WindowConfig, Windows, WindowSampler
from envs.world import MAX_COORDINATE, World
from mbrl.forward_models import Ensemble, ForwardModel, Timing
from mbrl.imagination import from_prior, unroll
from mbrl.train_policy import check_sees_alike
from mbrl.trained_model import check_dt

CHANNELS = ("lanes", "vehicles", "off_road")
DIGITS = 5  # of the numbers in a file, after the point
Pictures = NDArray[np.uint8]  # (..., 3, H, W)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FreeRun:
    """K futures of T steps that begin alike, and the R <= T steps for which the recorded car was there.

    What is no longer finite in a future is NaN, and 0 in its pictures.
    """

    vehicle: int  # its number in the source
    agent: str  # who decides in the futures
    step_seconds: float
    size: tuple[float, float]  # length and width of the ego, m
    px_per_m: float
    start: Pictures  # (3, H, W), the last that was seen
    recorded: Pictures  # (R, 3, H, W), what the recorded car saw
    imagined: Pictures  # (K, T, 3, H, W)
    expected: Pictures  # (K, R, 3, H, W), the recorded traffic from the poses of `imagined` ...
    known: NDArray[np.bool_]  # ... where those are within the recorded stretch of road, (K, R)
    still_in_view: Floats  # (R,), a share
    recorded_way: Floats  # (R, 2) m, from where it began
    way: Floats  # (K, T, 2) m

    @property
    def seconds(self) -> Floats:
        """(T,) after the start."""
        return self.step_seconds * np.arange(1, self.imagined.shape[1] + 1)

    def finite(self) -> NDArray[np.bool_]:
        """(K, T)."""
        return np.isfinite(self.way.sum(-1))

    def brightness(self, pictures: Pictures) -> Floats:
        """(..., 3): of each channel, as a share of the start's; NaN where the start shows nothing."""
        before = self.start.mean((-2, -1))
        return np.divide(
            pictures.mean((-2, -1)), before, where=before > 0, out=np.full(pictures.shape[:-2], np.nan)
        )

    def error(self) -> Floats:
        """(K, R)."""
        num = self.known.shape[1]
        pairs = zip(self.imagined[:, :num], self.expected, strict=True)
        error = np.stack([np.square(i / 255 - e / 255).mean((-3, -2, -1)) for i, e in pairs])
        return np.where(self.known & self.finite()[:, :num], error, np.nan)

    def spread(self) -> Floats:
        """(T,)."""
        spread = [at_once.var(0).mean() / 255**2 for at_once in self.imagined.swapaxes(0, 1)]
        return np.where(self.finite().all(0), spread, np.nan)

    def moments(self, num: int) -> list[int]:
        """Steps from 0, the start, to T, closer together at first; `num` at most."""
        return np.unique((len(self.seconds) * np.linspace(0, 1, num) ** 2).round().astype(int)).tolist()

    def to_dict(self) -> dict[str, Any]:
        """The numbers of every step, as plain values; None for what is not finite, or was not recorded."""
        steps, finite = len(self.seconds), self.finite()
        brightness = np.where(finite[..., None], self.brightness(self.imagined), np.nan)
        recorded = self.brightness(self.recorded)
        return {
            "vehicle": self.vehicle,
            "agent": self.agent,
            "step_seconds": self.step_seconds,
            "steps": steps,
            "recorded_steps": len(self.recorded),
            "first_step_not_finite": [int(f.argmin()) + 1 if not f.all() else None for f in finite],
            "seconds": _plain(self.seconds, steps),
            "spread": _plain(self.spread(), steps),
            "futures": [
                {"error": _plain(error, steps), "distance_m": _plain(np.hypot(*way.T), steps), "brightness":
                    {name: _plain(share[:, k], steps) for k, name in enumerate(CHANNELS)}}
                for error, way, share in zip(self.error(), self.way, brightness, strict=True)
            ],
            "recorded": {
                "still_in_view": _plain(self.still_in_view, steps),
                "distance_m": _plain(np.hypot(*self.recorded_way.T), steps),
                "brightness": {name: _plain(recorded[:, k], steps) for k, name in enumerate(CHANNELS)},
            },
        }  # fmt: skip


def _plain(numbers: Floats, steps: int) -> list[float | None]:
    """Up to `steps` of them, None for what is missing or not finite."""
    values = [round(float(x), DIGITS) if np.isfinite(x) else None for x in numbers]
    return values + [None] * (steps - len(values))


@torch.no_grad()
def run_free(
    model: ForwardModel[Any],
    recording: Recording,
    agent: Agent,
    *,
    steps: int = 200,
    num_futures: int = 4,
    vehicle: int | None = None,
    seed: int = 0,
) -> FreeRun:
    """Let a model imagine what follows the moment in which a recorded car is taken over.

    Args:
        agent: a policy, which decides in each future; the human, whose recorded actions are taken for as long as they
            last, and none after that; or no action.
        vehicle: the car to take over, by its number in the source. By default `seed` chooses one of the test split
            that was recorded for all steps, or for the most.
        seed: of z, too.
    Raises:
        InputError: there is no such car, or the model, the recording, the agent and the numbers do not go together.
    """
    for what, number, least in (("steps", steps, 1), ("futures", num_futures, 1), ("seed", seed, 0)):
        if number < least:
            raise InputError(f"{what}={number} must be at least {least}")
    if isinstance(model, Ensemble) and num_futures % len(model.members):
        raise InputError(
            f"the model is an ensemble of {len(model.members)}: {num_futures} futures are no multiple of that"
        )
    check_dt([recording], model.timing)
    timing, view = model.timing, model.config.view
    drive, num_recorded = _choose(recording, timing, steps, vehicle, seed)
    config = WindowConfig(context=timing.context, targets=timing.targets(num_recorded), view=view)
    sampler = WindowSampler([recording], config, batch_size=1, split="all")
    row = sampler.world.row(drive.vehicle, drive.start_frame)
    windows = sampler.render(row, np.random.default_rng(seed))
    imagined, poses = _imagined(model, agent, windows, steps, num_futures, seed)
    frames = drive.start_frame + np.array(config.targets, np.int64)
    begin = windows.vectors[0, -1, :2].astype(np.float64)
    there = np.nan_to_num(poses[:, :num_recorded], nan=-1.0).clip(-MAX_COORDINATE, MAX_COORDINATE)
    expected = render(
        sampler.world, np.tile(frames, (num_futures, 1)), there, drive.vehicle.repeat(num_futures), view,
        sampler.threads,
    )  # fmt: skip
    return FreeRun(
        vehicle=int(recording.vehicles.id[drive.vehicle[0]]),
        agent=agent.name,
        step_seconds=timing.step_seconds,
        size=(float(windows.size[0, 0]), float(windows.size[0, 1])),
        px_per_m=view.px_per_m,
        start=windows.images[0, -1],
        recorded=windows.target_images[0],
        imagined=imagined,
        expected=expected,
        known=(there[..., 0] >= 0) & (there[..., 0] <= recording.site.length),
        still_in_view=_still_in_view(sampler.world, drive, frames, view),
        recorded_way=windows.target_vectors[0, :, :2] - begin,
        way=poses[..., :2] - begin,
    )


def _choose(
    recording: Recording, timing: Timing, steps: int, vehicle: int | None, seed: int
) -> tuple[Drives, int]:
    """A car as it is taken over, and for how many steps of the model it was recorded, `steps` at most."""
    drives = choose_drives(recording, timing.context[0] + 1, vehicle)
    last = recording.vehicles.last_frame[drives.vehicle]
    num_recorded = np.minimum((last - drives.start_frame) // timing.stride, steps)
    longest = np.flatnonzero(num_recorded == num_recorded.max())
    chosen = int(np.random.default_rng(seed).choice(longest))
    return drives.take(slice(chosen, chosen + 1)), int(num_recorded[chosen])


def _still_in_view(world: World, drive: Drives, frames: NDArray[np.int64], view: View) -> Floats:
    """(R,): of the vehicles whose centres are in a recorded car's view at the start, those that are at each frame."""
    car = int(drive.vehicle[0])

    def in_view(frame: int) -> NDArray[np.int32]:
        rows = slice(*world.frame_offsets[frame : frame + 2])
        x, y, heading = world.state[world.row(drive.vehicle, np.array(frame))[0], :3].astype(np.float64)
        dx, dy = world.state[rows, 0] - x, world.state[rows, 1] - y
        ahead, left = dx * np.cos(heading) + dy * np.sin(heading), dy * np.cos(heading) - dx * np.sin(heading)
        seen = (np.abs(ahead) <= view.top) & (np.abs(left) <= view.left)
        return world.vehicle[rows][seen & (world.vehicle[rows] != car)]

    before = in_view(int(drive.start_frame[0]))
    now = [np.isin(before, in_view(frame)).mean() if len(before) else np.nan for frame in frames.tolist()]
    return np.array(now)


def _imagined(
    model: ForwardModel[Any], agent: Agent, windows: Windows, steps: int, num: int, seed: int
) -> tuple[Pictures, Floats]:
    """(num, steps, 3, H, W) and poses (num, steps, 4); 0 and NaN from where they are not finite."""
    device = next(model.parameters()).device
    context, recorded = context_of_windows(windows, device), Recorded.of(windows, device)
    h = model.encode(context.repeat(num))
    noise = model.noise(num, steps, like=context.size, generator=torch.Generator().manual_seed(seed))
    act = _deciding(agent, model, recorded.actions[0])
    pictures, poses = [], []
    for _, (image, pose), _ in unroll(model, h, act, from_prior(model, noise), steps):
        finite = image.flatten(1).isfinite().all(1) & pose.isfinite().all(1)
        image = torch.where(finite[:, None, None, None], image, 0.0)
        pictures.append((image * 255).round().byte().cpu().numpy())
        poses.append(torch.where(finite[:, None], pose, torch.nan).double().cpu().numpy())
    return np.stack(pictures, 1), np.stack(poses, 1)


def _deciding(agent: Agent, model: ForwardModel[Any], recorded: Tensor) -> Callable[[int, Any], Tensor]:
    """The actions (B, 2) at a step in a state of the model, given those (R, 2) that were recorded.

    Raises:
        InputError: a policy that does not see what the model has seen, or a driver who needs to see the traffic itself.
    """
    if isinstance(agent, LearnedAgent):
        policy = agent.policy
        check_sees_alike(policy.config, model)
        return lambda t, h: policy(model.context(h))
    if not isinstance(agent, Human | NoAction):
        raise InputError(f"{agent.name} looks at the traffic itself, of which a model imagines only pictures")
    taken = recorded if isinstance(agent, Human) else recorded[:0]

    def act(t: int, h: Any) -> Tensor:
        return (taken[t] if t < len(taken) else taken.new_zeros(2)).expand(model.context(h).batch_size, 2)

    return act
