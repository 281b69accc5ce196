"""The policy network: pictures and motion in, acceleration and curvature out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from envs.context import Context
from envs.kinematics import within_limits
from envs.units import View

SPEED_SCALE = 10.0  # m/s
LATERAL_SPEED_SCALE = 1.0  # m/s
LENGTH_SCALE = 5.0  # m
WIDTH_SCALE = 2.0  # m


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Sizes and timing of a policy.

    frames, stride, dt: it looks back on `frames` pictures, `stride` recorded frames apart, which are `dt` s apart.
    back: those of them whose vehicle channel it sees, in strides back; lanes and off-road it sees as they are now.
    acceleration, curvature: what one unit of its output means (m/s^2, 1/m); outputs are bounded by `bound` units.
    """

    frames: int = 5
    stride: int = 2
    dt: float = 0.1
    back: tuple[int, ...] = (0, 1, 2, 4)
    view: View = View()  # noqa: RUF009 (frozen)
    channels: tuple[int, int, int] = (16, 32, 64)
    hidden: int = 128
    acceleration: float = 1.0
    curvature: float = 0.005
    bound: float = 6.0

    def __post_init__(self) -> None:
        if max(self.back) >= self.frames or min(self.back) < 0:
            raise ValueError(f"back={self.back} must stay within frames={self.frames}")


def policy_config_from_dict(data: dict[str, Any]) -> PolicyConfig:
    """The inverse of `dataclasses.asdict`, of JSON too. Raises KeyError, TypeError or ValueError for anything else."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return PolicyConfig(**{**values, "view": View(**values["view"])})


class Perception(nn.Module):
    """Pictures and motion to features (B, hidden): conv(pictures) + linear(vx, vy, heading, length, width).

    vx, vy, heading are the site's; the position itself is not an input. Convolutions 4x4 stride 2.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.back = config.back
        c1, c2, c3 = config.channels
        self.conv = nn.Sequential(
            nn.Conv2d(len(config.back) + 2, c1, 4, 2, 1), nn.ReLU(inplace=True),
            nn.Conv2d(c1, c2, 4, 2, 1), nn.ReLU(inplace=True),
            nn.Conv2d(c2, c3, 4, 2, 1), nn.ReLU(inplace=True), nn.Flatten(),
        )  # fmt: skip
        nn.utils.convert_conv2d_weight_memory_format(self.conv, torch.channels_last)
        flat = c3 * (config.view.height // 8) * (config.view.width // 8)
        self.from_picture = nn.Linear(flat, config.hidden)
        self.from_motion = nn.Linear(5, config.hidden)

    def forward(self, context: Context) -> Tensor:
        now, size = context.frames[-1], context.size
        vehicles = [context.frames[-1 - k][:, 1:2] for k in self.back]
        seen = torch.cat([*vehicles, now[:, :1], now[:, 2:]], 1).contiguous(memory_format=torch.channels_last)
        heading, speed = context.poses[:, -1, 2], context.poses[:, -1, 3]
        motion = torch.stack(
            [
                speed * torch.cos(heading) / SPEED_SCALE,
                speed * torch.sin(heading) / LATERAL_SPEED_SCALE,
                heading * 10,
                size[:, 0] / LENGTH_SCALE,
                size[:, 1] / WIDTH_SCALE,
            ],
            -1,
        )
        return self.from_picture(self.conv(seen)) + self.from_motion(motion)


class Policy(nn.Module):
    """Gaussian policy over actions in units of (acceleration, curvature); its mean is the deterministic action.

    mean = bound tanh(o / bound),    o = mlp(perception),    deviation = exp(log_std)

    What it asks for is cut to what the vehicle can do (envs.kinematics.action_limit), as the replay would: so it is the
    same in imagination.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.perception = Perception(config)
        self.head = nn.Sequential(
            nn.ReLU(inplace=True), nn.Linear(config.hidden, config.hidden), nn.ReLU(inplace=True),
            nn.Linear(config.hidden, 2),
        )  # fmt: skip
        self.log_std = nn.Parameter(torch.zeros(2))

    def forward(self, context: Context) -> Tensor:
        """Mean action (B, 2) in m/s^2 and 1/m."""
        return within_limits(self.units(context) * self.scale(context.poses), context.size)

    def sample(self, context: Context, noise: Tensor) -> Tensor:
        """An action (B, 2) drawn from the policy by noise (B, 2) of N(0, I), differentiable in its parameters."""
        units = self.units(context)
        asked = (units + torch.exp(self.log_std) * noise) * self.scale(units)
        return within_limits(asked, context.size)

    def units(self, context: Context) -> Tensor:
        """The mean (B, 2) in units of the config's acceleration and curvature."""
        out = self.head(self.perception(context))
        return self.config.bound * torch.tanh(out / self.config.bound)

    def scale(self, like: Tensor) -> Tensor:
        """(2,): m/s^2 and 1/m per unit."""
        return torch.tensor(
            [self.config.acceleration, self.config.curvature], device=like.device, dtype=like.dtype
        )
