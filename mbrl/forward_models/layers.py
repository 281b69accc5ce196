"""Layers of networks that are unrolled over many steps: the numbers are torch's, with less to keep and to compute.

- A convolution keeps its input only where its weight wants a gradient. torch's keeps it either way, which is most of
  the memory of a rollout through a frozen model.
- Under `shared_weights` a weight is cast once for all steps, and its gradient is computed from many steps at once: of a
  few examples it costs as much as of many where the weight is larger than they are.
- A transposed convolution is computed as the gradient of a convolution: oneDNN has slow kernels for it in bfloat16.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input, conv2d_weight

CHANNELS_LAST = torch.channels_last

M = TypeVar("M", bound=nn.Module)


class Layer(nn.Module):
    """What the layers have in common."""

    weight: Tensor
    bias: Any
    shared: Shared | None = None
    enough = 64  # examples for a gradient of its weight

    def dtype(self, x: Tensor) -> torch.dtype:
        """What it computes in: what autocast says, or the type of its weight."""
        device = x.device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype

    def weights(self) -> Shared:
        """What a use of it works with."""
        return self.shared or Shared(self.weight, self.bias, None)

    def gradient(self, x: Tensor, slope: Tensor) -> Tensor:
        """Of the weight, from inputs and the gradients of outputs."""
        raise NotImplementedError


class Conv2d(nn.Conv2d, Layer):
    """torch's, channels last."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        nn.utils.convert_conv2d_weight_memory_format(self, CHANNELS_LAST)

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """Of x and of channels `before` it, which get no gradient and may be of fewer examples (see Context.repeat)."""
        weight, bias, uses = self.weights()
        keeps = weight.requires_grad and torch.is_grad_enabled()
        before = x[:, :0] if before is None else before
        y: Tensor = _Convolution.apply(x, before, weight, bias, self, uses, self.dtype(x), keeps)
        return y

    def gradient(self, x: Tensor, slope: Tensor) -> Tensor:
        return conv2d_weight(x, self.weight.shape, slope, self.stride, self.padding)


class ConvTranspose2d(nn.ConvTranspose2d, Layer):
    """torch's, channels last; the height and width of its output are given."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        nn.utils.convert_conv2d_weight_memory_format(self, CHANNELS_LAST)

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        weight, bias, uses = self.weights()
        shape = len(x), self.out_channels, *output_size
        y: Tensor = _Transposed.apply(x, weight, bias, self, uses, self.dtype(x), shape)
        return y

    def gradient(self, x: Tensor, slope: Tensor) -> Tensor:
        return conv2d_weight(slope, self.weight.shape, x, self.stride, self.padding)


class Linear(nn.Linear, Layer):
    """torch's."""

    enough = 1024  # they are small

    def forward(self, x: Tensor) -> Tensor:
        if self.shared is None:
            return super().forward(x.to(self.weight.dtype))
        weight, bias, uses = self.shared
        y: Tensor = _Product.apply(x.to(self.dtype(x)), weight, bias, self, uses)
        return y

    def gradient(self, x: Tensor, slope: Tensor) -> Tensor:
        return slope.T @ x


def in_bfloat16(model: M) -> M:
    """A copy whose layers compute in bfloat16, whatever comes in; what is between them stays as it is."""
    model = copy.deepcopy(model)
    for layer in _layers(model):
        layer.to(torch.bfloat16)
    return model


class Shared(NamedTuple):
    """What all steps use of a layer; where there are `uses`, gradients of the others wait there."""

    weight: Tensor
    bias: Tensor
    uses: _Uses | None


@contextmanager
def shared_weights(model: nn.Module) -> Iterator[None]:
    """Inside, each layer's weight is cast once, and going back through the graph gives it its gradient in one piece.

    Going back through a part of the graph only (torch.autograd.grad of something else) leaves its share for later.
    """
    layers = _layers(model)
    try:
        for layer in layers:
            uses = _Uses(layer)
            weight, bias = _Gathered.apply(layer.weight, layer.bias, layer.dtype(layer.weight), uses)
            layer.shared = Shared(weight, bias, uses)
        yield
    finally:
        for layer in layers:
            layer.shared = None


def _layers(model: nn.Module) -> list[Layer]:
    return [module for module in model.modules() if isinstance(module, Layer)]


class _Uses:
    """Inputs of a layer and gradients of its outputs, until there are enough for a gradient of its weight."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.waiting: list[tuple[Tensor, Tensor]] = []
        self.total: tuple[Tensor, ...] | None = None

    def add(self, x: Tensor, slope: Tensor) -> None:
        self.waiting.append((x, slope))
        if sum(len(x) for x, _ in self.waiting) >= self.layer.enough:
            self._sum_up()

    def take(self) -> tuple[Tensor | None, ...]:
        """The gradients of weight and bias since the last time."""
        self._sum_up()
        total, self.total = self.total, None
        return total or (None, None)

    def _sum_up(self) -> None:
        if not self.waiting:
            return
        x, slope = (
            part[0] if len(part) == 1 else torch.cat(part) for part in zip(*self.waiting, strict=True)
        )
        self.waiting = []
        more = tuple(part.to(self.layer.weight) for part in (self.layer.gradient(x, slope), _of_bias(slope)))
        self.total = more if self.total is None else tuple(map(torch.add, self.total, more))


class _Gathered(Function):
    """A weight and a bias, cast; their gradients are what their uses gathered."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, dtype: torch.dtype, uses: _Uses
    ) -> tuple[Tensor, Tensor]:
        ctx.uses = uses
        ctx.set_materialize_grads(False)
        return weight.to(dtype), bias.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *_: None) -> tuple[Any, ...]:
        return *ctx.uses.take(), None, None


class _Convolution(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, before: Tensor, weight: Tensor, bias: Tensor, layer: Any, uses: _Uses | None,
        dtype: torch.dtype, keeps: bool,
    ) -> Tensor:  # fmt: skip
        ctx.shape, ctx.layer, ctx.uses, where = x.shape, layer, uses, (layer.stride, layer.padding)
        x, before = (part.to(dtype, memory_format=CHANNELS_LAST) for part in (x, before))
        weight, bias = weight.to(dtype), bias.to(dtype)
        num_before, times = before.shape[1], len(x) // len(before)
        if num_before and x.shape[1] and times > 1 and not keeps:
            of_before = F.conv2d(before, weight[:, :num_before], bias, *where)
            y = F.conv2d(x, weight[:, num_before:], None, *where)
            y.view(times, *of_before.shape).add_(of_before)
        else:
            x = torch.cat([before.repeat(times, 1, 1, 1), x], 1) if num_before else x
            y = F.conv2d(x, weight, bias, *where)
        ctx.save_for_backward(x if keeps else None, weight)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        slope = slope.contiguous(memory_format=CHANNELS_LAST)
        for_x = None
        if ctx.needs_input_grad[0]:
            of_x = weight[:, -ctx.shape[1] :].contiguous(memory_format=CHANNELS_LAST)
            for_x = conv2d_input(ctx.shape, of_x, slope, ctx.layer.stride, ctx.layer.padding)
        return for_x, None, *_now_or_later(ctx, x, slope), None, None, None, None


class _Transposed(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: Any, uses: _Uses | None,
        dtype: torch.dtype, shape: Any,
    ) -> Tensor:  # fmt: skip
        ctx.layer, ctx.uses = layer, uses
        x, weight = x.to(dtype, memory_format=CHANNELS_LAST), weight.to(dtype)
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        y = conv2d_input(shape, weight, x, layer.stride, layer.padding)
        return y.add_(bias.to(dtype)[:, None, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        slope = slope.contiguous(memory_format=CHANNELS_LAST)
        where = ctx.layer.stride, ctx.layer.padding
        for_x = F.conv2d(slope, weight, None, *where) if ctx.needs_input_grad[0] else None
        return for_x, *_now_or_later(ctx, x, slope), None, None, None, None


class _Product(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: Any, uses: _Uses) -> Tensor:
        ctx.layer, ctx.uses = layer, uses
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        for_x = slope @ weight if ctx.needs_input_grad[0] else None
        return for_x, *_now_or_later(ctx, x, slope), None, None


def _now_or_later(ctx: Any, x: Tensor | None, slope: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of weight and bias; None if they want none, or wait for more uses."""
    if x is None:
        return None, None
    if ctx.uses is None:
        return ctx.layer.gradient(x, slope), _of_bias(slope)
    ctx.uses.add(x, slope)
    return None, None


def _of_bias(slope: Tensor) -> Tensor:
    return slope.sum([axis for axis in range(slope.dim()) if axis != 1])
