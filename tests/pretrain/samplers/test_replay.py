"""Chains that are kept go on where they were; some begin anew, as often as is said."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pretrain.samplers import Replay, ReplayConfig
from tests.pretrain.samplers.toys import generator


def nines(num: int, generator: torch.Generator) -> Tensor:
    return torch.full((num, 2), 9.0)


def numbered(size: int, restart: float = 0.0) -> Replay:
    replay = Replay(ReplayConfig(size=size, restart=restart), nines, generator())
    assert (replay.chains == 9).all()
    replay.chains = torch.arange(size).repeat(2, 1).T.float()
    return replay


def test_chains_go_on_where_they_were_left() -> None:
    replay = numbered(20)
    where, y = replay.draw(8, generator())
    assert len(set(where.tolist())) == 8
    assert torch.equal(y[:, 0].long(), where)
    replay.put(where, y + 100)
    assert torch.equal(replay.chains[:, 0] >= 100, torch.isin(torch.arange(20), where))


def test_a_drawn_chain_is_a_copy() -> None:
    replay = numbered(20)
    replay.draw(20, generator()).y.fill_(-1)
    assert torch.equal(replay.chains, numbered(20).chains)


def test_chains_begin_anew_with_the_stated_probability() -> None:
    replay = numbered(5000, restart=0.2)
    replay.chains.zero_()
    y = replay.draw(5000, generator()).y
    assert float((y[:, 0] == 9).float().mean()) == pytest.approx(0.2, abs=0.025)
    assert (replay.chains == 0).all()


def test_chains_are_saved_with_the_model() -> None:
    other = Replay(ReplayConfig(size=20), nines, generator())
    other.load_state_dict(numbered(20).state_dict())
    assert torch.equal(other.chains, numbered(20).chains)


def test_more_chains_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="num=21"):
        numbered(20).draw(21, generator())
    with pytest.raises(ValueError, match="size=0"):
        ReplayConfig(size=0)
    with pytest.raises(ValueError, match="restart=2"):
        ReplayConfig(restart=2)
