"""The paper's training steps written down plainly, as a reference for speed: `headway bench imagination` times both.

The same layers and weights (mbrl.forward_models.paper), used the obvious way: one rollout for the costs, then one more
for each dropout mask, the context concatenated anew at every step, gradients kept for everything that has weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.policies import Policy
from envs.context import Context
from envs.costs import costs, pixel_grid
from mbrl.forward_models import PaperModel
from mbrl.forward_models.base import kl_between_normals, reparameterise


def model_step(
    model: PaperModel,
    context: Context,
    actions: Tensor,
    images: Tensor,
    poses: Tensor,
    z_dropout: float = 0.5,
) -> Tensor:
    """The loss of one update of the forward model, backward done: mean squared error and 1e-6 KL of an unroll."""
    model.train()
    h, loss = model.encode(context), torch.zeros(())
    for t in range(actions.shape[1]):
        mu, log_var = model.posterior(h, actions[:, t], images[:, t], poses[:, t])
        zeros = torch.zeros_like(mu)
        loss = loss + 1e-6 * kl_between_normals(mu, log_var, zeros, zeros).mean()
        z = reparameterise(mu, log_var, torch.randn_like(mu))
        dropped = torch.rand(len(z), 1) < z_dropout
        _, h = model.step(h, actions[:, t], torch.where(dropped, torch.randn_like(z), z))
        loss = loss + model.error(h, images[:, t], poses[:, t]).mean()
    loss.backward()
    return loss.detach()


def policy_step(
    model: PaperModel, policy: Policy, context: Context, z: Tensor, num_masks: int, gamma: float = 0.99
) -> Tensor:
    """The loss of one MPUR update, backward done: discounted cost of a rollout, variance of `num_masks` more."""
    view = model.config.view
    model.eval()
    h, seen, actions, loss = model.encode(context), context, [], torch.zeros(())
    steps = z.shape[1]
    for t in range(steps):
        action = policy(seen)
        prediction, h = model.step(h, action, z[:, t])
        seen = model.context(h)
        grid = pixel_grid(view, prediction.pose)
        cost = costs(prediction.image, prediction.pose[:, 3].detach(), context.size, *grid).total()
        loss = loss + gamma**t * cost.mean() / steps
        actions.append(action)
    model.train()  # dropout
    rollouts = []
    for _ in range(num_masks):
        h, images = model.encode(context), []
        for t in range(steps):
            prediction, h = model.step(h, actions[t], z[:, t])
            images.append(torch.cat([prediction.image.flatten(1), prediction.pose], 1))
        rollouts.append(torch.stack(images, 1))
    loss = loss + 0.5 * torch.stack(rollouts).var(0).sum(-1).mean()
    loss.backward()
    return loss.detach()
