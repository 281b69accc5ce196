"""Masks are networks: the same for all examples, decided by a seed, and as random as dropout is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mbrl.thinning import thinned
from tests.mbrl.small import random_actions, random_context, small_ensemble, small_model

P = 0.3


@pytest.mark.parametrize(("layer", "shape"), [(nn.Dropout(P), (5,)), (nn.Dropout2d(P), (5, 3, 2))])
def test_examples_of_a_mask_go_through_the_same_network(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.rand(4 * 6, *shape) + 1
    layer.eval()
    with thinned(layer, 4, seed=0):
        first, again = layer(x), layer(x)
    with thinned(layer, 4, seed=0):
        same = layer(x)
    let_through = (first / x).unflatten(0, (4, 6))
    assert torch.equal(first, same), "a seed decides"
    assert not torch.equal(first, again), "the next use is another draw"
    torch.testing.assert_close(let_through, let_through[:, :1].expand_as(let_through))
    assert not torch.equal(let_through[0], let_through[1]), "masks differ"
    assert torch.equal(layer(x), x), "outside it is as it was"


def test_a_whole_channel_is_dropped() -> None:
    layer = nn.Dropout2d(0.5).eval()
    with thinned(layer, 64, seed=1):
        y = layer(torch.ones(64, 7, 3, 2))
    torch.testing.assert_close(y, y[..., :1, :1].expand_as(y))
    assert set(y.unique().tolist()) == {0.0, 2.0}


def test_masks_vary_as_dropout_does() -> None:
    """Of a sum w x, units kept with 1 - p: mean w.x, variance p / (1 - p) sum (w x)^2."""
    w, x = torch.tensor([0.5, -2.0, 1.0]), torch.tensor([1.0, 0.5, 3.0])
    layer = nn.Dropout(P).eval()
    with thinned(layer, 100_000, seed=2):
        y = layer(x.expand(100_000, 3)) @ w
    assert float(y.mean()) == pytest.approx(float(w @ x), abs=0.03)
    assert float(y.var()) == pytest.approx(P / (1 - P) * float((w * x).square().sum()), rel=0.02)


def test_the_paper_model_is_thinned_and_an_ensemble_is_not() -> None:
    context, actions = random_context(2), random_actions(2, 1)[:, 0]
    for model, differ in (
        (small_model("vae", dropout=0.3), True),
        (small_ensemble("vae", alike=True), False),
    ):
        z = torch.zeros(6, model.z_dim)
        with torch.no_grad(), thinned(model, 3, seed=0):
            prediction, _ = model.step(model.encode(context, 3), actions.repeat(3, 1), z)
        by_mask = prediction.image.unflatten(0, (3, 2))
        assert (float((by_mask[1] - by_mask[0]).abs().max()) > 1e-3) == differ


def test_in_training_it_is_refused() -> None:
    model = small_model("vae").train()
    with pytest.raises(ValueError, match="evaluated"), thinned(model, 2, seed=0):
        pass
