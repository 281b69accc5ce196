"""Disagreement against brute force and a closed form; its scale, its hinge, and dropout that is put back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from envs.context import Context
from envs.costs import Costs
from envs.units import View
from mbrl.forward_models import Prediction, SeparatedModel
from mbrl.futures import foresee
from mbrl.imagination import Trajectory, along, exact_costs, given, imagine
from mbrl.uncertainty import Terms, Uncertainty, disagreement, dropout_on
from tests.mbrl.small import VARIANTS, VIEW, random_actions, random_context, small_model


def random_trajectory(num: int, steps: int = 3, seed: int = 0) -> Trajectory:
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(num, steps, *shape, generator=rng, dtype=torch.float64)

    return Trajectory(draw(3, 4, 5), draw(4) * 10, draw(2), Costs(draw(), draw(), draw()))


def joined(parts: list[Trajectory]) -> Trajectory:
    """One batch of several, mask-major."""
    return Trajectory(
        torch.cat([p.images for p in parts]),
        torch.cat([p.poses for p in parts]),
        torch.cat([p.actions for p in parts]),
        Costs(*(torch.cat([p.costs[k] for p in parts]) for k in range(3))),
    )


def brute_force(parts: list[Trajectory]) -> Terms:
    """torch.var over a loop of masks, one output at a time."""
    images = torch.stack([p.images for p in parts])
    poses = torch.stack([p.poses for p in parts])
    vx, vy = (poses[..., 3] * f(poses[..., 2]) for f in (torch.cos, torch.sin))
    cost = torch.stack([p.costs.proximity + 0.2 * p.costs.lane + 0.2 * p.costs.off_road for p in parts])
    return Terms(
        sum((images[..., c, r, k].var(0) for c in range(images.shape[-3]) for r in range(images.shape[-2])
             for k in range(images.shape[-1])), torch.zeros(())),
        poses[..., 0].var(0) + poses[..., 1].var(0) + vx.var(0) + vy.var(0),
        cost.var(0),
    )  # fmt: skip


# --- disagreement ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_masks", [2, 3, 7])
def test_disagreement_equals_a_loop_over_masks(num_masks: int) -> None:
    parts = [random_trajectory(4, seed=k) for k in range(num_masks)]
    for got, want in zip(disagreement(joined(parts), num_masks), brute_force(parts), strict=True):
        assert got.shape == (4, 3)
        np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_masks_of_one_batch_are_as_good_as_rollouts_one_by_one(variant: str) -> None:
    """Many masks in one batch and as many single rollouts: the same variance, but for sampling."""
    model = small_model(variant)
    context, actions, z = random_context(2), random_actions(2, 1), torch.zeros(2, 1, model.z_dim)
    torch.manual_seed(1)
    with torch.no_grad(), dropout_on(model):
        together = disagreement(along(model, context, actions, z.repeat(500, 1, 1), 500), 500)
        one_by_one = brute_force([along(model, context, actions, z, 1) for _ in range(500)])
    for got, want in zip(together, one_by_one, strict=True):
        np.testing.assert_allclose(got, want, rtol=0.5, atol=1e-5)
    assert together.image.min() > 1e-4


@pytest.mark.parametrize("num_masks", [1, 2, 3, 5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_without_dropout_agrees_with_itself_exactly(variant: str, num_masks: int) -> None:
    """Not only nearly: the scale it is divided by would make a mountain of a rounding error."""
    model = small_model(variant)
    context, actions, z = random_context(5), random_actions(5), torch.ones(5, 3, model.z_dim)
    copies = along(model, context, actions, z, 1)
    for term in disagreement(joined([copies] * num_masks), num_masks):
        assert (term == 0).all()


class Drops(nn.Module):
    """One step: every pixel is a fixed sum of inputs, each of which dropout may take away."""

    def __init__(self, p: float, weights: Tensor, inputs: Tensor) -> None:
        super().__init__()
        self.dropout, self.weights, self.inputs = nn.Dropout(p), weights, inputs

    def step(self, h: Context, action: Tensor, z: Tensor) -> tuple[Prediction, Context]:
        x = self.inputs.expand(h.batch_size, -1)
        image = (self.dropout(x) @ self.weights.T).view(h.batch_size, 3, 2, 1)
        return Prediction(image, h.now()), h

    def context(self, h: Context) -> Context:
        return h


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_a_linear_model_s_disagreement_is_the_variance_of_bernoulli_dropout(p: float) -> None:
    """Var[sum_i w_i x_i b_i / (1 - p)] = p / (1 - p) sum_i (w_i x_i)^2, b_i 0 with probability p and else 1."""
    rng = torch.Generator().manual_seed(0)
    weights, inputs = torch.randn(6, 5, generator=rng), torch.randn(5, generator=rng)
    model = Drops(p, weights, inputs).eval()
    start = Context.of(torch.zeros(4, 1, 3, 2, 1), torch.zeros(4, 1, 4), torch.ones(4, 2))
    num_masks = 20_000
    torch.manual_seed(0)
    with dropout_on(model):
        trajectory = imagine(
            model, lambda c: torch.zeros(c.batch_size, 2), start.repeat(num_masks),
            torch.zeros(4 * num_masks, 1, 0), 1, num_masks=num_masks,
            cost=exact_costs("pixels", View(height=2, width=1)),
        )  # fmt: skip
    got = disagreement(trajectory, num_masks)
    want = p / (1 - p) * float((weights * inputs).square().sum())
    np.testing.assert_allclose(got.image, want, rtol=0.08)
    assert (got.vector == 0).all()


def test_futures_of_several_masks_disagree_in_costs_but_not_in_the_ego_s_motion() -> None:
    model = small_model("separated")
    assert isinstance(model, SeparatedModel)
    z = torch.zeros(6, 3, 3)
    torch.manual_seed(0)
    with dropout_on(model):
        futures = foresee(model, random_context(6), z.repeat(3, 1, 1), 3, 3)
    driven = imagine(
        futures, given(random_actions(6)), futures.encode(), z, 3, cost=exact_costs("position", VIEW)
    )
    terms = disagreement(futures.under_all_masks(driven), 3)
    assert (terms.image > 0).all()
    assert terms.cost.max() > 0
    assert (terms.vector == 0).all()


# --- its scale -------------------------------------------------------------------------------------------------------


def random_terms(num: int, seed: int, steps: int = 4) -> Terms:
    rng = np.random.default_rng(seed)
    scale = np.array([100.0, 1.0, 1e-4])[:, None, None] * np.arange(1, steps + 1)
    return Terms(*torch.from_numpy(rng.gamma(2.0, 1.0, (3, num, steps)) * scale))


def fitted(hinge: float = 0.0, samples: list[Terms] | None = None) -> Uncertainty:
    uncertainty = Uncertainty(4, hinge).double()
    uncertainty.fit(samples or [random_terms(40, 0), random_terms(24, 1)])
    return uncertainty


def without(terms: Terms, *names: str) -> Terms:
    return terms._replace(**{name: torch.zeros_like(terms.image) for name in names})


@pytest.mark.parametrize("term", Terms._fields)
def test_each_term_is_normalised_per_step_on_the_fitting_data(term: str) -> None:
    others = [name for name in Terms._fields if name != term]
    samples = [without(random_terms(40, 0), *others), without(random_terms(24, 1), *others)]
    far_below = fitted(-100.0, samples)  # a hinge that nothing reaches: U is the normalised term plus 100
    normal = torch.cat([far_below(s) for s in samples]) - 100
    np.testing.assert_allclose(normal.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(normal.std(0), 1, rtol=1e-9)


@pytest.mark.parametrize("hinge", [0.0, 0.5])
def test_terms_are_hinged_one_by_one_and_summed(hinge: float) -> None:
    uncertainty, terms = fitted(hinge), random_terms(10, 2)
    u = uncertainty(terms)
    assert u.shape == (10, 4)
    for b in range(10):
        for t in range(4):
            normal = [
                (float(terms[k][b, t]) - float(uncertainty.mean[k, t])) / float(uncertainty.std[k, t])
                for k in range(3)
            ]
            assert float(u[b, t]) == pytest.approx(sum(max(0.0, value - hinge) for value in normal))


def test_less_than_usual_costs_nothing() -> None:
    uncertainty = fitted()
    usual = Terms(*(mean.expand(5, 4) for mean in uncertainty.mean))
    assert (uncertainty(usual) == 0).all()
    assert (uncertainty(Terms(*(0.5 * term for term in usual))) == 0).all()
    assert (uncertainty(Terms(*(1.01 * term for term in usual))) > 0).all()


def test_a_term_that_never_varied_counts_nothing() -> None:
    samples = [without(random_terms(40, 0), "vector")]
    u = fitted(samples=samples)(random_terms(6, 3))
    assert u.isfinite().all()
    assert torch.equal(u, fitted(samples=samples)(without(random_terms(6, 3), "vector")))


def test_shorter_rollouts_use_the_first_steps() -> None:
    uncertainty, terms = fitted(), random_terms(6, 3)
    short = Terms(*(term[:, :2] for term in terms))
    assert torch.equal(uncertainty(short), uncertainty(terms)[:, :2])


def test_steps_may_come_in_any_order() -> None:
    uncertainty, terms = fitted(), random_terms(6, 3)
    whole, order = uncertainty(terms), torch.tensor([2, 0, 1, 2])
    again = Terms(*(term[:, order] for term in terms))
    assert not torch.equal(uncertainty(again), whole[:, order]), "steps do not differ"
    assert torch.equal(uncertainty(again, order), whole[:, order])
    assert torch.equal(uncertainty(again, order.expand(6, -1)), whole[:, order])


def test_longer_rollouts_than_were_fitted_are_refused() -> None:
    with pytest.raises(ValueError, match="4 steps, not for 5"):
        fitted()(random_terms(6, 3, steps=5))


def test_u_is_differentiable() -> None:
    terms = Terms(*(3 * term.requires_grad_() for term in random_terms(6, 3)))
    u = fitted()(terms)
    gradients = torch.autograd.grad(u.sum(), terms)
    for k, gradient in enumerate(gradients):
        usual = fitted().mean[k]
        want = torch.where(terms[k] > usual, 1 / fitted().std[k], 0.0)
        np.testing.assert_allclose(gradient, want, rtol=1e-9)


# --- dropout ---------------------------------------------------------------------------------------------------------


def net() -> nn.Module:
    inner = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2))
    return nn.Sequential(inner, nn.Dropout2d(0.5), nn.Dropout(0.1))


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_dropout_on_turns_on_dropout_alone_and_restores_every_mode(mode: str) -> None:
    model = net().train(mode == "train")
    if mode == "mixed":
        model[0].train()  # type: ignore[index]
        model[0][1].eval()  # type: ignore[index]
    before = modes(model)
    with dropout_on(model):
        for module in model.modules():
            assert module.training == isinstance(module, nn.Dropout | nn.Dropout2d)
    assert modes(model) == before


def test_dropout_on_restores_after_an_error() -> None:
    model = net().eval()
    with pytest.raises(RuntimeError, match="broken"), dropout_on(model):
        raise RuntimeError("broken")
    assert not any(modes(model))


def test_gradients_of_u_reach_the_actions_of_an_action_conditioned_model() -> None:
    model = small_model("vae")
    wheel = torch.zeros(2, requires_grad=True)
    many = random_context(3).repeat(4)
    torch.manual_seed(0)
    with dropout_on(model):
        trajectory: Any = imagine(
            model, lambda c: wheel.expand(c.batch_size, 2), model.encode(many), torch.zeros(12, 2, 3), 2,
            cost=exact_costs("pixels", VIEW), num_masks=4,
        )  # fmt: skip
    terms = disagreement(trajectory, 4)
    for term in (terms.image, terms.vector):
        (gradient,) = torch.autograd.grad(term.sum(), wheel, retain_graph=True)
        assert (gradient != 0).all()
