"""Agents as the command line names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.errors import InputError
from mbrl.agents_by_name import agent_by_name


@pytest.mark.parametrize("name", ["human", "no-action"])
def test_built_in_agents_keep_their_names(name: str) -> None:
    assert agent_by_name(name).name == name


def test_an_unknown_agent_is_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match="no agent 'robot': expected human, no-action, or a folder"):
        agent_by_name("robot")


def test_a_folder_without_a_policy_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trained policy here; train one"):
        agent_by_name(str(tmp_path))


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.safetensors").write_bytes(b"not a checkpoint at all")
    with pytest.raises(InputError, match="not a headway checkpoint"):
        agent_by_name(str(tmp_path))
