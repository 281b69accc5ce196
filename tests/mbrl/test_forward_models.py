"""Every forward model has the same face and does what its equations say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from envs.context import Recorded
from envs.units import View
from mbrl.forward_models import (
    ModelConfig,
    PaperConfig,
    PaperModel,
    SeparatedConfig,
    SeparatedModel,
    build,
    config_from_dict,
    config_to_dict,
)
from mbrl.forward_models.base import Bank, kl_between_normals, reparameterise
from mbrl.normaliser import Normaliser
from tests.mbrl.small import (
    CHANNELS,
    TIMING,
    VARIANTS,
    VIEW,
    random_actions,
    random_context,
    small_model,
    unrolled,
)

# --- one face --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [VIEW, View(), View(height=16, width=23)], ids=["small", "paper", "odd"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_model_has_the_same_face(variant: str, view: View) -> None:
    model = build(replace(VARIANTS[variant], view=view)).eval()
    context = random_context(2, TIMING, view)
    h = model.encode(context)
    assert torch.equal(model.context(h).images, context.images)
    if model.z_dim:
        mu, log_var = model.posterior(
            h, torch.zeros(context.batch_size, 2), context.images[:, -1], context.now()
        )
        assert mu.shape == log_var.shape == (2, model.z_dim)
    for t in range(2):
        before = model.context(h)
        prediction, h = model.step(h, random_actions()[:, t], torch.randn(2, model.z_dim))
        assert prediction.image.shape == (2, 3, view.height, view.width)
        assert prediction.image.min() >= 0
        assert prediction.image.max() <= 1
        seen = model.context(h)
        assert torch.equal(seen.images, torch.cat([before.images[:, 1:], prediction.image[:, None]], 1))
        assert torch.equal(seen.poses, torch.cat([before.poses[:, 1:], prediction.pose[:, None]], 1))
        assert torch.equal(seen.size, context.size)
        assert model.error(h, prediction.image, prediction.pose).shape == (2,)


@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluated_models_are_deterministic_and_dropout_is_not(variant: str) -> None:
    model = small_model(variant)
    one, other = unrolled(model), unrolled(model)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    model.train()
    assert not torch.equal(unrolled(model)[0], one[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_example_alone_equals_itself_in_a_batch(variant: str) -> None:
    model = small_model(variant)
    images, poses, _ = unrolled(model, batch=3)
    h = model.encode(random_context(3).take(slice(1, 2)))
    z = model.noise(3, 3, like=poses, generator=torch.Generator().manual_seed(5))
    for t in range(3):
        prediction, h = model.step(h, random_actions(3)[1:2, t], z[1:2, t])
        np.testing.assert_allclose(prediction.image[0].detach(), images[1, t].detach(), atol=1e-5)
        np.testing.assert_allclose(prediction.pose[0].detach(), poses[1, t].detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("frozen", [True, False])
def test_a_state_of_masks_is_that_of_a_repeated_context(variant: str, frozen: bool) -> None:
    """Over more steps than there are frames of context, and with the same gradient for actions."""
    model = small_model(variant).requires_grad_(not frozen)
    context, z = random_context(2), torch.randn(6, 5, model.z_dim, generator=torch.Generator().manual_seed(0))
    found = []
    for h in (model.encode(context, 3), model.encode(context.repeat(3))):
        actions = random_actions(6, 5).requires_grad_()
        total = torch.zeros(())
        for t in range(5):
            prediction, h = model.step(h, actions[:, t], z[:, t])
            total = total + prediction.image.square().sum() + prediction.pose.sum()
        found.append((total.detach(), *torch.autograd.grad(total, actions)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_going_along_what_was_recorded_changes_no_number(variant: str) -> None:
    model = small_model(variant)
    then = random_context(2, seed=7)
    recorded = Recorded(then.images, then.poses, random_actions(2, 3))
    h, known = model.encode(random_context(2)), model.encode(random_context(2), along=recorded)
    for t in range(3):
        step = recorded.actions[:, t], recorded.images[:, t], recorded.poses[:, t]
        z = torch.zeros(2, 0)
        if model.z_dim:
            z, other = model.posterior(h, *step)[0], model.posterior(known, *step)[0]
            np.testing.assert_allclose(other.detach(), z.detach(), atol=1e-5)
        prediction, h = model.step(h, step[0], z)
        same, known = model.step(known, step[0], z)
        for one, other in zip(same, prediction, strict=True):
            np.testing.assert_allclose(one.detach(), other.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_z_matters_where_there_is_one(variant: str) -> None:
    model = small_model(variant)
    one, other = (
        unrolled(model, z=torch.full((2, 3, max(model.z_dim, 4)), v)[..., : model.z_dim or 4])[0]
        for v in (-1.0, 1.0)
    )
    assert torch.equal(one, other) == (model.z_dim == 0)


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_the_posterior_sees_what_came_next(variant: str) -> None:
    model = small_model(variant)
    context = random_context()
    h = model.encode(context)
    other = context.images[:, -1].flip(-1)
    assert not torch.equal(
        model.posterior(h, torch.zeros(context.batch_size, 2), other, context.now())[0],
        model.posterior(h, torch.zeros(context.batch_size, 2), context.images[:, -1], context.now())[0],
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_weight(variant: str) -> None:
    config = replace(VARIANTS[variant], dropout=0.0)
    model = build(config)
    for module in model.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.3)
    if isinstance(model, SeparatedModel):
        nn.init.normal_(model.head.weight, std=0.3)
    context = random_context(4)
    h = model.encode(context)
    loss = torch.zeros(())
    for t in range(2):
        z = torch.zeros(4, 0)
        if model.z_dim:
            mu, log_var = model.posterior(
                h, torch.zeros(context.batch_size, 2), context.images[:, 0], context.now()
            )
            z = reparameterise(mu, log_var, torch.randn_like(mu))
            loss = loss + model.divergence(h, mu, log_var).mean()
        _, h = model.step(h, random_actions(4)[:, t], z)
        loss = loss + model.error(h, context.images[:, 0], context.poses[:, 0]).mean()
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert without == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_error_is_zero_only_for_the_truth(variant: str) -> None:
    model = small_model(variant)
    images, poses, h = unrolled(model)
    if isinstance(model, SeparatedModel):
        truth = torch.cat([images[:, -1, :1], h.vehicles[:, -1:], images[:, -1, 2:]], 1)
    else:
        truth = images[:, -1]
    assert model.error(h, truth, poses[:, -1]).abs().max() < 1e-9
    assert model.error(h, 1 - truth, poses[:, -1]).min() > 1e-3


# --- z ---------------------------------------------------------------------------------------------------------------


def test_the_divergence_is_torch_s_and_zero_for_the_same() -> None:
    rng = torch.Generator().manual_seed(0)
    mu, log_var, mu_p, log_var_p = torch.randn(4, 7, 5, generator=rng, dtype=torch.float64)
    one, other = Normal(mu, torch.exp(log_var / 2)), Normal(mu_p, torch.exp(log_var_p / 2))
    want = kl_divergence(one, other).sum(-1)
    np.testing.assert_allclose(kl_between_normals(mu, log_var, mu_p, log_var_p), want, rtol=1e-12)
    assert (kl_between_normals(mu, log_var, mu, log_var).abs() < 1e-12).all()


def test_reparameterised_samples_have_the_wanted_moments_and_gradients() -> None:
    """E z^2 = mu^2 + exp(log_var), so its gradients are 2 mu and exp(log_var)."""
    mu, log_var = torch.tensor([0.5, -1.0], requires_grad=True), torch.tensor([-1.0, 0.4], requires_grad=True)
    noise = torch.randn(40_000, 2, generator=torch.Generator().manual_seed(0))
    z = reparameterise(mu.expand(40_000, 2), log_var.expand(40_000, 2), noise)
    np.testing.assert_allclose(z.mean(0).detach(), mu.detach(), atol=0.02)
    np.testing.assert_allclose(z.var(0).detach(), log_var.exp().detach(), rtol=0.03)
    for_mu, for_log_var = torch.autograd.grad(z.square().mean(0).sum(), (mu, log_var))
    np.testing.assert_allclose(for_mu, 2 * mu.detach(), atol=0.03)
    np.testing.assert_allclose(for_log_var, log_var.exp().detach(), atol=0.04)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if "learned" in v])
def test_a_learned_prior_depends_on_the_state_and_moves_the_noise(variant: str) -> None:
    """z = mu + exp(log_var / 2) noise, so that z at two noises tells both; and KL(p || p) = 0."""
    model = small_model(variant)
    h = model.encode(random_context(4))
    mu, log_var = model.prior(h)
    assert mu.std(0).min() > 0
    noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(model.latent(h, torch.zeros(4, 3)).detach(), mu.detach())
    want = mu + torch.exp(log_var / 2) * noise
    np.testing.assert_allclose(model.latent(h, noise).detach(), want.detach(), rtol=1e-6)
    assert (model.divergence(h, mu, log_var).abs() < 1e-6).all()


def test_a_bank_gives_back_what_it_holds_each_as_often() -> None:
    bank = Bank(2, size=8)
    bank.fill(torch.arange(64.0).view(32, 2))  # every fourth is kept
    np.testing.assert_array_equal(bank.z[:, 0], torch.arange(0, 64, 8.0))
    got = bank(torch.randn(40_000, 2, generator=torch.Generator().manual_seed(0)))[:, 0]
    assert sorted(set(got.tolist())) == bank.z[:, 0].tolist()
    counts = torch.stack([(got == z).sum() for z in bank.z[:, 0]])
    np.testing.assert_allclose(counts, 5000, rtol=0.06)
    assert (bank(torch.full((1, 2), 9.0)) == bank.z[-1]).all()
    bank.fill(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert (bank.z[:4] == torch.tensor([1.0, 2.0])).all()
    assert (bank.z[4:] == torch.tensor([3.0, 4.0])).all()


@pytest.mark.parametrize("variant", [v for v in VARIANTS if "error" in v])
def test_an_error_code_tells_the_error_and_nothing_else(variant: str) -> None:
    """phi(s' - f(s, a, 0)): what the model predicts without z is encoded like any other perfect guess."""
    model = small_model(variant)
    actions = random_actions(2)[:, 0]
    h = model.encode(random_context())
    guess, after = model.step(h, actions, torch.zeros(2, 3))
    vehicles = after.vehicles[:, -1] if isinstance(model, SeparatedModel) else guess.image[:, 1]
    image = guess.image.clone()
    image[:, 1] = vehicles
    perfect, log_var = model.posterior(h, actions, image, guess.pose)
    assert (log_var == -torch.inf).all()
    assert torch.equal(reparameterise(perfect, log_var, torch.randn_like(perfect)), perfect)
    assert (model.divergence(h, perfect, log_var) == 0).all()
    wrong, _ = model.posterior(h, actions, image.flip(-1), guess.pose)
    assert not torch.equal(wrong, perfect)
    if isinstance(model, PaperModel):  # whatever the state: the code of no error is the same
        np.testing.assert_allclose(perfect[0].detach(), perfect[1].detach(), atol=1e-5)


def test_the_prior_is_standard_normal_and_seeded() -> None:
    model = build(VARIANTS["vae"])
    like = torch.zeros(1, dtype=torch.float64)
    one, other = (
        model.noise(500, 8, like=like, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(one, other)
    assert one.shape == (500, 8, 3)
    assert one.dtype == torch.float64
    assert abs(float(one.mean())) < 0.03
    assert float(one.std()) == pytest.approx(1, abs=0.03)


# --- configs and normalisers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [*VARIANTS.values(), PaperConfig(), SeparatedConfig()])
def test_a_config_survives_json(config: ModelConfig) -> None:
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_a_foreign_config_is_refused() -> None:
    good = config_to_dict(SeparatedConfig(channels=CHANNELS))
    for bad in ({**good, "kind": "other"}, {k: v for k, v in good.items() if k != "kind"}):
        with pytest.raises(KeyError):
            config_from_dict(bad)
    with pytest.raises(TypeError):
        config_from_dict({**good, "kind": "paper"})
    with pytest.raises(ValueError):
        config_from_dict({**good, "dropout": 2})


def test_normalising_and_back() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(50, 6, 3, generator=rng, dtype=torch.float64) * torch.tensor(
        [1.0, 30, 0.01]
    ) + torch.tensor([0.0, 200, -1])
    normaliser = Normaliser(3).double()
    assert torch.equal(normaliser(x), x)  # not fitted yet
    normaliser.fit(x)
    flat = normaliser(x).reshape(-1, 3)
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(flat.std(0), 1, rtol=1e-9)
    np.testing.assert_allclose(normaliser.inverse(normaliser(x)), x, rtol=1e-12)


def test_a_feature_that_never_changes_is_only_shifted() -> None:
    normaliser = Normaliser(2)
    normaliser.fit(torch.tensor([[5.0, 1.0], [5.0, 3.0]]))
    assert normaliser(torch.tensor([7.0, 2.0])).tolist() == [2.0, 0.0]
