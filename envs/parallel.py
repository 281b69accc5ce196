"""Compiled loops over egos in a few threads that sleep when idle.

numba's own parallel loops are not safe to start from several Python threads at once, and OpenMP's workers spin; ranges
of a nogil kernel in a thread pool are neither.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise

MIN_ITEMS = 8  # per range; fewer are not worth waking a thread for


def available_threads() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="headway")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # its threads stay behind in the parent


def for_ranges(kernel: Callable[..., None], num_items: int, threads: int, *args: object) -> None:
    """Call kernel(*args, begin, end) over ranges that cover num_items, in up to `threads` threads.

    Returns when all are done. If some raise, the error of the first of these ranges is raised.
    """
    threads = min(threads, num_items // MIN_ITEMS)
    if threads <= 1:
        kernel(*args, 0, num_items)
        return
    num_ranges = min(4 * threads, num_items // MIN_ITEMS)  # several per thread even out unequal scenes
    edges = [num_items * i // num_ranges for i in range(num_ranges + 1)]
    futures = [_pool(threads).submit(kernel, *args, a, b) for a, b in pairwise(edges)]
    wait(futures)  # all of them, so that no range is still being written when an error is raised
    for future in futures:
        future.result()
