"""Ranks and descents over the plane, where they are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.experiments.planes import followed, ranked_below


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
