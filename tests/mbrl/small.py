"""Small models, contexts to start them from, and where that leads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from envs.context import Context, context_of_windows
from envs.recording import Recording
from envs.units import View
from envs.windows import WindowConfig, Windows, WindowSampler
from mbrl.forward_models import (
    Ensemble,
    EnsembleConfig,
    ForwardModel,
    PaperConfig,
    SeparatedConfig,
    SeparatedModel,
    Timing,
    build,
)

VIEW = View(height=41, width=18)
TIMING = Timing(frames=3, stride=2)
CHANNELS = (4, 6, 8)
VARIANTS = {
    "deterministic": PaperConfig(timing=TIMING, view=VIEW, channels=CHANNELS, hidden=8, z_dim=0),
    "vae": PaperConfig(timing=TIMING, view=VIEW, channels=CHANNELS, hidden=8, z_dim=3),
    "vae, learned prior": PaperConfig(
        timing=TIMING, view=VIEW, channels=CHANNELS, hidden=8, z_dim=3, latent="learned"
    ),
    "error encoding": PaperConfig(
        timing=TIMING, view=VIEW, channels=CHANNELS, hidden=8, z_dim=3, latent="error"
    ),
    "separated": SeparatedConfig(timing=TIMING, view=VIEW, channels=CHANNELS, back=(0, 1, 2), z_dim=3),
    "separated, learned prior": SeparatedConfig(
        timing=TIMING, view=VIEW, channels=CHANNELS, back=(0, 1, 2), z_dim=3, latent="learned"
    ),
    "separated, error encoding": SeparatedConfig(
        timing=TIMING, view=VIEW, channels=CHANNELS, back=(0, 1, 2), z_dim=3, latent="error"
    ),
    "separated, no z": SeparatedConfig(timing=TIMING, view=VIEW, channels=CHANNELS, back=(0, 2), z_dim=0),
}


def small_model(variant: str, seed: int = 0, **changes: Any) -> ForwardModel[Any]:
    """An evaluated model of a variant whose every weight matters: the separated one's last layer begins at zero."""
    torch.manual_seed(seed)
    model = build(replace(VARIANTS[variant], **changes))
    if isinstance(model, SeparatedModel):
        nn.init.normal_(model.head.weight, std=0.03)
    return model.eval()


def ensemble_config(variant: str, members: int = 3) -> EnsembleConfig:
    """So many of a variant."""
    member = VARIANTS[variant]
    assert isinstance(member, PaperConfig | SeparatedConfig)
    return EnsembleConfig(member=member, members=members)


def small_ensemble(variant: str, *, alike: bool = False) -> Ensemble:
    """An evaluated ensemble of three, which are one and the same if they are `alike`."""
    torch.manual_seed(0)
    model = build(ensemble_config(variant))
    assert isinstance(model, Ensemble)
    if variant == "separated":
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.1)
    if alike:
        for member in model.members[1:]:
            member.load_state_dict(model.members[0].state_dict())
    return model.eval()


def random_context(batch: int = 2, timing: Timing = TIMING, view: View = VIEW, seed: int = 0) -> Context:
    """Blots of traffic around egos that gently turn and speed up, by the kinematics."""
    rng = torch.Generator().manual_seed(seed)
    blots = torch.rand(batch, timing.frames, 3, view.height, view.width, generator=rng)
    back = torch.arange(timing.frames - 1, -1, -1.0) * timing.step_seconds
    speed = 8 + 4 * torch.rand(batch, 1, generator=rng) - 0.5 * back
    heading = 0.1 * torch.randn(batch, 1, generator=rng) - 0.02 * back
    x = 150 + 50 * torch.rand(batch, 1, generator=rng) - speed * back
    y = -5 - 0.1 * speed * back
    size = torch.tensor([4.5, 1.9]) + torch.rand(batch, 2, generator=rng)
    return Context.of((blots - 0.6).clamp(min=0) * 2.5, torch.stack([x, y, heading, speed], -1), size)


def random_actions(batch: int = 2, steps: int = 3, seed: int = 1) -> Tensor:
    """(batch, steps, 2) in m/s^2 and 1/m."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, steps, 2, generator=rng) * torch.tensor([1.0, 0.005])


def windows_at(
    recording: Recording,
    vehicle: int,
    frame: int,
    *,
    timing: Timing = TIMING,
    view: View = VIEW,
    steps: int = 0,
) -> Windows:
    """The window of one vehicle's frame; its targets are those of the straight observer."""
    config = WindowConfig(
        context=timing.context, targets=timing.targets(steps), observer="straight", view=view
    )
    sampler = WindowSampler([recording], config, batch_size=1, split="all", threads=1)
    row = sampler.world.row(np.array([vehicle]), np.array([frame]))
    return sampler.render(row, np.random.default_rng(0))


def context_at(
    recording: Recording, vehicle: int, frame: int, *, timing: Timing = TIMING, view: View = VIEW
) -> Context:
    """What one vehicle looks back on in a frame."""
    return context_of_windows(windows_at(recording, vehicle, frame, timing=timing, view=view))


def unrolled(model: ForwardModel[Any], batch: int = 2, steps: int = 3, z: Tensor | None = None,
             actions: Tensor | None = None) -> tuple[Tensor, Tensor, Any]:  # fmt: skip
    """Images (B, T, 3, H, W), poses (B, T, 4) and the last state of a rollout from `random_context`."""
    context = random_context(batch, model.timing, model.config.view)
    actions = random_actions(batch, steps) if actions is None else actions
    z = (
        model.noise(batch, steps, like=actions, generator=torch.Generator().manual_seed(5))
        if z is None
        else z
    )
    h = model.encode(context)
    images, poses = [], []
    for t in range(steps):
        prediction, h = model.step(h, actions[:, t], z[:, t])
        images.append(prediction.image)
        poses.append(prediction.pose)
    return torch.stack(images, 1), torch.stack(poses, 1), h
