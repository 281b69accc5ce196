"""The separated model: the others are predicted, the ego's own motion is integrated exactly.

The scene is predicted in the frame of an observer that goes straight on at the ego's present speed, so it does not
depend on the ego's actions: one rollout serves every plan, policy and iteration. The ego's view is cut out of it.

    v_t+1(q) = v_t(q) + a_t(x_t(q))                        every pixel q of a vehicle, last seen in s_0, is a particle
    x_t+1(q) = x_t(q) + v_t+1(q)                           that keeps its intensity and its momentum
    s_t+1(p) = min(1, sum_q s_0(q) k(p - x_t+1(q)))        nothing is resampled twice, so nothing blurs

where v_0 is matched in the observed frames and the field a_t is a U-Net's, of the last pictures, what moves how fast
in them, the speed and z: the untrained model predicts that all go on as they did. Lane markings and off-road area do
not move: they are cut out of the last observed frame, and continue beyond its edge. Vehicles that nobody saw in s_0 do
not appear.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envs.context import Context, Recorded
from envs.kinematics import drive, straight_on
from envs.units import View
from envs.warp import resample
from envs.windows import Observer
from mbrl.forward_models.base import Bank, ForwardModel, Latent, Prediction, Timing, check_latent
from mbrl.forward_models.matching import matched_velocity
from mbrl.forward_models.particles import Particles

SPEED_SCALE = 10.0  # m/s; inputs are of order one
UNROLLED = ("down1", "down2", "down3", "z_to_waist", "middle", "up3", "up2", "head")  # at every step


@dataclass(frozen=True, kw_only=True)
class SeparatedConfig:
    """Sizes of the separated model; the defaults suit two cores."""

    timing: Timing = Timing(frames=5, stride=2)  # noqa: RUF009 (frozen)
    view: View = View()  # noqa: RUF009
    channels: tuple[int, int, int] = (16, 32, 64)
    back: tuple[int, ...] = (0, 1, 2, 4)  # context frames it looks at, in steps back
    z_dim: int = 8
    latent: Latent = "normal"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if max(self.back) >= self.timing.frames or min(self.back) != 0:
            raise ValueError(
                f"back={self.back} must begin at 0 and stay below timing.frames={self.timing.frames}"
            )
        if self.timing.frames < 2:
            raise ValueError("timing.frames must be at least 2: how fast things move is seen in two")
        check_latent(self.z_dim, self.latent, self.dropout)


@dataclass(frozen=True)
class Scene:
    """State of the model: what moves around the observer, and the ego's place in it."""

    vehicles: Tensor  # (B, C, H, W), each from the observer's pose in that frame; the last one is now
    velocity: Tensor  # (B, 2, H, W) px per step, down and to the right, of what is seen there
    particles: Particles
    static: Tensor  # (B, 2, H, W): lanes and off-road area in the last observed frame
    start: Tensor  # (B, 4): the ego's pose then
    observer: Tensor  # (B, 4): the observer's pose now
    ego: Context  # what the ego has seen

    def repeat(self, times: int) -> Scene:
        """That many copies, one after the other."""
        return Scene(
            self.vehicles.repeat(times, 1, 1, 1),
            self.velocity.repeat(times, 1, 1, 1),
            self.particles.repeat(times, len(self.vehicles)),
            self.static.repeat(times, 1, 1, 1),
            self.start.repeat(times, 1),
            self.observer.repeat(times, 1),
            self.ego.repeat(times),
        )


class SeparatedModel(ForwardModel[Scene]):
    """See the module's docstring. Actions move the ego only."""

    observer: Observer = "straight"

    def __init__(self, config: SeparatedConfig) -> None:
        super().__init__()
        self.gradient = "position"
        self._config = config
        self.timing, self.z_dim, self.view = config.timing, config.z_dim, config.view
        c1, c2, c3 = config.channels
        pad_h, pad_w = -config.view.height % 8, -config.view.width % 8
        self._pad = (0, pad_w, 0, pad_h)
        waist = ((config.view.height + pad_h) // 8, (config.view.width + pad_w) // 8)
        num_inputs = len(config.back) + 2 + 2 + 1

        def down(a: int, b: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(a, b, 4, 2, 1), nn.ReLU(inplace=True), nn.Dropout2d(config.dropout)
            )

        def up(a: int, b: int) -> nn.Module:
            return nn.Sequential(
                nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ReLU(inplace=True), nn.Dropout2d(config.dropout)
            )

        self.down1, self.down2, self.down3 = down(num_inputs, c1), down(c1, c2), down(c2, c3)
        self.middle = nn.Sequential(nn.Conv2d(c3, c3, 3, 1, 1), nn.ReLU(inplace=True))
        self.up3, self.up2 = up(c3, c2), up(2 * c2, c1)
        self.head = nn.Conv2d(2 * c1, 2, 3, 1, 1)
        nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)
        if config.z_dim:
            self.z_to_waist = nn.Linear(config.z_dim, c3 * waist[0] * waist[1])
            self.posterior_net = self._z_net(2 if config.latent == "error" else 3, waist)
        if config.latent == "learned":
            self.prior_net = self._z_net(2, waist)
        self.bank = Bank(config.z_dim) if config.latent == "error" else None

    def _z_net(self, num_pictures: int, waist: tuple[int, int]) -> nn.Module:
        c1, c2, _ = self._config.channels
        return nn.Sequential(
            nn.Conv2d(num_pictures, c1, 4, 2, 1), nn.ReLU(inplace=True),
            nn.Conv2d(c1, c2, 4, 2, 1), nn.ReLU(inplace=True),
            nn.Conv2d(c2, c2, 4, 2, 1), nn.ReLU(inplace=True), nn.Flatten(),
            nn.Linear(c2 * waist[0] * waist[1], 2 * self.z_dim),
        )  # fmt: skip

    @property
    def config(self) -> SeparatedConfig:
        return self._config

    def in_bfloat16(self) -> SeparatedModel:
        """A copy that finds accelerations in bfloat16; places, velocities and pictures stay as they are."""
        model = copy.deepcopy(self)
        for part in UNROLLED:
            if hasattr(model, part):
                getattr(model, part).to(torch.bfloat16, memory_format=torch.channels_last)
        return model

    def encode(self, context: Context, num_masks: int = 1, along: Recorded | None = None) -> Scene:
        context = context.repeat(num_masks)
        now = context.now()
        b, (h, w) = context.batch_size, context.frames[0].shape[-2:]
        c = len(context.frames)
        back = self.timing.step_seconds * torch.arange(c - 1, -1, -1, device=now.device, dtype=now.dtype)
        observers = straight_on(now[:, None], -back).reshape(b * c, 4)
        vehicles = resample(
            torch.stack([frame[:, 1] for frame in context.frames], 1).view(b * c, 1, h, w),
            self.view,
            context.poses.reshape(b * c, 4),
            observers,
        ).view(b, c, h, w)
        particles = Particles.of(
            vehicles[:, -1], matched_velocity(vehicles, self.view.px_per_m, self.timing.step_seconds)
        )
        return Scene(
            vehicles=vehicles,
            velocity=particles.drawn(b, h, w)[1],
            particles=particles,
            static=context.frames[-1][:, ::2],
            start=now,
            observer=now,
            ego=context,
        )

    def posterior(self, h: Scene, action: Tensor, image: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        vehicles = image[:, 1:2]
        if self.bank is None:
            seen = torch.cat([h.vehicles[:, -2:], vehicles], 1)
            mu, log_var = self.posterior_net(F.pad(seen, self._pad)).chunk(2, -1)
            return mu, log_var.clamp(-8, 8)
        with torch.no_grad():  # what f(s, 0) gets wrong
            guess = self.advance(h, vehicles.new_zeros(len(vehicles), self.z_dim)).vehicles[:, -1:]
        seen = torch.cat([h.vehicles[:, -1:], vehicles - guess], 1)
        mu, _ = self.posterior_net(F.pad(seen, self._pad)).chunk(2, -1)
        return mu, torch.full_like(mu, -torch.inf)

    def prior(self, h: Scene) -> tuple[Tensor, Tensor]:
        if self._config.latent != "learned":
            return super().prior(h)
        mu, log_var = self.prior_net(F.pad(h.vehicles[:, -2:], self._pad)).chunk(2, -1)
        return mu, log_var.clamp(-8, 8)

    def advance(self, h: Scene, z: Tensor) -> Scene:
        """The others one step later; the ego stays as it is."""
        _, _, height, width = h.vehicles.shape
        speed = (h.start[:, 3] / SPEED_SCALE)[:, None, None, None].expand(-1, 1, height, width)
        history = h.vehicles[:, [-1 - k for k in self._config.back]]
        features = F.pad(torch.cat([history, h.static, h.velocity, speed], 1), self._pad)
        d1 = self.down1(features.to(self.head.weight.dtype))  # see in_bfloat16
        d2 = self.down2(d1)
        d3 = self.down3(d2)
        if self.z_dim:
            d3 = d3 + self.z_to_waist(z.to(d3.dtype)).view_as(d3)
        u3 = self.up3(self.middle(d3) + d3)
        u2 = self.up2(torch.cat([u3, d2], 1))
        acceleration = self.head(torch.cat([u2, d1], 1)).to(features.dtype)
        particles = h.particles.moved(h.particles.at(acceleration, 2))
        vehicles, velocity = particles.drawn(len(h.vehicles), height, width)
        return replace(
            h,
            vehicles=torch.cat([h.vehicles[:, 1:], vehicles], 1),
            velocity=velocity,
            particles=particles,
            observer=straight_on(h.observer, self.timing.step_seconds),
        )

    def step(self, h: Scene, action: Tensor, z: Tensor) -> tuple[Prediction, Scene]:
        h = self.advance(h, z)
        pose = self.drive(h.ego.now(), action)
        image = self.look(h.vehicles[:, -1:], h.observer, h.static, h.start, pose)
        return Prediction(image, pose), replace(h, ego=h.ego.push(image, pose))

    def drive(self, pose: Tensor, action: Tensor) -> Tensor:
        """The ego's pose after one step of the model, in steps of the recording."""
        return drive(pose, action, self.timing.dt, self.timing.stride)

    def look(self, vehicles: Tensor, observer: Tensor, static: Tensor, start: Tensor, pose: Tensor) -> Tensor:
        """The picture (B, 3, H, W) from a pose (B, 4): what moves, seen by the observer, and what stands, as at the
        start. It carries a gradient to the pose only where costs go through pixels; see imagination.exact_costs."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.gradient == "pixels"):
            moving = resample(vehicles, self.view, observer, pose)
            standing = resample(static, self.view, start, pose, padding="border")
        return torch.cat([standing[:, :1], moving, standing[:, 1:]], 1)

    def context(self, h: Scene) -> Context:
        return h.ego

    def error(self, h: Scene, image: Tensor, pose: Tensor) -> Tensor:
        return (h.vehicles[:, -1] - image[:, 1]).square().mean((-2, -1))
