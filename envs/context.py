"""What a forward model and a policy look back on, as tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.replay import Observation
from envs.windows import Windows


@dataclass(frozen=True)
class Context:
    """C frames, evenly spaced, the last one is now; each image is drawn from the ego's pose in that frame."""

    images: Tensor  # (B, C, 3, H, W) in [0, 1]
    poses: Tensor  # (B, C, 4): x, y, heading, speed in the site's frame
    size: Tensor  # (B, 2): length, width

    @property
    def batch_size(self) -> int:
        return self.images.shape[0]

    def now(self) -> Tensor:
        """(B, 4): the present pose."""
        return self.poses[:, -1]

    def push(self, image: Tensor, pose: Tensor) -> Context:
        """The context one frame later: (B, 3, H, W) and (B, 4) come in, the oldest frame goes."""
        return replace(
            self,
            images=torch.cat([self.images[:, 1:], image[:, None]], 1),
            poses=torch.cat([self.poses[:, 1:], pose[:, None]], 1),
        )

    def repeat(self, times: int) -> Context:
        """(times * B): copy k of example b is row k * B + b."""
        return Context(*(t.repeat(times, *[1] * (t.dim() - 1)) for t in (self.images, self.poses, self.size)))

    def take(self, index: Tensor | slice) -> Context:
        """Some of the examples."""
        return Context(self.images[index], self.poses[index], self.size[index])


def scaled(images: NDArray[np.uint8], device: torch.device | str) -> Tensor:
    """uint8 0..255 to float 0..1 on a device."""
    return torch.from_numpy(images).to(device).float().div_(255)


def poses_of(
    vectors: NDArray[np.float32], heading: NDArray[np.float32], device: torch.device | str
) -> Tensor:
    """(..., 4) of x, y, heading, speed from x, y, vx, vy and heading."""
    speed = np.hypot(vectors[..., 2], vectors[..., 3])
    return torch.from_numpy(np.stack([vectors[..., 0], vectors[..., 1], heading, speed], -1)).to(device)


def motion(poses: Tensor) -> Tensor:
    """u = (x, y, vx, vy) (..., 4) of poses (..., 4)."""
    x, y, heading, speed = poses.unbind(-1)
    return torch.stack([x, y, speed * torch.cos(heading), speed * torch.sin(heading)], -1)


def context_of_windows(windows: Windows, device: torch.device | str = "cpu") -> Context:
    """The context part of a batch of windows, whose context frames must be evenly spaced."""
    return Context(
        scaled(windows.images, device),
        poses_of(windows.vectors, windows.heading, device),
        torch.from_numpy(windows.size).to(device),
    )


def context_of_observation(
    observation: Observation,
    frames: int,
    stride: int,
    device: torch.device | str = "cpu",
    egos: NDArray[np.bool_] | slice = slice(None),
) -> Context:
    """The last `frames` of some egos' observation, `stride` apart; it must reach back (frames - 1) * stride."""
    first = observation.images.shape[1] - 1 - (frames - 1) * stride
    if first < 0:
        raise ValueError(
            f"{frames} frames, {stride} apart, need a history of {(frames - 1) * stride + 1},"
            f" not {observation.images.shape[1]}"
        )
    kept = slice(first, None, stride)
    return Context(
        scaled(np.ascontiguousarray(observation.images[:, kept][egos]), device),
        poses_of(observation.vectors[:, kept][egos], observation.heading[:, kept][egos], device),
        torch.tensor(observation.size[egos], device=device),  # a copy: the replay writes over its own
    )
