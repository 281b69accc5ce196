"""Ranks and descents over the plane, where they are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.experiments.planes import draw, followed, ranked_below, top_of


def test_ranks_are_the_share_of_pairs_in_order() -> None:
    data, contrast = (
        torch.tensor([[0.0, 0.0], [2.0, 0.0]]),
        torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0]]),
    )
    # of 0: three above; of 2: one above, one below, one tie
    assert ranked_below(lambda y: y[:, 0], data, contrast) == pytest.approx((3 + 1 + 0.5) / 6)
    assert ranked_below(lambda y: -y[:, 0], data, contrast) == pytest.approx(1.5 / 6)
    assert ranked_below(lambda y: 0 * y[:, 0], data, contrast) == 0.5


def test_the_field_leads_to_the_bottom_whatever_its_slope_and_nowhere_where_it_is_flat() -> None:
    start = torch.tensor([[1.0, 0.5], [-0.4, 0.9]])
    for scale in (1e-2, 1e2):
        ended = followed(lambda y, s=scale: s * y.square().sum(1), start)
        np.testing.assert_allclose(ended, 0, atol=5e-3)
    assert torch.equal(followed(lambda y: 0 * y.sum(1), start), start)


def test_the_top_is_four_times_as_high_as_nearly_all_data() -> None:
    data = torch.linspace(0, 10, 101)[:, None].expand(-1, 2)
    assert top_of(lambda y: y[:, 0] - 3, data) == pytest.approx(-3 + 4 * 9.9)


def test_a_drawn_relief_is_not_flattened_by_one_high_corner() -> None:
    from matplotlib.figure import Figure

    def energy(y: torch.Tensor) -> torch.Tensor:
        return y.square().sum(1) + 1e6 * (y[:, 0] > 1)

    data = torch.zeros(2, 2)
    shades = []
    for top in (4.0, torch.inf):
        axes = Figure().add_subplot()
        draw(axes, energy, data, "", top=top)
        shades.append(axes.collections[0].get_array()[1])  # the second of its levels
    assert shades[0] < 1 < 10 < shades[1]
