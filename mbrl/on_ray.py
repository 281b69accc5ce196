"""Independent jobs as Ray tasks, on this machine or on a cluster whose machines share the run's folders."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from envs.errors import InputError
from mbrl.progress import Counter, Progress
from mbrl.side_by_side import Job


def run_on_ray(jobs: Sequence[Job], device: str = "cpu") -> None:
    """Run all jobs, one core each; the first error is raised.

    Args:
        device: where they compute; on another than the CPU each has a GPU of its own, or Ray would hide all of them.
    Raises:
        InputError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError("Ray is not installed (pip install 'headway[ray]')")
    if not jobs:
        return
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False)  # RAY_ADDRESS in the environment names a cluster
    task = ray.remote(num_cpus=1, num_gpus=0 if device == "cpu" else 1)(_run)
    waiting = [task.remote(job) for job in jobs]
    with Progress("running on Ray", len(jobs), unit="jobs") as bar:
        while waiting:
            done, waiting = ray.wait(waiting)
            try:
                ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            bar.advance(len(done))


def _run(job: Job) -> None:
    import torch

    torch.set_num_threads(1)
    job.function(*job.arguments, progress=Counter)
