"""The agents a user can name on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from agents import Agent, Human, NoAction
from agents.learned import LearnedAgent
from agents.rules import RuleDriver, Rules, RulesConfig
from envs.errors import InputError
from mbrl.forward_models import SeparatedModel
from mbrl.planners_by_name import GAMMA, PLANNERS
from mbrl.planning import TWO_DRAWS, planning_agent
from mbrl.train_policy import POLICY_FILE, load_policy
from mbrl.trained_model import MODEL_FILE, load_model

PRETRAINED = Path(__file__).parent / "pretrained"  # folders of a model and a policy, made by `headway demo`
SB3_MODEL_FILE = "model.zip"  # the best model so far of `headway train-rl`, in its folder, ...
SB3_TRAINING_FILE = "training.zip"  # ... and how far the training is


def agents_by_name(names: Sequence[str], device: str = "cpu") -> list[Agent]:
    """Several; those that would be called alike are called as they were named.

    Raises:
        InputError: one is named twice, or as for one.
    """
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the agent {name!r} is named twice")
    agents = [agent_by_name(name, device) for name in names]
    called = [(agent.name, agent.seed) for agent in agents]
    for agent, own, name in zip(agents, called, names, strict=True):
        if called.count(own) > 1:
            agent.name = name
    return agents


def agent_by_name(name: str, device: str = "cpu") -> Agent:
    """A driver that needs no training, `pretrained` (the policy that ships with headway), or a trained one.

    A planner is PLANNER:DIR, one of mbrl.planners_by_name and the folder of a forward model (`pretrained`: the one that
    ships), through two draws of whose future it plans as far as its uncertainty is known.

    Without training drive `human`, `no-action` (also called `constant-velocity`), and by agents.rules `lane-keeper`,
    `idm` and `idm+mobil`. A trained one is the folder of `headway train-policy` or of `headway train-rl`, or a zip of
    the latter; it is called by the method that trained it, but for `pretrained`.

    Raises:
        InputError: none of these, or a folder or file that cannot be read.
    """
    if name == "human":
        return Human()
    if name in ("no-action", "constant-velocity"):
        return NoAction(name)
    if name in get_args(Rules):
        return RuleDriver(RulesConfig(rules=cast(Rules, name)))
    planner, folder = _planner_and_folder(name)
    if planner:
        return _planning(planner, folder, device)
    zipped = folder / SB3_MODEL_FILE if folder.is_dir() else folder
    if zipped.is_file():
        from agents.sb3_agent import SB3Agent  # brings stable-baselines3
        from agents.sb3_models import read_facts

        training = folder / SB3_TRAINING_FILE
        if folder.is_dir() and training.exists() and not (facts := read_facts(training))["done"]:
            raise InputError(
                f"the training in this folder is at step {facts['steps']:,} of {facts['config']['steps']:,}: the same"
                f" `headway train-rl` goes on; {SB3_MODEL_FILE} is the best so far, and an agent too",
                path=folder,
            )
        return SB3Agent.load(zipped, device)
    if not (name and folder.is_dir()):
        raise InputError(
            f"no agent {name!r}: expected human, no-action, {', '.join(get_args(Rules))}, pretrained, a folder with a"
            f" trained policy ({POLICY_FILE} or {SB3_MODEL_FILE}), or a planner with the folder of a model"
            f" ({', '.join(PLANNERS)}; as in gradient:runs/model)"
        )
    policy, config = load_policy(folder, device)
    return LearnedAgent(policy, name if name == "pretrained" else config.method, config.seed, device)


def _planner_and_folder(name: str) -> tuple[str, Path]:
    """The planner, "" for none, and where what it needs is, or where the agent itself is."""
    planner, _, model = name.partition(":")
    if model and planner in PLANNERS:
        return planner, PRETRAINED / "model" if model == "pretrained" else Path(model)
    return "", PRETRAINED / "policy" if name == "pretrained" else Path(name)


def trained_files(name: str) -> list[Path]:
    """What an agent of this name is read from: nothing where it needs no training."""
    _, folder = _planner_and_folder(name)
    if folder.is_file():
        return [folder]
    return [
        file for file in (folder / f for f in (MODEL_FILE, POLICY_FILE, SB3_MODEL_FILE)) if file.is_file()
    ]


def _planning(planner: str, folder: Path, device: str) -> Agent:
    trained = load_model(folder, device)
    if planner == "ilqr" and not isinstance(trained.model, SeparatedModel):
        raise InputError(
            "ilqr differentiates twice by the ego's state, which no model but the separated one keeps apart from its"
            " pictures: choose another planner",
            path=folder,
        )
    make, horizon = PLANNERS[planner], trained.uncertainty.mean.shape[1]
    return planning_agent(trained, make(horizon, GAMMA), planner, TWO_DRAWS, device=device)
