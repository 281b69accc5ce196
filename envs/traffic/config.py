"""What can be asked of the traffic generator, and the three periods of rising congestion."""

from __future__ import annotations

from dataclasses import dataclass

from envs.sites import layout

DT = 0.1  # s, of simulation and recording
MAX_SEED = 2**31  # SUMO takes seeds below it


@dataclass(frozen=True, kw_only=True)
class Congestion:
    """What comes in and what the road ahead lets out.

    Downstream of the observed road a control section holds the traffic back: its speed limit is
    mean + amplitude * sin(2 pi t / wave_period) + autoregressive noise. Its waves run upstream through the site.
    Congestion so comes from ahead, as on the real road, not from an overfull ramp.
    """

    main: float  # vehicles per hour, all through lanes but the carpool lane
    ramp: float  # vehicles per hour
    mean: float  # m/s, of the control section's limit
    amplitude: float  # m/s
    carpool: float = 0.0  # vehicles per hour in the carpool lane, where there is one
    carpool_speed: float = 17.0  # m/s; carpools slow down beside a standing queue
    leaving: float = 0.08  # share of drivers who take the off-ramp, where there is one
    wave_period: float = 150.0  # s
    noise: float = 0.6  # m/s, standard deviation
    noise_time: float = 20.0  # s, over which the noise forgets

    def __post_init__(self) -> None:
        for name in ("main", "ramp", "carpool", "amplitude", "noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        for name in ("mean", "carpool_speed", "wave_period", "noise_time"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if not 0 <= self.leaving <= 1:
            raise ValueError(f"leaving={self.leaving} must be a share within [0, 1]")


LEVELS: dict[str, tuple[Congestion, ...]] = {
    "i80": (
        Congestion(main=8800, ramp=650, mean=9.6, amplitude=2.5, carpool=1450, carpool_speed=17.0),
        Congestion(main=8800, ramp=650, mean=8.8, amplitude=3.0, carpool=1400, carpool_speed=14.0),
        Congestion(main=8800, ramp=650, mean=7.8, amplitude=3.0, carpool=1350, carpool_speed=12.0),
    ),
    "us101": (
        Congestion(main=8200, ramp=600, mean=15.0, amplitude=4.0),
        Congestion(main=8200, ramp=600, mean=12.0, amplitude=4.0),
        Congestion(main=8200, ramp=600, mean=10.0, amplitude=3.5),
    ),
}


@dataclass(frozen=True, kw_only=True)
class TrafficConfig:
    """One generated recording: the same config gives the same recording.

    Raises:
        InputError: an unknown site.
        ValueError: a number out of its range.
    """

    site: str = "i80"
    seed: int = 0
    minutes: float = 15.0
    congestion: int = 1  # 0, 1 or 2: which period
    demand: tuple[float, float] | None = None  # (main, ramp) vehicles per hour instead of the period's
    warmup: float = 480.0  # s simulated before recording begins
    queue_building: float = (
        200.0  # s at the start with the control section at a crawl, so that the queue reaches back
    )
    queue_speed: float = 4.0  # m/s there meanwhile

    def __post_init__(self) -> None:
        layout(self.site)
        if not 0 < self.minutes < 24 * 60:
            raise ValueError(f"minutes={self.minutes} must be positive and less than a day")
        for name in ("warmup", "queue_building"):
            if not 0 <= getattr(self, name) < 24 * 3600:
                raise ValueError(f"{name}={getattr(self, name)} must be 0 or more and less than a day")
        if abs(self.warmup / DT - round(self.warmup / DT)) > 1e-6:
            raise ValueError(f"warmup={self.warmup} must be a multiple of {DT} s, the step of the simulation")
        if not self.queue_speed > 0:
            raise ValueError(f"queue_speed={self.queue_speed} must be positive")
        if not 0 <= self.seed < MAX_SEED:
            raise ValueError(f"seed={self.seed} must be 0 or more and less than {MAX_SEED}, which SUMO takes")
        if self.demand is not None and not min(self.demand) >= 0:
            raise ValueError(f"demand={self.demand} must not be negative")
