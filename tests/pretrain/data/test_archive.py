"""Signals are the archive's, in its split, read from the wheel without importing it or asking anybody."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
import torch

from pretrain.data import archive_signals, standardised
from pretrain.data.archive import read_ts, stretched
from tests.pretrain.data.installed import needs_aeon

SHAPES = {  # as the archive's page states them
    "gunpoint": ((50, 1, 150), (150, 1, 150)),
    "basic-motions": ((40, 6, 100), (40, 6, 100)),
    "japanese-vowels": ((270, 12, 28), (370, 12, 28)),
}


@needs_aeon
@pytest.mark.parametrize("name", SHAPES)
def test_signals_have_the_archives_shapes_and_its_split(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*arguments: object, **options: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", no_network)
    train, test = archive_signals(name, "train"), archive_signals(name, "test")
    assert (tuple(train.shape), tuple(test.shape)) == SHAPES[name]
    assert "aeon" not in sys.modules
    seen = {one.numpy().tobytes() for one in train}
    assert not any(one.numpy().tobytes() in seen for one in test)
    scaled, held_out = standardised(train, test)
    torch.testing.assert_close(scaled.mean((0, 2)), torch.zeros(train.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std((0, 2)), torch.ones(train.shape[1]), atol=1e-2, rtol=0)
    assert 0.5 < held_out.std() < 2


@needs_aeon
def test_each_gunpoint_signal_has_mean_0_and_variance_1_as_the_archive_made_it() -> None:
    signals = archive_signals("gunpoint")[:, 0]
    torch.testing.assert_close(signals.mean(1), torch.zeros(50), atol=1e-3, rtol=0)
    torch.testing.assert_close(signals.std(1), torch.ones(50), atol=1e-2, rtol=0)


def test_lines_are_channels_numbers_and_a_label(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_text("# a comment: 1,2\n@problemName a\n@data\n1,2,3:4,5,6:left\n-1,0.5:1e-3,2:right\n")
    first, second = read_ts(path)
    assert first.tolist() == [[1, 2, 3], [4, 5, 6]]
    torch.testing.assert_close(second, torch.tensor([[-1, 0.5], [1e-3, 2]]))


def test_a_stretched_line_is_a_line_with_the_same_ends() -> None:
    line = torch.linspace(2, 9, 7)[None]
    torch.testing.assert_close(stretched(line, 28), torch.linspace(2, 9, 28)[None])


def test_standardising_is_by_what_is_learned_from_channel_by_channel() -> None:
    train = torch.stack([torch.full((8, 5), 3.0), 10 + 2 * torch.randn(8, 5)], 1)
    scaled, held_out = standardised(train, train + torch.tensor([0.0, 1.0])[:, None])
    assert (scaled[:, 0] == 0).all()  # one that never changes
    torch.testing.assert_close(scaled[:, 1].square().mean(), torch.tensor(1.0))
    torch.testing.assert_close(
        held_out[:, 1] - scaled[:, 1], torch.full((8, 5), 1 / float(train[:, 1].std(correction=0)))
    )
