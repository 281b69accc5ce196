"""A loss as a module that holds its settings, and the terms of a loss by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor, nn

from pretrain.learner import Terms

P = ParamSpec("P")


class Loss(nn.Module):
    """A loss function with its settings: Loss(hinge, margin=2.0)(energies, right) is hinge(energies, right, 2.0).

    Settings are attributes, at the function's defaults where not given. A tensor is a buffer, which moves and is saved
    with the module; an energy that is a module is a part of it.

    Args:
        function: returns one value per sample, (N,), or per pair.
    Raises:
        TypeError: the function has no such setting.
    """

    def __init__(self, function: Callable[..., Tensor], **settings: Any) -> None:
        super().__init__()
        self.function = function
        inspect.signature(function).bind_partial(**settings)
        settings = _defaults(function) | settings
        self._names = tuple(settings)
        for name, value in settings.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """The function of the inputs: energies, (N,) or (N, Y), and what else it takes."""
        return self.function(*inputs, **self._settings(), **named)

    def terms(self, *inputs: Any, **named: Any) -> Terms:
        """The terms whose sum `forward` returns, named; a loss of one term has the function's name."""
        return terms_of(self.function, *inputs, **self._settings(), **named)

    def extra_repr(self) -> str:
        shown = {name: value for name, value in self._settings().items() if not isinstance(value, nn.Module)}
        return ", ".join([_text(self.function), *(f"{name}={_text(value)}" for name, value in shown.items())])

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names}


def summed(terms: Callable[P, Terms]) -> Callable[P, Tensor]:
    """A decorator: `f(...)` becomes the sum of the terms that it gives by name, which stay `f.terms(...)`."""

    @wraps(terms)
    def loss(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        return torch.stack([*terms(*args, **kwargs).values()]).sum(0)

    loss.terms = terms  # type: ignore[attr-defined]
    return loss


def terms_of(loss: Callable[P, Tensor], *args: P.args, **kwargs: P.kwargs) -> Terms:
    """The terms of a loss, whose sum is `loss(*args, **kwargs)`; one of the loss's own name where it is no sum."""
    terms: Callable[P, Terms] | None = getattr(loss, "terms", None)
    return terms(*args, **kwargs) if terms else {_text(loss): loss(*args, **kwargs)}


def _text(value: Any) -> str:
    """A tensor by its shape, a function by its name."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    return getattr(value, "__name__", str(value))


def _defaults(function: Callable[..., Tensor]) -> dict[str, Any]:
    """The settings of a function: its arguments that have a default, unless that is None (an input left out)."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.default is not None}
