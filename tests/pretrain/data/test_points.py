"""Points are on their manifolds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain import data
from tests.pretrain.toys import generator


def test_manifolds_are_where_they_are_said_to_be() -> None:
    y = data.parabola(100, generator())
    np.testing.assert_allclose(y[:, 1], y[:, 0] ** 2, atol=1e-6)
    y = data.spiral(20_000, generator())
    radius, angle = y.norm(dim=1), torch.atan2(y[:, 1], y[:, 0])
    turned = torch.remainder(3 * np.pi * radius - angle + 0.01, 2 * np.pi)
    np.testing.assert_allclose(turned, 0.01, atol=1e-3)
    assert float((radius < 0.5).float().mean()) == pytest.approx(0.25, abs=0.02)
    y = data.mixture_of_gaussians(1000, generator(), std=0.0)
    np.testing.assert_allclose(y.norm(dim=1), 1, atol=1e-6)
