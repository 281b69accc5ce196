"""Ranges in threads: everything once, errors heard, usable after a fork and from several threads."""

from __future__ import annotations

import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.compiled import compiled
from envs.parallel import available_threads, for_ranges


def add_index(out: NDArray[np.int64], begin: int, end: int) -> None:
    out[begin:end] += np.arange(begin, end)


@compiled
def refuse_negative(values: NDArray[np.int64], begin: int, end: int) -> None:
    for i in range(begin, end):
        if values[i] < 0:
            raise ValueError("a negative value")
        values[i] += 1


@pytest.mark.parametrize("num", [0, 1, 7, 8, 16, 17, 100, 1001])
@pytest.mark.parametrize("threads", [-1, 0, 1, 2, 5, 64])
def test_every_item_is_visited_once_whatever_the_threads(num: int, threads: int) -> None:
    out = np.zeros(num, np.int64)
    for_ranges(add_index, num, threads, out)
    np.testing.assert_array_equal(out, np.arange(num))


def test_work_is_shared_between_threads() -> None:
    seen, both = set(), threading.Barrier(2, timeout=10)

    def kernel(begin: int, end: int) -> None:
        if begin in (0, 100):  # the first range and the middle one wait for each other
            both.wait()
        seen.add(threading.get_ident())

    for_ranges(kernel, 200, 2)
    assert len(seen) == 2


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_compiled_kernel_is_heard(threads: int) -> None:
    values = np.zeros(100, np.int64)
    values[60] = -1
    with pytest.raises(ValueError, match="a negative value"):
        for_ranges(refuse_negative, len(values), threads, values)


def test_nothing_runs_on_after_an_error_was_raised() -> None:
    started, release = threading.Event(), threading.Event()
    running = []

    def kernel(begin: int, end: int) -> None:
        if begin == 0:
            started.wait(10)
            threading.Timer(0.1, release.set).start()
            raise RuntimeError("first range")
        running.append(begin)
        started.set()
        release.wait(10)
        running.remove(begin)

    with pytest.raises(RuntimeError, match="first range"):
        for_ranges(kernel, 16, 2)
    assert running == []


def test_several_threads_may_start_loops_at_once() -> None:
    def one(k: int) -> bool:
        out = np.zeros(500 + k, np.int64)
        for _ in range(20):
            for_ranges(add_index, len(out), 3, out)
        return bool((out == 20 * np.arange(500 + k)).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, range(8)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_gets_threads_of_its_own() -> None:
    out = np.zeros(100, np.int64)
    for_ranges(add_index, len(out), 2, out)  # the parent's pool exists
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested
        child = os.fork()
    if child == 0:
        dead_man = threading.Timer(10, os._exit, (1,))  # hangs otherwise
        dead_man.daemon = True
        dead_man.start()
        for_ranges(add_index, len(out), 2, out)
        os._exit(0 if (out == 2 * np.arange(100)).all() else 2)
    assert os.waitpid(child, 0)[1] == 0


def test_there_is_at_least_one_core() -> None:
    assert available_threads() >= 1
