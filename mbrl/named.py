"""Things that users choose by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from envs.errors import InputError


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def choose(known: Sequence[N], names: Sequence[str], what: str) -> list[N]:
    """Those of these names, in the order of `known`; all where no name is given.

    Raises:
        InputError: there is nothing of a name; it says what there is.
    """
    there = [one.name for one in known]
    for name in names:
        if name not in there:
            raise InputError(f"unknown {what} {name!r}; there are: {', '.join(map(repr, there))}")
    return [one for one in known if not names or one.name in names]
