"""A learner of coordinates of variance 1: the same terms and energy there, and samples as thin as the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.bounded import PCA, PCAConfig
from pretrain.energies import MLPEnergy, MLPEnergyConfig
from pretrain.learner import step
from pretrain.methods import METHODS
from pretrain.score_matching import SlicedScoreMatching
from pretrain.whitened import Whitened
from tests.pretrain.toys import generator

DEVIATIONS = torch.logspace(0.5, -2, 12)  # of the directions of `thin`


def thin(num: int) -> Tensor:
    """Samples (N, 12) of a Gaussian that is far thinner some ways than others."""
    turned, _ = torch.linalg.qr(torch.randn(12, 12, generator=generator(1)))
    return torch.randn(num, 12, generator=generator()) * DEVIATIONS @ turned.T + 1


def pca_of(y: Tensor, num_components: int) -> PCA:
    pca = PCA(PCAConfig(dim=y.shape[1], num_components=num_components)).to(y)
    pca.fit(y)
    return pca


def test_coordinates_have_variance_one_and_lead_back() -> None:
    y = thin(500)
    pca = pca_of(y, 12)
    x = pca.whiten(y)
    np.testing.assert_allclose(x.T.cov(), torch.eye(12), atol=1e-3)
    np.testing.assert_allclose(pca.colour(x), y, atol=1e-5)


def test_it_learns_what_the_learner_of_the_coordinates_learns() -> None:
    y = thin(500)
    pca = pca_of(y, 4)
    torch.manual_seed(0)
    learner = SlicedScoreMatching(MLPEnergy(MLPEnergyConfig(num_inputs=4)))
    whitened = Whitened(pca, learner)
    assert whitened.players == learner.players
    assert list(whitened.parameters_of("model")) == list(learner.parameters())
    torch.testing.assert_close(whitened.energy(y), learner.energy(pca.whiten(y)))
    want = learner.terms(pca.whiten(y), generator(2))
    for name, term in whitened.terms(y, generator(2)).items():
        torch.testing.assert_close(term, want[name])
    with pytest.raises(torch.linalg.LinAlgError, match="fewer than num_components=4"):
        Whitened(pca_of(y[:, :2] @ torch.randn(2, 6, generator=generator()), 4), learner).energy(y[:, :6])


@pytest.mark.parametrize("name", ["contrastive-divergence", "sliced-score-matching"])
def test_samples_are_as_thin_as_the_data(name: str) -> None:
    """Chains in y keep the noise that they begin at: its deviation is 1 in all directions."""
    method, y = METHODS[name], thin(1000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = method.build(y, generator())
    adam = torch.optim.Adam(learner.parameters(), method.rate)
    for k in range(100):
        step(learner, adam, y[torch.randint(1000, (128,), generator=generator(k))], generator(k))
    assert method.sample is not None
    drawn = method.sample(learner, 200, generator())
    along = (drawn - drawn.mean(0)) @ pca_of(y, 12).components.T
    np.testing.assert_allclose(along.std(0).log10(), DEVIATIONS.log10(), atol=0.15)
