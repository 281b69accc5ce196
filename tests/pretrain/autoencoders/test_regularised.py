"""Sparse, contracting and saturating auto-encoders: their terms against closed forms, and what they do to a code."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.autoencoders import (
    ContractingAutoEncoder,
    ContractingConfig,
    SaturatingAutoEncoder,
    SaturatingConfig,
    SparseAutoEncoder,
    SparseConfig,
    TiedDecoder,
    jacobian_norm,
    sigmoid_jacobian_norm,
)
from pretrain.autoencoders.saturating import NONLINEARITIES
from pretrain.data import parabola
from pretrain.learner import Learner, step
from tests.pretrain.toys import generator

Kind = Literal["relu", "saturated", "shrink"]


def trained(learner: Learner, num_steps: int, lr: float = 0.01) -> None:
    rng = generator(5)
    optimiser = torch.optim.Adam(learner.parameters(), lr=lr)
    for _ in range(num_steps):
        step(learner, optimiser, parabola(128, rng), rng)


# --- sparse ----------------------------------------------------------------------------------------------------------


def sparse(sparsity: float) -> SparseAutoEncoder:
    torch.manual_seed(0)
    return SparseAutoEncoder(SparseConfig(dim=2, num_units=16, sparsity=sparsity))


def test_sparsity_makes_a_code_sparse_while_columns_keep_their_length() -> None:
    y = parabola(500, generator())
    weak, strong = sparse(1e-3), sparse(0.3)
    on = []
    for learner in (weak, strong):
        trained(learner, 200, lr=0.02)
        on.append(float((learner.encode(y) > 1e-3).float().mean()))
        np.testing.assert_allclose(learner.dictionary.norm(dim=0).detach(), 1, rtol=1e-5)
    assert on[1] < 0.75 * on[0]


def test_the_sparse_terms_are_their_definition() -> None:
    learner = sparse(0.3)
    y = parabola(5, generator())
    terms = learner.terms(y, generator())
    v, w = learner.encoder.get_parameter("weight").detach(), learner.dictionary.detach()
    b, c = learner.decoder.get_parameter("bias").detach(), learner.encoder.get_parameter("bias").detach()
    for k, one in enumerate(y):
        z = torch.relu(v @ (one - b) + c)
        assert float(terms["sparsity"][k].detach()) == pytest.approx(0.3 * float(z.abs().sum()), rel=1e-5)
        error = float((one - b - w @ z).square().sum())
        assert float(terms["reconstruction"][k].detach()) == pytest.approx(error, rel=1e-4)


# --- contracting -----------------------------------------------------------------------------------------------------


def test_of_one_sigmoid_layer_the_penalty_is_the_closed_form() -> None:
    """||J||_F^2 = sum_k [h_k (1 - h_k)]^2 ||w_k||^2"""
    layer = nn.Linear(5, 3).double()
    y = torch.randn(7, 5, generator=generator(), dtype=torch.float64)
    h = torch.sigmoid(layer(y))
    want = (h * (1 - h)).square() @ layer.weight.square().sum(1)
    encoder = nn.Sequential(layer, nn.Sigmoid())
    learner = ContractingAutoEncoder(
        encoder,
        TiedDecoder(layer).double(),
        ContractingConfig(contraction=0.5),
        functools.partial(sigmoid_jacobian_norm, layer),
    )
    contraction = learner.terms(y, generator())["contraction"]
    for got in (jacobian_norm(encoder, y), sigmoid_jacobian_norm(layer, y), 2 * contraction):
        np.testing.assert_allclose(got.detach(), want.detach(), rtol=1e-9)
        for a, b in zip(
            torch.autograd.grad(got.sum(), (layer.weight, layer.bias), retain_graph=True),
            torch.autograd.grad(want.sum(), (layer.weight, layer.bias), retain_graph=True),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-9)


def test_of_a_deep_encoder_it_is_autograd_s_jacobian_even_without_grad() -> None:
    f = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    y = torch.randn(4, 2, 3, generator=generator(), dtype=torch.float64)
    with torch.no_grad():
        got = jacobian_norm(f, y)
    for k in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda v: f(v[None])[0], y[k])
        assert float(got[k].detach()) == pytest.approx(float(jacobian.square().sum()))
    assert y.grad is None
    assert not y.requires_grad


def contracting(contraction: float) -> ContractingAutoEncoder:
    torch.manual_seed(0)
    layer = nn.Linear(2, 16)
    return ContractingAutoEncoder(
        nn.Sequential(layer, nn.Sigmoid()), TiedDecoder(layer), ContractingConfig(contraction=contraction)
    )


def test_contraction_leaves_only_the_direction_of_the_data() -> None:
    """On a line y2 = 0 the encoder still follows y1, and hardly y2."""
    learner = contracting(0.3)
    rng = generator()
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.03)
    for _ in range(200):
        y = torch.stack([2 * torch.rand(64, generator=rng) - 1, torch.zeros(64)], 1)
        step(learner, optimiser, y, rng)
    jacobian = torch.autograd.functional.jacobian(lambda v: learner.encode(v[None])[0], torch.zeros(2))
    along, across = jacobian.norm(dim=0)
    assert float(along) > 5 * float(across)
    assert float(learner.energy(torch.tensor([[0.5, 0.0]])).detach()) < 0.05
    assert float(learner.energy(torch.tensor([[0.5, 0.7]])).detach()) > 0.3


# --- saturating ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NONLINEARITIES)
def test_the_complement_is_the_distance_to_where_the_nonlinearity_is_flat(kind: Kind) -> None:
    f, complement = NONLINEARITIES[kind]
    grid = torch.linspace(-4, 4, 8001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(f(grid).sum(), grid)
    flat = grid.detach()[slope == 0]
    at = 3 * torch.randn(200, generator=generator(), dtype=torch.float64).clamp(-1, 1)
    want = (at[:, None] - flat).abs().amin(1)
    np.testing.assert_allclose(complement(at), want, atol=2e-3)


@pytest.mark.parametrize("kind", NONLINEARITIES)
def test_saturation_makes_units_flat(kind: Kind) -> None:
    y, flat = parabola(500, generator()), []
    for saturation in (1e-4, 0.1):
        torch.manual_seed(0)
        encoder = nn.Linear(2, 16)
        encoder.weight.data.mul_(3)
        learner = SaturatingAutoEncoder(
            encoder, nn.Linear(16, 2), SaturatingConfig(nonlinearity=kind, saturation=saturation)
        )
        trained(learner, 150, lr=0.02)
        a = learner.encoder(y).detach()
        flat.append(float((learner.nonlinearity.complement(a) == 0).float().mean()))
    assert flat[1] > max(1.15 * flat[0], 0.85)


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="nonlinearity='sigmoid'"):
        SaturatingConfig(nonlinearity="sigmoid")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="saturation=0"):
        SaturatingConfig(saturation=0.0)
    with pytest.raises(ValueError, match="contraction=-1"):
        ContractingConfig(contraction=-1.0)
    with pytest.raises(ValueError, match="sparsity=0"):
        SparseConfig(dim=2, num_units=3, sparsity=0.0)
