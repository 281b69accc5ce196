"""Training policies: what the losses are, that they teach what they should, which policy is kept, exact resumes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from agents.policies import Policy, PolicyConfig
from envs.context import context_of_windows, poses_of
from envs.costs import Costs
from envs.errors import InputError
from envs.kinematics import straight_on
from envs.recording import Recording, Split
from envs.units import View
from envs.warp import resample
from envs.windows import WindowConfig, WindowSampler
from mbrl import policy_losses
from mbrl import train_policy as trainer
from mbrl.checkpoint import load, save
from mbrl.critics import ValueFunction
from mbrl.forward_models import SeparatedConfig, SeparatedModel, Timing
from mbrl.forward_models.separated import Scene
from mbrl.imagination import Trajectory, imagine
from mbrl.loop import TRAINING_FILE, NotFinite
from mbrl.normaliser import Normaliser
from mbrl.policy_losses import Recorded, imitation_loss, mper_loss, mpur_loss
from mbrl.policy_rollouts import Imagined, inferred
from mbrl.policy_training import (
    Method,
    PolicyTraining,
    Teaching,
    policy_training_from_dict,
    policy_training_to_dict,
)
from mbrl.progress import Counter
from mbrl.train_learned_cost import CostTraining, train_learned_cost
from mbrl.train_policy import POLICY_FILE, load_policy, train_policy
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Terms, Uncertainty, disagreement
from tests.agents.scenes import Track, along, clean_traffic, recording_of, still
from tests.mbrl.runs import (
    Notebook,
    Untrained,
    assert_same_checkpoint,
    interrupted_and_resumed,
    interrupting,
    notebook,
)
from tests.mbrl.small import CHANNELS, TIMING, VARIANTS, VIEW, random_context, small_model
from tests.toys import lane_centre, straight_site

__all__ = ["notebook"]  # a fixture

SMALL = PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(3, 4, 4), hidden=8)
IMAGINED: list[Method] = ["mpur", "mpur-no-uncertainty"]


@cache
def traffic() -> Recording:
    """Cars that keep their distance, on a stretch that is driven in a few seconds."""
    recording = clean_traffic(num_cars=40)
    return replace(recording, site=replace(recording.site, goal=120.0))


@cache
def ids(split: Split) -> list[int]:
    """Numbers of cars that belong to a split."""
    cars = recording_of(*(Track(k, np.array([100.0]), 0.0) for k in range(1, 200)))
    return [int(k) for k in cars.vehicles.id[cars.in_split(split)]]


TEACHING = Teaching(futures=2, iterations=2, driven=2, followed=2)


def training(method: Method = "mpur", **changes: Any) -> PolicyTraining:
    """8 updates, validated after the sixth and the eighth; imagined futures are drawn for four updates at a time."""
    return PolicyTraining(
        **{
            "method": method, "policy": SMALL, "updates": 8, "batch_size": 3, "horizon": 3, "masks": 2, "block": 2,
            "epochs": 2, "validations": 2, "validation_cars": 2, **changes,
        }
    )  # fmt: skip


def trained(variant: str = "separated", horizon: int = 3) -> TrainedModel:
    uncertainty = Uncertainty(horizon)
    uncertainty.mean.fill_(0.1)
    return TrainedModel(small_model(variant), uncertainty)


def train(config: PolicyTraining, out: Path, progress: type[Counter] = Counter, **options: Any) -> Policy:
    if config.method != "imitation":
        options.setdefault("trained", trained())
    return train_policy(config, options.pop("recordings", [traffic()]), out, progress=progress, **options)


# --- losses ----------------------------------------------------------------------------------------------------------


def random_trajectory(num: int, steps: int) -> Trajectory:
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(num, steps, *shape, generator=rng)

    return Trajectory(draw(3, 4, 5), draw(4), draw(2), Costs(draw(), draw(), draw()))


def test_the_loss_is_the_discounted_cost_plus_u() -> None:
    """Written out: the mean over masks, examples and steps of gamma^t C_t, and lambda times that of U_t."""
    config = training(gamma=0.9, lane_weight=0.3, off_road_weight=0.7, uncertainty_weight=0.25)
    trajectory = random_trajectory(6, 4)
    uncertainty = Uncertainty(4)
    loss, metrics = mpur_loss(trajectory, uncertainty, config)
    want, u = 0.0, uncertainty(disagreement(trajectory, 2))
    for b in range(6):
        for t in range(4):
            c = [float(cost[b, t]) for cost in trajectory.costs]
            want += 0.9**t * (c[0] + 0.3 * c[1] + 0.7 * c[2]) / 24
    want += 0.25 * float(u.sum()) / 12
    assert float(loss) == pytest.approx(want, rel=1e-5)
    assert metrics["loss"] == pytest.approx(want, rel=1e-5)
    assert metrics["uncertainty"] == pytest.approx(float(u.mean()), rel=1e-5)
    assert metrics["cost_lane"] == pytest.approx(float(trajectory.costs.lane.mean()), rel=1e-5)
    without, fewer = mpur_loss(trajectory, None, config)
    assert float(without) == pytest.approx(want - 0.25 * metrics["uncertainty"], rel=1e-5)
    assert "uncertainty" not in fewer


def test_mper_is_the_cost_and_the_distance_to_what_was_recorded() -> None:
    config, trajectory = training("mper", expert_weight=0.3), random_trajectory(6, 4)
    rng = torch.Generator().manual_seed(1)
    recorded = Recorded(
        torch.rand(6, 4, 3, 4, 5, generator=rng), torch.rand(6, 4, 4, generator=rng), torch.zeros(6, 4, 2)
    )
    normaliser = Normaliser(4)
    normaliser.std.copy_(torch.tensor([2.0, 4.0, 0.5, 1.0]))
    loss, metrics = mper_loss(trajectory, recorded, normaliser, config)
    image = np.mean((trajectory.images - recorded.images).numpy() ** 2)
    u, want = ([], [])
    for poses, out in ((trajectory.poses.numpy(), u), (recorded.poses.numpy(), want)):
        x, y, heading, speed = np.moveaxis(poses, -1, 0)
        out.append(np.stack([x / 2, y / 4, speed * np.cos(heading) / 0.5, speed * np.sin(heading)], -1))
    distance = image + np.mean((u[0] - want[0]) ** 2)
    cost = float(policy_losses.imagined_cost(trajectory, config)[0])
    assert float(loss) == pytest.approx(cost + 0.3 * distance, rel=1e-5)
    assert metrics["expert_distance"] == pytest.approx(distance, rel=1e-5)
    perfect = replace(trajectory, images=recorded.images, poses=recorded.poses)
    assert mper_loss(perfect, recorded, normaliser, config)[1]["expert_distance"] == 0


def test_the_value_is_of_the_end_for_the_policy_and_of_the_beginning_for_itself() -> None:
    """The target is sum_t gamma^t C_t + gamma^T V(s_T); the policy's term is w gamma^T V(s_T) / T."""
    config = training(gamma=0.9, value_weight=0.5)
    value = ValueFunction(SMALL)
    start, end = random_context(2), random_context(2, seed=7)
    end.poses.requires_grad_()
    trajectory = replace(random_trajectory(2, 3), last=end)
    loss, metrics = policy_losses.value_loss(value, trajectory, start, config)
    cost = trajectory.costs.total(config.lane_weight, config.off_road_weight)
    with torch.no_grad():
        after = 0.9**3 * value(end)
        target = cost[:, 0] + 0.9 * cost[:, 1] + 0.81 * cost[:, 2] + after
        error = (value(start) - target).square().mean()
    assert metrics["value_error"] == pytest.approx(float(error), rel=1e-5)
    assert float(loss.detach()) == pytest.approx(float(0.5 * after.mean() / 3 + error), rel=1e-5)
    (slope,) = torch.autograd.grad(loss, end.poses, retain_graph=True)
    (want,) = torch.autograd.grad(0.5 * 0.9**3 * value(end).mean() / 3, end.poses)
    np.testing.assert_allclose(slope, want, rtol=1e-4, atol=1e-9)
    moved = torch.autograd.grad(loss, list(value.parameters()))
    only_error = torch.autograd.grad((value(start) - target).square().mean(), list(value.parameters()))
    for one, other in zip(moved, only_error, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-8)


def test_imitation_is_the_likelihood_of_the_recorded_action() -> None:
    torch.manual_seed(0)
    policy = Policy(replace(SMALL, acceleration=2.0, curvature=0.01))
    with torch.no_grad():
        policy.log_std.copy_(torch.tensor([-0.5, 0.3]))
    context, action = random_context(5), torch.randn(5, 2) * torch.tensor([2.0, 0.01])
    loss, metrics = imitation_loss(policy, context, action)
    units = action / torch.tensor([2.0, 0.01])
    mean = policy(context) / torch.tensor([2.0, 0.01])
    want = -Normal(mean, policy.log_std.exp()).log_prob(units).sum(-1).mean()
    assert float(loss.detach()) == pytest.approx(float(want.detach()), rel=1e-5)
    assert metrics["squared_error"] == pytest.approx(float((mean - units).detach().square().mean()), rel=1e-5)


def test_an_absurd_recorded_action_counts_as_twice_the_bound() -> None:
    policy, context = Policy(SMALL), random_context(1)
    one, other = (
        imitation_loss(policy, context, torch.tensor([[a, k]]))[0] for a, k in ((12.0, -0.06), (90.0, -5.0))
    )
    assert torch.equal(one, other)


# --- learning --------------------------------------------------------------------------------------------------------


@cache
def drivers_of_ten() -> Recording:
    """Everybody drives by a = 0.1 (10 - v): a mapping from what they see of themselves to what they do."""
    tracks = []
    for car in range(48):
        v = 10 + (3 if car % 3 else -3) * 0.99 ** np.arange(199)
        first = 45 * (car // 4)
        tracks.append(Track(car + 1, along(v, num=200, x0=-15.0), lane_centre(car % 4), first=first))
    return recording_of(*tracks, site=straight_site(start=25.0, goal=100.0))


@pytest.mark.slow
def test_imitation_recovers_how_the_humans_drive(tmp_path: Path, notebook: Notebook) -> None:
    view = View(height=16, width=8)
    config = training(
        "imitation",
        policy=PolicyConfig(
            frames=1, stride=1, back=(0,), view=view, channels=(2, 2, 2), hidden=16, acceleration=0.2
        ),
        updates=150, batch_size=32, learning_rate=1e-2, cycles=1, validations=1,
    )  # fmt: skip
    policy = train(config, tmp_path, recordings=[drivers_of_ten()])
    windows = WindowConfig(context=(0,), targets=(1,), view=view)
    batch = WindowSampler([drivers_of_ten()], windows, batch_size=300, split="all", seed=9).batch(0)
    context = context_of_windows(batch)
    did = policy(context).detach()
    want = 0.1 * (10 - context.now()[:, 3])
    np.testing.assert_allclose(batch.actions[:, 0, 0], want, atol=0.02)
    assert want.std() > 0.1
    assert (did[:, 0] - want).square().mean().sqrt() < 0.3 * want.std()
    assert did[:, 1].abs().max() < 0.001  # nobody steers
    assert notebook.of("loss")[-1] < notebook.of("loss")[0] - 1


class StandingTraffic(SeparatedModel):
    """Knows that whatever is seen stands still on the road."""

    def advance(self, h: Scene, z: Tensor) -> Scene:
        observer = straight_on(h.observer, self.timing.step_seconds)
        seen = resample(h.vehicles[:, -1:], self.view, h.observer, observer)
        return replace(h, vehicles=torch.cat([h.vehicles[:, 1:], seen], 1), observer=observer)


LONG = View(height=81, width=12)  # 25 m ahead


@cache
def parked_car() -> Recording:
    """Cars that come at 8 m/s towards one that is parked at x = 150 m, and some with a free lane."""
    coming = [
        Track(k, along(8.0, num=340, x0=60.0 - 45 * i), lane_centre(1))
        for i, k in enumerate(ids("train")[:5])
    ]
    parked = Track(ids("test")[0], 150 + still(340), lane_centre(1))
    free = [
        Track(k, along(7.0, num=300, x0=60.0 - 20 * i), lane_centre(3))
        for i, k in enumerate(ids("validation")[:2])
    ]
    return recording_of(*coming, parked, *free, site=straight_site(start=100.0, goal=140.0))


def test_it_learns_in_imagination_to_brake_for_a_parked_car(tmp_path: Path, notebook: Notebook) -> None:
    timing = Timing(frames=2, stride=2)
    model = StandingTraffic(
        SeparatedConfig(timing=timing, view=LONG, channels=CHANNELS, back=(0, 1), z_dim=0)
    )
    config = training(
        "mpur-no-uncertainty",
        policy=PolicyConfig(frames=2, stride=2, back=(0,), view=LONG, channels=(4, 4, 4), hidden=16),
        updates=60, batch_size=12, learning_rate=5e-3, cycles=1, horizon=8, perturbed=0.0, block=10, epochs=2,
        validations=1,
    )  # fmt: skip
    policy = train(
        config, tmp_path, recordings=[parked_car()], trained=TrainedModel(model.eval(), Uncertainty(8))
    )
    windows = WindowConfig(context=(2, 0), targets=(), view=LONG)
    context = context_of_windows(WindowSampler([parked_car()], windows, batch_size=200).batch(99))
    close = context.now()[:, 0] > 128  # 18 m or less to its bumper
    assert close.sum() > 20
    assert policy(context)[close, 0].max() < -1.0
    proximity = notebook.of("cost_proximity")
    assert np.mean(proximity[-20:]) < 0.8 * np.mean(proximity[:20])


# --- which policy is kept --------------------------------------------------------------------------------------------


def driven_as(
    scores: Sequence[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Tensor]]:
    """Let validations come out as (success, distance), one after the other; returns the weights they were about."""
    seen: list[dict[str, Tensor]] = []
    coming: Iterator[tuple[float, float]] = iter(scores)

    def evaluate(agents: Sequence[Any], *_: Any, **__: Any) -> Any:
        seen.append({k: v.clone() for k, v in agents[0].policy.state_dict().items()})
        success, distance = next(coming)
        outcomes = SimpleNamespace(
            succeeded=lambda: np.array([success, success]), distance=lambda: np.array([distance, distance])
        )
        return SimpleNamespace(runs=[SimpleNamespace(outcomes=outcomes)])

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    return seen


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.2, 50), (0.7, 90), (0.6, 200), (0.5, 10)], 1),  # success first
        ([(0.7, 100), (0.7, 90), (0.7, 110), (0.7, 110)], 2),  # then distance; of equals the first
        ([(0.0, 0), (0.0, 0), (0.0, 0), (0.0, 0)], 0),
    ],
)
def test_the_policy_that_drives_best_is_kept(
    scores: list[tuple[float, float]], best: int, tmp_path: Path, notebook: Notebook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    weights = driven_as(scores, monkeypatch)
    policy = train(training("imitation", validations=4), tmp_path)
    assert len(weights) == 4
    for name, value in policy.state_dict().items():
        assert torch.equal(value, weights[best][name])
    assert load(tmp_path / POLICY_FILE).meta["validation"] == {
        "success": scores[best][0], "distance_m": scores[best][1]
    }  # fmt: skip
    assert notebook.of("validation_success") == [success for success, _ in scores]
    assert [step for step, m in notebook.steps if "validation_success" in m] == [4, 5, 6, 7]


def test_the_best_so_far_survives_an_interruption(
    tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = driven_as([(0.7, 100), (0.7, 90)], monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(training("imitation"), tmp_path, interrupting(7))
    policy = train(training("imitation"), tmp_path)
    assert len(weights) == 2
    for name, value in policy.state_dict().items():
        assert torch.equal(value, weights[0][name])


# --- runs ------------------------------------------------------------------------------------------------------------


METHODS: list[tuple[Method, str]] = [
    ("imitation", "separated"), ("mpur", "separated"), ("mpur-no-uncertainty", "separated"), ("mpur", "vae")
]  # fmt: skip


@pytest.mark.parametrize(("method", "variant"), METHODS)
def test_an_interrupted_training_ends_bit_for_bit_like_one_that_was_not(
    method: Method, variant: str, tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the first block (which begins again), and in the second, after a validation."""
    scores = [(0.5, 10.0), (0.5, 20.0)]
    model = trained(variant)

    def run(out: Path, progress: type[Counter]) -> None:
        options = {} if method == "imitation" else {"trained": model}
        train(training(method, uncertainty_weight=0.5), out, progress, **options)

    driven_as(scores, monkeypatch)
    run(tmp_path / "straight", Counter)
    driven_as([*scores[:1], *scores], monkeypatch)
    interrupted_and_resumed(run, tmp_path / "halting", 2, 6)
    for name in (TRAINING_FILE, POLICY_FILE):
        assert_same_checkpoint(tmp_path / "straight" / name, tmp_path / "halting" / name)


@pytest.mark.parametrize("method", ["imitation", *IMAGINED])
def test_every_method_drives_validation_cars_and_finishes(
    method: Method, tmp_path: Path, notebook: Notebook
) -> None:
    policy = train(training(method), tmp_path)
    assert len(notebook.of("loss")) == 8
    assert len(notebook.of("validation_distance_m")) == 2
    assert min(notebook.of("validation_distance_m")) > 0
    assert ("uncertainty" in notebook.steps[0][1]) == (method == "mpur")
    again, config = load_policy(tmp_path)
    assert config == training(method)
    for name, value in policy.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    train(training(method), tmp_path, Untrained)  # finished: loaded


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("separated", {"method": "distill", "teaching": TEACHING}),
    ("separated", {"method": "distill", "teaching": TEACHING, "uncertainty_weight": 0.0, "masks": 1}),
    ("vae", {"method": "mper"}),
    ("deterministic", {"method": "mper"}),
    ("error encoding", {}),
    ("vae, learned prior", {}),
    ("separated, learned prior", {}),
    ("vae", {"z": "posterior"}),
    ("separated", {"z": "posterior"}),
    ("vae", {"z": "adversarial"}),
    ("vae", {"gradient": "position"}),
    ("vae", {"mixed_precision": True}),
    ("vae", {"mixed_precision": True, "z": "adversarial"}),
    ("vae", {"mixed_precision": True, "method": "mper"}),
    ("vae, learned prior", {"mixed_precision": True}),
    ("error encoding", {"mixed_precision": True}),
    ("separated", {"gradient": "pixels"}),
    ("separated", {"detach_speed": False}),
    ("vae", {"detach_speed": False}),
    ("separated", {"value_weight": 0.5}),
    ("vae", {"value_weight": 0.5}),
    ("separated", {"stochastic": True}),
    ("deterministic", {"stochastic": True, "method": "mpur-no-uncertainty"}),
]


@pytest.mark.parametrize(("variant", "options"), OPTIONS)
def test_every_option_moves_the_policy_its_own_way(
    variant: str, options: dict[str, Any], tmp_path: Path, notebook: Notebook
) -> None:
    torch.manual_seed(5)
    start = Policy(SMALL)
    short = {"updates": 4, "validations": 1}

    def weights(out: str, progress: type[Counter] = Counter, **changes: Any) -> dict[str, Tensor]:
        config = training(**{**short, **changes})
        policy = train(config, tmp_path / out, progress, trained=trained(variant), start_from=start)
        return policy.state_dict()

    one, again = weights("one", **options), weights("again", **options)
    plain = weights("plain")
    for name, value in one.items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, again[name])
    assert any(not torch.equal(value, start.state_dict()[name]) for name, value in one.items())
    assert not options or any(not torch.equal(value, plain[name]) for name, value in one.items())


@pytest.mark.parametrize("options", [{"value_weight": 0.5}, {"stochastic": True}])
def test_options_resume_bit_for_bit(
    options: dict[str, Any], tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [(0.5, 10.0), (0.5, 20.0)]
    driven_as(scores, monkeypatch)
    train(training(**options), tmp_path / "straight")
    driven_as(scores, monkeypatch)
    interrupted_and_resumed(
        lambda out, progress: train(training(**options), out, progress), tmp_path / "halting", 5
    )
    for name in (TRAINING_FILE, POLICY_FILE):
        assert_same_checkpoint(tmp_path / "straight" / name, tmp_path / "halting" / name)


def test_an_adversary_finds_futures_that_cost_more(tmp_path: Path) -> None:
    model, config = trained("vae"), training(z="adversarial", ascent_steps=8, horizon=3)
    for parameter in model.model.parameters():
        parameter.requires_grad_(False)
    imagined = Imagined(config, Policy(SMALL), model, [traffic()])
    context, noise = random_context(4), torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    worst = imagined._worst(context, noise)
    np.testing.assert_allclose(worst.norm(dim=-1), noise.norm(dim=-1), rtol=1e-4)
    h = model.model.encode(context)

    def cost(z: Tensor) -> float:
        trajectory = imagine(model.model, imagined._actor, h, z, 3, cost=imagined.cost)
        return float(trajectory.costs.total(config.lane_weight, config.off_road_weight).detach().mean())

    assert cost(worst) > cost(noise)


def test_inferred_latents_are_the_posterior_along_what_was_recorded() -> None:
    """By hand, step by step; and a future told by its z is closer to the recorded one than one that is not."""
    model = small_model("vae")
    windows = WindowConfig(context=TIMING.context, targets=TIMING.targets(3), view=VIEW)
    batch = WindowSampler([traffic()], windows, batch_size=4).batch(0)
    context = context_of_windows(batch)
    recorded = Recorded(
        torch.from_numpy(batch.target_images).float() / 255,
        poses_of(batch.target_vectors, batch.target_heading, "cpu"),
        torch.from_numpy(batch.actions),
    )
    noise = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    got = inferred(model, context, recorded, noise)
    h = model.encode(context)
    for t in range(3):
        action = recorded.actions[:, t]
        mu, log_var = model.posterior(h, action, recorded.images[:, t], recorded.poses[:, t])
        z = mu + torch.exp(log_var / 2) * noise[:, t]
        np.testing.assert_allclose(got[:, t], z.detach(), rtol=1e-4, atol=1e-5)
        _, h = model.step(h, action, z)


def test_what_does_not_go_together_is_refused(tmp_path: Path, notebook: Notebook) -> None:
    with pytest.raises(InputError, match="mper compares what the ego sees"):
        train(training("mper"), tmp_path)
    for needy in ({"z": "adversarial"}, {"learned_cost": True}):
        with pytest.raises(InputError, match="go through the pixels"):
            train(training(**needy), tmp_path)
    with pytest.raises(ValueError, match="learned cost go together"):
        train(training(learned_cost=True, gradient="pixels"), tmp_path)
    with pytest.raises(ValueError, match="z='no' must be one of prior"):
        training(z="no")


def test_a_learned_cost_learns_the_cost_and_drives(tmp_path: Path, notebook: Notebook) -> None:
    cost = train_learned_cost(
        CostTraining(network=SMALL, updates=60, batch_size=16, learning_rate=5e-3), [traffic()], tmp_path / "cost",
        progress=Counter,
    )  # fmt: skip
    assert np.mean(notebook.of("loss")[-10:]) < 0.6 * np.mean(notebook.of("loss")[:5])
    again = train_learned_cost(
        CostTraining(network=SMALL, updates=60, batch_size=16, learning_rate=5e-3), [traffic()], tmp_path / "cost",
        progress=Untrained,
    )  # fmt: skip
    context = random_context()
    for one, other in zip(
        cost(context.images, context.poses, context.size),
        again(context.images, context.poses, context.size),
        strict=True,
    ):
        assert one.shape == (2, 3)
        assert torch.equal(one, other)
    for variant, gradient in (("vae", None), ("separated", "pixels")):
        config = training(learned_cost=True, gradient=gradient, updates=4, validations=1)
        policy = train(config, tmp_path / variant, trained=trained(variant), learned_cost=cost)
        assert all(torch.isfinite(p).all() for p in policy.parameters())


@pytest.mark.parametrize("mixed_precision", [False, True])
@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_the_model_is_left_as_it_was(
    variant: str, mixed_precision: bool, tmp_path: Path, notebook: Notebook
) -> None:
    model = trained(variant)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    train(training(updates=4, validations=1, mixed_precision=mixed_precision), tmp_path, trained=model)
    for name, value in model.model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
    assert not any(module.training for module in model.model.modules())


def test_it_begins_with_the_policy_it_is_given(tmp_path: Path, notebook: Notebook) -> None:
    torch.manual_seed(5)
    start = Policy(SMALL)
    policy = train(training(learning_rate=0.0), tmp_path, start_from=start)
    for name, value in start.state_dict().items():
        assert torch.equal(policy.state_dict()[name], value)


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_masks_disagree_about_imagined_futures(
    variant: str, tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same contexts and z under every mask; dropout makes the difference."""
    terms: list[Terms] = []

    def noting(trajectory: Trajectory, num_masks: int) -> Terms:
        poses = trajectory.poses.view(num_masks, -1, *trajectory.poses.shape[1:])
        if variant == "separated":
            assert torch.equal(poses[0], poses[1])
        terms.append(disagreement(trajectory, num_masks))
        seen = trajectory.images.view(num_masks, -1, *trajectory.images.shape[1:]).sum((0, -3, -2, -1)) > 0
        assert torch.equal(terms[-1].image > 0, seen), "all disagree but those who see nobody"
        return terms[-1]

    monkeypatch.setattr(policy_losses, "disagreement", noting)
    train(training(updates=4, validations=1), tmp_path, trained=trained(variant))
    assert len(terms) == 4
    assert all((term.image > 0).float().mean() > 0.5 for term in terms)
    assert all((term.vector > 0).any() == (variant == "vae") for term in terms)


def test_a_policy_that_sees_the_world_unlike_the_model_is_refused(tmp_path: Path, notebook: Notebook) -> None:
    for unlike in ({"stride": 1}, {"frames": 4}, {"view": View(height=48, width=18)}):
        config = training(policy=replace(SMALL, **unlike))
        with pytest.raises(InputError, match="train both with one preset"):
            train(config, tmp_path)
    with pytest.raises(InputError, match="known for 3 steps, the policy imagines 4"):
        train(training(horizon=4), tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_frames_further_apart_than_the_model_s_are_refused(tmp_path: Path, notebook: Notebook) -> None:
    with pytest.raises(InputError, match=r"a frame every 0\.2 s"):
        train(training(), tmp_path, recordings=[replace(traffic(), dt=0.2)])


@pytest.mark.parametrize("method", IMAGINED)
def test_imagining_needs_a_model(method: Method, tmp_path: Path, notebook: Notebook) -> None:
    with pytest.raises(ValueError, match=f"{method} needs a trained forward model"):
        train(training(method), tmp_path, trained=None)


@pytest.mark.parametrize("state", ["finished", "half done"])
def test_another_config_is_refused_by_the_key(state: str, tmp_path: Path, notebook: Notebook) -> None:
    if state == "finished":
        train(training("imitation"), tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            train(training("imitation"), tmp_path, interrupting(3))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"policy\.hidden expected 16, found 8"):
        train(training("imitation", policy=replace(SMALL, hidden=16)), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_broken_term_is_named_and_the_last_state_stays_sound(
    tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))

    def breaking(terms: Terms) -> Tensor:
        return terms.cost * (math.nan if next(calls) >= 6 else 0.0)

    model = trained()
    monkeypatch.setattr(model.uncertainty, "forward", breaking)
    with pytest.raises(NotFinite, match=r"^uncertainty is nan at update 6 of training the policy \(mpur\)"):
        train(training(), tmp_path, trained=model)
    assert not (tmp_path / POLICY_FILE).exists()
    checkpoint = load(tmp_path / TRAINING_FILE)
    assert checkpoint.meta["training"]["counters"] == {"step": 4}
    assert all(value.isfinite().all() for value in checkpoint.tensors.values() if value.is_floating_point())


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_config_survives_its_file(tmp_path: Path, notebook: Notebook) -> None:
    save(tmp_path / "f", tensors={}, config=policy_training_to_dict(training()), meta={})
    assert policy_training_from_dict(load(tmp_path / "f").config) == training()


@pytest.mark.parametrize(
    "change",
    [{"updates": 0}, {"horizon": 0}, {"gamma": 1.1}, {"masks": 0}, {"masks": 1}, {"block": 0}, {"validations": 0}],
)  # fmt: skip
def test_impossible_trainings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        training(**change)


def test_one_mask_will_do_where_u_does_not_count() -> None:
    assert not training(masks=1, uncertainty_weight=0.0).counts_uncertainty
    assert not training("mpur-no-uncertainty", masks=1).counts_uncertainty
    assert training().counts_uncertainty


def test_a_folder_without_a_policy_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="no trained policy here"):
            load_policy(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished policy."""
    out = tmp_path_factory.mktemp("policy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mbrl.loop.Tracker", Notebook().tracker)
        train(training("imitation", updates=2, validations=1), out)
    return out


@pytest.mark.parametrize(
    "damage", ["empty", "text", "cut", "a training state", "another architecture", "a model"]
)
def test_a_file_that_is_no_policy_is_refused(damage: str, finished: Path, tmp_path: Path) -> None:
    path = tmp_path / POLICY_FILE
    good = load(finished / POLICY_FILE)
    whole = (finished / POLICY_FILE).read_bytes()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("a policy, honestly\n" * 100)
        case "cut":
            path.write_bytes(whole[: len(whole) - 100])
        case "a training state":
            path.write_bytes((finished / TRAINING_FILE).read_bytes())
        case "another architecture":
            wider = policy_training_to_dict(training("imitation", policy=replace(SMALL, hidden=9)))
            save(path, tensors=good.tensors, config=wider, meta=good.meta)
        case "a model":
            save(path, tensors={}, config={"stages": [], "model": {"kind": "paper"}}, meta={})
    with pytest.raises(InputError, match=POLICY_FILE) as refusal:
        load_policy(tmp_path)
    assert "\n" not in str(refusal.value)


def test_what_is_shared_agrees() -> None:
    """The small policy looks back like the small models do, or these tests would test nothing."""
    assert (SMALL.frames, SMALL.stride, SMALL.view) == (TIMING.frames, TIMING.stride, VIEW)
    assert all(config.view == VIEW for config in VARIANTS.values())
