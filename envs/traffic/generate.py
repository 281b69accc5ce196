"""From a config to a recording of traffic that nobody had to film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np

from envs.errors import InputError
from envs.recording import Recording
from envs.sites import layout
from envs.traffic.config import DT, LEVELS, Congestion, TrafficConfig
from envs.traffic.drivers import population
from envs.traffic.export import observe
from envs.traffic.simulate import simulate, sumo_version


def generate(config: TrafficConfig, progress: Callable[[float], None] | None = None) -> Recording:
    """Simulate a site and record it.

    Args:
        config: what to generate; the same config and SUMO version give the same recording.
        progress: called with the fraction done, now and then.
    Raises:
        InputError: a congestion level the site does not have, SUMO not installed, or a demand so low that no vehicle
            came by.
    """
    where = layout(config.site)
    level = congestion(config)
    drivers, limits, sway = np.random.default_rng(config.seed).spawn(3)
    seconds = config.warmup + 60 * config.minutes
    vehicles = population(where, level, seconds, drivers)
    tracks = simulate(where, level, vehicles, config, limits, progress)
    rows = observe(tracks, vehicles, where, sway)
    if len(rows.x) == 0:
        raise InputError(
            f"no vehicle came by within {config.minutes:g} minutes; raise the demand or the warm-up"
        )
    return Recording.from_tracks(
        site=where.site(),
        vehicle_id=rows.vehicle_id,
        frame=rows.frame,
        x=rows.x,
        y=rows.y,
        length=rows.length,
        width=rows.width,
        kind=rows.kind,
        dt=DT,
        provenance={
            "source": "generated",
            "sumo": sumo_version(),
            **asdict(config),
            "demand": config.demand and list(config.demand),  # as files hold it
        },
    )


def congestion(config: TrafficConfig) -> Congestion:
    """The period the config asks for, with its demand where it names one."""
    levels = LEVELS[config.site]
    if not 0 <= config.congestion < len(levels):
        raise InputError(f"congestion {config.congestion} is not one of 0 to {len(levels) - 1}")
    level = levels[config.congestion]
    if config.demand is None:
        return level
    return replace(level, main=config.demand[0], ramp=config.demand[1])
