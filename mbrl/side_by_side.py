"""Jobs in processes of their own, one core each, side by side under one set of progress bars.

Two small networks trained at once on a core each go about 1.5 times as fast as one after the other on both.
"""

from __future__ import annotations

import multiprocessing
import os
import queue as queues
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from envs.errors import Failed
from envs.parallel import available_threads
from mbrl.progress import Counter, Progress

REPORT_SECONDS = 0.2  # between two reports of a job
LAST_WORDS = 1.0  # s in which what an ended job reported is read
LEAVING = 5.0  # s that a process has to exit when its job is done


class Job(NamedTuple):
    """function(*arguments, progress=...), importable by name; what it returns is thrown away."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def run_together(jobs: Sequence[Job]) -> None:
    """Run all jobs, at most one for each core at a time; each reports its progress here.

    The first error ends the others and is raised. With a single core, or a single job, they run in this process, one
    after the other.
    """
    if len(jobs) < 2 or available_threads() < 2:
        for job in jobs:
            job.function(*job.arguments, progress=Progress)
        return
    context = multiprocessing.get_context("spawn")
    reports: Any = context.Queue()
    at_once = min(len(jobs), available_threads())
    threads = available_threads() // at_once
    workers = [
        context.Process(target=_work, args=(k, job, threads, reports, os.getpid()), daemon=True)
        for k, job in enumerate(jobs)
    ]
    try:
        _follow(workers, reports, at_once)
        for worker in workers:
            worker.join(LEAVING)
    finally:
        for worker in workers:
            if worker.pid is not None:
                worker.terminate()
                worker.join()


def _follow(workers: Sequence[Any], reports: Any, at_once: int) -> None:
    """Start the workers as cores become free, and show what they report until all are done."""
    bars: dict[int, Progress] = {}
    running: set[int] = set()
    waiting = list(range(len(workers)))
    ended: dict[int, float] = {}  # when a worker was first seen to have
    try:
        while running or waiting:
            for k in running:
                if not workers[k].is_alive():
                    since = ended.setdefault(k, time.monotonic())
                    if time.monotonic() - since > LAST_WORDS and reports.empty():
                        code = workers[k].exitcode
                        raise Failed(f"a worker process ended with code {code}; the same command continues")
            while waiting and len(running) < at_once:
                running.add(waiting[0])
                workers[waiting.pop(0)].start()
            try:
                k, what, *rest = reports.get(timeout=0.5)
            except queues.Empty:
                continue
            if what == "begin":
                bars[k] = Progress(rest[0], rest[1], **rest[2]).__enter__()
            elif what == "reach":
                bars[k].reach(rest[0], **rest[1])
            elif what == "end":
                bars.pop(k).__exit__(None, None, None)
            elif what == "done":
                running.remove(k)
            else:
                raise rest[0]
    finally:
        for bar in bars.values():
            bar.__exit__(RuntimeError, None, None)


class _Reports(Counter):
    """Tells the parent process, whose Progress it is."""

    def __init__(self, job: int, reports: Any, what: str, total: int, **options: Any) -> None:
        super().__init__(what, total, **options)
        self._put = lambda *message: reports.put((job, *message))
        self._put("begin", what, total, options)
        self._last = time.monotonic()
        self._numbers: dict[str, float] = {}

    def advance(self, count: int = 1, **numbers: float) -> None:
        super().advance(count)
        self._numbers = numbers or self._numbers
        if time.monotonic() - self._last > REPORT_SECONDS:
            self._tell()

    def _tell(self) -> None:
        self._put("reach", self.done, self._numbers)
        self._last = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._tell()
            self._put("end")


def _work(index: int, job: Job, threads: int, reports: Any, parent: int) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us, and what is begun is closed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(threads)
    try:
        job.function(*job.arguments, progress=partial(_Reports, index, reports))
        reports.put((index, "done"))
    except Exception as error:
        reports.put((index, "error", error))
    except SystemExit:
        reports.cancel_join_thread()  # nobody reads any more
        raise
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is begun any more that would have to be closed
    reports.close()
    reports.join_thread()


def _end_with(parent: int) -> None:
    """A worker whose parent was killed ends too."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
