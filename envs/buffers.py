"""Large arrays that are handed out and come back by themselves.

A fresh array of tens of megabytes costs more in page faults than in copying, and an array that is overwritten while
somebody still reads it costs a day. A pool hands an array out again once nobody but the pool refers to it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Of an array in a list, as getrefcount sees it: the list, the loop's variable and getrefcount's argument. Every view of
# it, and every tensor on its memory, is one more.
UNUSED = 3
MAX_KEPT = 8  # arrays; who holds on to more gets fresh ones


class BufferPool:
    """Arrays of one shape and type, uninitialised."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._shape, self._dtype = shape, dtype
        self._kept: list[NDArray[Any]] = []

    def take(self) -> NDArray[Any]:
        """An array that nobody else refers to. Its contents are arbitrary."""
        for array in self._kept:
            if sys.getrefcount(array) == UNUSED:
                return array
        array = np.empty(self._shape, self._dtype)
        if len(self._kept) < MAX_KEPT:
            self._kept.append(array)
        return array
