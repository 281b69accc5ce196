"""The agents a user can name on the command line."""

from __future__ import annotations

from pathlib import Path

from agents import Agent, Human, NoAction
from agents.learned import LearnedAgent
from envs.errors import InputError
from mbrl.train_policy import POLICY_FILE, load_policy

PRETRAINED = Path(__file__).parent / "pretrained"  # folders of a model and a policy, made by `headway demo`


def agent_by_name(name: str, device: str = "cpu") -> Agent:
    """`human`, `no-action`, `pretrained` (the policy that ships with headway), or the folder of a trained policy.

    A policy is called by the method that trained it.

    Raises:
        InputError: neither, or a folder whose policy cannot be read.
    """
    if name == "human":
        return Human()
    if name == "no-action":
        return NoAction()
    folder = PRETRAINED / "policy" if name == "pretrained" else Path(name)
    if not folder.is_dir():
        raise InputError(
            f"no agent {name!r}: expected human, no-action, pretrained, or a folder with a trained policy"
            f" ({POLICY_FILE})"
        )
    policy, config = load_policy(folder, device)
    return LearnedAgent(policy, config.method, config.seed, device)
