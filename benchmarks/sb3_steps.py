"""How fast stable-baselines3's PPO is served: headway's cars beside highway-env, in one run.

    python benchmarks/sb3_steps.py

PPO collects rollouts by its own loop (`collect_rollouts`: actions to the environment, everything it returns into the
rollout buffer), once with a stub in place of its network, which costs nothing, and once with the network that `headway
train-rl` takes by default. highway-env's `highway-v0` is stepped by the same loop with the same stub, one process for
each core, as SB3 does it best. A step of highway-env lasts 1 s, one of ours 0.1 s; the ratio is that of steps, and the
one of simulated time stands beside it.

Rates are the best of several repetitions after a warm-up, see mbrl.bench.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv
from torch import Tensor, nn

from agents.sb3_interface import Interface
from agents.sb3_vec_env import SB3VecEnv
from envs.parallel import available_threads
from mbrl.bench import traffic
from mbrl.machine import machine_facts
from mbrl.rl_training import RLTraining

HIGHWAY_SECONDS = 1.0  # of simulation in a step of highway-v0
KEEP = 1  # highway-env's action: keep lane and speed


@dataclass(frozen=True, kw_only=True)
class SB3Bench:
    """How much is measured."""

    num_egos: int = 64
    rollout: int = 64  # steps of every car in a repetition
    repetitions: int = 7
    highway_vehicles: int = 50
    highway_rollout: int = 8
    threads: int | None = None  # all available


class Stub(ActorCriticPolicy):
    """Keeps speed and lane whatever it sees, and says that everything is worth nothing."""

    def __init__(
        self, observation_space: gym.Space[Any], action_space: gym.Space[Any], *_: Any, **__: Any
    ) -> None:
        nn.Module.__init__(self)
        self.observation_space, self.action_space = observation_space, action_space
        self._squash_output = False  # SB3 clips its actions
        self.unused = nn.Parameter(torch.zeros(1))  # SB3 asks a policy for its device

    def forward(self, seen: Any, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        num = len(next(iter(seen.values())) if isinstance(seen, dict) else seen)
        action = (
            torch.full((num,), KEEP)
            if isinstance(self.action_space, gym.spaces.Discrete)
            else torch.zeros(num, 2)
        )
        return action, torch.zeros(num, 1), torch.zeros(num)

    def predict_values(self, seen: Any) -> Tensor:
        return self.forward(seen)[1]


def bench_sb3(config: SB3Bench | None = None) -> dict[str, Any]:
    """Steps per second that PPO collects, of all cars together; the network excluded but where the name says so."""
    config = config or SB3Bench()
    machine = machine_facts(config.threads)
    pictures, cells = Interface(), Interface(sees="cells", frames=RLTraining().interface.frames)
    recording = traffic()

    def cars(interface: Interface) -> SB3VecEnv:
        return SB3VecEnv(config.num_egos, recording, interface=interface, threads=config.threads)

    def highway() -> VecEnv:
        return SubprocVecEnv(
            [lambda: _highway(config.highway_vehicles)] * available_threads(), start_method="fork"
        )

    network = RLTraining()
    rates = {
        "sb3_env_steps_per_s": _rates(cars(pictures), Stub, config.rollout, config.repetitions),
        "sb3_cells_steps_per_s": _rates(cars(cells), Stub, config.rollout, config.repetitions),
        "sb3_steps_with_network_per_s": _rates(
            cars(cells), network.policy(), config.rollout, config.repetitions, network.policy_settings()
        ),
        "sb3_highway_env_steps_per_s": _rates(highway(), Stub, config.highway_rollout, config.repetitions),
    }
    results: dict[str, Any] = {name: round(max(values), 1) for name, values in rates.items()}
    ratio = results["sb3_env_steps_per_s"] / results["sb3_highway_env_steps_per_s"]
    spread = {
        name: {"median": round(statistics.median(values), 1), "worst": round(min(values), 1)}
        for name, values in rates.items()
    }
    simulated = ratio * recording.dt / HIGHWAY_SECONDS
    return {
        **results, "ratio_to_highway_env": round(ratio, 1), "ratio_of_simulated_time": round(simulated, 1),
        "spread": spread, "egos": config.num_egos, "highway_processes": available_threads(), "machine": machine,
    }  # fmt: skip


def _rates(
    env: VecEnv, policy: Any, rollout: int, repetitions: int, settings: dict[str, Any] | None = None
) -> list[float]:
    """Steps per second of PPO's own collecting, the updates not counted, after one repetition as a warm-up."""
    model = PPO(
        policy,
        env,
        n_steps=rollout,
        batch_size=rollout * env.num_envs,
        policy_kwargs=settings,
        seed=0,
        device="cpu",
    )
    _, callback = model._setup_learn(rollout * env.num_envs * (repetitions + 1), CallbackList([]))
    rates = []
    for _ in range(repetitions + 1):
        begin = time.perf_counter()
        model.collect_rollouts(env, callback, model.rollout_buffer, rollout)
        rates.append(rollout * env.num_envs / (time.perf_counter() - begin))
    env.close()
    return rates[1:]


def _highway(vehicles: int) -> gym.Env[Any, Any]:
    import highway_env  # noqa: F401 (registers the environment)

    return gym.make("highway-v0", config={"vehicles_count": vehicles})


if __name__ == "__main__":
    print(json.dumps(bench_sb3(), indent=2))
