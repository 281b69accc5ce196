"""Free energies against sums written out and their limits; forbidden answers; energies whose minimum is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pretrain.energies import (
    MLPEnergy,
    MLPEnergyConfig,
    QuadraticEnergy,
    descend,
    free_energy,
    gibbs,
    gradient,
    infer,
)

INF = math.inf
BETAS = [0.3, 1.0, 50.0, INF]


def some_energies(*shape: int, forbidden: float = 0.3, seed: int = 0) -> Tensor:
    """Of which a part is +inf, but never a whole row."""
    rng = torch.Generator().manual_seed(seed)
    energies = 3 * torch.randn(*shape, generator=rng, dtype=torch.float64)
    mask = torch.rand(*shape, generator=rng) < forbidden
    mask[..., 0] = False
    return torch.where(mask, INF, energies)


# --- free energy and Gibbs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_free_energy_and_gibbs_are_the_sums_written_out(beta: float, dim: int) -> None:
    energies = some_energies(4, 5, 6).movedim(-1, dim)
    values = energies.numpy()
    if beta == INF:
        np.testing.assert_array_equal(free_energy(energies, beta, dim), values.min(dim))
        return
    total = np.exp(-beta * values).sum(dim)
    np.testing.assert_allclose(free_energy(energies, beta, dim), -np.log(total) / beta, rtol=1e-12)
    want = np.exp(-beta * values) / np.expand_dims(total, dim)
    np.testing.assert_allclose(gibbs(energies, beta, dim), want, rtol=1e-12)


@given(
    st.lists(st.one_of(st.floats(-100, 100), st.just(INF)), min_size=1, max_size=6),
    st.floats(0.05, 20),
    st.floats(-1000, 1000),
)
@settings(deadline=None)
def test_free_energy_lies_below_the_minimum_by_at_most_log_n_and_moves_with_the_energies(
    values: list[float], beta: float, shift: float
) -> None:
    energies = torch.tensor(values, dtype=torch.float64)
    free, lowest = float(free_energy(energies, beta)), min(values)
    if lowest == INF:
        assert free == INF
        return
    assert lowest - math.log(len(values)) / beta - 1e-9 <= free <= lowest
    assert float(free_energy(energies + shift, beta)) == pytest.approx(free + shift, abs=1e-9)


@pytest.mark.parametrize("beta", BETAS)
def test_the_gradient_is_the_probability_also_beside_forbidden_answers(beta: float) -> None:
    energies = some_energies(7, 5).requires_grad_()
    (slope,) = torch.autograd.grad(free_energy(energies, beta).sum(), energies)
    values = energies.detach()
    want = (values == values.amin(-1, keepdim=True)).double() if beta == INF else gibbs(values, beta)
    np.testing.assert_allclose(slope, want, rtol=1e-12)
    assert (slope[values.isinf()] == 0).all()


@pytest.mark.parametrize("beta", [0.3, 2.0])
def test_first_and_second_derivatives_agree_with_differences(beta: float) -> None:
    energies = some_energies(3, 4, forbidden=0).requires_grad_()
    assert torch.autograd.gradcheck(lambda e: free_energy(e, beta), energies)
    assert torch.autograd.gradgradcheck(lambda e: free_energy(e, beta), energies)
    assert torch.autograd.gradcheck(lambda e: gibbs(e, beta), energies)


@pytest.mark.parametrize("beta", BETAS)
def test_where_everything_is_forbidden_the_energy_is_infinite_and_nothing_is_pushed(beta: float) -> None:
    energies = torch.tensor([[INF, INF, INF], [1.0, INF, 2.0]], requires_grad=True)
    free = free_energy(energies, beta)
    assert free[0] == INF
    assert free[1].isfinite()
    (slope,) = torch.autograd.grad(torch.where(free.isinf(), 0, free).sum(), energies)
    assert slope.isfinite().all()
    (slope,) = torch.autograd.grad(free_energy(energies, beta).sum(), energies)
    assert slope[0].tolist() == [0, 0, 0]
    if beta < INF:
        assert gibbs(energies, beta)[0].tolist() == [0, 0, 0]


def test_second_derivatives_beside_forbidden_answers_are_finite() -> None:
    energies = torch.tensor([[INF, INF], [1.0, INF]], requires_grad=True)
    (slope,) = torch.autograd.grad(free_energy(energies, 2.0).sum(), energies, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), energies)
    assert curvature.isfinite().all()


@pytest.mark.parametrize("beta", BETAS)
def test_nothing_to_choose_from_costs_infinity(beta: float) -> None:
    assert free_energy(torch.zeros(2, 0), beta).tolist() == [INF, INF]


def test_values_that_tie_share_the_gradient_as_the_limit_does() -> None:
    energies = torch.tensor([1.0, 1.0, 3.0], requires_grad=True)
    for beta in (INF, 1e4):
        (slope,) = torch.autograd.grad(free_energy(energies, beta), energies)
        np.testing.assert_allclose(slope, [0.5, 0.5, 0], atol=1e-6)


def test_large_energies_do_not_overflow() -> None:
    energies = torch.tensor([[1e30, 3e38], [-1e30, 0.0]])
    np.testing.assert_allclose(free_energy(energies, 1e6), [1e30, -1e30])
    np.testing.assert_allclose(gibbs(energies, 1e6), [[1, 0], [1, 0]])


@pytest.mark.parametrize("beta", BETAS)
def test_nan_is_not_hidden(beta: float) -> None:
    assert free_energy(torch.tensor([1.0, math.nan]), beta).isnan()
    assert free_energy(torch.tensor([INF, math.nan]), beta).isnan()
    if beta < INF:
        assert gibbs(torch.tensor([1.0, math.nan]), beta).isnan().any()


@pytest.mark.parametrize("other", [-INF, 1.0, INF])
def test_minus_infinity_is_no_energy(other: float) -> None:
    energies = torch.tensor([-INF, other])
    assert free_energy(energies) == -INF
    assert free_energy(energies, 2.0).isnan()
    assert gibbs(energies).isnan().all()


def test_nan_is_never_the_answer() -> None:
    assert infer(torch.tensor([[math.nan, 3.0, 1.0], [2.0, math.nan, 2.0]])).tolist() == [2, 0]
    assert infer(torch.tensor([[5.0, 1.0], [0.0, INF]]), dim=0).tolist() == [1, 0]


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan])
def test_temperatures_that_are_none_are_refused(beta: float) -> None:
    for function in (free_energy, gibbs):
        with pytest.raises(ValueError, match="beta="):
            function(torch.zeros(3), beta)
    with pytest.raises(ValueError, match="infer"):
        gibbs(torch.zeros(3), INF)


# --- small energies --------------------------------------------------------------------------------------------------


def gaussian() -> tuple[QuadraticEnergy, torch.distributions.MultivariateNormal]:
    energy = QuadraticEnergy(3).double()
    with torch.no_grad():
        energy.mu.copy_(torch.tensor([1.0, -2.0, 0.5]))
        energy.root.copy_(torch.tensor([[2.0, 0.3, 0.0], [0.0, -1.0, 0.4], [0.1, 0.0, 0.7]]))
    return energy, torch.distributions.MultivariateNormal(
        energy.mu.detach(), precision_matrix=energy.precision().detach()
    )


def test_the_quadratic_energy_is_a_gaussian_up_to_its_normaliser() -> None:
    energy, normal = gaussian()
    y = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    np.testing.assert_allclose((energy(y) + energy.log_partition()).detach(), -normal.log_prob(y), rtol=1e-12)


def test_descent_of_a_quadratic_energy_ends_at_its_mean_and_leaves_its_start_alone() -> None:
    energy, normal = gaussian()
    start = torch.zeros(4, 3, dtype=torch.float64)
    np.testing.assert_allclose(descend(energy, start, 300, 0.3), normal.mean.expand(4, 3), atol=1e-8)
    assert (start == 0).all()
    assert not start.requires_grad
    np.testing.assert_allclose(
        gradient(energy, start), (-energy.precision() @ energy.mu).detach().expand(4, 3)
    )


def test_gradients_flow_through_the_gradient_when_asked() -> None:
    energy, _ = gaussian()
    y = torch.ones(2, 3, dtype=torch.float64)
    assert not gradient(energy, y).requires_grad
    with torch.no_grad():
        assert gradient(energy, y).isfinite().all()
    gradient(energy, y, create_graph=True).square().sum().backward()
    assert energy.root.grad is not None
    assert float(energy.root.grad.abs().max()) > 0
    y.requires_grad_()
    (through,) = torch.autograd.grad(gradient(energy, y, create_graph=True)[:, 0].sum(), y)
    np.testing.assert_allclose(through, energy.precision()[0].detach().expand(2, 3))


def test_confinement_is_added_to_the_net() -> None:
    torch.manual_seed(0)
    energy = MLPEnergy(MLPEnergyConfig(num_inputs=3, hidden=(8,), activation="tanh", confinement=4.0))
    x, y = torch.randn(5, 1), torch.randn(5, 2)
    free = energy.net(torch.cat([x, y], 1)).squeeze(1)
    np.testing.assert_allclose(
        (energy(x, y) - free).detach(), 2 * (x.square().sum(1) + y.square().sum(1)), rtol=1e-4
    )


@pytest.mark.parametrize(
    "wrong",
    [{"num_inputs": 0}, {"num_inputs": 2, "activation": "step"}, {"num_inputs": 2, "confinement": -1.0}],
)
def test_configs_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(num_inputs|activation|confinement)="):
        MLPEnergyConfig(**wrong)
