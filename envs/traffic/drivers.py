"""The population of drivers and cars: everyone is different, and each is a SUMO vehicle type of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.sites import Layout
from envs.traffic.config import Congestion
from envs.traffic.network import EXIT, RAMP

TRUCK_SHARE, MOTORCYCLE_SHARE = 0.04, 0.01
MOTORCYCLE, CAR, TRUCK = 1, 2, 3  # NGSIM's classes


@dataclass(frozen=True, kw_only=True)
class Vehicle:
    """One driver and the car: when and where they enter, and how they drive."""

    id: int
    depart: float  # s
    entry: str  # "main", "carpool" or "ramp"
    leaves: bool  # by the off-ramp
    kind: int
    length: float  # m
    width: float  # m
    time_gap: float  # s, EIDM's tau
    accel: float  # m/s^2
    min_gap: float  # m
    speed_factor: float  # of the limit


def population(
    layout: Layout, level: Congestion, seconds: float, generator: np.random.Generator
) -> list[Vehicle]:
    """Everyone who enters within `seconds`, by departure; arrivals are Poisson."""
    streams = [("main", level.main), ("ramp", level.ramp)]
    if layout.carpool_lane:
        streams.append(("carpool", level.carpool))
    arrivals = [
        (t, entry)
        for entry, per_hour in streams
        for t in np.sort(generator.uniform(0, seconds, generator.poisson(per_hour * seconds / 3600)))
    ]
    arrivals.sort()
    has_exit = layout.side.exit_nose is not None
    return [
        _vehicle(i + 1, round(float(t), 1), entry, has_exit, level, generator)
        for i, (t, entry) in enumerate(arrivals)
    ]


def _vehicle(
    number: int, depart: float, entry: str, has_exit: bool, level: Congestion, generator: np.random.Generator
) -> Vehicle:
    kind, length, width = _size(entry, generator)
    leaving = 0.0 if not has_exit else level.leaving
    return Vehicle(
        id=number,
        depart=depart,
        entry=entry,
        leaves=bool(generator.random() < leaving),
        kind=kind,
        length=length,
        width=width,
        time_gap=_normal(generator, 1.15, 0.18, 0.7, 1.9),
        accel=_normal(generator, 1.3, 0.25, 0.7, 2.2) * (0.7 if kind == TRUCK else 1.0),
        min_gap=_normal(generator, 2.0, 0.4, 1.0, 3.5),
        speed_factor=_normal(generator, 1.0, 0.12, 0.7, 1.35),
    )


def _size(entry: str, generator: np.random.Generator) -> tuple[int, float, float]:
    """Class, length and width. Trucks keep to the through lanes and motorcycles to the carpool lane: narrow vehicles
    elsewhere would filter between the queues, which SUMO lets them do closer than the recordings show."""
    u = generator.random()
    if entry == "main" and u < TRUCK_SHARE:
        return TRUCK, float(generator.uniform(9.0, 18.0)), _normal(generator, 2.45, 0.08, 2.2, 2.55)
    if entry == "carpool" and u < 5 * MOTORCYCLE_SHARE:
        return MOTORCYCLE, _normal(generator, 2.2, 0.15, 1.9, 2.6), _normal(generator, 0.9, 0.1, 0.7, 1.1)
    widest = 2.05 if entry == "ramp" else 2.3  # m; what the taper leaves of the lane where it has to be left
    return CAR, _normal(generator, 4.8, 0.55, 3.5, 6.5), _normal(generator, 1.93, 0.18, 1.6, widest)


def _normal(generator: np.random.Generator, mean: float, std: float, low: float, high: float) -> float:
    return round(float(np.clip(generator.normal(mean, std), low, high)), 3)


LANE_CHANGES = {
    "lcSpeedGain": 3,
    "lcAssertive": 1.2,
    "lcCooperative": 0.6,
    "lcPushy": 0,
    "lcSublane": 0.3,
    "lcStrategic": 3,
    "lcKeepRight": 0,
    "lcSigma": 0.12,
    "maxSpeedLat": 0.9,
    "lcMaxSpeedLatStanding": 0,
    "lcMaxSpeedLatFactor": 0.2,
    "minGapLat": 0.5,
}
"""SL2015's temperament (SUMO's sublane lane-change model); found by trial, see docs/traffic.md."""


def routes_xml(vehicles: list[Vehicle], layout: Layout) -> str:
    """SUMO's route file: a vehicle type and a vehicle for each driver."""
    beside = "beside"
    after = f"{beside} downstream control runout"
    routes = {"main": f"upstream {after}", "ramp": f"{RAMP} {after}"}
    if layout.side.exit_nose is not None:
        routes |= {"main_exit": f"upstream {beside} {EXIT}", "ramp_exit": f"{RAMP} {beside} {EXIT}"}
    lines = [f'<route id="{name}" edges="{edges}"/>' for name, edges in routes.items()]
    vclass = {"main": "passenger", "ramp": "custom1", "carpool": "hov"}
    for v in vehicles:
        stay = (
            {"lcSpeedGain": 0} if v.entry == "carpool" else {}
        )  # carpools keep to their lane, as they do on I-80
        change = " ".join(f'{k}="{value}"' for k, value in {**LANE_CHANGES, **stay}.items())
        lines.append(
            f'<vType id="t{v.id}" vClass="{vclass[v.entry]}" length="{v.length:.3f}" width="{v.width:.3f}" '
            f'carFollowModel="EIDM" tau="{v.time_gap}" accel="{v.accel:.3f}" decel="2.2" minGap="{v.min_gap}" '
            f'speedFactor="{v.speed_factor}" laneChangeModel="SL2015" {change}/>'
        )
        route = ("ramp" if v.entry == "ramp" else "main") + ("_exit" if v.leaves else "")
        lane = str(layout.lanes - 1) if v.entry == "carpool" else "free"
        lines.append(
            f'<vehicle id="{v.id}" type="t{v.id}" route="{route}" depart="{v.depart}" departLane="{lane}" '
            f'departSpeed="max" departPos="base"/>'
        )
    return "<routes>\n" + "\n".join(lines) + "\n</routes>\n"
