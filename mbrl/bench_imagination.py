"""How fast the models imagine, against the same steps written plainly (benchmarks/naive_imagination.py).

Each kind of step has a process of its own, so that memory is weighed alone: python -m mbrl.bench_imagination SIZE WHAT
DEVICE. They take turns, so that what else the machine does befalls all of them; the best turn of each counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from agents.policies import Policy
from envs.context import Context, Recorded, context_of_windows
from envs.errors import InputError
from envs.windows import Windows
from mbrl.bench_memory import peak_rss_mb
from mbrl.forward_models import PaperModel, build
from mbrl.in_checkout import benchmark_module
from mbrl.machine import machine_facts
from mbrl.model_losses import model_windows, rollout_error
from mbrl.policy_rollouts import Imagined
from mbrl.policy_training import PolicyTraining
from mbrl.rows import models, rows
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty

Size = Literal["paper", "quick", "debug"]
BATCH = {"paper": 6, "quick": 16, "debug": 2}
TURNS = {"paper": 3, "quick": 5, "debug": 1}  # after a warm-up
MATMUL = {"cpu": 2048, "cuda": 8192}  # rows of the square matrices whose product says what a device can do


class Setting(NamedTuple):
    """What a step works on."""

    model: PaperModel
    mixed_precision: bool  # of the model's training
    policy: Policy
    training: PolicyTraining
    windows: Windows
    context: Context
    noise: Tensor
    device: str


def bench_imagination(sizes: tuple[Size, ...] = ("paper", "quick"), device: str = "cpu") -> dict[str, Any]:
    """Seconds of a training step of the paper's model and of a policy through it, and ratios to the plain steps."""
    machine = machine_facts() | device_facts(device)  # before it is busy with this
    results: dict[str, Any] = {"machine": machine}
    for size in sizes:
        turns = _in_turns(size, device)
        best = {what: min(turn["seconds"] for turn in of) for what, of in turns.items()}
        policy, naive, frames = (turns[what][-1] for what in ("policy", "naive-policy", "frames"))
        flops_per_s = {what: turns[what][-1]["flops"] / best[what] for what in ("model", "matmul")}
        results[size] = {
            "model_step_s": round(best["model"], 4),
            "policy_step_s": round(best["policy"], 4),
            "imagined_frames_per_s": round(frames["frames"] / best["frames"], 1),
            "peak_rss_mb": round(policy["rss_mb"]),
            "matmul_share": round(flops_per_s["model"] / flops_per_s["matmul"], 3),
            "model_step_ratio": round(best["naive-model"] / best["model"], 2),
            "policy_step_ratio": round(best["naive-policy"] / best["policy"], 2),
            "memory_ratio": round(policy["step_mb"] / max(naive["step_mb"], 1), 3),
            "all_seconds": {what: [round(turn["seconds"], 3) for turn in of] for what, of in turns.items()},
        }
        print(f"{size}: {results[size]}", file=sys.stderr, flush=True)
    return results


Turn = dict[str, float]


def _in_turns(size: Size, device: str) -> dict[str, list[Turn]]:
    """What each kind of step found in its turns."""
    with ExitStack() as stack:
        processes = {what: stack.enter_context(_started(size, what, device)) for what in STEPS}
        turns = [{what: _turn(process) for what, process in processes.items()} for _ in range(TURNS[size])]
    return {what: [turn[what] for turn in turns] for what in STEPS}


def _started(size: Size, what: str, device: str) -> subprocess.Popen[str]:
    """A process that has warmed up."""
    command = [sys.executable, "-m", "mbrl.bench_imagination", size, what, device]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    _turn(process)
    return process


def _turn(process: subprocess.Popen[str]) -> Turn:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write("\n")
        process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise InputError(process.communicate()[1].strip().splitlines()[-1])
    found: Turn = json.loads(line)
    return found


def measure(size: Size, what: str, turns: Iterable[object], device: str = "cpu") -> Iterator[Turn]:
    """For each turn, the seconds of a step, and the memory it and those before it took.

    Where matrix work is compared, its multiplications and additions are counted in the first turn, a warm-up.
    """
    setting = prepare(size, device)
    step = STEPS[what](setting)
    frames = setting.noise.shape[1] * len(setting.context.size) * setting.training.masks
    flops, before = 0, peak_mb(device)
    for turn, _ in enumerate(turns):
        if turn == 0 and what in ("model", "matmul"):
            with FlopCounterMode(display=False) as counter:
                seconds = seconds_of(step, device)
            flops = counter.get_total_flops()
        else:
            seconds = seconds_of(step, device)
        peak = peak_mb(device)
        yield {"seconds": seconds, "frames": frames, "flops": flops, "rss_mb": peak, "step_mb": peak - before}


def seconds_of(step: Callable[[], object], device: str) -> float:
    """How long it takes until all is done that it asks of the device."""
    begin = _now(device)
    step()
    return _now(device) - begin


def _now(device: str) -> float:
    """Seconds, when all is done that was asked of the device."""
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_mb(device: str) -> float:
    """Most memory held so far, MiB: of this process, or of a GPU by its tensors."""
    return peak_rss_mb() if device == "cpu" else torch.cuda.max_memory_allocated() / (1 << 20)


def device_facts(device: str) -> dict[str, str]:
    """What measured numbers depend on besides the machine."""
    return {} if device == "cpu" else {"gpu": torch.cuda.get_device_name()}


def prepare(size: Size, device: str = "cpu") -> Setting:
    """The paper's model and policy at a size, untrained, and a batch of the shipped recording."""
    from mbrl.bench import traffic

    torch.manual_seed(0)
    config = models(size)["vae-z-dropout"]
    training = next(row.training for row in rows(size) if row.name == "mpur-z-dropout")
    training = replace(training, horizon=min(training.horizon, 20), batch_size=BATCH[size])
    model = build(config.model).to(device)
    assert isinstance(model, PaperModel)
    windows = model_windows(model, [traffic()], training.horizon, BATCH[size], seed=0).batch(0)
    context = context_of_windows(windows, device)
    noise = model.noise(BATCH[size], training.horizon, like=context.size)
    policy = Policy(training.policy).to(device)
    return Setting(model, config.mixed_precision, policy, training, windows, context, noise, device)


def model_step(setting: Setting) -> Callable[[], object]:
    """An update of the forward model, but for the optimiser: as mbrl.train_model does it."""
    model = setting.model.train()
    steps = setting.training.horizon

    def step() -> None:
        error, kl = rollout_error(
            model, setting.windows, steps, setting.device, None, 0.5, setting.mixed_precision
        )
        (error.mean() + 1e-6 * kl).backward()

    return step


def matmul_step(setting: Setting) -> Callable[[], object]:
    """A large product of matrices of the type that the model computes in."""
    num = MATMUL[torch.device(setting.device).type]
    dtype = torch.bfloat16 if setting.mixed_precision else torch.float32
    a, b = torch.randn(2, num, num, device=setting.device).to(dtype)
    return lambda: a @ b


def policy_step(setting: Setting) -> Callable[[], object]:
    """The same of a policy: as mbrl.train_policy does it."""
    imagined = _imagined(setting)
    return lambda: imagined.imagine(setting.context, setting.noise)[0].backward()


def frames_step(setting: Setting) -> Callable[[], object]:
    """The futures that a policy's update imagines."""
    return torch.no_grad()(partial(_imagined(setting).imagine, setting.context, setting.noise))


def _imagined(setting: Setting) -> Imagined:
    from mbrl.bench import traffic

    model, training = setting.model.requires_grad_(False).eval(), setting.training
    trained = TrainedModel(model, Uncertainty(training.horizon).to(setting.device))
    return Imagined(training, setting.policy, trained, [traffic()], setting.device)


def naive_model_step(setting: Setting) -> Callable[[], object]:
    """The forward model's update written plainly."""
    naive, after = benchmark_module("naive_imagination"), Recorded.of(setting.windows, setting.device)
    network = naive.Network(setting.model).to(setting.device)
    return partial(naive.model_step, network, setting.context, after.actions, after.images, after.poses)


def naive_policy_step(setting: Setting) -> Callable[[], object]:
    """The policy's update written plainly."""
    naive = benchmark_module("naive_imagination")
    network = naive.Network(setting.model).to(setting.device)
    return partial(
        naive.policy_step, network, setting.policy, setting.context, setting.noise, setting.training.masks
    )


STEPS = {
    "matmul": matmul_step,
    "model": model_step,
    "policy": policy_step,
    "frames": frames_step,
    "naive-model": naive_model_step,
    "naive-policy": naive_policy_step,
}


if __name__ == "__main__":
    for found in measure(sys.argv[1], sys.argv[2], sys.stdin, sys.argv[3]):  # type: ignore[arg-type]
        print(json.dumps(found), flush=True)
