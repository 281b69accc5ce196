"""What a forward model and a policy look back on, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.replay import Observation
from envs.windows import Windows


@dataclass(frozen=True, eq=False)
class Context:
    """C frames, evenly spaced, the last one is now; each image is drawn from the ego's pose in that frame."""

    frames: tuple[
        Tensor, ...
    ]  # C of (B, 3, H, W) in [0, 1]; not one tensor, so that a new frame moves no other
    poses: Tensor  # (B, C, 4): x, y, heading, speed in the site's frame
    size: Tensor  # (B, 2): length, width

    @staticmethod
    def of(images: Tensor, poses: Tensor, size: Tensor) -> Context:
        """From the frames in one tensor (B, C, 3, H, W)."""
        return Context(images.unbind(1), poses, size)

    @property
    def batch_size(self) -> int:
        return self.poses.shape[0]

    @cached_property
    def images(self) -> Tensor:
        """The frames in one tensor (B, C, 3, H, W)."""
        return torch.stack(self.frames, 1)

    def now(self) -> Tensor:
        """(B, 4): the present pose."""
        return self.poses[:, -1]

    def push(self, image: Tensor, pose: Tensor) -> Context:
        """The context one frame later: (B, 3, H, W) and (B, 4) come in, the oldest frame goes."""
        return replace(
            self,
            frames=(*self.frames[1:], image),
            poses=torch.cat([self.poses[:, 1:], pose[:, None]], 1),
        )

    def repeat(self, times: int) -> Context:
        """(times * B): copy k of example b is row k * B + b."""
        if times == 1:
            return self
        frames = tuple(frame.repeat(times, 1, 1, 1) for frame in self.frames)
        return Context(frames, self.poses.repeat(times, 1, 1), self.size.repeat(times, 1))

    @staticmethod
    def joined(contexts: Sequence[Context]) -> Context:
        """The examples of all, one after the other."""
        frames = zip(*(context.frames for context in contexts), strict=True)
        return Context(
            tuple(torch.cat(frame) for frame in frames),
            torch.cat([context.poses for context in contexts]),
            torch.cat([context.size for context in contexts]),
        )

    def take(self, index: Tensor | slice) -> Context:
        """Some of the examples."""
        return Context(tuple(frame[index] for frame in self.frames), self.poses[index], self.size[index])


@dataclass(frozen=True)
class Recorded:
    """What was recorded after a context, as tensors; see envs.windows.WindowConfig for whose view it is."""

    images: Tensor  # (B, T, 3, H, W) in [0, 1]
    poses: Tensor  # (B, T, 4): x, y, heading, speed
    actions: Tensor  # (B, T, 2), that led there

    @staticmethod
    def of(windows: Windows, device: torch.device | str = "cpu") -> Recorded:
        """The targets of windows."""
        return Recorded(
            scaled(windows.target_images, device),
            poses_of(windows.target_vectors, windows.target_heading, device),
            torch.from_numpy(windows.actions).to(device),
        )


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
    return Context.of(
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
    return Context.of(
        scaled(np.ascontiguousarray(observation.images[:, kept][egos]), device),
        poses_of(observation.vectors[:, kept][egos], observation.heading[:, kept][egos], device),
        torch.tensor(observation.size[egos], device=device),  # a copy: the replay writes over its own
    )
