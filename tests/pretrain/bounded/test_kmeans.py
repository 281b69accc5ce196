"""K-means against scikit-learn and against every partition of a few points."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans as Reference

from pretrain.bounded import KMeans, KMeansConfig
from pretrain.bounded.kmeans import lloyd, plus_plus
from pretrain.data import spiral
from tests.pretrain.toys import generator


def fitted(num_codes: int, y: torch.Tensor, seed: int = 0, **options: int) -> KMeans:
    kmeans = KMeans(KMeansConfig(dim=y.shape[1], num_codes=num_codes, **options)).to(y)
    kmeans.fit(y, generator(seed))
    return kmeans


def test_it_is_the_best_of_all_partitions_of_a_few_points() -> None:
    y = torch.randn(6, 2, generator=generator(3), dtype=torch.float64)
    best = min(
        sum(float((y[list(part)] - y[list(part)].mean(0)).square().sum()) for part in parts if part)
        for choice in itertools.product(range(3), repeat=6)
        for parts in [[[i for i in range(6) if choice[i] == k] for k in range(3)]]
    )
    assert float(fitted(3, y).energy(y).sum()) == pytest.approx(best)


def test_from_the_same_start_it_ends_where_scikit_learn_does() -> None:
    y = spiral(300, generator(), noise=0.02).double()
    start = plus_plus(y, 12, generator(1))
    reference = Reference(12, init=start.numpy(), n_init=1, tol=0, algorithm="lloyd").fit(y.numpy())
    np.testing.assert_allclose(lloyd(y, start, 300), reference.cluster_centers_, atol=1e-9)


def test_energy_and_assignment_are_brute_force_s() -> None:
    y = spiral(50, generator()).double()
    kmeans = fitted(5, y)
    for one in y:
        distances = [float(((one - code) ** 2).sum()) for code in kmeans.codes]
        assert float(kmeans.energy(one[None])) == pytest.approx(min(distances), abs=1e-15)
        assert int(kmeans.assign(one[None])) == int(np.argmin(distances))


def test_the_energy_s_gradient_is_finite_on_a_code() -> None:
    kmeans = fitted(5, spiral(50, generator()))
    y = kmeans.codes.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(kmeans.energy(y).sum(), y)
    assert (gradient == 0).all()


def test_a_code_that_nobody_chose_moves_to_where_it_is_wanted() -> None:
    y = torch.tensor([[50.0, 0.0], [50.0, 1.0], [60.0, 0.0]])
    codes = lloyd(y, torch.tensor([[53.0, 0.0], [150.0, 100.0]]), 20)
    assert sorted(codes.tolist()) == [[50.0, 0.5], [60.0, 0.0]]


def test_starts_are_spread() -> None:
    """Of two far clusters one start each; drawn uniformly, half of the starts would miss one."""
    y = torch.cat([torch.zeros(50, 2), torch.full((50, 2), 100.0)])
    y = y + 0.01 * torch.randn(100, 2, generator=generator())
    for seed in range(20):
        assert (plus_plus(y, 2, generator(seed))[:, 0] > 50).sum() == 1


def test_repeated_samples_do_not_stop_it() -> None:
    y = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).repeat(3, 1)
    assert fitted(4, y).energy(y).sum() == 0


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_codes=0"):
        KMeansConfig(dim=2, num_codes=0)
    with pytest.raises(ValueError, match="3 samples are fewer than num_codes=4"):
        fitted(4, torch.zeros(3, 2))


def test_far_from_the_origin_the_nearest_code_is_the_nearest() -> None:
    y = (
        torch.randint(12, (1500, 1), generator=generator())
        + 0.1 * torch.randn(1500, 2, generator=generator(1))
    ).float()
    here, there = fitted(12, y, num_restarts=1), fitted(12, y + 4096.0, num_restarts=1)
    away = (y + 4096.0)[:, None].double() - there.codes.double()
    np.testing.assert_allclose(there.energy(y + 4096.0), away.square().sum(-1).amin(1), rtol=0.02, atol=1e-4)
    assert float(there.energy(y + 4096.0).sum()) == pytest.approx(float(here.energy(y).sum()), rel=0.05)
