"""Imagining for a policy: what is inferred, who disagrees, and that every option counts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.policies import Policy
from envs.context import context_of_windows, poses_of
from envs.errors import InputError
from envs.windows import WindowConfig, WindowSampler
from mbrl import policy_losses
from mbrl.checkpoint import save
from mbrl.cost_training import CostTraining
from mbrl.imagination import Trajectory, exact_costs, imagine
from mbrl.policy_losses import Recorded
from mbrl.policy_rollouts import Imagined, inferred, worst
from mbrl.progress import Counter
from mbrl.train_learned_cost import COST_FILE, load_learned_cost, train_learned_cost
from mbrl.uncertainty import Terms, disagreement
from tests.mbrl.policies import SMALL, TEACHING, driven_as, traffic, train, trained, training
from tests.mbrl.runs import Notebook, Untrained, notebook
from tests.mbrl.small import TIMING, VIEW, random_context, small_model

__all__ = ["notebook"]  # a fixture

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


def begun_with(variant: str, **options: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of one and the same policy before and after two updates."""
    torch.manual_seed(5)
    start = Policy(SMALL)
    config = training(**{"updates": 2, "validations": 1, "horizon": 2, **options})
    with TemporaryDirectory() as out:
        policy = train(config, Path(out), trained=trained(variant), start_from=start)
    return start.state_dict(), policy.state_dict()


plain = cache(begun_with)


@pytest.mark.parametrize(("variant", "options"), OPTIONS)
def test_every_option_moves_the_policy_its_own_way(
    variant: str, options: dict[str, Any], notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven_as([(0.5, 10.0)] * 3, monkeypatch)
    start, one = begun_with(variant, **options)
    _, again = begun_with(variant, **options)
    for name, value in one.items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, again[name])
    assert any(not torch.equal(value, start[name]) for name, value in one.items())
    if options:
        assert any(not torch.equal(value, plain(variant)[1][name]) for name, value in one.items())


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_an_attached_speed_has_a_gradient_of_its_own(variant: str) -> None:
    """The same futures cost the same; without the speed's share, their gradient is another."""
    model = trained(variant)
    model.model.requires_grad_(False)
    torch.manual_seed(0)
    imagined = Imagined(training(detach_speed=False, horizon=3), Policy(SMALL), model, [traffic()])
    context = random_context(4)
    noise = torch.randn(4, 3, model.model.z_dim, generator=torch.Generator().manual_seed(0))
    losses, slopes = [], []
    for cost in (imagined.cost, exact_costs(imagined.model.gradient, VIEW, detach_speed=True)):
        imagined.cost = cost
        torch.manual_seed(1)
        loss = imagined.imagine(context, noise)[0]
        slope = torch.autograd.grad(loss, imagined.policy.parameters(), allow_unused=True)
        losses.append(float(loss.detach()))
        slopes.append(torch.cat([part.flatten() for part in slope if part is not None]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    attached, detached = slopes
    assert float((attached - detached).norm()) > 0.01 * float(detached.norm())


def test_an_adversary_finds_futures_that_cost_more(tmp_path: Path) -> None:
    model, config = trained("vae"), training(z="adversarial", ascent_steps=8, horizon=3)
    for parameter in model.model.parameters():
        parameter.requires_grad_(False)
    imagined = Imagined(config, Policy(SMALL), model, [traffic()])
    context, noise = random_context(4), torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    found = worst(imagined.model, imagined._actor, context, noise, config, imagined.cost)
    np.testing.assert_allclose(found.norm(dim=-1), noise.norm(dim=-1), rtol=1e-4)
    h = model.model.encode(context)

    def cost(z: Tensor) -> float:
        trajectory = imagine(model.model, imagined._actor, h, z, 3, cost=imagined.cost)
        return float(trajectory.costs.total(config.lane_weight, config.off_road_weight).detach().mean())

    assert cost(found) > cost(noise)


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
    seen = context.images, context.poses, context.size
    for one, other, loaded in zip(
        cost(*seen), again(*seen), load_learned_cost(tmp_path / "cost")(*seen), strict=True
    ):
        assert one.shape == (2, 3)
        assert torch.equal(one, other)
        assert torch.equal(one, loaded)
    save(tmp_path / "foreign" / COST_FILE, tensors={}, config={"hidden": 3}, meta={})
    with pytest.raises(InputError, match="not a learned cost's checkpoint"):
        load_learned_cost(tmp_path / "foreign")
    poses = context.poses.clone().requires_grad_()
    (slope,) = torch.autograd.grad(cost(context.images, poses, context.size).proximity.sum(), poses)
    assert slope[..., 3].any()
    for variant, gradient in (("vae", None), ("separated", "pixels")):
        config = training(learned_cost=True, gradient=gradient, updates=4, validations=1)
        judged = Imagined(config, Policy(SMALL), trained(variant), [traffic()], learned_cost=cost).cost
        (slope,) = torch.autograd.grad(judged(context.images, poses, context.size).proximity.sum(), poses)
        assert not slope[..., 3].any(), "crawling would win"
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
