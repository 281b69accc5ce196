"""A linear VAE is probabilistic PCA; its bounds lie where they must; the conditional one learns two futures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from pretrain.autoencoders import VAE, ConditionalVAE, VAEConfig
from pretrain.autoencoders.vae import Gaussian
from pretrain.learner import step
from pretrain.networks import mlp
from tests.pretrain.toys import generator


def correlated(num: int, seed: int = 0) -> Tensor:
    """Samples (N, 5): two directions and noise."""
    directions = torch.randn(2, 5, generator=generator(11), dtype=torch.float64)
    rng = generator(seed)
    z, noise = (torch.randn(num, k, generator=rng, dtype=torch.float64) for k in (2, 5))
    return z @ directions + 0.5 * noise + 1


def probabilistic_pca(y: Tensor) -> tuple[VAE, Tensor]:
    """The optimal linear VAE of y, of 2 codes, and its exact energies (N,).

    C = W W^T + s^2 I, W = U (L - s^2 I)^1/2, s^2 the mean of the other eigenvalues;
    q(z|y) = N(M^-1 W^T (y - m), s^2 M^-1), M = W^T W + s^2 I = L, diagonal (Tipping and Bishop 1999).
    """
    mean = y.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(y.T, correction=0))
    noise = values[:-2].mean()
    top = values[-2:]
    w = vectors[:, -2:] * torch.sqrt(top - noise)
    encoder, decoder = nn.Linear(5, 4).double(), nn.Linear(2, 5).double()
    vae = VAE(encoder, decoder, VAEConfig()).double()
    with torch.no_grad():
        encoder.weight[:2] = w.T / top[:, None]
        encoder.weight[2:] = 0
        encoder.bias[:2] = -(w.T / top[:, None]) @ mean
        encoder.bias[2:] = torch.log(noise / top)
        decoder.weight.copy_(w)
        decoder.bias.copy_(mean)
        vae.log_var.copy_(noise.log())
    covariance = w @ w.T + noise * torch.eye(5, dtype=torch.float64)
    return vae, -torch.distributions.MultivariateNormal(mean, covariance).log_prob(y)


def test_with_the_exact_posterior_every_bound_is_the_energy() -> None:
    y = correlated(300)
    vae, exact = probabilistic_pca(y)
    with torch.no_grad():
        np.testing.assert_allclose(vae.importance_weighted(y, generator(), 3), exact, rtol=1e-9)
        np.testing.assert_allclose(vae.bound(y, generator(), 3000), exact, atol=0.15)
        decoded = vae.decoder.get_parameter("weight")
        trace = (decoded.square().sum(0) * torch.exp(vae.posterior(y).log_var)).sum(1)
        missing = (
            trace / 2 * torch.exp(-vae.log_var)
        )  # what the mean code leaves out, exact where g is linear
        np.testing.assert_allclose(vae.energy(y) + missing, exact, rtol=1e-9)


def test_a_wrong_posterior_is_above_and_importance_weights_come_back() -> None:
    y = correlated(200)
    vae, exact = probabilistic_pca(y)
    with torch.no_grad():
        vae.encoder.get_parameter("bias")[:2] += 0.5
        one = vae.bound(y, generator(), 200).mean() - exact.mean()
        many = vae.importance_weighted(y, generator(), 200).mean() - exact.mean()
    assert float(one) > 0.5
    assert 0 < float(many) < 0.1 * float(one)


def test_it_learns_to_probabilistic_pca_s_likelihood() -> None:
    y = correlated(2000).float()
    _, exact = probabilistic_pca(y.double())
    torch.manual_seed(0)
    vae = VAE(nn.Linear(5, 4), nn.Linear(2, 5), VAEConfig())
    optimiser = torch.optim.Adam(vae.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 500)
    rng = generator()
    for _ in range(500):
        step(vae, optimiser, y[torch.randint(2000, (200,), generator=rng)], rng)
        schedule.step()
    with torch.no_grad():
        energy = float(vae.importance_weighted(y, rng, 20).mean())
    assert float(exact.mean()) - 1e-2 < energy < float(exact.mean()) + 0.03


def test_the_divergence_is_torch_s() -> None:
    a, b = (Gaussian(*torch.randn(2, 6, 3, generator=generator(k), dtype=torch.float64)) for k in (0, 1))
    reference = [Normal(g.mean, torch.exp(g.log_var / 2)) for g in (a, b)]
    np.testing.assert_allclose(a.divergence(b), kl_divergence(*reference).sum(1), rtol=1e-9)
    z = a.sample(generator())
    np.testing.assert_allclose(a.energy(z), -reference[0].log_prob(z).sum(1), rtol=1e-9)


def test_bernoulli_s_energy_is_minus_the_log_of_a_probability() -> None:
    """Over all binary y it sums to 1."""
    vae = VAE(nn.Linear(3, 2), nn.Linear(1, 3), VAEConfig(likelihood="bernoulli"))
    y = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    energy = vae.reconstruction(y, torch.full((8, 1), 0.7))
    assert float(torch.exp(-energy).sum().detach()) == pytest.approx(1, rel=1e-5)


def test_beta_weighs_the_divergence_only() -> None:
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(3, 4), nn.Linear(2, 3)
    y = torch.randn(5, 3, generator=generator())
    one, four = (VAE(encoder, decoder, VAEConfig(beta=beta)).terms(y, generator()) for beta in (1.0, 4.0))
    np.testing.assert_allclose(four["divergence"].detach(), 4 * one["divergence"].detach(), rtol=1e-6)
    np.testing.assert_allclose(four["reconstruction"].detach(), one["reconstruction"].detach())


def forks(num: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """x in [1, 2], and y = +x or -x, as it falls."""
    x = 1 + torch.rand(num, 1, generator=rng)
    side = 2.0 * torch.randint(2, (num, 1), generator=rng) - 1
    return x, side * x + 0.05 * torch.randn(num, 1, generator=rng)


@pytest.mark.slow
def test_the_conditional_one_learns_both_answers() -> None:
    torch.manual_seed(0)
    learner = ConditionalVAE(
        mlp([2, 32, 4], "relu"), mlp([1, 32, 4], "relu"), mlp([3, 32, 1], "relu"), 1, VAEConfig()
    )
    rng = generator()
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.01)
    for _ in range(600):
        step(learner, optimiser, torch.cat(forks(256, rng), 1), rng)
    x, y = forks(500, rng)
    with torch.no_grad():
        drawn = learner.sample(x, rng)
        energies = {
            name: float(learner.energy(x, at).mean()) for name, at in (("y", y), ("-y", -y), ("0", 0 * y))
        }
    assert float(((drawn / x).abs() - 1).abs().median()) < 0.15
    assert 0.25 < float((drawn > 0).float().mean()) < 0.75
    assert max(energies["y"], energies["-y"]) + 3 < energies["0"]  # the mean of both answers is none


def test_what_is_given_is_not_modelled_and_the_prior_sees_nothing_else() -> None:
    torch.manual_seed(0)
    learner = ConditionalVAE(
        mlp([4, 8, 4], "relu"), mlp([3, 8, 4], "relu"), mlp([5, 8, 1], "relu"), 3, VAEConfig()
    )
    x, y = torch.randn(6, 3, generator=generator()), torch.randn(6, 1, generator=generator(1))
    rows = torch.cat([x, y], 1)
    changed = torch.cat([x, y + 1], 1)
    assert torch.equal(learner.prior(rows).mean, learner.prior(changed).mean)
    assert not torch.equal(learner.posterior(rows).mean, learner.posterior(changed).mean)
    z = torch.zeros(6, 2)
    at = learner.decoder(torch.cat([x, z], 1))
    want = (y - at).square().sum(1) / 2 + math.log(2 * math.pi) / 2
    np.testing.assert_allclose(learner.reconstruction(rows, z).detach(), want.detach(), rtol=1e-5)
    assert torch.equal(learner.energy(x, y), learner.at_mean(rows))


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="likelihood='laplace'"):
        VAEConfig(likelihood="laplace")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beta=0"):
        VAEConfig(beta=0.0)
