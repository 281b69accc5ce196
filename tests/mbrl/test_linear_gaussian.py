"""Every loss against its optimum, which the world of tests.mbrl.linear_world has in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from envs.context import Context, Recorded
from envs.costs import Costs
from envs.windows import Windows
from mbrl.critics import ValueFunction
from mbrl.forward_models import Prediction
from mbrl.imagination import imagine
from mbrl.model_losses import rollout_error
from mbrl.model_training import ModelTraining, Stage
from mbrl.model_uncertainty import fit_uncertainty
from mbrl.normaliser import Normaliser
from mbrl.policy_losses import imitation_loss, mper_loss, mpur_loss, value_loss
from mbrl.policy_rollouts import inferred, worst
from mbrl.policy_training import PolicyTraining
from mbrl.uncertainty import Uncertainty, disagreement, dropout_on
from tests.mbrl.linear_world import (
    STARTS,
    VIEW,
    A,
    AllMasks,
    B,
    C,
    D,
    H,
    J,
    Linear,
    LinearPolicy,
    T,
    assert_optimum,
    context_of,
    driven_along,
    driven_by,
    every_noise,
    features,
    lowest,
    nothing,
    q,
    quadratic,
    riccati,
    stage_costs,
    state,
    training,
)
from tests.mbrl.small import VARIANTS
from tests.toys import random_traffic

LOWER = tuple(torch.tril_indices(3, 3))

# --- the losses of policies ------------------------------------------------------------------------------------------


def test_the_best_gains_for_imagined_costs_are_riccati_s() -> None:
    config = training("mpur-no-uncertainty")
    model, (start, z) = Linear(), every_noise()
    of_state, of_action = stage_costs(config)
    share = config.gamma ** torch.arange(float(T))
    best = riccati([s * of_state for s in share], [s * of_action for s in share])
    assert_optimum(lambda gains: mpur_loss(driven_by(gains, model, start, z), None, config)[0], best)


def test_noise_changes_what_it_costs_but_not_what_is_best() -> None:
    """It adds 1/T sum_t gamma^t (tr(Q Cov x_t+1) + tr(R G Cov x_t G')) to the loss of any gains."""
    config = training("mpur-no-uncertainty")
    model, (start, z), of_state, of_action = Linear(), every_noise(), *stage_costs(config)
    gains = riccati([of_state] * T, [of_action] * T)
    noisy, quiet = (
        float(mpur_loss(driven_by(gains, model, start, scale * z), None, config)[0]) for scale in (1.0, 0.0)
    )
    more, spread = 0.0, torch.zeros_like(A)
    for t in range(T):
        more += config.gamma**t * float((gains[t].T @ of_action @ gains[t] * spread).sum()) / T
        closed = A + B @ gains[t]
        spread = closed @ spread @ closed.T + C @ C.T
        more += config.gamma**t * float((of_state * spread).sum()) / T
    assert noisy - quiet == pytest.approx(more, rel=1e-9)


def test_the_worst_z_of_a_step_is_the_highest_point_of_its_circle() -> None:
    """Of two such points it may be the lower one; in several steps, no step's z can be turned to cost more."""
    config = training(z="adversarial", horizon=1, ascent_steps=400, ascent_rate=0.02)
    noise = torch.randn(40, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = context_of(STARTS.repeat(10, 1))
    action = torch.tensor([0.3, -0.8], dtype=torch.float64)

    def act(context: Context) -> Tensor:
        return action.expand(context.batch_size, 2)

    def costs_of(context: Context, z: Tensor) -> Tensor:
        trajectory = imagine(Linear(), act, context, z, z.shape[1], cost=quadratic)
        return trajectory.costs.total(config.lane_weight, config.off_road_weight).sum(1)

    found = worst(Linear(), act, start, noise, config, quadratic)
    angles = torch.linspace(0, 2 * torch.pi, 721, dtype=torch.float64)
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    around = torch.stack([costs_of(start, noise.norm(dim=-1)[..., None] * z) for z in circle[:-1]])
    is_top = (around >= around.roll(1, 0)) & (around >= around.roll(-1, 0))
    reached = costs_of(start, found)
    away = torch.where(is_top, (around - reached).abs(), torch.inf).amin(0)
    assert float((away / reached < 5e-3).double().mean()) > 0.95  # who begins at the bottom leaves it slowly
    assert float((reached > 0.99 * around.amax(0)).double().mean()) > 0.8
    assert float((costs_of(start, noise) > 0.99 * around.amax(0)).double().mean()) < 0.3

    several = replace(config, horizon=T)
    noise = torch.randn(40, T, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = worst(Linear(), act, start, noise, several, quadratic)
    at = found.clone().requires_grad_()
    (slope,) = torch.autograd.grad(costs_of(start, at).sum(), at)
    turned = torch.cosine_similarity(slope, found, dim=-1)
    assert float((turned > 0.99).double().mean()) > 0.9
    assert float((torch.cosine_similarity(slope, noise, dim=-1) > 0.99).double().mean()) < 0.3


def known_u(weights: Sequence[float], hinge: float) -> Uncertainty:
    """Of pictures alone, U_t = (disagreement - 2) * weight_t, at least `hinge`, and less the hinge."""
    uncertainty = Uncertainty(T, hinge).double()
    uncertainty.mean.fill_(2.0)
    uncertainty.std.zero_()
    uncertainty.std[0] = 1 / torch.tensor(weights)
    return uncertainty


def test_uncertainty_is_one_more_quadratic_cost() -> None:
    """Over all K masks (p = 1/2) of its inputs i, D beside(i) varies by K / (K - 1) sum_ji D_ji^2 i_i^2."""
    config, weights = training(masks=32), (0.5, 2.0, 1.0)
    model, (start, z) = Linear(beside=AllMasks(5)), every_noise()
    of_state, of_action = stage_costs(config)
    varies = torch.diag(D.square().sum(0)) * 32 / 31
    share = config.gamma ** torch.arange(float(T))
    added = [config.uncertainty_weight * w * varies for w in weights]
    best = riccati(
        [share[t] * of_state + added[t][:3, :3] for t in range(T)],
        [share[t] * of_action + added[t][3:, 3:] for t in range(T)],
    )
    unhinged, hinged_away = known_u(weights, hinge=-1000.0), known_u(weights, hinge=1000.0)

    def loss(gains: Tensor, uncertainty: Uncertainty) -> Tensor:
        return mpur_loss(driven_by(gains, model, start, z, 32), uncertainty, config)[0]

    assert_optimum(lambda gains: loss(gains, unhinged), best)
    alone = riccati([s * of_state for s in share], [s * of_action for s in share])
    assert_optimum(lambda gains: loss(gains, hinged_away), alone)


def expert() -> tuple[Recorded, Normaliser]:
    """What somebody did in a world unlike this one, and the scale of motions."""
    rng = torch.Generator().manual_seed(1)
    num = len(every_noise(2)[0].size)
    poses = torch.randn(num, 2, 4, generator=rng, dtype=torch.float64)
    images = torch.randn(num, 2, 3, 1, 3, generator=rng, dtype=torch.float64)
    normaliser = Normaliser(4).double()
    normaliser.mean.copy_(torch.tensor([0.3, -1.0, 0.5, 2.0]))
    normaliser.std.copy_(torch.tensor([2.0, 0.5, 1.5, 0.7]))
    return Recorded(images, poses, torch.zeros(num, 2, 2)), normaliser


def test_mper_is_best_between_the_costs_and_the_expert() -> None:
    """All it counts are squares of what is affine in the actions: a least-squares problem, solved for each example."""
    config = training("mper")
    (start, z), (recorded, normaliser) = every_noise(2), expert()
    x, y, heading, speed = recorded.poses.unbind(-1)
    wanted = torch.stack([x, y, speed * torch.cos(heading), speed * torch.sin(heading)], -1)

    def residuals(actions: Tensor, e: int) -> Tensor:
        """Whose squares add up to the loss of example e; written plainly."""
        x, parts = state(start)[e], []
        for t, a in enumerate(actions):
            x = A @ x + B @ a + C @ z[e, t]
            picture = torch.stack([x, torch.cat([a, a.new_zeros(1)]), D @ torch.cat([x, a])])
            motion = torch.cat([x, x.new_zeros(1)])
            share, expert_share = config.gamma**t / 2, config.expert_weight / 2
            parts += [
                share**0.5 * H @ x,
                (share * config.lane_weight) ** 0.5 * J @ a,
                (share * config.off_road_weight) ** 0.5 * (q @ x)[None],
                (expert_share / 9) ** 0.5 * (picture - recorded.images[e, t, :, 0]).flatten(),
                (expert_share / 4) ** 0.5 * (motion - wanted[e, t]) / normaliser.std,
            ]
        return torch.cat(parts)

    best, none = torch.empty_like(z), torch.zeros(2, 2, dtype=torch.float64)
    for e in range(len(z)):
        slopes = torch.autograd.functional.jacobian(lambda a: residuals(a, e), none).view(-1, 4)  # noqa: B023
        best[e] = torch.linalg.lstsq(slopes, -residuals(none, e)[:, None]).solution.view(2, 2)
    assert_optimum(
        lambda actions: mper_loss(driven_along(actions, start, z), recorded, normaliser, config)[0], best
    )
    least = np.mean([float(residuals(best[e], e).square().sum()) for e in range(len(z))])
    reached, _ = mper_loss(driven_along(best, start, z), recorded, normaliser, config)
    assert float(reached) == pytest.approx(least)


def test_an_expert_s_own_actions_are_best_in_the_world_it_drove_in() -> None:
    """With z inferred from what was recorded, its future is within reach; and its actions are the only ones."""
    rng = torch.Generator().manual_seed(2)
    start, z = every_noise(2)
    actions = torch.randn(z.shape, generator=rng, dtype=torch.float64)
    drive = driven_along(actions, start, z)
    recorded = Recorded(drive.images, drive.poses, actions)
    found = inferred(Linear(), start, recorded, torch.randn(z.shape, dtype=torch.float64))
    np.testing.assert_allclose(found, z, atol=1e-12)
    config, normaliser = training("mper"), Normaliser(4).double()

    def loss(actions: Tensor) -> Tensor:
        return mper_loss(driven_along(actions, start, found, nothing), recorded, normaliser, config)[0]

    assert float(loss(actions)) < 1e-20
    assert_optimum(loss, actions)


class Quadratic(ValueFunction):
    """V(x) = x' P x + c."""

    def __init__(self, p: Tensor, c: float) -> None:
        nn.Module.__init__(self)
        self.p, self.c = nn.Parameter(p.clone()), nn.Parameter(torch.tensor(c, dtype=torch.float64))

    def forward(self, context: Context) -> Tensor:
        x = state(context)
        return torch.einsum("bi,ij,bj->b", x, self.p, x) + self.c


def triangle(lower: Tensor) -> Tensor:
    """P (3, 3) with these six numbers on and below its diagonal."""
    return lower.new_zeros(3, 3).index_put(LOWER, lower)


def value_of(gain: Tensor, config: PolicyTraining) -> tuple[Tensor, float]:
    """P and c of driving by one gain for ever: the fixed point of V(x) = E[C + gamma V(x')], by iteration."""
    of_state, of_action = stage_costs(config)
    closed, p, c = A + B @ gain, torch.zeros_like(A), 0.0
    for _ in range(500):
        s = of_state + config.gamma * p
        p, c = (
            closed.T @ s @ closed + gain.T @ of_action @ gain,
            float((s * (C @ C.T)).sum()) + config.gamma * c,
        )
    return p, c


def for_ever(config: PolicyTraining) -> Tensor:
    """The best gain (2, 3) of the discounted world without end."""
    of_state, of_action = stage_costs(config)
    share = config.gamma ** torch.arange(200.0)
    return riccati([s * of_state for s in share], [s * of_action for s in share])[0]


def test_the_value_of_driving_on_is_where_its_error_s_gradient_vanishes() -> None:
    """V's target is fixed, so the gradient is affine in P and c: it vanishes in one place only, where training ends."""
    config = training()
    gain = torch.tensor([[0.1, -0.4, -0.2], [-0.3, 0.1, 0.2]], dtype=torch.float64)
    starts = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start, z = every_noise(2, starts)
    trajectory = driven_by(gain.expand(2, 2, 3), Linear(), start, z)

    def slope(of: Tensor) -> Tensor:
        """Of the lower triangle of P, and c."""
        value = Quadratic(triangle(of[:6]), float(of[6]))
        loss, _ = value_loss(value, trajectory, start, config)
        of_p, of_c = torch.autograd.grad(loss, (value.p, value.c))
        return torch.cat([of_p[LOWER], of_c[None]])

    p, c = value_of(gain, config)
    best = torch.cat([(p + p.T - p.diagonal().diag())[LOWER], torch.tensor([c], dtype=torch.float64)])
    assert slope(best).norm() < 1e-9
    none = slope(torch.zeros_like(best))
    slopes = torch.stack([slope(unit) - none for unit in torch.eye(7, dtype=torch.float64)], 1)
    np.testing.assert_allclose(torch.linalg.solve(slopes, -none), best, rtol=1e-6)
    assert torch.linalg.eigvals(slopes).real.min() > 0  # so a descent of small steps ends there


def test_the_best_of_a_short_rollout_with_the_value_at_its_end_is_the_best_for_ever() -> None:
    """V of the best driver at the end of T steps makes its gain the best one at each of them, for any T."""
    config = training("mpur-no-uncertainty")
    best = for_ever(config)
    value, model = Quadratic(*value_of(best, config)), Linear()
    for steps in (1, T):
        start, z = every_noise(steps)

        def loss(gains: Tensor, start: Context = start, z: Tensor = z) -> Tensor:
            trajectory = driven_by(gains, model, start, z)
            cost, _ = mpur_loss(trajectory, None, config)
            both, numbers = value_loss(value, trajectory, start, config)
            return cost + both - numbers["value_error"]  # which moves V alone

        assert_optimum(loss, best.expand(steps, 2, 3))


def test_the_likeliest_linear_policy_is_least_squares_with_its_residuals_deviation() -> None:
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(60, 3, generator=rng, dtype=torch.float64)
    units = x @ torch.randn(3, 2, generator=rng, dtype=torch.float64) + 0.5
    units = units + torch.tensor([0.3, 0.8]) * torch.randn(60, 2, generator=rng, dtype=torch.float64)
    weight, *_ = np.linalg.lstsq(features(x).numpy(), units.numpy(), rcond=None)
    residual = units.numpy() - features(x).numpy() @ weight
    best = torch.cat([torch.from_numpy(weight.T), torch.from_numpy(np.log(residual.std(0)))[:, None]], 1)

    def loss(of: Tensor) -> Tensor:
        policy: Any = LinearPolicy(of[:, :4], of[:, 4])
        return imitation_loss(policy, context_of(x), units * torch.tensor([2.0, 0.01]))[0]

    assert_optimum(loss, best)


# --- uncertainty -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_disagreement_along_a_rollout_is_the_covariance_that_dropout_adds_up_to(p: float) -> None:
    """S' = W (S + r diag(m^2 + diag S)) W', W = [A B C], m and S mean and covariance of [x, a, z], r = p / (1 - p)."""
    num_masks, model = 30_000, Linear(inside=nn.Dropout(p))
    rng = torch.Generator().manual_seed(4)
    actions, z = (torch.randn(T, 2, generator=rng, dtype=torch.float64) for _ in range(2))
    steps = iter(actions)

    def linear(images: Tensor, poses: Tensor, size: Tensor) -> Costs:
        x = images[:, :, 0, 0]
        return Costs(x @ q, x[..., 0], x[..., 1])

    torch.manual_seed(0)
    with dropout_on(model):
        trajectory = imagine(
            model, lambda c: next(steps).expand(c.batch_size, 2), context_of(STARTS[:1]).repeat(num_masks),
            z.expand(num_masks, T, 2), T, cost=linear, num_masks=num_masks,
        )  # fmt: skip
    terms = disagreement(trajectory, num_masks)
    ratio, w, x = p / (1 - p), torch.cat([A, B, C], 1), STARTS[0]
    covariance = torch.zeros_like(A)
    of_cost = q + 0.2 * torch.tensor([1.0, 1.0, 0.0])
    for t in range(T):
        m, s = torch.cat([x, actions[t], z[t]]), torch.zeros(7, 7, dtype=torch.float64)
        s[:3, :3] = covariance
        covariance = w @ (s + ratio * torch.diag(m.square() + s.diagonal())) @ w.T
        x = w @ m
        shown = covariance.trace() + (D[:, :3] @ covariance @ D[:, :3].T).trace()
        for got, want in zip(
            (term[0, t] for term in terms),
            (shown, covariance.trace(), of_cost @ covariance @ of_cost),
            strict=True,
        ):
            assert float(got) == pytest.approx(float(want), rel=0.05)


class Jitters(Linear):
    """Stands still, but for dropout of a constant 3: its motion in x varies by 9 r t over masks after t steps."""

    def __init__(self) -> None:
        super().__init__(inside=nn.Dropout(0.5))

    def step(self, h: Context, action: Tensor, z: Tensor) -> tuple[Prediction, Context]:
        pose = h.now() + torch.tensor([1.0, 0, 0, 0]) * (self.inside(torch.full_like(h.now(), 3.0)) - 3)
        image = h.frames[-1]
        return Prediction(image, pose), h.push(image, pose)


def test_the_scale_of_u_is_the_mean_and_deviation_of_sample_variances() -> None:
    """Of K masks: mean s^2 t with s^2 = 9 r, and deviation s^2 t sqrt(2 / (K - 1) + k / K), k = -2 / t the kurtosis."""
    masks = 16
    config = ModelTraining(
        model=replace(VARIANTS["separated"], view=VIEW), stages=(Stage(steps=1, updates=1, batch_size=1),), horizon=T,
        masks=masks, uncertainty_batches=40,
    )  # fmt: skip
    torch.manual_seed(0)
    uncertainty = fit_uncertainty(config, Jitters(), [random_traffic()])
    t = torch.arange(1.0, T + 1)
    np.testing.assert_allclose(uncertainty.mean[1], 9 * t, rtol=0.03)
    want = 9 * t * torch.sqrt(2 / (masks - 1) - 2 / (t * masks))
    np.testing.assert_allclose(uncertainty.std[1], want, rtol=0.1)
    assert (uncertainty.mean[0] == 0).all()


# --- the loss of models ----------------------------------------------------------------------------------------------


class Learner(Linear):
    """Whose posterior is N(M r, diag exp log_var), r what A x + B a does not tell of x'."""

    def __init__(self, m: Tensor, log_var: Tensor) -> None:
        super().__init__()
        self.m, self.log_var = m, log_var

    def posterior(self, h: Context, action: Tensor, image: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        mu = self.surprise(h, action, image) @ self.m.T.to(image)
        return mu, self.log_var.to(image).expand_as(mu)


def steps_of_world(num: int) -> Windows:
    """Windows of one step each, of which a model knows everything but where it leads: all pictures are noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num, 2, 3, 1, 3), dtype=np.uint8)
    vectors, heading = np.zeros((num, 1, 4), np.float32), np.zeros((num, 1), np.float32)
    actions = rng.normal(size=(num, 1, 2)).astype(np.float32)
    size = np.ones((num, 2), np.float32)
    return Windows(
        images[:, :1],
        vectors,
        heading,
        size,
        actions,
        images[:, 1:],
        vectors,
        heading,
        np.arange(len(size)),
        np.zeros(len(size), int),
    )


def surprises(windows: Windows) -> Tensor:
    """r (B, 3)."""
    x, after = (torch.from_numpy(i[:, 0, 0, 0] / 255.0) for i in (windows.images, windows.target_images))
    return after - x @ A.T - torch.from_numpy(windows.actions[:, 0]).double() @ B.T


@pytest.mark.parametrize("z_dropout", [0.0, 0.3, 1.0])
def test_with_z_dropout_the_error_is_that_of_a_mixture(z_dropout: float) -> None:
    """(1 - p) (|r - C mu|^2 + tr(C S C')) + p (|r|^2 + tr(C C')), over 3 pixels; and the KL is q's, dropped or not."""
    windows = steps_of_world(40_000)
    m = torch.tensor([[0.5, 0.2, -0.3], [0.1, 0.6, 0.4]], dtype=torch.float64)
    log_var = torch.tensor([-1.0, 0.5], dtype=torch.float64)
    noise = torch.Generator().manual_seed(0)
    error, kl = rollout_error(Learner(m, log_var), windows, 1, "cpu", noise, z_dropout)
    r, variance = surprises(windows), log_var.exp()
    mu = r @ m.T
    told = (r - mu @ C.T).square().sum(1) + (C.square() @ variance).sum()
    untold = r.square().sum(1) + C.square().sum()
    want = ((1 - z_dropout) * told + z_dropout * untold) / 3
    assert float(error.mean()) == pytest.approx(float(want.mean()), rel=0.01)
    if z_dropout < 1:
        divergence = 0.5 * (mu.square() + variance - log_var - 1).sum(1)
        assert float(kl) == pytest.approx(float(divergence.mean()), rel=1e-4)


@pytest.mark.parametrize("z_dropout", [0.0, 0.5])
def test_the_best_posterior_is_that_of_a_linear_gaussian(z_dropout: float) -> None:
    """M = (C'C + k I)^-1 C' and s_i^2 = k / (k + (C'C)_ii), where k = 3 beta / (2 (1 - p)): a pixel's variance."""
    beta, windows = 0.3, steps_of_world(40_000)
    k = 3 * beta / (2 * (1 - z_dropout))
    gram = C.T @ C
    best = torch.cat(
        [
            torch.linalg.solve(gram + k * torch.eye(2, dtype=torch.float64), C.T),
            torch.log(k / (k + gram.diagonal()))[:, None],
        ],
        1,
    )

    def loss(of: Tensor) -> Tensor:
        model = Learner(of[:, :3], of[:, 3])
        noise = torch.Generator().manual_seed(0)
        error, kl = rollout_error(model, windows, 1, "cpu", noise, z_dropout)
        return error.mean() + beta * kl

    np.testing.assert_allclose(lowest(loss, torch.zeros_like(best)), best, atol=0.03)
