"""What an agent's drives led to, as a file: a benchmark of hours keeps what it has driven."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from agents.metrics import RULES, Contact, Outcomes
from envs.errors import InputError
from envs.formats.atomic import atomic_path

NUMBERS = ("dt", "seconds_per_action")


def save_outcomes(path: Path, outcomes: Outcomes) -> None:
    """Write one .npz; its folder must exist."""
    arrays: dict[str, Any] = {
        name: np.asarray(value) for name, value in vars(outcomes).items() if name != "contacts"
    }
    for rule, contact in outcomes.contacts.items():
        arrays |= {f"{rule}/{name}": value for name, value in contact._asdict().items()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_outcomes(path: Path) -> Outcomes:
    """The inverse. Raises InputError for another file, or a damaged one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays: dict[str, Any] = dict(archive)
        contacts = {
            rule: Contact(*(arrays.pop(f"{rule}/{name}") for name in Contact._fields)) for rule in RULES
        }
        numbers: dict[str, Any] = {name: float(arrays.pop(name)) for name in NUMBERS}
        return Outcomes(contacts=contacts, **numbers, **arrays)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"not a file of drives ({error}); delete it to drive again", path=path) from error
