"""The agents a user can name on the command line."""

from __future__ import annotations

from pathlib import Path

from agents import Agent, Human, NoAction
from agents.learned import LearnedAgent
from envs.errors import InputError
from mbrl.train_policy import POLICY_FILE, load_policy


def agent_by_name(name: str, device: str = "cpu") -> Agent:
    """`human`, `no-action`, or the folder of a trained policy, which is called by the method that trained it.

    Raises:
        InputError: neither, or a folder whose policy cannot be read.
    """
    if name == "human":
        return Human()
    if name == "no-action":
        return NoAction()
    folder = Path(name)
    if not folder.is_dir():
        raise InputError(
            f"no agent {name!r}: expected human, no-action, or a folder with a trained policy ({POLICY_FILE})"
        )
    policy, config = load_policy(folder, device)
    return LearnedAgent(policy, config.method, config.seed, device)
