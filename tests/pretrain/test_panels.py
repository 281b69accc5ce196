"""Signals are drawn where and as they are said to be."""

from __future__ import annotations

import numpy as np
import torch

from pretrain.panels import panels


def inked(picture: np.ndarray) -> np.ndarray:
    """Where a colour is, as neither the grey of lines and of what lies behind nor white."""
    return np.ptp(picture.astype(int), axis=2) > 40


def height(picture: np.ndarray) -> int:
    rows = np.flatnonzero(inked(picture).any(1))
    return int(rows[-1] - rows[0])


def test_each_signal_is_in_its_panel_and_upright() -> None:
    ramp = torch.linspace(-1, 1, 30)
    picture = panels(torch.stack([ramp, -ramp, 0 * ramp])[:, None])
    half, across = picture.shape[0] // 2, picture.shape[1] // 2
    where = [
        inked(part) for part in (picture[:half, :across], picture[:half, across:], picture[half:, :across])
    ]
    assert not inked(picture[half:, across:]).any()
    for ink, sign in zip(where, (1, -1, 0), strict=True):
        v, u = np.nonzero(ink)
        assert np.ptp(u) > 0.8 * across
        slope = np.polyfit(u, -v, 1)[0] * across / half
        assert abs(slope - sign) < 0.2


def test_small_signals_are_smaller_but_not_flat() -> None:
    wave = torch.sin(torch.linspace(0, 12, 60))
    picture = panels(torch.stack([wave, 0.5 * wave, 0.01 * wave, wave])[:, None])
    half, across = picture.shape[0] // 2, picture.shape[1] // 2
    tall, half_as_tall, small = (
        height(part) for part in (picture[:half, :across], picture[:half, across:], picture[half:, :across])
    )
    assert 0.4 < half_as_tall / tall < 0.6
    assert 0.25 < small / tall < 0.4


def test_channels_are_below_each_other_and_what_lies_behind_is_grey() -> None:
    picture = panels(torch.zeros(1, 2, 10))
    rows = np.flatnonzero(inked(picture).any(1))
    first, second = (picture[row, picture.shape[1] // 2].astype(int) for row in (rows[0], rows[-1]))
    assert rows[0] < picture.shape[0] // 2 < rows[-1]
    assert np.abs(first - second).max() > 40  # of different colours
    behind = panels(torch.zeros(1, 1, 10), -torch.ones(1, 1, 10))
    grey = (np.ptp(behind.astype(int), axis=2) == 0) & (behind[..., 0] < 220)
    assert np.flatnonzero(grey.any(1)).min() > np.flatnonzero(inked(behind).any(1)).max()
