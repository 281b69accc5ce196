"""The mixture's likelihood and its M-step against scikit-learn; its density integrates to 1."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture as Reference

from pretrain.bounded import GaussianMixture, GaussianMixtureConfig
from pretrain.data import mixture_of_gaussians, spiral
from tests.pretrain.toys import gaussian, generator, mass

Kind = Literal["full", "diag"]


def fitted(y: torch.Tensor, num_components: int, covariance: Kind) -> GaussianMixture:
    mixture = GaussianMixture(
        GaussianMixtureConfig(dim=y.shape[1], num_components=num_components, covariance=covariance)
    ).to(y)
    mixture.fit(y, generator())
    return mixture


def reference_at(mixture: GaussianMixture) -> Reference:
    """scikit-learn's mixture of the same parameters."""
    full = mixture.config.covariance == "full"
    reference = Reference(mixture.config.num_components, covariance_type=mixture.config.covariance)
    reference.weights_, reference.means_ = mixture.weights.numpy(), mixture.means.numpy()
    precisions = (
        torch.linalg.inv(mixture.factors).mT if full else 1 / mixture.factors.diagonal(dim1=1, dim2=2)
    )
    reference.precisions_cholesky_ = precisions.numpy()
    return reference


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_energies_and_responsibilities_are_scikit_learn_s(covariance: Kind) -> None:
    y = spiral(300, generator(), noise=0.03).double()
    other = torch.randn(100, 2, generator=generator(1), dtype=torch.float64)
    mixture = fitted(y, 7, covariance)
    reference = reference_at(mixture)
    np.testing.assert_allclose(mixture.energy(other), -reference.score_samples(other.numpy()), rtol=1e-9)
    np.testing.assert_allclose(
        mixture.responsibilities(y), reference.predict_proba(y.numpy()), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_one_m_step_is_scikit_learn_s(covariance: Kind) -> None:
    y, _ = gaussian(200, 3)
    belongs = torch.softmax(torch.randn(200, 4, generator=generator(), dtype=torch.float64), 1)
    mixture = GaussianMixture(GaussianMixtureConfig(dim=3, num_components=4, covariance=covariance)).double()
    mixture.maximise(y, belongs)
    reference = Reference(4, covariance_type=covariance)
    reference._initialize(y.numpy(), belongs.numpy())
    want = [reference.weights_, reference.means_, reference.precisions_cholesky_]
    ours = reference_at(mixture)
    for a, b in zip([ours.weights_, ours.means_, ours.precisions_cholesky_], want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_its_likelihood_is_as_high_as_scikit_learn_s(covariance: Kind) -> None:
    y = mixture_of_gaussians(1000, generator()).double()
    reference = Reference(8, covariance_type=covariance, random_state=0, tol=1e-6, n_init=3).fit(y.numpy())
    mixture = fitted(y, 8, covariance)
    assert float(mixture.energy(y).mean()) == pytest.approx(-reference.score(y.numpy()), abs=2e-3)


def test_a_step_of_em_never_raises_the_energy() -> None:
    y = spiral(200, generator(), noise=0.03).double()
    mixture = GaussianMixture(GaussianMixtureConfig(dim=2, num_components=5)).double()
    mixture.maximise(y, torch.softmax(torch.randn(200, 5, generator=generator(), dtype=torch.float64), 1))
    before = float(mixture.energy(y).mean())
    for _ in range(20):
        mixture.maximise(y, mixture.responsibilities(y))
        after = float(mixture.energy(y).mean())
        assert after < before + 1e-5  # the floor, which is no part of the likelihood
        before = after


def test_the_free_energy_is_of_its_joint_energy_and_normalised() -> None:
    mixture = fitted(spiral(300, generator(), noise=0.03).double(), 6, "full")
    y = torch.randn(20, 2, generator=generator(), dtype=torch.float64)
    np.testing.assert_allclose(torch.exp(-mixture.energy(y)), torch.exp(-mixture.energies(y)).sum(1))
    assert mass(mixture.energy, 2.5) == pytest.approx(1, abs=1e-4)


def test_one_component_is_the_gaussian_and_samples_have_its_covariance() -> None:
    y, mixing = gaussian(20_000, 2)
    mixture = fitted(y, 1, "full")
    np.testing.assert_allclose(
        mixture.factors[0] @ mixture.factors[0].T, torch.cov(y.T, correction=0), atol=2e-6
    )
    drawn = mixture.sample(20_000, generator(5))
    np.testing.assert_allclose(torch.cov(drawn.T), mixing @ mixing.T, rtol=0.1, atol=0.05)
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.05)


def test_a_component_of_too_few_samples_needs_a_floor() -> None:
    y = torch.randn(4, 6, generator=generator())
    alone = torch.ones(4, 1)
    with pytest.raises(torch.linalg.LinAlgError, match="component 0 is flat"):
        GaussianMixture(GaussianMixtureConfig(dim=6, num_components=1, floor=1e-12)).maximise(y, alone)
    mixture = GaussianMixture(GaussianMixtureConfig(dim=6, num_components=1, floor=1e-2))
    mixture.maximise(y, alone)
    assert mixture.energy(y).isfinite().all()


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="covariance='tied'"):
        GaussianMixtureConfig(dim=2, num_components=2, covariance="tied")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="floor=0"):
        GaussianMixtureConfig(dim=2, num_components=2, floor=0.0)
