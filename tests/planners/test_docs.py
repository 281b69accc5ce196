"""The example of docs/planning.md runs and says what it says."""

from __future__ import annotations

import doctest
from pathlib import Path


def test_the_example_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "planning.md"
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted > 5
    assert results.failed == 0
