"""The separated model: the others are predicted, the ego's own motion is integrated exactly.

The scene is predicted in the frame of an observer that goes straight on at the ego's present speed, so it does not
depend on the ego's actions: one rollout serves every plan, policy and iteration. The ego's view is cut out of it.

    flow_t+1     = flow_t + d_flow                                  a pixel's source, momentum carried on
    D_t+1(p)     = flow_t+1(p) + D_t(p + flow_t+1(p))               composed back to the last observed frame s_0
    r_t+1(p)     = r_t(p + flow_t+1(p)) + d_r
    vehicles_t+1 = clip(s_0(p + D_t+1(p)) + r_t+1(p), 0, 1)         nothing is resampled twice, so nothing blurs

where (d_flow, d_r) is a U-Net of the last pictures, the flow, the speed and z. Lane markings and off-road area do not
move: they are cut out of the last observed frame, and continue beyond its edge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envs.context import Context
from envs.kinematics import step as drive
from envs.units import View
from mbrl.forward_models.base import Bank, ForwardModel, Latent, Prediction, Timing, check_latent
from mbrl.warp import resample

SPEED_SCALE = 10.0  # m/s; inputs are of order one


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
        if self.z_dim and self.timing.frames < 2:
            raise ValueError(
                "timing.frames must be at least 2: z is inferred from the last two frames and the next"
            )
        check_latent(self.z_dim, self.latent, self.dropout)


@dataclass(frozen=True)
class Scene:
    """State of the model: what moves around the observer, and the ego's place in it."""

    vehicles: Tensor  # (B, C, H, W), each from the observer's pose in that frame; the last one is now
    origin: Tensor  # (B, 1, H, W): vehicles in the last observed frame
    displacement: Tensor  # (B, 2, H, W) px, down and right: where in `origin` a pixel comes from
    flow: Tensor  # (B, 2, H, W) px per step
    residual: Tensor  # (B, 1, H, W)
    static: Tensor  # (B, 2, H, W): lanes and off-road area in the last observed frame
    start: Tensor  # (B, 4): the ego's pose then
    observer: Tensor  # (B, 4): the observer's pose now
    ego: Context  # what the ego has seen


class SeparatedModel(ForwardModel[Scene]):
    """See the module's docstring. Actions move the ego only."""

    observer: Literal["ego", "straight"] = "straight"

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
        self.up1 = nn.ConvTranspose2d(2 * c1, 3, 4, 2, 1)
        nn.init.zeros_(self.up1.weight)  # the untrained model predicts that nothing moves
        if self.up1.bias is not None:
            nn.init.zeros_(self.up1.bias)
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

    def encode(self, context: Context) -> Scene:
        now = context.now()
        b, (h, w) = context.batch_size, context.frames[0].shape[-2:]
        c = len(context.frames)
        back = self.timing.step_seconds * torch.arange(c - 1, -1, -1, device=now.device, dtype=now.dtype)
        observers = self._straight(now[:, None].expand(b, c, 4), -back).reshape(b * c, 4)
        vehicles = resample(
            torch.stack([frame[:, 1] for frame in context.frames], 1).view(b * c, 1, h, w),
            self.view,
            context.poses.reshape(b * c, 4),
            observers,
        ).view(b, c, h, w)
        zeros = vehicles.new_zeros(b, 3, h, w)
        return Scene(
            vehicles=vehicles,
            origin=vehicles[:, -1:],
            displacement=zeros[:, :2],
            flow=zeros[:, :2],
            residual=zeros[:, 2:],
            static=context.frames[-1][:, ::2],
            start=now,
            observer=now,
            ego=context,
        )

    @staticmethod
    def _straight(pose: Tensor, seconds: Tensor | float) -> Tensor:
        """Poses (..., 4) after going straight on for some time."""
        way = pose[..., 3] * seconds
        x, y = pose[..., 0] + way * torch.cos(pose[..., 2]), pose[..., 1] + way * torch.sin(pose[..., 2])
        return torch.stack([x, y, pose[..., 2], pose[..., 3]], -1)

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
        features = F.pad(torch.cat([history, h.static, h.flow, speed], 1), self._pad)
        d1 = self.down1(features)
        d2 = self.down2(d1)
        d3 = self.down3(d2)
        if self.z_dim:
            d3 = d3 + self.z_to_waist(z).view_as(d3)
        u3 = self.up3(self.middle(d3) + d3)
        u2 = self.up2(torch.cat([u3, d2], 1))
        out = self.up1(torch.cat([u2, d1], 1))[:, :, :height, :width]
        flow = h.flow + out[:, :2]
        carried = _warp(torch.cat([h.displacement, h.residual], 1), flow, padding="border")
        displacement, residual = flow + carried[:, :2], carried[:, 2:] + out[:, 2:]
        vehicles = (_warp(h.origin, displacement, padding="zeros") + residual).clamp(0, 1)
        return replace(
            h,
            vehicles=torch.cat([h.vehicles[:, 1:], vehicles], 1),
            displacement=displacement,
            flow=flow,
            residual=residual,
            observer=self._straight(h.observer, self.timing.step_seconds),
        )

    def step(self, h: Scene, action: Tensor, z: Tensor) -> tuple[Prediction, Scene]:
        h = self.advance(h, z)
        pose = self.drive(h.ego.now(), action)
        image = self.look(h.vehicles[:, -1:], h.observer, h.static, h.start, pose)
        return Prediction(image, pose), replace(h, ego=h.ego.push(image, pose))

    def drive(self, pose: Tensor, action: Tensor) -> Tensor:
        """The ego's pose after one step of the model, in steps of the recording."""
        for _ in range(self.timing.stride):
            pose = drive(pose, action, self.timing.dt)
        return pose

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


def _warp(images: Tensor, flow: Tensor, *, padding: str) -> Tensor:
    """images (B, c, H, W) at p + flow(p), flow (B, 2, H, W) in px down and right."""
    _, _, height, width = images.shape
    rows = torch.linspace(-1, 1, height, device=flow.device, dtype=flow.dtype)[:, None]
    columns = torch.linspace(-1, 1, width, device=flow.device, dtype=flow.dtype)[None, :]
    grid = torch.stack([columns + flow[:, 1] * 2 / (width - 1), rows + flow[:, 0] * 2 / (height - 1)], -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=True)
