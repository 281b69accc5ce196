"""The paper's training steps written down plainly, as a reference for speed: `headway bench imagination` times both.

torch's own layers with the weights of mbrl.forward_models.paper, used the obvious way: all C frames encoded anew at
every step, one rollout for the costs, then one more for each dropout mask, gradients for everything that has weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agents.policies import Policy
from envs.context import Context, motion
from envs.costs import costs, pixel_grid
from envs.units import View
from mbrl.forward_models import PaperModel
from mbrl.forward_models.base import kl_between_normals, reparameterise
from mbrl.forward_models.paper import DARKEST, MIN_HEADING_SPEED
from mbrl.normaliser import Normaliser

Act = Callable[[int, Context], Tensor]  # of step t and what is seen then


class Rollout(NamedTuple):
    """T steps of B examples."""

    images: Tensor  # (B, T, 3, H, W)
    poses: Tensor  # (B, T, 4)
    cost: Tensor  # (B, T)


class Network(nn.Module):
    """The network of the paper, its parts named as there, so that it takes the weights of a model."""

    def __init__(self, model: PaperModel) -> None:
        super().__init__()
        config, p = model.config, model.config.dropout
        (c1, c2, c3), hidden, z_dim = config.channels, config.hidden, config.z_dim
        frames = config.timing.frames
        sizes = [(config.view.height >> k, config.view.width >> k) for k in range(5)]
        self.sizes, self.top, self.waist = sizes, (c3, *sizes[3]), (c3, *sizes[4])
        flat, waist = c3 * sizes[3][0] * sizes[3][1], c3 * sizes[4][0] * sizes[4][1]

        def conv(a: int, b: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.Dropout2d(p), nn.LeakyReLU(0.2))

        def images(a: int) -> nn.Module:
            return nn.Sequential(conv(a, c1), conv(c1, c2), nn.Conv2d(c2, c3, 4, 2, 1))

        def linear(a: int, b: int) -> tuple[nn.Module, ...]:
            return nn.Linear(a, b), nn.Dropout(p), nn.LeakyReLU(0.2)

        def vectors(a: int) -> nn.Module:
            return nn.Sequential(*linear(a, hidden), *linear(hidden, hidden), nn.Linear(hidden, flat))

        self.image_encoder, self.vector_encoder = images(3 * frames), vectors(4 * frames)
        self.action_encoder, self.z_to_top = vectors(2), nn.Linear(z_dim, flat)
        self.next_image_encoder, self.next_vector_encoder = images(3), vectors(4)
        self.posterior_head = nn.Sequential(*linear(flat, hidden), nn.Linear(hidden, 2 * z_dim))
        self.u_down, self.u_waist = (
            conv(c3, c3),
            nn.Sequential(*linear(waist, hidden), *linear(hidden, waist)),
        )
        self.u_up = nn.Sequential(nn.Upsample(sizes[3]), nn.Conv2d(c3, c3, 3, 1, 1))
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in ((c3, c2), (c2, c1), (c1, 3))
        )
        self.deconv_dropout = nn.Sequential(nn.Dropout2d(p), nn.LeakyReLU(0.2))
        self.vector_head = nn.Sequential(*linear(flat, hidden), nn.Linear(hidden, 4))
        self.vector_normaliser, self.action_normaliser = Normaliser(4), Normaliser(2)
        self.residual = config.residual
        self.load_state_dict(model.state_dict())

    def encode(self, images: Tensor, vectors: Tensor) -> Tensor:
        """Of images (B, C, 3, H, W) and normalised vectors (B, C, 4)."""
        return self.image_encoder(images.flatten(1, 2)) + self.vector_encoder(vectors.flatten(1)).view(
            -1, *self.top
        )

    def posterior(self, encoded: Tensor, image: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of z, from what came next."""
        after = self.next_image_encoder(image) + self.next_vector_encoder(u).view(-1, *self.top)
        mu, log_var = self.posterior_head((encoded + after).flatten(1)).chunk(2, -1)
        return mu, log_var.clamp(-8, 8)

    def decode(self, encoded: Tensor, action: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """What is added to the last image, inside the sigmoid, and to the last u."""
        action = self.action_encoder(self.action_normaliser(action)).view(-1, *self.top)
        top = encoded + action + self.z_to_top(z).view(-1, *self.top)
        top = top + self.u_up(self.u_waist(self.u_down(top).flatten(1)).view(-1, *self.waist))
        out = self.deconvs[0](top, output_size=self.sizes[2])
        out = self.deconvs[1](self.deconv_dropout(out), output_size=self.sizes[1])
        out = self.deconvs[2](self.deconv_dropout(out), output_size=self.sizes[0])
        return out, self.vector_head(top.flatten(1))

    def image(self, out: Tensor, last: Tensor) -> Tensor:
        """What comes after the last image."""
        return torch.sigmoid(out + (torch.logit(last, DARKEST) if self.residual == "logit" else last))

    def pose(self, u: Tensor, last: Tensor) -> Tensor:
        """x, y, heading, speed of u."""
        x, y, vx, vy = self.vector_normaliser.inverse(u).unbind(-1)
        speed = torch.sqrt(vx**2 + vy**2 + 1e-12)
        heading = torch.where(speed > MIN_HEADING_SPEED, torch.atan2(vy, vx), last[:, 2])
        return torch.stack([x, y, heading, speed], -1)


def model_step(
    network: Network, context: Context, actions: Tensor, images: Tensor, poses: Tensor, z_dropout: float = 0.5
) -> Tensor:
    """The loss of one update of the forward model, backward done: squared error of an unroll, and 1e-6 KL per step."""
    network.train()
    seen, vectors = context.images, network.vector_normaliser(motion(context.poses))
    loss, steps = actions.new_zeros(()), actions.shape[1]
    for t in range(steps):
        true_u = network.vector_normaliser(motion(poses[:, t]))
        encoded = network.encode(seen, vectors)
        mu, log_var = network.posterior(encoded, images[:, t], true_u)
        zeros = torch.zeros_like(mu)
        z = reparameterise(mu, log_var, torch.randn_like(mu))
        dropped = torch.rand(len(z), 1, device=z.device) < z_dropout
        out, change = network.decode(encoded, actions[:, t], torch.where(dropped, torch.randn_like(z), z))
        image, u = network.image(out, seen[:, -1]), vectors[:, -1] + change
        seen, vectors = (
            torch.cat([seen[:, 1:], image[:, None]], 1),
            torch.cat([vectors[:, 1:], u[:, None]], 1),
        )
        error = (image - images[:, t]).square().mean() + (u - true_u).square().mean()
        loss = loss + (error + 1e-6 * kl_between_normals(mu, log_var, zeros, zeros).mean()) / steps
    loss.backward()
    return loss.detach()


def rollout(network: Network, context: Context, act: Act, z: Tensor, view: View) -> Rollout:
    """Drive on from a context by z (B, T, z_dim)."""
    seen, poses, steps = context.images, context.poses, z.shape[1]
    vectors = network.vector_normaliser(motion(poses))
    predicted = []
    for t in range(steps):
        action = act(t, Context(seen.unbind(1), poses, context.size))
        out, change = network.decode(network.encode(seen, vectors), action, z[:, t])
        image, u = network.image(out, seen[:, -1]), vectors[:, -1] + change
        pose = network.pose(u, poses[:, -1])
        predicted.append((image, pose))
        seen, vectors = (
            torch.cat([seen[:, 1:], image[:, None]], 1),
            torch.cat([vectors[:, 1:], u[:, None]], 1),
        )
        poses = torch.cat([poses[:, 1:], pose[:, None]], 1)
    images, poses = (torch.stack(part, 1) for part in zip(*predicted, strict=True))
    size = context.size[:, None].expand(-1, steps, -1)
    cost = costs(images, poses[..., 3].detach(), size, *pixel_grid(view, poses)).total()
    return Rollout(images, poses, cost)


def policy_step(
    network: Network, policy: Policy, context: Context, z: Tensor, num_masks: int, gamma: float = 0.99
) -> Tensor:
    """The loss of one MPUR update, backward done: discounted cost of a rollout, and U of `num_masks` more."""
    actions: list[Tensor] = []

    def drive(t: int, seen: Context) -> Tensor:
        actions.append(policy(seen))
        return actions[-1]

    network.eval()
    driven = rollout(network, context, drive, z, policy.config.view)
    network.train()  # dropout
    under = [
        rollout(network, context, lambda t, _: actions[t], z, policy.config.view) for _ in range(num_masks)
    ]
    images, vectors, cost = (
        torch.stack(part).var(0)
        for part in zip(*((r.images, motion(r.poses), r.cost) for r in under), strict=True)
    )
    uncertainty = images.sum((-3, -2, -1)) + vectors.sum(-1) + cost
    discount = gamma ** torch.arange(z.shape[1], device=z.device)
    loss = (discount * driven.cost).mean() + 0.5 * uncertainty.mean()
    loss.backward()
    return loss.detach()
