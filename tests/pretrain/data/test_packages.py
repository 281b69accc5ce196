"""A package that is not there is named with the command that installs it; one that is only looked into stays asleep."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pretrain.data.packages import folder_of, imported


def test_what_is_missing_is_said_with_what_installs_it() -> None:
    with pytest.raises(
        ModuleNotFoundError, match=r"^nowhere is not installed: pip install 'headway\[pretrain\]'$"
    ):
        imported("nowhere.data")
    with pytest.raises(ModuleNotFoundError, match="nowhere is not installed: say this"):
        folder_of("nowhere", "say this")


def test_a_package_is_found_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asleep").mkdir()
    (tmp_path / "asleep" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert folder_of("asleep") == tmp_path / "asleep"
    assert "asleep" not in sys.modules
