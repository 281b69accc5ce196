"""Packages that hold data: imported, or only looked into."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

EXTRA = "pip install 'headway[pretrain]'"


def imported(name: str) -> Any:
    """A module.

    Raises:
        ModuleNotFoundError: its package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise _missing(name.split(".")[0], EXTRA, error.name) from None


def folder_of(package: str, install: str = EXTRA) -> Path:
    """Where an installed package lies; it is not imported, so what it needs may be absent.

    Args:
        install: the command to say if it is not there.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(package, install, package)
    return Path(spec.submodule_search_locations[0])


def _missing(package: str, install: str, name: str | None) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"{package} is not installed: {install}", name=name)
