"""Numbers are told with what they depend on."""

from __future__ import annotations

import importlib.metadata
import platform

import numpy as np
import pytest

from mbrl.machine import cpu_model, machine_facts, versions


def test_the_facts_name_this_machine() -> None:
    facts = machine_facts(threads=3)
    assert facts["threads"] == 3
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["cpu"] == cpu_model() != ""


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(name: str) -> str:
        if name == "headway":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr(importlib.metadata, "version", of)
    found = versions()
    assert "headway" not in found
    assert (found["torch"], found["python"]) == ("1.2", platform.python_version())
