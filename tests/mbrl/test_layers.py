"""Layers for long unrolls against torch's own: the same numbers, by whichever way they are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mbrl.forward_models.layers import (
    Conv2d,
    ConvTranspose2d,
    Layer,
    Linear,
    in_bfloat16,
    shared_weights,
)

SIZE = 13, 6  # whose halves need padding, and do not


class Deconv(nn.Module):
    """A transposed convolution with the size of its output."""

    def __init__(self, layer: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.layer, self.size = layer, size

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x, output_size=self.size)
        return y


def layers(conv: Any, deconv: Any, linear: Any) -> nn.Sequential:
    """Recurrent: it takes and gives (B, 3, 13, 6)."""
    return nn.Sequential(
        conv(3, 5, 4, 2, 1), nn.Tanh(), conv(5, 4, 3, 1, 1), nn.Flatten(), linear(4 * 6 * 3, 9), nn.Tanh(),
        linear(9, 4 * 6 * 3), nn.Unflatten(1, (4, 6, 3)), Deconv(deconv(4, 3, 4, 2, 1), SIZE), nn.Tanh(),
    )  # fmt: skip


def pair() -> tuple[nn.Sequential, nn.Sequential]:
    """torch's and ours, of the same weights."""
    torch.manual_seed(0)
    theirs, ours = layers(nn.Conv2d, nn.ConvTranspose2d, nn.Linear), layers(Conv2d, ConvTranspose2d, Linear)
    ours.load_state_dict(theirs.state_dict())
    return theirs.double(), ours.double()


def start(batch: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, *SIZE, generator=rng, dtype=torch.float64).requires_grad_()


def unrolled(network: nn.Module, x: Tensor, steps: int = 4) -> Tensor:
    total = x.new_zeros(())
    for t in range(steps):
        x = network(x)
        total = total + (t + 1) * x.square().sum()
    return total


def gradients(loss: Tensor, x: Tensor, network: nn.Module) -> list[Tensor]:
    loss.backward()
    assert x.grad is not None
    return [x.grad, *(p.grad for p in network.parameters() if p.grad is not None)]


def assert_same(one: list[Tensor], other: list[Tensor], rtol: float = 1e-9) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(b.abs().max()))


@pytest.mark.parametrize("batch", [3, Conv2d.enough, Linear.enough // 3])
@pytest.mark.parametrize("shared", [True, False])
def test_an_unroll_and_its_gradients_are_torch_s(shared: bool, batch: int) -> None:
    theirs, ours = pair()
    one, other = start(batch), start(batch)
    want = unrolled(theirs, one)
    if shared:
        with shared_weights(ours):
            got = unrolled(ours, other)
    else:
        got = unrolled(ours, other)
    assert float(got.detach()) == pytest.approx(float(want.detach()), rel=1e-12)
    wanted = gradients(want, one, theirs)
    assert len(wanted) == 11
    assert_same(gradients(got, other, ours), wanted)


def test_each_unroll_s_gradients_are_its_own() -> None:
    """Two under one sharing, gone back through one after the other, the second twice; then one that shares nothing."""
    theirs, ours = pair()
    one, other = start(), start()
    with shared_weights(ours):
        first, second = unrolled(ours, other, 2), unrolled(ours, other, 3)
    third = unrolled(ours, other, 1)
    for loss in (first, second, second, third):
        loss.backward(retain_graph=True)
    for steps in (2, 3, 3, 1):
        unrolled(theirs, one, steps).backward()
    assert other.grad is not None
    assert one.grad is not None
    assert_same([other.grad, *(p.grad for p in ours.parameters() if p.grad is not None)],
                [one.grad, *(p.grad for p in theirs.parameters() if p.grad is not None)])  # fmt: skip
    assert all(layer.shared is None for layer in ours.modules() if isinstance(layer, Layer))


def kept(network: nn.Module, build: Callable[[], Tensor]) -> int:
    """Numbers that a graph keeps besides a network's weights, each tensor counted once."""
    found: dict[int, Tensor] = {}

    def note(x: Tensor) -> Tensor:
        found[x.data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        build()
    weights = {p.data_ptr() for p in network.parameters()}
    return sum(x.numel() for x in found.values() if x.data_ptr() not in weights)


def test_frozen_convolutions_keep_nothing_but_their_weights() -> None:
    theirs, ours = pair()
    x = start(50)
    for network in (theirs, ours):
        network.requires_grad_(False)
    wanted = torch.autograd.grad(unrolled(theirs, x), x)
    assert_same(list(torch.autograd.grad(unrolled(ours, x), x)), list(wanted))
    assert kept(ours, lambda: ours[2](ours[0](x)).sum()) == 0
    assert kept(theirs, lambda: theirs[2](theirs[0](x)).sum()) > x.numel()


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("num_before", [0, 2, 5])
def test_channels_before_are_channels_that_get_no_gradient(num_before: int, times: int, frozen: bool) -> None:
    """And if they are of fewer examples, as if these were repeated."""
    torch.manual_seed(0)
    layer = Conv2d(5, 4, 4, 2, 1).double().requires_grad_(not frozen)
    before = torch.randn(3, num_before, *SIZE, dtype=torch.float64)
    x = torch.randn(3 * times, 5 - num_before, *SIZE, dtype=torch.float64).requires_grad_(num_before < 5)
    want = nn.Conv2d.forward(layer, torch.cat([before.repeat(times, 1, 1, 1), x], 1))
    got = layer(x, before)
    np.testing.assert_allclose(got.detach(), want.detach(), rtol=1e-12, atol=1e-12)
    wanting = [p for p in (x, *layer.parameters()) if p.requires_grad]
    if wanting:
        weights = torch.randn_like(want)
        one, other = (torch.autograd.grad((y * weights).sum(), wanting) for y in (got, want))
        assert_same(list(one), list(other))


@pytest.mark.parametrize("how", ["autocast", "autocast, shared", "frozen"])
def test_bfloat16_is_close(how: str) -> None:
    theirs, ours = pair()
    theirs, ours = theirs.float(), ours.float()
    one, other = (start(20).detach().float().requires_grad_() for _ in range(2))
    want = gradients(unrolled(theirs, one), one, theirs)
    if how == "frozen":
        ours.requires_grad_(False)
        halved = in_bfloat16(ours)
        assert {p.dtype for p in halved.parameters()} == {torch.bfloat16}
        assert {p.dtype for p in ours.parameters()} == {torch.float32}
        got, want = gradients(unrolled(halved, other).float(), other, halved), want[:1]
    else:
        with torch.autocast("cpu", torch.bfloat16):
            if how == "autocast":
                loss = unrolled(ours, other)
            else:
                with shared_weights(ours):
                    loss = unrolled(ours, other)
        got = gradients(loss.float(), other, ours)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).norm() / b.norm()) < 0.03
        assert not torch.equal(a, b)
