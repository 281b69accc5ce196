"""Who takes part in the benchmark: how each is trained, from what, and how it drives.

A folder of one seed holds what was trained for it, a folder each; an entrant is made from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args
from urllib.parse import quote

from agents import Agent, Human, NoAction
from agents.learned import LearnedAgent
from agents.planning import AT_THE_WHEEL, PlanningAgent, RecordedFuture
from agents.rules import RuleDriver, RulesConfig
from agents.sb3_agent import SB3Agent
from agents.sb3_models import Algorithm
from envs.costs import Weights
from envs.errors import InputError
from mbrl.agents_by_name import SB3_MODEL_FILE, agent_by_name, trained_files
from mbrl.foresight import Imagining
from mbrl.named import choose
from mbrl.planners_by_name import PLANNERS, cem, gradient
from mbrl.planners_by_name import Make as MakePlanner
from mbrl.planning import TWO_DRAWS, planning_agent
from mbrl.policy_training import Method, PolicyTraining
from mbrl.presets import SHARES, Preset, model_training, of_share, policy_training
from mbrl.rl_training import RLTraining
from mbrl.rows import Row, models, rows
from mbrl.train_policy import load_policy
from mbrl.trained_model import load_model
from mbrl.trainings import Training

NO_U: Method = "mpur-no-uncertainty"
ORACLE = "oracle (knows the future)"
PLANS_AT_ONCE = 32  # imagined futures of more cars leave the caches, and take half as long again
Make = Callable[[Path, int, str], Agent]  # of the folder of a seed, the seed and a device


@dataclass(frozen=True)
class Entrant:
    """One line of the table."""

    method: str
    kind: str  # of drivers, a section of the table
    make: Make
    trained: str | None = None  # its training; None: it needs none
    seeded: bool = True  # whether a seed makes a difference
    share: float = 1.0  # of the training cars
    interaction: int = 0  # environment steps it consumes in training
    at_once: int = 256  # cars that it drives
    by_default: bool = True  # whether it takes part where nobody is named
    data: bool = (
        False  # whether it, or what it plans through, learned from the recorded actions of training cars
    )
    file_name: str = ""  # of its drives; its name, unless told

    @property
    def name(self) -> str:
        """Of its line and of what was trained for it."""
        return of_share(self.method, self.share)

    @property
    def drives(self) -> str:
        """What the files of its drives are called."""
        return self.file_name or self.name

    def seeds(self, seeds: Sequence[int]) -> Sequence[int | None]:
        """The seeds it drives with."""
        return seeds if self.seeded else (None,)


def trainings(preset: Preset, seed: int, rl_steps: int) -> list[Training]:
    """Everything that is trained for a seed, in an order in which each finds what it needs."""
    imitation = policy_training(preset, "imitation", seed)
    methods: tuple[Method, ...] = ("mpur", NO_U, "distill", "log-replay")
    mpur, no_u, taught, replayed = (policy_training(preset, method, seed) for method in methods)
    separated = model_training(preset, seed)
    found = [
        Training("model", separated),
        Training("imitation", imitation),
        Training("mpur", mpur, "model", "imitation"),
        Training(NO_U, no_u, "model", "imitation"),
        Training("distilled", taught, "model", "imitation"),
        Training("log-replay", replayed, start="imitation"),
        Training("paper-model", models(preset, seed)[str(_paper_row(preset).model)]),
    ]
    for share in SHARES:
        fewer, start = of_share("model", share), of_share("imitation", share)
        found += [
            Training(fewer, replace(separated, data_share=share)),
            Training(start, replace(imitation, data_share=share)),
            Training(of_share("mpur", share), replace(mpur, data_share=share), fewer, start),
        ]
    return [*found, *(Training(name, rl(name, preset, seed, rl_steps)) for name in get_args(Algorithm))]


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
            _learned(name, "learned from fewer cars", share)
            for name in ("imitation", "mpur")
            for share in SHARES
        ),
        *(
            Entrant(
                name, "planned through the model", _planning(name, preset), planned.trained,
                at_once=PLANS_AT_ONCE, by_default=name in PLANNED_BY_DEFAULT, data=True,
            )
            for name, planned in PLANNED.items()
        ),
        Entrant(
            ORACLE,
            "planned with the recorded future",
            lambda folder, seed, device: oracle(preset, device),
            seeded=False,
            at_once=PLANS_AT_ONCE,
        ),
        _replayed(preset),
        *(
            Entrant(
                name, "learned by driving", _by_sb3(name), name, interaction=rl_steps,
                by_default=name in RL_BY_DEFAULT,
            )
            for name in get_args(Algorithm)
        ),
    ]  # fmt: skip


def chosen_entrants(known: Sequence[Entrant], names: Sequence[str]) -> list[Entrant]:
    """Those of these names, in the order of `known`; where no name is given, those that take part by default.

    Raises:
        InputError: there is nobody of a name; it says who there is.
    """
    chosen = choose(known, names, "entrant")
    return chosen if names else [entrant for entrant in chosen if entrant.by_default]


def given(names: Sequence[str], known: Sequence[Entrant]) -> list[Entrant]:
    """Agents of the command line (mbrl.agents_by_name) beside the others, as they are.

    Their drives are called by what they were read from too, so that who was trained anew drives anew.

    Raises:
        InputError: an agent is named twice, or is one of `known`.
    """
    there = [entrant.name for entrant in known]
    for name in names:
        if name in there or names.count(name) > 1:
            raise InputError(f"--agent {name}: takes part already (--entrants chooses who of those does)")
    return [
        Entrant(
            name, "given", _as_named(name), seeded=False, at_once=PLANS_AT_ONCE if ":" in name else 256,
            file_name=f"given {quote(name, safe=' ')[-60:]} {_digest(name)}",
        )
        for name in names
    ]  # fmt: skip


def _as_named(name: str) -> Make:
    def make(folder: Path, seed: int, device: str) -> Agent:
        agent = agent_by_name(name, device)
        agent.name = name
        return agent

    return make


def _digest(name: str) -> str:
    """Of an agent's name and of what it is read from."""
    found = hashlib.sha256(name.encode())
    for file in trained_files(name):
        found.update(file.read_bytes())
    return found.hexdigest()[:12]


# --- how they drive --------------------------------------------------------------------------------------------------


def _by_rules(rules: Any) -> Make:
    return lambda *_: RuleDriver(RulesConfig(rules=rules))


def _learned(method: str, kind: str, share: float = 1.0) -> Entrant:
    name = of_share(method, share)

    def make(folder: Path, seed: int, device: str) -> Agent:
        return LearnedAgent(load_policy(folder / name, device)[0], name, seed, device)

    return Entrant(method, kind, make, name, share=share, data=True)


def _replayed(preset: Preset) -> Entrant:
    """It drives in the replay as RL does, but with gradients."""
    config = policy_training(preset, "log-replay")
    frames = config.updates * config.batch_size * config.horizon * config.policy.stride
    return replace(_learned("log-replay", "learned by driving"), interaction=frames)


def _by_sb3(name: str) -> Make:
    def make(folder: Path, seed: int, device: str) -> Agent:
        return SB3Agent.load(folder / name / SB3_MODEL_FILE, device)

    return make


RL_BY_DEFAULT = "ppo", "sac"
PAPER_ROW = "mpur-z-dropout"  # of mbrl.rows; planners through the paper's model have its model and settings


class Planned(NamedTuple):
    """A planner through a model of a seed, with the horizon, discount and lambda of the policies trained through it."""

    planner: MakePlanner
    model: str = "model"  # its training; "paper-model" is unrolled for each candidate
    minds_u: bool = False
    policy: str | None = None  # the training of a policy that searches begin with

    @property
    def trained(self) -> str:
        """The training it needs, with what that needs."""
        return self.policy or self.model

    def settings(self, preset: Preset) -> PolicyTraining:
        """Of the policies trained through its model."""
        return policy_training(preset) if self.model == "model" else _paper_row(preset).training

    def imagining(self, settings: PolicyTraining) -> Imagining:
        """Two draws of the model, with U or without."""
        return replace(TWO_DRAWS, uncertainty_weight=settings.uncertainty_weight if self.minds_u else 0.0)


brief_gradient = partial(gradient, num_iterations=5)  # where an iteration unrolls a network
PLANNED_BY_DEFAULT = {
    "gradient": Planned(gradient),
    "gradient, U": Planned(gradient, minds_u=True),
    "cem": Planned(cem),
    "gradient from mpur": Planned(gradient, policy="mpur"),
    "gradient, paper": Planned(brief_gradient, "paper-model"),
    "gradient, paper, U": Planned(brief_gradient, "paper-model", minds_u=True),
}
PLANNED = PLANNED_BY_DEFAULT | {
    name: Planned(make) for name, make in PLANNERS.items() if name not in PLANNED_BY_DEFAULT
}


def _paper_row(preset: Preset) -> Row:
    return choose(rows(preset), [PAPER_ROW], "row")[0]


def _planning(name: str, preset: Preset) -> Make:
    planned = PLANNED[name]
    settings = planned.settings(preset)

    def make(folder: Path, seed: int, device: str) -> Agent:
        trained = load_model(folder / planned.model, device)
        plan = planned.planner(settings.horizon, settings.gamma)
        policy = load_policy(folder / planned.policy, device)[0] if planned.policy else None
        how = planned.imagining(settings)
        return planning_agent(trained, plan, name, how, policy=policy, seed=seed, device=device)

    return make


def oracle(preset: Preset, device: str = "cpu", weights: Weights = AT_THE_WHEEL) -> PlanningAgent:
    """The gradient planner in the recorded future."""
    training = policy_training(preset)
    stride, planner = model_training(preset).model.timing.stride, gradient(training.horizon, training.gamma)
    foresight = RecordedFuture(planner.config.horizon, stride, weights)
    return PlanningAgent(planner, foresight, ORACLE, frames=1, stride=stride, device=device)
