"""What is measured on drives: three rules for what a failure is, and how a drive compares with its human's.

D drives of one agent; S steps of the longest; a step counts frames after the start; NEVER is the step of what did not
happen. See docs/evaluation.md for the rules in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rule = Literal["paper", "box", "box_less_1m"]
RULES: tuple[Rule, ...] = ("paper", "box", "box_less_1m")
SUFFIX: dict[Rule, str] = {"paper": "", "box": "_box", "box_less_1m": "_box_less_1m"}
NEVER = 2**31 - 1
TTC_CAP = 10.0  # s; more is as good as never, and a mean over cars stays finite
SAME_PLACE = 0.1  # m; where a human stands it is known no better
NUM_RESAMPLES = 2000
CONFIDENCE = 0.95
CHUNK = 2**21  # resampled numbers held at once


class Contact(NamedTuple):
    """First contact with another vehicle by one rule, (D,) each."""

    step: NDArray[np.int64]
    at_fault: NDArray[np.bool_]  # of the ego; see envs.geometry.is_hit_from_behind
    vehicle: NDArray[
        np.int64
    ]  # whose box it overlaps, by world-wide number; -1: none (a blur reached it before its box)


@dataclass(frozen=True)
class Outcomes:
    """What D drives of one agent led to. Every drive went on to arrival or time limit, whatever happened before."""

    dt: float  # s
    num_steps: NDArray[np.int64]  # (D,) driven
    arrived: NDArray[np.int64]  # (D,) first step at the goal
    off_road: NDArray[np.int64]  # (D,) first step off the drivable area
    contacts: dict[Rule, Contact]
    min_ttc: NDArray[np.float64]  # (D,) s, until the end by the paper's rule; inf if the ego never closed in
    states: NDArray[np.float32]  # (D, S + 1, 4) x, y, heading, speed; NaN after num_steps
    human_states: NDArray[np.float32]  # (D, H + 1, 4) of the recorded drivers, up to their arrival, then NaN
    seconds_per_action: float

    def __len__(self) -> int:
        return len(self.num_steps)

    def failed(self, rule: Rule = "paper") -> NDArray[np.int64]:
        """(D,) first step of a contact or off the road."""
        return np.minimum(self.contacts[rule].step, self.off_road)

    def ended(self, rule: Rule = "paper") -> NDArray[np.int64]:
        """(D,) step of the failure, the arrival or the time limit, whichever comes first."""
        return np.minimum(self.failed(rule), self.num_steps)

    def succeeded(self, rule: Rule = "paper") -> NDArray[np.bool_]:
        """(D,) arrived before anything failed; failing in the very frame of arrival is failing."""
        return self.arrived < self.failed(rule)

    def ending(self, rule: Rule = "paper") -> NDArray[np.str_]:
        """(D,) "arrived", "collision" (also when the road is left in the same frame), "off road" or "out of time"."""
        failed = self.failed(rule)
        return np.select(
            [self.succeeded(rule), (failed == self.contacts[rule].step) & (failed < NEVER), failed < NEVER],
            ["arrived", "collision", "off road"],
            "out of time",
        )

    def distance(self, rule: Rule = "paper") -> NDArray[np.float64]:
        """(D,) metres along x from the start to the end."""
        x = self.states[..., 0].astype(np.float64)
        return x[np.arange(len(self)), self.ended(rule)] - x[:, 0]

    def jerk(self) -> NDArray[np.float64]:
        """(D,) root mean square of the change of acceleration (m/s^3), until the end by the paper's rule.

        Of what the vehicle did, after clipping: second differences of its speed. NaN for a drive of one step.
        """
        speed = self.states[..., 3].astype(np.float64)
        jerk = np.diff(speed, n=2, axis=1) / self.dt**2
        inside = np.arange(2, speed.shape[1]) <= self.ended()[:, None]
        count = inside.sum(1)
        mean_square = (np.where(inside, jerk, 0.0) ** 2).sum(1) / np.maximum(count, 1)
        return np.where(count > 0, np.sqrt(mean_square), np.nan)

    def times_over_same_stretch(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(D,) seconds the ego took from the start to its end by the paper's rule, and its human for the same metres.

        A human that stood there was at that place for a while: of that while, the moment nearest to the ego's counts.
        An ego that got further than its human was recorded (where there is no goal) is timed up to there.
        """
        cars = np.arange(len(self))
        x, human_x = self.states[..., 0].astype(np.float64), self.human_states[..., 0].astype(np.float64)
        end = self.ended()
        ego_end, human_end = x[cars, end], np.nanmax(human_x, axis=1)
        place = np.minimum(ego_end, human_end)
        ego = np.where(ego_end <= human_end, end, first_passage(x, human_end))
        came = first_passage(human_x, place - SAME_PLACE)
        left = first_passage(human_x, place + SAME_PLACE)
        return ego * self.dt, np.clip(ego, came, left) * self.dt

    def progress_vs_human(self) -> NDArray[np.float64]:
        """(D,) distance by the paper's rule over the distance its human drove in all; NaN if that is under a metre."""
        human_x = self.human_states[..., 0].astype(np.float64)
        whole = np.nanmax(human_x, axis=1) - human_x[:, 0]
        return np.where(whole >= 1, self.distance() / np.maximum(whole, 1), np.nan)


def first_passage(x: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (fractional) step at which each row of x first reaches its target, linear in between; else its last.

    Args:
        x: (D, T), NaN after a row's end.
        target: (D,).

    >>> x = np.array([[0.0, 2.0, 6.0, np.nan]])
    >>> first_passage(x, np.array([3.0])), first_passage(x, np.array([7.0]))
    (array([1.25]), array([2.]))
    """
    rows = np.arange(len(x))
    reached = x >= target[:, None]
    after = np.argmax(reached, axis=1)
    before = np.maximum(after - 1, 0)
    step = x[rows, after] - x[rows, before]
    passage = np.where(after > 0, before + (target - x[rows, before]) / np.where(step > 0, step, 1), 0.0)
    return np.where(reached.any(1), passage, np.isfinite(x).sum(1) - 1.0)


def bootstrap_interval(values: ArrayLike, *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean over cars, or over cars and training seeds.

    Each resample draws as many cars with replacement, and as many seeds; a drawn car counts with every drawn seed,
    since all seeds drove the same cars. Source: Efron and Tibshirani, An Introduction to the Bootstrap, 13.3.

    Args:
        values: (D,) or (num_seeds, D).
        seed: of the resampling; the same seed draws the same cars.
    """
    table = np.atleast_2d(np.asarray(values, np.float64))
    num_seeds, num_cars = table.shape
    rng = np.random.default_rng(seed)
    means = []
    for part in _chunks(NUM_RESAMPLES, max(CHUNK // num_cars, 1)):
        cars = rng.integers(num_cars, size=(part, num_cars))
        if num_seeds == 1:
            means.append(table[0][cars].mean(1))
        else:
            drawn = table[rng.integers(num_seeds, size=(part, num_seeds))].mean(1)
            means.append(np.take_along_axis(drawn, cars, axis=1).mean(1))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - begin) for begin in range(0, total, size)]


def summarise(runs: Sequence[Outcomes], *, seed: int = 0) -> dict[str, Any]:
    """The numbers of a table's row: means over cars, and over several runs where they are seeds of one method.

    Keys without a suffix are by the paper's rule, those ending in _box or _box_less_1m by geometry. Counts are of cars
    (added up over runs).
    """
    numbers: dict[str, Any] = {"cars": sum(map(len, runs))}
    for rule in RULES:
        success = np.stack([run.succeeded(rule) for run in runs])
        distance = np.stack([run.distance(rule) for run in runs])
        ending = np.stack([run.ending(rule) for run in runs])
        at_fault = np.stack([run.contacts[rule].at_fault for run in runs])
        by_rule = {
            "success": float(success.mean()),
            "success_ci": list(bootstrap_interval(success, seed=seed)),
            "distance_m": float(distance.mean()),
            "distance_ci": list(bootstrap_interval(distance, seed=seed)),
            "collisions": int((ending == "collision").sum()),
            "collisions_at_fault": int(((ending == "collision") & at_fault).sum()),
            "off_road": int((ending == "off road").sum()),
            "out_of_time": int((ending == "out of time").sum()),
        }
        numbers |= {key + SUFFIX[rule]: value for key, value in by_rule.items()}
    ego, human = (
        np.concatenate(t) for t in zip(*(run.times_over_same_stretch() for run in runs), strict=True)
    )
    return numbers | {
        "speed_vs_human": float(human.sum() / ego.sum()) if ego.sum() > 0 else float("nan"),
        "progress_vs_human": _mean([run.progress_vs_human() for run in runs]),
        "min_ttc_s": _mean([np.minimum(run.min_ttc, TTC_CAP) for run in runs]),
        "jerk": _mean([run.jerk() for run in runs]),
        "seconds_per_action": float(np.mean([run.seconds_per_action for run in runs])),
    }


def _mean(values: Sequence[NDArray[np.float64]]) -> float:
    """Mean over all that are numbers; NaN if none is."""
    flat = np.concatenate(values)
    return float(flat[np.isfinite(flat)].mean()) if np.isfinite(flat).any() else float("nan")
