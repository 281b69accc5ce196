"""The experiments of sparse coding run quick; what they measure with is right."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest
import torch

from pretrain.experiments import convolutional, dictionaries, sparse_inference, topographic
from pretrain.experiments.patches import orientation, tiled


@pytest.mark.slow
@pytest.mark.parametrize("module", [convolutional, dictionaries, sparse_inference, topographic])
def test_a_quick_run_has_every_number_that_is_claimed_and_repeats(module: ModuleType) -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed: pip install 'headway[pretrain]'")
    outcome = module.EXPERIMENT.run(0, True)
    for claim in module.EXPERIMENT.claims:
        assert math.isfinite(outcome.numbers[claim.better])
        assert claim.control in outcome.numbers
    for picture in outcome.pictures.values():
        assert picture.dtype == np.uint8
        assert picture.std() > 10
    if module is topographic:  # the fastest
        assert module.EXPERIMENT.run(0, True).numbers == outcome.numbers


def test_gratings_have_the_orientation_they_were_drawn_with() -> None:
    v, u = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    window = torch.exp(-((u - 5.5) ** 2 + (v - 5.5) ** 2) / 18)
    angles = torch.arange(0, 180, 15) * math.pi / 180
    atoms = torch.stack([window * torch.cos(1.5 * (u * torch.cos(a) + v * torch.sin(a))) for a in angles])
    away = orientation(atoms.flatten(1), 12) - angles
    away = torch.remainder(away + math.pi / 2, math.pi) - math.pi / 2
    assert math.degrees(float(away.abs().max())) < 3
    np.testing.assert_allclose(
        orientation(-2 * atoms.flatten(1), 12), orientation(atoms.flatten(1), 12), atol=1e-4
    )


def test_neighbours_are_compared_around_the_torus_and_around_the_half_circle() -> None:
    angles = torch.zeros(4, 4)
    angles[0, 0] = math.radians(170)  # 10 degrees from 0
    assert topographic.difference_of_neighbours(angles.flatten()) == pytest.approx(4 * 10 / 32, rel=1e-4)
    drawn = math.pi * torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    assert topographic.difference_of_neighbours(drawn) == pytest.approx(45, abs=1)


def test_a_shifted_copy_of_a_filter_is_found_whatever_its_sign() -> None:
    rng = torch.Generator().manual_seed(0)
    scene = torch.randn(11, 11, generator=rng)
    first, second = (
        scene[:9, :9],
        -scene[2:, 1:10],
    )  # what is at (v, u) of the second is at (v + 2, u + 1) of the first
    other = torch.randn(9, 9, generator=rng)
    nearest = convolutional.nearest_copies(torch.stack([first, second, other])[:, None])
    assert nearest[:2].tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert nearest[2] < 0.8


def test_nearest_copies_are_those_of_a_loop_over_shifts() -> None:
    rng = torch.Generator().manual_seed(1)
    d = torch.randn(3, 5, 5, generator=rng)
    wanted = torch.zeros(3)
    for m in range(3):
        for n in range(3):
            for v in range(-2, 3):
                for u in range(-2, 3):
                    one = d[m, max(v, 0) : 5 + min(v, 0), max(u, 0) : 5 + min(u, 0)]
                    two = d[n, max(-v, 0) : 5 + min(-v, 0), max(-u, 0) : 5 + min(-u, 0)]
                    if m != n:
                        wanted[m] = max(wanted[m], abs(float((one * two).sum() / one.norm() / two.norm())))
    torch.testing.assert_close(convolutional.nearest_copies(d[:, None]), wanted)


def test_tiles_lie_row_by_row_with_lines_between() -> None:
    images = torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1).expand(3, 2, 2)
    picture = tiled(images, 2, zoom=1)
    assert picture.shape == (7, 7, 3)
    assert [int(picture[v, u, 0]) for v, u in ((1, 1), (1, 4), (4, 1), (0, 0), (4, 4))] == [
        255,
        0,
        128,
        255,
        255,
    ]
