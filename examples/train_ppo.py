"""Train stable-baselines3's PPO on recorded traffic for a few thousand steps (a minute or two on two cores).

python examples/train_ppo.py [RECORDING.parquet [STEPS]]

The same with validation, checkpoints and MLflow is `headway train-rl`.
"""

import sys

from stable_baselines3 import PPO

from agents.sb3_interface import Interface
from agents.sb3_vec_env import SB3VecEnv


def main(recording: str | None = None, steps: int = 8192) -> None:
    split = "train" if recording is None else "all"
    cars = SB3VecEnv(16, recording, interface=Interface(sees="cells", frames=(0, 2, 4)), split=split)
    model = PPO(
        "MlpPolicy", cars, n_steps=64, batch_size=256, policy_kwargs={"log_std_init": -1.0}, seed=0, verbose=1
    )
    model.learn(int(steps))
    rewards = [episode["r"] for episode in model.ep_info_buffer or []]
    print(f"mean reward of the last {len(rewards)} drives: {sum(rewards) / max(len(rewards), 1):.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
