"""What is timed against the plain steps is the same computation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks import naive_imagination
from envs.context import poses_of, scaled
from mbrl import bench_imagination as bench
from mbrl.bench_imagination import MEASURED, prepare
from mbrl.imagination import exact_costs, from_prior, imagine
from mbrl.policy_losses import imagined_cost
from mbrl.train_model import rollout_error


@pytest.fixture(scope="module")
def setting() -> bench.Setting:
    """Without dropout, so that two computations can be compared."""
    found = prepare("debug")
    for module in found.model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return found


def gradients(module: nn.Module) -> list[Tensor]:
    found = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    module.zero_grad(set_to_none=True)
    return found


def test_the_plain_policy_step_is_ours(setting: bench.Setting) -> None:
    model, policy, training = setting.model, setting.policy, setting.training
    want = naive_imagination.policy_step(model, policy, setting.context, setting.noise, 2)
    slopes = gradients(policy)
    model.zero_grad(set_to_none=True)
    trajectory = imagine(
        model, policy, model.encode(setting.context), from_prior(model, setting.noise), training.horizon,
        cost=exact_costs("pixels", training.policy.view),
    )  # fmt: skip
    loss, _ = imagined_cost(trajectory, replace(training, gamma=0.99, off_road_weight=0.2))
    loss.backward()
    np.testing.assert_allclose(loss.detach(), want, rtol=1e-5)
    for one, other in zip(slopes, gradients(policy), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-7)


def test_the_plain_model_step_is_ours(setting: bench.Setting) -> None:
    model, windows = setting.model.requires_grad_(True), setting.windows
    images = scaled(windows.target_images, "cpu")
    poses = poses_of(windows.target_vectors, windows.target_heading, "cpu")
    torch.manual_seed(0)
    total = naive_imagination.model_step(
        model, setting.context, setting.actions, images, poses, z_dropout=1.0
    )
    model.zero_grad(set_to_none=True)
    steps = images.shape[1]
    torch.manual_seed(0)
    error, _ = rollout_error(model, windows, steps, "cpu", None, 1.0)
    assert float(total) == pytest.approx(
        float(error.detach().mean()) * steps, rel=0.2
    )  # z are drawn in another order
    assert error.shape == (len(images), steps)


@pytest.mark.parametrize("what", MEASURED)
def test_everything_can_be_measured(what: str) -> None:
    found = bench.measure("debug", what)
    assert found["seconds"] > 0
    assert found["rss_mb"] >= found["step_mb"] >= 0


def test_ratios_are_the_plain_step_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"model": 2.0, "policy": 1.0, "frames": 0.5, "naive-model": 3.0, "naive-policy": 8.0}

    def measured(size: str, what: str) -> dict[str, float]:
        return {
            "seconds": seconds[what],
            "frames": 60,
            "rss_mb": 500,
            "step_mb": 90 if what == "naive-policy" else 30,
        }

    monkeypatch.setattr(bench, "_measured_apart", measured)
    found = bench.bench_imagination(("debug",))["debug"]
    assert (found["model_step_ratio"], found["policy_step_ratio"]) == (1.5, 8.0)
    assert found["imagined_frames_per_s"] == 120
    assert found["memory_ratio"] == pytest.approx(1 / 3, abs=1e-3)
