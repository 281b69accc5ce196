"""What drives: the recorded human, no action, learned policies; and the evaluation that scores any of them."""

from agents.base import Agent
from agents.constant import NoAction
from agents.recorded import Human

__all__ = ["Agent", "Human", "NoAction"]
