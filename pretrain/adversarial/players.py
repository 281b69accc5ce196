"""A critic and a generator: the critic's energy is low on data, the generator looks for answers of low energy.

The critic learns to raise what the generator makes, so that its contrasts are always those that matter now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from pretrain.learner import Learner, step


class Adversarial(Learner):
    """What all such pairs share.

    critic: y (N, ...) -> energies (N,). generator: z (N, num_latent), standard normal, -> y.
    """

    players = ("critic", "generator")

    def __init__(self, critic: nn.Module, generator: nn.Module, num_latent: int) -> None:
        super().__init__()
        self.critic, self.generator, self.num_latent = critic, generator, num_latent

    def energy(self, y: Tensor) -> Tensor:
        """The critic's, (N,)."""
        return self.critic(y)

    def sample(self, num: int, generator: torch.Generator) -> Tensor:
        """Answers (num, ...) that the generator makes; gradients flow to its weights."""
        weight = next(self.generator.parameters())
        z = torch.randn(num, self.num_latent, generator=generator, device=weight.device, dtype=weight.dtype)
        return self.generator(z)

    def parameters_of(self, player: str) -> Iterable[nn.Parameter]:
        """The critic's or the generator's.

        Raises:
            ValueError: there is no such player.
        """
        if player not in self.players:
            raise ValueError(f"player={player!r} must be one of {self.players}")
        return (self.critic if player == "critic" else self.generator).parameters()


def play(
    learner: Adversarial,
    optimisers: Mapping[str, torch.optim.Optimizer],
    batch: Callable[[], Tensor],
    generator: torch.Generator,
    critic_steps: int = 1,
) -> dict[str, float]:
    """One round: `critic_steps` steps of the critic on new batches, then one of the generator.

    Returns:
        The last step's means of both, as "critic.real" or "generator.loss".
    """
    found: dict[str, float] = {}
    for player in ["critic"] * critic_steps + ["generator"]:
        means = step(learner, optimisers[player], batch(), generator, player)
        found |= {f"{player}.{name}": value for name, value in means.items()}
    return found
