"""Who takes part in the benchmark: how each is trained, from what, and how it drives.

A folder of one seed holds what was trained for it, a folder each; an entrant is made from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agents import Agent, Human, NoAction
from agents.learned import LearnedAgent
from agents.planning import PlanningAgent, RecordedFuture
from agents.rules import RuleDriver, RulesConfig
from envs.formats import read_parquet
from envs.recording import Recording
from mbrl.planning import Imagining, planning_agent
from mbrl.policy_training import Method, PolicyTraining
from mbrl.presets import Preset, model_training, policy_training
from mbrl.rl_training import RLTraining
from mbrl.train_model import load_model, train_model
from mbrl.train_policy import load_policy, train_policy
from planners import CEM, CEMConfig, GradientConfig, GradientPlanner
from planners.base import Planner

SHARES = (0.05, 0.2)  # of the training cars, besides all
NO_U: Method = "mpur-no-uncertainty"
ORACLE = "oracle (knows the future)"
Make = Callable[[Path, int, str], Agent]  # of the folder of a seed, the seed and a device


@dataclass(frozen=True)
class Training:
    """Something to be trained for a seed, in a folder of its name."""

    name: str
    config: Any  # a ModelTraining, PolicyTraining or RLTraining
    model: str | None = None  # the training it goes through ...
    start: str | None = None  # ... and the one it begins with

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of trainings that come first."""
        return tuple(name for name in (self.model, self.start) if name)


@dataclass(frozen=True)
class Entrant:
    """One line of the table."""

    name: str
    kind: str  # of drivers, a section of the table
    make: Make
    trained: str | None = None  # its training; None: it needs none
    seeded: bool = True  # whether a seed makes a difference
    share: float = 1.0  # of the training cars
    interaction: int = 0  # environment steps it consumes in training

    def seeds(self, seeds: Sequence[int]) -> Sequence[int | None]:
        """The seeds it drives with."""
        return seeds if self.seeded else (None,)


def trainings(preset: Preset, seed: int, rl_steps: int) -> list[Training]:
    """Everything that is trained for a seed, in an order in which each finds what it needs."""
    imitation = policy_training(preset, "imitation", seed)
    methods: tuple[Method, ...] = ("mpur", NO_U, "distill")
    mpur, no_u, taught = (policy_training(preset, method, seed) for method in methods)
    separated = model_training(preset, seed)
    found = [
        Training("model", separated),
        Training("imitation", imitation),
        Training("mpur", mpur, "model", "imitation"),
        Training(NO_U, no_u, "model", "imitation"),
        Training("distilled", taught, "model", "imitation"),
    ]
    for share in SHARES:
        own = {"data_share": share}
        found += [
            Training(of_share("model", share), replace(separated, **own)),  # type: ignore[arg-type]
            Training(of_share("imitation", share), replace(imitation, **own)),  # type: ignore[arg-type]
            Training(
                of_share("mpur", share), replace(mpur, **own), of_share("model", share), of_share("imitation", share)  # type: ignore[arg-type]
            ),
        ]  # fmt: skip
    return [*found, *(Training(name, rl(name, preset, seed, rl_steps)) for name in ("ppo", "sac"))]


def rl(algorithm: Any, preset: Preset, seed: int, steps: int) -> RLTraining:
    """How a model of stable-baselines3 is trained under a preset."""
    small: dict[str, Any] = (
        {"num_envs": 4, "validation_cars": 2, "validations": 1} if preset == "debug" else {}
    )
    return RLTraining(algorithm=algorithm, steps=steps, seed=seed, **small)


def entrants(preset: Preset, rl_steps: int) -> list[Entrant]:
    """All of them, in the order of the table."""
    return [
        Entrant("human", "what was recorded", lambda *_: Human(), seeded=False),
        Entrant("no-action", "rules", lambda *_: NoAction(), seeded=False),
        *(Entrant(rules, "rules", _by_rules(rules), seeded=False) for rules in ("lane-keeper", "idm", "idm+mobil")),
        *(_learned(name, "learned from recordings") for name in ("imitation", NO_U, "mpur", "distilled")),
        *(
            _learned(of_share(name, share), "learned from fewer cars", share)
            for name in ("imitation", "mpur")
            for share in SHARES
        ),
        *(Entrant(name, "planned through the model", _planning(name, preset), "model") for name in PLANNED),
        Entrant(ORACLE, "planned with the recorded future", _oracle(preset), seeded=False),
        *(
            Entrant(name, "learned by driving", _by_sb3(name), name, interaction=rl_steps)
            for name in ("ppo", "sac")
        ),
    ]  # fmt: skip


def of_share(name: str, share: float) -> str:
    """The name of what was learned from a share of the cars."""
    return f"{name}-data-{100 * share:.0f}"


def run(training: Training, files: Sequence[Path], folder: Path, device: str, progress: Any) -> None:
    """Train, go on, or find finished, in the folder of a seed."""
    recordings: list[Recording] = [read_parquet(path) for path in files]
    out, config = folder / training.name, training.config
    if isinstance(config, RLTraining):
        from mbrl.train_rl import train_rl  # brings stable-baselines3

        train_rl(config, recordings, out, device=device, progress=progress)
    elif isinstance(config, PolicyTraining):
        train_policy(
            config, recordings, out,
            trained=load_model(folder / training.model, device) if training.model else None,
            start_from=load_policy(folder / training.start, device)[0] if training.start else None,
            device=device, tracking_root=folder, progress=progress,
        )  # fmt: skip
    else:
        train_model(config, recordings, out, device=device, tracking_root=folder, progress=progress)


# --- how they drive --------------------------------------------------------------------------------------------------

WITH_U, WITHOUT_U = Imagining(futures=4), Imagining(futures=4, masks=1, uncertainty_weight=0.0)
PLANNED = {"gradient": WITH_U, "gradient, no U": WITHOUT_U, "cem": WITH_U}


def _by_rules(rules: Any) -> Make:
    return lambda *_: RuleDriver(RulesConfig(rules=rules))


def _learned(name: str, kind: str, share: float = 1.0) -> Entrant:
    def make(folder: Path, seed: int, device: str) -> Agent:
        return LearnedAgent(load_policy(folder / name, device)[0], name, seed, device)

    return Entrant(name, kind, make, name, share=share)


def _by_sb3(name: str) -> Make:
    def make(folder: Path, seed: int, device: str) -> Agent:
        from agents.sb3_agent import SB3Agent  # brings stable-baselines3
        from mbrl.agents_by_name import SB3_MODEL_FILE

        return SB3Agent.load(folder / name / SB3_MODEL_FILE, device)

    return make


def _planner(name: str, preset: Preset) -> Planner[Any]:
    training = policy_training(preset)
    horizon, gamma = training.horizon, training.gamma
    if name == "cem":
        return CEM(CEMConfig(horizon=horizon, gamma=gamma, num_samples=64, num_elites=8, num_iterations=4))
    return GradientPlanner(GradientConfig(horizon=horizon, gamma=gamma, num_iterations=10, learning_rate=0.3))


def _planning(name: str, preset: Preset) -> Make:
    def make(folder: Path, seed: int, device: str) -> Agent:
        trained = load_model(folder / "model", device)
        return planning_agent(trained, _planner(name, preset), name, PLANNED[name], seed=seed, device=device)

    return make


def _oracle(preset: Preset) -> Make:
    def make(folder: Path, seed: int, device: str) -> Agent:
        timing = model_training(preset).model.timing
        planner = _planner("gradient", preset)
        foresight = RecordedFuture(
            planner.config.horizon, timing.stride, off_road_weight=WITH_U.off_road_weight
        )
        return PlanningAgent(planner, foresight, ORACLE, frames=1, stride=timing.stride, device=device)

    return make
