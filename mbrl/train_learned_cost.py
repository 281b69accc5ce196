"""Training a network to know what a picture costs: the mean squared error to envs.costs on recorded pictures.

Half of them are seen from a perturbed ego, so that collisions, which nobody recorded, are among them. Source: an option
of the public code of Henaff, Canziani, LeCun, arXiv:1901.02705.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from envs.context import context_of_windows
from envs.errors import InputError
from envs.formats.fingerprint import fingerprint_of_all
from envs.recording import Recording
from envs.windows import WindowConfig, Windows, WindowSampler
from mbrl import data_parallel
from mbrl.checkpoint import Checkpoint, load, restore_training_state, save, training_state
from mbrl.cost_training import CostTraining, cost_training_from_dict, cost_training_to_dict
from mbrl.critics import LearnedCost
from mbrl.imagination import exact_costs
from mbrl.loop import train
from mbrl.progress import MakeCounter, Progress
from mbrl.schedule import cosine

COST_FILE = "cost.safetensors"


def train_learned_cost(
    config: CostTraining,
    recordings: Sequence[Recording],
    out: Path,
    *,
    device: str = "cpu",
    tracking_root: Path | None = None,
    progress: MakeCounter = Progress,
) -> LearnedCost:
    """Train (or go on training, or load what is finished) the learned cost of a config in folder `out`."""
    as_dict = cost_training_to_dict(config)
    if data_parallel.agreed((out / COST_FILE).exists()):
        return _cost_of(load(out / COST_FILE, config=as_dict), out / COST_FILE).to(device)
    torch.manual_seed(config.seed)
    network = LearnedCost(config.network).to(device)
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    exact = exact_costs("pixels", config.network.view)
    windows = WindowConfig(context=(0,), targets=(), perturbed=config.perturbed, view=config.network.view)
    sampler = WindowSampler(recordings, windows, batch_size=config.batch_size, seed=(config.seed, 4))
    batches: Iterator[Windows] = iter(())

    def begin(step: int) -> None:
        nonlocal batches
        batches = sampler.stream(step, config.updates, part=data_parallel.part(config.batch_size))

    def update(step: int) -> dict[str, float]:
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * cosine(step / config.updates)
        seen = context_of_windows(next(batches), device)
        guess, truth = (cost(seen.images, seen.poses, seen.size) for cost in (network, exact))
        errors = {
            name: (g - t).square().mean() for name, g, t in zip(truth._fields, guess, truth, strict=True)
        }
        loss = torch.stack(list(errors.values())).sum()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        metrics = {"loss": float(loss.detach())} | {
            f"error_{k}": float(v.detach()) for k, v in errors.items()
        }
        metrics = data_parallel.average(network.parameters(), metrics)
        adam.step()
        return metrics

    train(
        update,
        name="train-cost",
        what="training the learned cost",
        out=out,
        config=as_dict,
        num_updates=config.updates,
        parts={"cost": network, "adam": adam},
        begin=begin,
        fingerprint=fingerprint_of_all(recordings),
        tracking_root=tracking_root,
        progress=progress,
    )
    if data_parallel.is_main():
        tensors, state = training_state(cost=network)
        save(out / COST_FILE, tensors=tensors, config=as_dict, meta={"state": state})
    data_parallel.wait()
    return network.eval().requires_grad_(False)


def load_learned_cost(folder: Path, device: str = "cpu") -> LearnedCost:
    """A finished one, frozen. Raises InputError if there is none, or if it is damaged or foreign."""
    return _cost_of(load(folder / COST_FILE), folder / COST_FILE).to(device)


def _cost_of(checkpoint: Checkpoint, path: Path) -> LearnedCost:
    try:
        network = LearnedCost(cost_training_from_dict(checkpoint.config).network)
        restore_training_state(checkpoint.tensors, checkpoint.meta["state"], cost=network)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a learned cost's checkpoint ({error})", path=path) from error
    return network.eval().requires_grad_(False)
