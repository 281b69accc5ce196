"""Recordings as users name them: objects, files, or nothing for the sample that ships with headway."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import envs
from envs.errors import InputError
from envs.recording import Recording

Source = Recording | str | Path


def load_recordings(source: Source | Sequence[Source] | None = None) -> list[Recording]:
    """Recordings as given, or read from their files; the sample for None.

    A file is read once for all who ask in this process, and again when it has changed.

    Raises:
        InputError: a file does not exist or is not a recording.
    """
    sources = [envs.SAMPLE] if source is None else [source] if isinstance(source, Source) else source
    return [s if isinstance(s, Recording) else _read_once(Path(s)) for s in sources]


def _read_once(path: Path) -> Recording:
    if not path.exists():
        raise InputError("no such file", path=path)
    return _read(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, modified: int) -> Recording:
    from envs.formats import read  # brings pandas and more, which a recording at hand does not need

    return read(path)
