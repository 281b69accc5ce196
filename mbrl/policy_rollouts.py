"""The losses of a policy's updates, one after the other: contexts drawn, futures imagined, driven through, judged.

Contexts come in blocks, each driven through in several epochs: what does not depend on the policy (the separated
model's futures, z inferred from what was recorded) is computed once per block.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.policies import Policy
from envs.context import Context, Recorded, context_of_windows
from envs.recording import Recording
from envs.windows import Observer, WindowConfig, Windows, WindowSampler, frames_back
from mbrl.critics import LearnedCost, ValueFunction
from mbrl.data_parallel import part, seeded, shared
from mbrl.forward_models import Ensemble, SeparatedModel
from mbrl.forward_models.base import ForwardModel, reparameterise
from mbrl.forward_models.layers import in_bfloat16
from mbrl.futures import Futures, foresee
from mbrl.imagination import (
    Actor,
    CostsOf,
    Latents,
    Trajectory,
    at_fixed_speed,
    exact_costs,
    from_prior,
    imagine,
    stepwise,
    unroll,
)
from mbrl.normaliser import Normaliser, usual
from mbrl.policy_losses import Loss, imitation_loss, mper_loss, mpur_loss, step_cost, value_loss
from mbrl.policy_training import PolicyTraining
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import dropout_on


def imitation_losses(
    config: PolicyTraining, policy: Policy, recordings: Sequence[Recording], step: int, device: str
) -> Iterator[Loss]:
    """The loss of update `step` and of all that follow."""
    windows = WindowConfig(
        context=frames_back(config.policy.frames, config.policy.stride), targets=(1,), view=config.policy.view
    )
    sampler = WindowSampler(
        recordings, windows, batch_size=config.batch_size, share=config.data_share, seed=(config.seed, 0)
    )
    for batch in sampler.stream(step, config.updates, part=part(config.batch_size)):
        action = torch.from_numpy(batch.actions[:, 0]).to(device)
        yield imitation_loss(policy, context_of_windows(batch, device), action)


def starts(
    config: PolicyTraining,
    recordings: Sequence[Recording],
    targets: tuple[int, ...] = (),
    observer: Observer = "straight",
) -> WindowSampler:
    """Where a policy is to drive on from; `targets` are frames that must be recorded."""
    p = config.policy
    windows = WindowConfig(
        context=frames_back(p.frames, p.stride),
        targets=targets,
        observer=observer,
        perturbed=0.0 if config.follows_recorded_future else config.perturbed,
        urgent=config.urgent,
        view=p.view,
    )
    return WindowSampler(
        recordings, windows, batch_size=config.batch_size, share=config.data_share, seed=(config.seed, 1)
    )


class Blockwise(ABC):
    """Losses of batches that are prepared a block at a time and used in several epochs.

    Attributes:
        generator: of what is random while a block is prepared or used; each block has its own.
    """

    config: PolicyTraining
    sampler: WindowSampler
    device: str
    generator: torch.Generator | None = None

    @abstractmethod
    def prepare(self, windows: Windows) -> Callable[[], Loss]:
        """Do once for a batch what serves all epochs; what remains is the loss of the policy as it is then."""

    def losses(self, step: int) -> Iterator[Loss]:
        """The loss of update `step`, which must begin a block, and of all that follow."""
        config = self.config
        per_block = config.block * config.epochs
        first, num_blocks = step // per_block, math.ceil(config.updates / per_block)
        stream = self.sampler.stream(
            first * config.block, num_blocks * config.block, part=part(config.batch_size)
        )
        for block in range(first, num_blocks):
            seed = np.random.SeedSequence((config.seed, 2, block)).generate_state(1)[0]
            self.generator = seeded(int(seed), self.device)
            batches = [self.prepare(next(stream)) for _ in range(config.block)]
            order = np.random.default_rng((config.seed, 3, block))
            for _ in range(config.epochs):
                for k in order.permutation(config.block):
                    yield batches[k]()


class Imagined(Blockwise):
    """The same for trajectories imagined through a frozen model.

    Args:
        value: is trained along, if config.value_weight counts it.
        learned_cost: judges instead of envs.costs.
    """

    def __init__(
        self,
        config: PolicyTraining,
        policy: Policy,
        trained: TrainedModel,
        recordings: Sequence[Recording],
        device: str = "cpu",
        *,
        value: ValueFunction | None = None,
        learned_cost: LearnedCost | None = None,
    ) -> None:
        self.config, self.policy, self.device, self.value = config, policy, device, value
        self.model: ForwardModel[Any] = trained.model.with_gradient(config.gradient)
        if config.mixed_precision:
            self.model = in_bfloat16(self.model)
        several = config.counts_uncertainty or isinstance(self.model, Ensemble)
        self.masks = config.masks if several else 1
        self.uncertainty = trained.uncertainty if config.counts_uncertainty else None
        view = config.policy.view
        if learned_cost is None:
            self.cost: CostsOf = exact_costs(self.model.gradient, view, detach_speed=config.detach_speed)
        else:
            self.cost = at_fixed_speed(learned_cost) if config.detach_speed else learned_cost
        # the others do not depend on the ego: their futures are drawn once, and only where the ego's mask moves
        self.shares_futures = (
            isinstance(self.model, SeparatedModel)
            and (self.model.gradient, config.z) in (("position", "prior"), ("position", "posterior"))
            and learned_cost is None
            and config.detach_speed
        )
        targets = self.model.timing.targets(config.horizon) if config.follows_recorded_future else ()
        self.sampler = starts(config, recordings, targets, self.model.observer)
        self.normaliser = Normaliser(4).to(device)
        if config.method == "mper":
            batch = usual(recordings, targets, share=config.data_share, seed=config.seed)
            self.normaliser.fit(torch.from_numpy(batch.target_vectors).to(device))

    def prepare(self, windows: Windows) -> Callable[[], Loss]:
        context, model, config = context_of_windows(windows, self.device), self.model, self.config
        noise = shared(
            lambda num: model.noise(num, config.horizon, like=context.size, generator=self.generator),
            context.batch_size,
        )
        recorded, z = None, None
        if config.follows_recorded_future:
            recorded = Recorded.of(windows, self.device)
            z = inferred(model, context, recorded, noise)
        if not self.shares_futures:
            return partial(self.imagine, context, noise, z, recorded)
        assert isinstance(model, SeparatedModel)
        with dropout_on(model):
            futures = foresee(model, context, self._under_masks(noise, z), config.horizon, self.masks)
        return partial(self._drive_through, futures, noise)

    def _under_masks(self, noise: Tensor, z: Tensor | None) -> Latents:
        if z is not None:
            return z.repeat(self.masks, 1, 1)
        return from_prior(self.model, noise.repeat(self.masks, 1, 1))

    def _drive_through(self, futures: Futures, noise: Tensor) -> Loss:
        h = futures.encode()
        driven = imagine(futures, self._actor, h, noise, self.config.horizon, cost=self.cost)
        return self._judge(futures.under_all_masks(driven), driven, futures.start, None)

    def imagine(
        self, context: Context, noise: Tensor, z: Tensor | None = None, recorded: Recorded | None = None
    ) -> Loss:
        """The loss of driving on from a context (B); z (B, T, z_dim) are the prior's, chosen by noise, if not given."""
        if self.config.z == "adversarial":
            z = worst(self.model, self._actor, context, noise, self.config, self.cost)
        with dropout_on(self.model):
            trajectory = imagine(
                self.model, self._actor, self.model.encode(context, self.masks), self._under_masks(noise, z),
                self.config.horizon, cost=self.cost, num_masks=self.masks,
            )  # fmt: skip
        return self._judge(trajectory, trajectory, context, recorded)

    def _judge(
        self, trajectory: Trajectory, driven: Trajectory, start: Context, recorded: Recorded | None
    ) -> Loss:
        """The loss of a trajectory under all masks; V judges the one that was driven, from `start` (repeated)."""
        if self.config.method == "mper":
            assert recorded is not None
            loss, metrics = mper_loss(trajectory, recorded, self.normaliser, self.config)
        else:
            loss, metrics = mpur_loss(trajectory, self.uncertainty, self.config)
        if self.value is None:
            return loss, metrics
        start = start.repeat(len(driven.poses) // start.batch_size)
        more, numbers = value_loss(self.value, driven, start, self.config)
        loss = loss + more
        return loss, metrics | numbers | {"loss": float(loss.detach())}

    def _actor(self, context: Context) -> Tensor:
        if not self.config.stochastic:
            return self.policy(context)
        noise = shared(
            lambda num: torch.randn(num, 2, generator=self.generator, device=self.device), context.batch_size
        )
        return self.policy.sample(context, noise)


def worst(
    model: ForwardModel[Any],
    actor: Actor,
    context: Context,
    noise: Tensor,
    config: PolicyTraining,
    cost: CostsOf,
) -> Tensor:
    """z (B, T, z_dim) of the prior, moved towards what costs an actor more, each step's norm kept.

    z_t <- |z_t| (z_t + rate |z_t| g_t / |g_t|) / |...|,   g = d sum_t C_t / dz,   ascent_steps times
    """
    h = model.encode(context)
    with torch.no_grad():
        z = torch.stack([model.latent(h, noise[:, t]) for t in range(config.horizon)], 1)
    norm = z.norm(dim=-1, keepdim=True)
    for _ in range(config.ascent_steps):
        z = z.detach().requires_grad_()
        trajectory = imagine(model, actor, h, z, config.horizon, cost=cost)
        (slope,) = torch.autograd.grad(step_cost(trajectory, config).sum(), z)
        z = z + config.ascent_rate * norm * slope / slope.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        z = z * norm / z.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return z.detach()


@torch.no_grad()
def inferred(model: ForwardModel[Any], context: Context, recorded: Recorded, noise: Tensor) -> Tensor:
    """z (B, T, z_dim) of the posterior along the recorded future: mu + exp(log_var / 2) noise."""
    found: list[Tensor] = []

    def latent(t: int, h: Any) -> Tensor:
        if model.z_dim:
            mu, log_var = model.posterior(
                h, recorded.actions[:, t], recorded.images[:, t], recorded.poses[:, t]
            )
            found.append(reparameterise(mu, log_var, noise[:, t]))
        else:
            found.append(noise[:, t])
        return found[-1]

    h = model.encode(context, along=recorded)
    for _ in unroll(model, h, stepwise(recorded.actions), latent, noise.shape[1]):
        pass
    return torch.stack(found, 1)
