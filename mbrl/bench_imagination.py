"""How fast the models imagine, against the same steps written plainly (benchmarks/naive_imagination.py).

Each measurement is a process of its own, so that memory is weighed alone: python -m mbrl.bench_imagination SIZE WHAT.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from agents.policies import Policy
from envs.context import Context, Recorded, context_of_windows
from envs.errors import InputError
from envs.windows import Windows
from mbrl.bench_memory import peak_rss_mb
from mbrl.forward_models import PaperModel, build
from mbrl.imagination import exact_costs, from_prior, imagine
from mbrl.policy_losses import mpur_loss
from mbrl.policy_training import PolicyTraining
from mbrl.rows import models, rows
from mbrl.train_model import model_windows, rollout_error
from mbrl.uncertainty import Uncertainty, dropout_on

Size = Literal["paper", "quick", "debug"]
BATCH = {"paper": 6, "quick": 16, "debug": 2}
REPETITIONS = {"paper": 2, "quick": 5, "debug": 1}  # after a warm-up; the best counts
MEASURED = ("model", "policy", "frames", "naive-model", "naive-policy")


class Setting(NamedTuple):
    """What a step works on."""

    model: PaperModel
    policy: Policy
    training: PolicyTraining
    windows: Windows
    context: Context
    actions: Tensor
    noise: Tensor


def bench_imagination(sizes: tuple[Size, ...] = ("paper", "quick")) -> dict[str, Any]:
    """Seconds of a training step of the paper's model and of a policy through it, and ratios to the plain steps."""
    from mbrl.bench import machine_facts

    results: dict[str, Any] = {}
    for size in sizes:
        found = {what: _measured_apart(size, what) for what in MEASURED}
        model, policy, naive = found["model"], found["policy"], found["naive-policy"]
        results[size] = {
            "model_step_s": round(model["seconds"], 4),
            "policy_step_s": round(policy["seconds"], 4),
            "imagined_frames_per_s": round(found["frames"]["frames"] / found["frames"]["seconds"], 1),
            "peak_rss_mb": round(policy["rss_mb"]),
            "model_step_ratio": round(found["naive-model"]["seconds"] / model["seconds"], 2),
            "policy_step_ratio": round(naive["seconds"] / policy["seconds"], 2),
            "memory_ratio": round(policy["step_mb"] / naive["step_mb"], 3),
        }
        print(f"{size}: {results[size]}", file=sys.stderr, flush=True)
    return {**results, "machine": machine_facts()}


def _measured_apart(size: Size, what: str) -> dict[str, float]:
    command = [sys.executable, "-m", "mbrl.bench_imagination", size, what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(done.stderr.strip().splitlines()[-1])
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def measure(size: Size, what: str) -> dict[str, float]:
    """Best seconds of one step, and the memory it took."""
    setting = prepare(size)
    step = _steps(setting)[what]
    before = peak_rss_mb()
    step()
    seconds = []
    for _ in range(REPETITIONS[size]):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    frames = setting.noise.shape[1] * len(setting.context.size) * setting.training.masks
    return {
        "seconds": min(seconds), "frames": frames, "rss_mb": peak_rss_mb(), "step_mb": peak_rss_mb() - before
    }  # fmt: skip


def prepare(size: Size) -> Setting:
    """The paper's model and policy at a size, untrained, and a batch of the shipped recording."""
    from mbrl.bench import traffic

    torch.manual_seed(0)
    config = models(size)["vae-z-dropout"]
    training = next(row.training for row in rows(size) if row.name == "mpur-z-dropout")
    training = replace(training, horizon=min(training.horizon, 20), batch_size=BATCH[size])
    model = build(config.model)
    assert isinstance(model, PaperModel)
    windows = model_windows(model, [traffic()], training.horizon, BATCH[size], seed=0).batch(0)
    context = context_of_windows(windows)
    noise = model.noise(BATCH[size], training.horizon, like=context.size)
    actions = torch.from_numpy(windows.actions)
    return Setting(model, Policy(training.policy), training, windows, context, actions, noise)


def _steps(setting: Setting) -> dict[str, Callable[[], object]]:
    model, policy, training, windows, context, actions, noise = setting
    uncertainty = Uncertainty(training.horizon)
    masks, view = training.masks, training.policy.view
    after = Recorded.of(windows)

    def model_step() -> None:
        model.requires_grad_(True).train()
        error, kl = rollout_error(model, windows, training.horizon, "cpu", None, 0.5)
        (error.mean() + 1e-6 * kl).backward()

    def policy_step() -> None:
        model.requires_grad_(False).eval()
        many = context.repeat(masks)
        with dropout_on(model):
            trajectory = imagine(
                model, policy, model.encode(many), from_prior(model, noise.repeat(masks, 1, 1)), training.horizon,
                cost=exact_costs(model.gradient, view), num_masks=masks,
            )  # fmt: skip
        mpur_loss(trajectory, uncertainty, training)[0].backward()

    @torch.no_grad()
    def frames() -> None:
        model.eval()
        many = context.repeat(masks)
        imagine(
            model, policy, model.encode(many), from_prior(model, noise.repeat(masks, 1, 1)), training.horizon,
            cost=exact_costs(model.gradient, view), num_masks=masks,
        )  # fmt: skip

    def naive_model_step() -> None:
        _naive().model_step(model, context, actions, after.images, after.poses)

    def naive_policy_step() -> None:
        _naive().policy_step(model, policy, context, noise, masks)

    return dict(
        zip(MEASURED, (model_step, policy_step, frames, naive_model_step, naive_policy_step), strict=True)
    )


def _naive() -> Any:
    try:
        from benchmarks import naive_imagination
    except ImportError as error:
        raise InputError(
            "the plain steps to compare with are in benchmarks/ of a checkout: clone headway"
        ) from error
    return naive_imagination


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))  # type: ignore[arg-type]
