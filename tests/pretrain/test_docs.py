"""docs/pretrain.md: its example runs and says what it says; every method is in its table."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import torch

from pretrain.methods import METHODS

PAGE = Path(__file__).parents[2] / "docs" / "pretrain.md"


def test_the_example_runs() -> None:
    with torch.random.fork_rng():
        results = doctest.testfile(str(PAGE), module_relative=False)
    assert results.attempted > 10
    assert results.failed == 0


def test_every_method_stands_in_the_row_of_the_data_it_takes() -> None:
    names = {"plane": "points"}
    rows = dict(line.strip("| \n").split(" | ", 1) for line in PAGE.read_text().splitlines() if "| `" in line)
    for name, method in METHODS.items():
        assert f"`{name}`" in rows[", ".join(names.get(kind, kind) for kind in method.takes)]


def test_every_experiment_s_command_is_the_one_that_its_page_was_written_by() -> None:
    pages = sorted((PAGE.parent / "pretrain").glob("*.md"))
    written = [re.findall(r"^`(headway experiment .*)`$", page.read_text(), re.MULTILINE) for page in pages]
    printed = re.findall(r"^`(headway experiment [^`]*)`", PAGE.read_text(), re.MULTILINE)
    assert printed == [command.replace("--out DIR", "--out docs/pretrain") for (command,) in written]
