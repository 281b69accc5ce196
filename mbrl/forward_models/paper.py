"""The paper's forward model: everything, the ego's motion included, is predicted by one action-conditioned network.

    h = conv(last C images) + mlp(last C vectors)                       256 x 14 x 3 at the paper's size
    h <- h + mlp(a) + W z;  h <- h + u_net(h)                            u_net has a fully connected waist
    image' = sigmoid(deconv(h) + r(image));  u' = mlp(h) + u             u = (x, y, vx, vy), normalised

The paper's r is the identity: where deconv(h) = 0, black turns grey (sigmoid(0) = .5) and white too (.73), so that
every pixel has to be drawn anew in every step. With r = logit what the network says nothing about stays as it is.

Source: Henaff, Canziani, LeCun, arXiv:1901.02705, appendix, and its public code. Deterministic with z_dim 0; what z is
otherwise, see mbrl.forward_models.base; z-dropout is a matter of training (mbrl.train_model).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from envs.context import Context, Recorded, motion
from envs.units import View
from envs.windows import Observer
from mbrl.forward_models.base import Bank, ForwardModel, Latent, Prediction, Timing, check_latent
from mbrl.forward_models.layers import Conv2d, ConvTranspose2d, Linear
from mbrl.normaliser import Normaliser

Residual = Literal["intensity", "logit"]
DARKEST = 0.01  # intensity, and 1 - DARKEST the brightest, whose logit is that of all beyond
MIN_HEADING_SPEED = 0.5  # m/s; below it the direction of the predicted velocity is noise, the heading stays


@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """Sizes; the defaults are the paper's."""

    timing: Timing = Timing(frames=20, stride=1)  # noqa: RUF009 (frozen)
    view: View = View()  # noqa: RUF009
    channels: tuple[int, int, int] = (64, 128, 256)
    hidden: int = 256
    z_dim: int = 32
    latent: Latent = "normal"
    dropout: float = 0.1
    residual: Residual = "intensity"  # r of the last picture, to which the network's output is added

    def __post_init__(self) -> None:
        if self.residual not in get_args(Residual):
            raise ValueError(f"residual={self.residual!r} must be one of {', '.join(get_args(Residual))}")
        check_latent(self.z_dim, self.latent, self.dropout)
        if min(self.view.height, self.view.width) < 16:
            raise ValueError(
                f"{self.view}: the encoder halves the picture three times, give it at least 16 px"
            )


class Ahead(NamedTuple):
    """What of a recorded step depends on it alone, (B, c3, h3, w3) each: its action, and what came next."""

    action: Tensor
    next: Tensor | None


@dataclass(frozen=True)
class PaperState:
    """What the network looks back on, its encoding, and the step that led here."""

    context: Context
    encoded: Tensor  # (B, c3, h3, w3)
    vectors: Tensor  # (B, C, 4), normalised u
    known: Tensor  # (B, 3 (C - n), H, W): the frames that no gradient goes through, once for all masks, ...
    imagined: Tensor  # (B, 3 n, H, W): ... and the others
    ahead: tuple[Ahead, ...]  # of the recorded steps that follow, if it goes along them


def leaky() -> nn.Module:
    """Over what it is given, of which nothing else is kept."""
    return nn.LeakyReLU(0.2, inplace=True)


class PaperModel(ForwardModel[PaperState]):
    """See the module's docstring."""

    observer: Observer = "ego"
    image_encoder: Any

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.gradient = "pixels"
        self._config = config
        self.timing, self.z_dim = config.timing, config.z_dim
        c1, c2, c3 = config.channels
        sizes = [(config.view.height, config.view.width)]
        for _ in range(3):
            sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
        self._sizes = sizes
        top = sizes[-1]
        flat = c3 * top[0] * top[1]
        self._top = (c3, *top)
        frames = config.timing.frames
        p = config.dropout

        def conv(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(Conv2d(a, b, 4, 2, 1), nn.Dropout2d(p), leaky())

        def images_to_top(a: int) -> nn.Sequential:
            return nn.Sequential(conv(a, c1), conv(c1, c2), Conv2d(c2, c3, 4, 2, 1))

        def vectors_to_top(a: int) -> nn.Module:
            h = config.hidden
            return nn.Sequential(
                Linear(a, h), nn.Dropout(p), leaky(), Linear(h, h), nn.Dropout(p), leaky(), Linear(h, flat)
            )  # fmt: skip

        self.vector_normaliser, self.action_normaliser = Normaliser(4), Normaliser(2)
        self.image_encoder, self.vector_encoder = images_to_top(3 * frames), vectors_to_top(4 * frames)
        self.action_encoder = vectors_to_top(2)
        waist = (top[0] // 2, top[1] // 2)
        self._waist = (c3, *waist)
        self.u_down = conv(c3, c3)
        waist_flat = c3 * waist[0] * waist[1]
        self.u_waist = nn.Sequential(
            Linear(waist_flat, config.hidden), nn.Dropout(p), leaky(),
            Linear(config.hidden, waist_flat), nn.Dropout(p), leaky(),
        )  # fmt: skip
        self.u_up = nn.Sequential(nn.Upsample(top), Conv2d(c3, c3, 3, 1, 1))
        self.deconvs = nn.ModuleList(ConvTranspose2d(a, b, 4, 2, 1) for a, b in ((c3, c2), (c2, c1), (c1, 3)))
        self.deconv_dropout = nn.Sequential(nn.Dropout2d(p), leaky())
        self.vector_head = nn.Sequential(
            Linear(flat, config.hidden), nn.Dropout(p), leaky(), Linear(config.hidden, 4)
        )
        if config.z_dim:
            self.z_to_top = Linear(config.z_dim, flat)
            self.next_image_encoder, self.next_vector_encoder = images_to_top(3), vectors_to_top(4)
            self.posterior_head = self._z_head(flat)
        if config.latent == "learned":
            self.prior_head = self._z_head(flat)
        self.bank = Bank(config.z_dim) if config.latent == "error" else None

    def _z_head(self, flat: int) -> nn.Module:
        hidden, p = self._config.hidden, self._config.dropout
        return nn.Sequential(Linear(flat, hidden), nn.Dropout(p), leaky(), Linear(hidden, 2 * self.z_dim))

    @property
    def config(self) -> PaperConfig:
        return self._config

    def _vectors(self, poses: Tensor) -> Tensor:
        """Normalised u of poses (..., 4)."""
        return self.vector_normaliser(motion(poses))

    def encode(self, context: Context, num_masks: int = 1, along: Recorded | None = None) -> PaperState:
        frames = self._stacked(*context.frames)
        known, imagined = (frames[:, :0], frames) if frames.requires_grad else (frames, frames[:, :0])
        many = context.repeat(num_masks)
        ahead = () if along is None else self._look_ahead(along)
        return self._encode(
            many, self._vectors(many.poses), known, imagined.repeat(num_masks, 1, 1, 1), ahead
        )

    def _encode(
        self, context: Context, vectors: Tensor, known: Tensor, imagined: Tensor, ahead: tuple[Ahead, ...]
    ) -> PaperState:
        first, second, third = self.image_encoder
        images = third(second(first[1:](first[0](imagined, known))))
        encoded = images + self.vector_encoder(vectors.flatten(1)).view(-1, *self._top)
        return PaperState(context, encoded, vectors, known, imagined, ahead)

    def _stacked(self, *frames: Tensor) -> Tensor:
        """(B, 3 n, H, W) of n frames (B, 3, H, W), as the first convolution wants it."""
        x = torch.cat(frames, 1)
        return x.to(self.image_encoder[0][0].dtype(x), memory_format=torch.channels_last)

    def posterior(self, h: PaperState, action: Tensor, image: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        vectors = self._vectors(pose)
        if self.bank is None:
            after = h.ahead[0].next if h.ahead else self._top_of_next(image, vectors)
            assert after is not None
            mu, log_var = self.posterior_head((h.encoded + after).flatten(1)).to(vectors).chunk(2, -1)
            return mu, log_var.clamp(-8, 8)
        with torch.no_grad():  # what f(s, a, 0) gets wrong
            guess, after_guess = self.step(h, action, action.new_zeros(len(action), self.z_dim))
            image_error, vector_error = image - guess.image, vectors - after_guess.vectors[:, -1]
        mu, _ = (
            self.posterior_head(self._top_of_next(image_error, vector_error).flatten(1))
            .to(vectors)
            .chunk(2, -1)
        )
        return mu, torch.full_like(mu, -torch.inf)

    def _top_of_next(self, image: Tensor, vectors: Tensor) -> Tensor:
        return self.next_image_encoder(image) + self.next_vector_encoder(vectors).view(-1, *self._top)

    def _top_of_action(self, action: Tensor) -> Tensor:
        return self.action_encoder(self.action_normaliser(action)).view(-1, *self._top)

    def _look_ahead(self, along: Recorded) -> tuple[Ahead, ...]:
        """All steps of a recorded future at once."""
        steps = along.actions.shape[1]
        actions, images, poses = (
            x.transpose(0, 1).flatten(0, 1) for x in (along.actions, along.images, along.poses)
        )
        encoded = self._top_of_action(actions).chunk(steps)
        if self.z_dim == 0 or self.bank is not None:
            return tuple(Ahead(action, None) for action in encoded)
        return tuple(map(Ahead, encoded, self._top_of_next(images, self._vectors(poses)).chunk(steps)))

    def prior(self, h: PaperState) -> tuple[Tensor, Tensor]:
        if self._config.latent != "learned":
            return super().prior(h)
        mu, log_var = self.prior_head(h.encoded.flatten(1)).to(h.vectors).chunk(2, -1)
        return mu, log_var.clamp(-8, 8)

    def step(self, h: PaperState, action: Tensor, z: Tensor) -> tuple[Prediction, PaperState]:
        top = h.encoded + (h.ahead[0].action if h.ahead else self._top_of_action(action))
        if self.z_dim:
            top = top + self.z_to_top(z).view(-1, *self._top)
        waist = self.u_waist(self.u_down(top).flatten(1)).view(-1, *self._waist)
        top = top + self.u_up(waist)
        out = top
        for i, deconv in enumerate(self.deconvs):
            out = deconv(out if i == 0 else self.deconv_dropout(out), output_size=self._sizes[2 - i])
        before, u_before = h.context.frames[-1], h.vectors[:, -1]
        kept = torch.logit(before, DARKEST) if self._config.residual == "logit" else before
        image = torch.sigmoid(out.to(before.dtype, memory_format=torch.contiguous_format) + kept)
        u = self.vector_head(top.flatten(1)).to(u_before) + u_before
        pose = self._pose(u, h.context.now())
        context = h.context.push(image, pose)
        vectors = torch.cat([h.vectors[:, 1:], u[:, None]], 1)
        imagined = torch.cat([h.imagined, self._stacked(image)], 1)
        if imagined.shape[1] > 3 * len(context.frames):
            imagined = imagined[:, 3:]
        return Prediction(image, pose), self._encode(context, vectors, h.known[:, 3:], imagined, h.ahead[1:])

    def _pose(self, u: Tensor, last: Tensor) -> Tensor:
        x, y, vx, vy = self.vector_normaliser.inverse(u).unbind(-1)
        speed = torch.sqrt(vx.square() + vy.square() + 1e-12)  # whose gradient at standstill stays finite
        heading = torch.where(speed > MIN_HEADING_SPEED, torch.atan2(vy, vx), last[:, 2])
        return torch.stack([x, y, heading, speed], -1)

    def context(self, h: PaperState) -> Context:
        return h.context

    def error(self, h: PaperState, image: Tensor, pose: Tensor) -> Tensor:
        image_error = (h.context.frames[-1] - image).square().mean((-3, -2, -1))
        return image_error + (h.vectors[:, -1] - self._vectors(pose)).square().mean(-1)
