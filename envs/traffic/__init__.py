"""Generated traffic: SUMO drives a site's population of drivers, headway records them. See docs/traffic.md."""

from envs.traffic.config import LEVELS, Congestion, TrafficConfig
from envs.traffic.generate import generate

__all__ = ["LEVELS", "Congestion", "TrafficConfig", "generate"]
