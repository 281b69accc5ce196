"""Small worlds whose every state is listed, so that expected losses are sums."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pretrain.binary import all_states
from pretrain.likelihood import Ising, IsingConfig


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ising(units: int = 4, seed: int | None = 0, scale: float = 0.5) -> Ising:
    """Of random couplings and biases; seed None: of none."""
    model = Ising(IsingConfig(units=units)).double()
    if seed is not None:
        for parameter in model.parameters():
            draws = torch.randn(parameter.shape, generator=generator(seed), dtype=torch.float64)
            parameter.data.copy_(scale * draws)
    return model


def states(units: int = 4) -> Tensor:
    return all_states(units, torch.float64)


def gradient(loss: Tensor, model: nn.Module) -> Tensor:
    """All parameters' gradients in one vector."""
    parts = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


def minimise(loss: Callable[[], Tensor], model: nn.Module, iterations: int = 200) -> None:
    """To high precision: the losses here are smooth and have few parameters."""
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=iterations, tolerance_grad=1e-10, tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)  # type: ignore[arg-type]
