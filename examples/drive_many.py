"""Drive 128 cars at once with gentle random actions, and count how their drives end.

python examples/drive_many.py [RECORDING.parquet]
"""

import sys
from collections import Counter

import gymnasium as gym
import numpy as np

import envs  # registers headway/Replay-v0

NUM_CARS, NUM_STEPS = 128, 300


def main(recording: str | None = None) -> None:
    env = gym.make_vec(
        "headway/Replay-v0", num_envs=NUM_CARS, recordings=recording or envs.SAMPLE, split="all"
    )
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    endings: Counter[str] = Counter()
    driven = []
    for _ in range(NUM_STEPS):
        # Shares of what each vehicle can do: acceleration, curvature.
        actions = rng.normal(0.0, (0.1, 0.002), (NUM_CARS, 2)).clip(-1, 1).astype(np.float32)
        _, _, terminated, truncated, infos = env.step(actions)
        ended = terminated | truncated
        for ending, flag in (
            ("collision", infos["collided"]),
            ("off the road", infos["off_road"] & ~infos["collided"]),
            ("arrived", infos["arrived"] & ~infos["collided"]),
            ("out of time", truncated),
        ):
            endings[ending] += int((ended & flag).sum())
        driven.extend(infos["progress"][ended])
    for ending, count in endings.most_common():
        print(f"{ending:>12}: {count}")
    print(
        f"mean distance of {len(driven)} drives: {np.mean(driven):.0f} m" if driven else "no drive has ended"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
