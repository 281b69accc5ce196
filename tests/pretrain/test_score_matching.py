"""Score matching against the closed forms of a Gaussian, brute force and gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pretrain.score_matching import (
    DenoisingConfig,
    DenoisingScoreMatching,
    ScoreMatching,
    SlicedConfig,
    SlicedScoreMatching,
    denoising,
    exact,
    score_of,
    sliced,
)
from tests.pretrain.likelihood.toys import generator, gradient, minimise

ROOT = torch.tensor([[1.0, 0.0, 0.0], [0.7, 0.6, 0.0], [-0.3, 0.2, 0.8]], dtype=torch.float64)
COVARIANCE = ROOT @ ROOT.T
SIGMA = 0.4


class Quadratic(nn.Module):
    """F = y' P y / 2, P symmetric."""

    def __init__(self, precision: Tensor | None = None) -> None:
        super().__init__()
        self.P = nn.Parameter((torch.eye(3).double() if precision is None else precision).clone())

    def precision(self) -> Tensor:
        return (self.P + self.P.T) / 2

    def forward(self, y: Tensor) -> Tensor:
        return ((y @ self.precision()) * y).sum(1) / 2


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 1)).double()
        for k, parameter in enumerate(self.net.parameters()):
            parameter.data.normal_(generator=generator(k))

    def forward(self, y: Tensor) -> Tensor:
        return self.net(y)[:, 0] ** 2


def exactly(num: int, covariance: Tensor) -> Tensor:
    """Samples whose mean is 0 and whose covariance (of 1 / N) is this, to rounding."""
    y = torch.randn(num, 3, generator=generator(7), dtype=torch.float64)
    y = y - y.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(y.T @ y / num), y.T, upper=False)
    return white.T @ torch.linalg.cholesky(covariance).T


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum(0).mean()


def test_the_exact_loss_of_a_gaussian_is_its_closed_form() -> None:
    """s = -P y: -tr P + tr(P S P) / 2."""
    model, y = Quadratic(torch.diag(torch.tensor([2.0, 0.5, 1.0])).double()), exactly(50, COVARIANCE)
    P = model.precision().detach()
    want = -P.trace() + (P @ COVARIANCE @ P).trace() / 2
    assert float(total(exact(score_of(model), y)).detach()) == pytest.approx(float(want))


def test_the_denoising_loss_of_a_gaussian_is_its_closed_form() -> None:
    """E |-P (y + e n) + n / e|^2 / 2 = tr(P (S + e^2 I) P) / 2 - tr P + D / (2 e^2)."""
    model, y = Quadratic(torch.diag(torch.tensor([2.0, 0.5, 1.0])).double()), exactly(200_000, COVARIANCE)
    P = model.precision().detach()
    blurred = COVARIANCE + SIGMA**2 * torch.eye(3)
    want = (P @ blurred @ P).trace() / 2 - P.trace() + 3 / (2 * SIGMA**2)
    got = denoising(score_of(model), y, SIGMA, generator())["denoising"].detach()
    assert float(got.mean()) == pytest.approx(float(want), abs=5 * float(got.std()) / 200_000**0.5)


MINIMISERS: dict[str, tuple[Callable[[nn.Module], ScoreMatching], Tensor, float]] = {
    "exact": (ScoreMatching, COVARIANCE, 1e-5),
    "sliced": (lambda m: SlicedScoreMatching(m, SlicedConfig(projections=2)), COVARIANCE, 0.1),
    "denoising": (
        lambda m: DenoisingScoreMatching(m, DenoisingConfig(sigma=SIGMA)),
        COVARIANCE + SIGMA**2 * torch.eye(3),
        0.1,
    ),
}


@pytest.mark.parametrize("name", MINIMISERS)
def test_the_minimiser_is_the_precision(name: str) -> None:
    make, covariance, tolerance = MINIMISERS[name]
    learner = make(Quadratic())
    y = exactly(20_000, COVARIANCE)
    minimise(lambda: total(learner.terms(y, generator())), learner, 40)
    want = torch.linalg.inv(covariance)
    np.testing.assert_allclose(learner.model.precision().detach(), want, atol=tolerance * float(want.max()))
    other = torch.linalg.inv(2 * COVARIANCE - covariance + SIGMA**2 * torch.eye(3))  # the other kind's
    assert (learner.model.precision().detach() - other).abs().max() > 0.2


def test_the_curvature_is_the_trace_of_the_jacobian() -> None:
    model = Net()
    y = torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    terms = exact(score_of(model), y)
    for n in range(5):
        hessian = torch.autograd.functional.hessian(lambda one: model(one[None])[0], y[n])
        slope = torch.autograd.functional.jacobian(lambda one: model(one[None])[0], y[n])
        assert float(terms["curvature"][n].detach()) == pytest.approx(-float(hessian.trace()))
        assert float(terms["slope"][n].detach()) == pytest.approx(float((slope**2).sum() / 2))


def test_sliced_is_unbiased_of_exact_in_value_and_gradient() -> None:
    model, num = Net(), 20_000
    y = torch.randn(1, 3, generator=generator(), dtype=torch.float64)
    want, got = exact(score_of(model), y), sliced(score_of(model), y.expand(num, 3), 1, generator())
    spread = float(got["curvature"].detach().std())
    assert spread > 0.1
    tolerance = 5 * spread / num**0.5
    exactly = float(want["curvature"].detach())
    assert float(got["curvature"].mean().detach()) == pytest.approx(exactly, abs=tolerance)
    np.testing.assert_allclose(got["slope"].detach(), float(want["slope"].detach()))
    np.testing.assert_allclose(gradient(total(got), model), gradient(total(want), model), atol=0.4)


def test_more_projections_vary_less() -> None:
    y = torch.randn(1, 3, generator=generator(), dtype=torch.float64).expand(4000, 3)
    one, four = (
        float(sliced(score_of(Net()), y, k, generator())["curvature"].detach().var()) for k in (1, 4)
    )
    assert one / four == pytest.approx(4, rel=0.2)


def test_gradients_reach_the_parameters() -> None:
    """Of the loss with respect to P: exact's is -I + (S P + P S) / 2, whatever P."""
    P = torch.diag(torch.tensor([2.0, 0.5, 1.0])).double()
    model, y = Quadratic(P), exactly(50, COVARIANCE)
    got = gradient(total(exact(score_of(model), y)), model).view(3, 3)
    np.testing.assert_allclose(got, -torch.eye(3) + (COVARIANCE @ P + P @ COVARIANCE) / 2, atol=1e-9)


def test_a_score_that_is_not_a_gradient_may_be_judged_too() -> None:
    """s = A y with A not symmetric: tr A + |A y|^2 / 2."""
    A = torch.tensor([[0.0, 2.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, -3.0]], dtype=torch.float64)
    y = torch.randn(4, 3, generator=generator(), dtype=torch.float64)
    terms = exact(lambda y: y @ A.T, y)
    assert terms["curvature"].tolist() == pytest.approx([-2.0] * 4)
    np.testing.assert_allclose(terms["slope"].detach(), ((y @ A.T) ** 2).sum(1) / 2)
    constant = exact(lambda y: torch.ones_like(y), y)
    assert constant["curvature"].tolist() == [0.0] * 4


def test_losses_are_the_same_where_gradients_are_off() -> None:
    learner, y = ScoreMatching(Net()), torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    with torch.no_grad():
        quiet = learner.terms(y, generator())
        assert not learner.score(y).requires_grad
    for name, term in learner.terms(y, generator()).items():
        np.testing.assert_array_equal(quiet[name].detach(), term.detach())
    assert not y.requires_grad


def test_configs_are_checked() -> None:
    with pytest.raises(ValueError, match="projections=0"):
        SlicedConfig(projections=0)
    with pytest.raises(ValueError, match="sigma=0"):
        DenoisingConfig(sigma=0)
