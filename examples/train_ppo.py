"""Train stable-baselines3's PPO on recorded traffic for a few thousand steps (a minute or two on two cores).

python examples/train_ppo.py [RECORDING.parquet [STEPS]]
"""

import sys

import gymnasium as gym
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

import envs  # registers headway/Replay-v0


class Perception(BaseFeaturesExtractor):
    """The stacked pictures through three convolutions, beside the ego's speeds and size."""

    def __init__(self, space: gym.spaces.Dict) -> None:
        super().__init__(space, features_dim=128)
        frames, channels, height, width = space["images"].shape
        self.pictures = nn.Sequential(
            nn.Conv2d(frames * channels, 16, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(32, 32, 4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        flat = self.pictures(torch.zeros(1, frames * channels, height, width)).shape[1]
        self.join = nn.Sequential(nn.Linear(flat + 2 * frames + 2, 128), nn.ReLU())

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        pictures = self.pictures(observation["images"].flatten(1, 2) / 255)
        speeds = observation["vectors"][..., 2:].flatten(1) / 20  # where it is on the map is not its business
        return self.join(torch.cat([pictures, speeds, observation["size"] / 5], 1))


def main(recording: str | None = None, steps: int = 8192) -> None:
    settings = {"recordings": recording or envs.SAMPLE, "split": "train" if recording is None else "all"}
    cars = make_vec_env("headway/Replay-v0", n_envs=8, seed=0, env_kwargs=settings)
    policy = {"features_extractor_class": Perception, "log_std_init": -2.0}
    model = PPO(
        "MultiInputPolicy", cars, n_steps=128, batch_size=256, policy_kwargs=policy, seed=0, verbose=1
    )
    model.learn(int(steps))
    rewards = [episode["r"] for episode in model.ep_info_buffer or []]
    print(f"mean reward of the last {len(rewards)} drives: {sum(rewards) / max(len(rewards), 1):.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
