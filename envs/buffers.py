"""Large arrays that are handed out and come back by themselves.

A fresh array of tens of megabytes costs more in page faults than in copying, and an array that is overwritten while
somebody still reads it costs a day. A pool hands an array out again once nobody but the pool refers to it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

MAX_KEPT = 8  # arrays; who holds on to more gets fresh ones


class BufferPool:
    """Arrays of one shape and type, uninitialised."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._shape, self._dtype = shape, dtype
        self._kept: list[NDArray[Any]] = []

    def take(self) -> NDArray[Any]:
        """An array that nobody else refers to. Its contents are arbitrary."""
        for array, count in zip(self._kept, _reference_counts(self._kept), strict=True):
            if count == UNUSED:
                return array
        array = np.empty(self._shape, self._dtype)
        if len(self._kept) < MAX_KEPT:
            self._kept.append(array)
        return array


def _reference_counts(arrays: list[NDArray[Any]]) -> list[int]:
    """How many refer to each array; every view of one, and every tensor on its memory, counts."""
    return [sys.getrefcount(array) for array in arrays]


UNUSED = _reference_counts([np.empty(0)])[0]  # as this Python counts an array that only its list refers to
