"""One training by several processes, the ranks, each with an equal part of every batch.

    torchrun --nproc-per-node 2 --no-python headway train-model ...

    with joined(device) as own_device:  # "cuda:1" on the second GPU; nothing happens without torchrun
        train_model(config, recordings, out, device=own_device)

A loss is a mean over examples, so that of a batch, and its gradient, are the means of those of its equal parts. What
is drawn at random for a batch (windows, z, z-dropout, a policy's samples) every rank draws for the whole of it, alike,
and takes its part: losses are those of one process, up to the order of sums. Dropout layers alone draw otherwise, by a
seed of each rank and step: with dropout, equality is in distribution. The first rank validates and writes, all
read: they must see the same folder. In a single process nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from envs.errors import InputError

PATIENCE = timedelta(hours=2)  # of the other ranks while the first one validates or writes


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the other ranks that torchrun started, leave them at the end; yields this rank's own device.

    Raises:
        InputError: there is no GPU for this rank.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["WORLD_SIZE"] == "1":
        yield device
        return
    backend = "gloo"
    if torch.device(device).type == "cuda":
        local, num = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= num:
            raise InputError(f"rank {local} of this machine finds {num} GPUs; start one rank for each GPU")
        backend, device = "cpu:gloo,cuda:nccl", f"cuda:{local}"
        torch.cuda.set_device(local)
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def num_ranks() -> int:
    """1 in a single process."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """0 in a single process."""
    return dist.get_rank() if num_ranks() > 1 else 0


def is_main() -> bool:
    """Whether this rank validates and writes."""
    return rank() == 0


def check_parts(*batch_sizes: int) -> None:
    """Raise InputError for a batch that has no equal parts."""
    for batch_size in batch_sizes:
        if batch_size % num_ranks():
            raise InputError(
                f"a batch of {batch_size} examples has no {num_ranks()} equal parts; let --nproc-per-node divide it"
            )


def part(batch_size: int) -> slice:
    """This rank's examples of a batch."""
    check_parts(batch_size)
    num = batch_size // num_ranks()
    return slice(rank() * num, (rank() + 1) * num)


def shared(draw: Callable[[int], Tensor], num: int) -> Tensor:
    """This rank's `num` rows of draw(size of the whole batch), which all ranks must draw alike."""
    if num_ranks() == 1:
        return draw(num)
    batch_size = num * num_ranks()
    return draw(batch_size)[part(batch_size)]


def seeded(seed: int, device: str) -> torch.Generator | None:
    """Seed dropout, and return the generator for what ranks draw alike.

    That is None in a single process: the global generators, from which dropout draws as well.
    """
    torch.manual_seed(seed)
    seed_dropout(seed)
    return None if num_ranks() == 1 else torch.Generator(device).manual_seed(seed)


def seed_dropout(*seed: int) -> None:
    """Seed the global generators, on each rank otherwise; a single process keeps their state."""
    if num_ranks() > 1:
        torch.manual_seed(int(np.random.SeedSequence((*seed, rank())).generate_state(1)[0]))


def average(parameters: Iterable[Tensor], numbers: Mapping[str, float]) -> dict[str, float]:
    """Replace gradients by their means over ranks, and return the means of numbers, in one all_reduce."""
    if num_ranks() == 1:
        return dict(numbers)
    gradients = [p.grad for p in parameters if p.grad is not None]
    mine = [*gradients, gradients[0].new_tensor(list(numbers.values()))]
    flat = torch.cat([x.reshape(-1) for x in mine])
    _collect(dist.all_reduce, flat)
    *means, last = flat.div_(num_ranks()).split([x.numel() for x in mine])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))
    return dict(zip(numbers, last.tolist(), strict=True))


def agreed(number: int) -> int:
    """What the first rank says, once all have asked."""
    if num_ranks() == 1:
        return number
    said = torch.tensor([int(number) if is_main() else 0])
    _collect(dist.all_reduce, said)
    return int(said)


def wait() -> None:
    """Until all ranks are here."""
    agreed(0)


def _collect(collective: Callable[[Tensor], Any], tensor: Tensor) -> None:
    try:
        collective(tensor)
    except RuntimeError as error:
        raise ConnectionError(
            f"another rank has stopped, see what it said; the same command goes on ({str(error).splitlines()[0]})"
        ) from error
