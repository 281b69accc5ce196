"""How close generated traffic is to recorded traffic: speed, headway, acceleration and lane changes, side by side.

    python benchmarks/traffic_realism.py $HEADWAY_DATA --generated runs/traffic --out docs/img/traffic_realism.png

The data folder holds NGSIM's I-80 lane streams (ngsim/) and US-101 scenes (commonroad/); it is only read. The generated
folder holds i80_0, i80_1, i80_2, us101_0, us101_1 and us101_2.parquet, one recording for each level of congestion;
those that are missing are generated, or left out with --minutes 0. Prints a Markdown table.

Both sides are measured alike: every tenth frame; speeds as recorded; accelerations as the change of speed over one
second, since single frames are noise on the real side; on I-80 the time headway front to front, since the streams have
no sizes; on US-101 the time gap bumper to bumper, both above 1 m/s.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp, wasserstein_distance

from envs.formats import read_parquet, write_parquet
from envs.formats.commonroad import read_commonroad
from envs.formats.lanes import read_lane_stream
from envs.recording import Recording
from envs.site import Site
from envs.sites import I80
from envs.traffic import TrafficConfig, generate

LEVELS = (0, 1, 2)
SECOND = 10  # frames
MIN_SPEED = 1.0  # m/s, for times
LONGEST = 10.0  # s; longer headways are free driving and say nothing about following
RAMP_SEEN = 102.0  # m before the nose that NGSIM's lane 7 covers
QUANTITIES = {"speed": "m/s", "headway": "s", "acceleration": "m/s²"}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """What was measured of one stream of traffic, and by which vehicle each number."""

    values: dict[str, Floats]
    vehicle: dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Tracks:
    """Rows sorted by (vehicle, frame); x of fronts; `leader` is a row or -1; `sizes` the leader's length or 0."""

    vehicle: NDArray[np.int64]
    frame: NDArray[np.int64]
    x: Floats
    speed: Floats
    leader: NDArray[np.int64]
    leader_length: Floats


def measure(t: Tracks, keep: NDArray[np.bool_] | None = None) -> Sample:
    """Speed, headway (front of the follower to front of the leader, less its length where given) and acceleration."""
    keep = np.ones(len(t.x), bool) if keep is None else keep
    use = keep & (t.frame % SECOND == 0)
    follows = use & (t.leader >= 0) & (t.speed > MIN_SPEED)
    headway = (t.x[t.leader] - t.leader_length - t.x)[follows] / t.speed[follows]
    close = (headway > 0) & (headway < LONGEST)
    later = np.minimum(np.arange(len(t.x)) + SECOND, len(t.x) - 1)
    lasts = use & (t.vehicle[later] == t.vehicle) & (t.frame[later] == t.frame + SECOND)
    return Sample(
        values={
            "speed": t.speed[use],
            "headway": headway[close],
            "acceleration": (t.speed[later] - t.speed)[lasts] / 1.0,
        },
        vehicle={
            "speed": t.vehicle[use],
            "headway": t.vehicle[follows][close],
            "acceleration": t.vehicle[lasts],
        },
    )


def from_stream(path: Path, period: int | None = None) -> Sample:
    """One lane of I-80, of one period or all."""
    s = read_lane_stream(path)
    vehicle = s.period.astype(np.int64) * 10**6 + s.vehicle
    index = {(int(v), int(f)): i for i, (v, f) in enumerate(zip(vehicle, s.frame, strict=True))}
    ahead = s.period.astype(np.int64) * 10**6 + s.preceding
    leader = np.array([index.get((int(v), int(f)), -1) for v, f in zip(ahead, s.frame, strict=True)])
    tracks = Tracks(vehicle, s.frame, s.x, s.speed, leader, np.zeros(len(s.x)))
    return measure(tracks, None if period is None else s.period == period)


def lane_index(site: Site, x: Floats, y: Floats) -> NDArray[np.int64]:
    """How many markings lie to the left of each point; lines that coincide count once."""
    heights = []
    for line in site.markings:
        order = np.argsort(line[:, 0])
        at = np.interp(x, line[order, 0], line[order, 1], left=np.nan, right=np.nan)
        heights.append(at)
    stack = np.sort(np.stack(heights), axis=0)[::-1]  # from the left; nan first
    distinct = np.ones(stack.shape, bool)
    with np.errstate(invalid="ignore"):
        distinct[1:] = ~(np.abs(np.diff(stack, axis=0)) < 0.5)
    return (distinct & (stack > y)).sum(0)


def from_recording(
    recording: Recording, *, sizes: bool, keep_lane: int | None = None, ramp: bool = False
) -> Sample:
    """All of a recording, one lane of it (counted from the left, from 1), or I-80's ramp before the nose."""
    t, y = tracks_of(recording, sizes=sizes)
    keep = None
    if keep_lane is not None:
        width = recording.site.lane_width
        keep = (y < -(keep_lane - 1) * width) & (y > -keep_lane * width)
    if ramp:
        nose = I80.side.entry_nose
        keep = (y < I80.right_edge) & (t.x < nose) & (t.x > nose - RAMP_SEEN)
    return measure(t, keep)


def tracks_of(recording: Recording, *, sizes: bool) -> tuple[Tracks, Floats]:
    """A recording's tracks and their y. The leader is the nearest vehicle ahead whose box is in the way."""
    order = recording.track_rows
    vehicle = recording.vehicle[order].astype(np.int64)
    frame = np.repeat(np.arange(recording.num_frames), np.diff(recording.frame_offsets))[order]
    length = recording.vehicles.length[vehicle].astype(np.float64)
    width = recording.vehicles.width[vehicle].astype(np.float64)
    x, y = recording.x[order], recording.y[order]
    leader = np.full(len(x), -1, np.int64)
    by_frame = np.lexsort((x, frame))
    ends = np.searchsorted(frame[by_frame], np.arange(0, recording.num_frames + SECOND, SECOND))
    after = np.searchsorted(
        frame[by_frame], np.arange(0, recording.num_frames + SECOND, SECOND), side="right"
    )
    for begin, end in zip(ends, after, strict=True):
        rows = by_frame[begin:end]
        if len(rows) == 0:
            continue
        beside = np.abs(y[rows][:, None] - y[rows]) < (width[rows][:, None] + width[rows]) / 2
        blocks = np.triu(beside, 1)
        found = blocks.any(1)
        leader[rows[found]] = rows[blocks.argmax(1)[found]]
    front = x + length / 2
    lengths = np.where(leader >= 0, length[leader], 0.0) if sizes else np.zeros(len(x))
    speed = recording.speed[order].astype(np.float64)
    return Tracks(vehicle, frame, front, speed, leader, lengths), y


def lane_changes(recordings: list[Recording]) -> tuple[float, int]:
    """Lane changes per vehicle-kilometre, and how many were seen; a lane counts once it is kept for a second."""
    changes, metres = 0, 0.0
    for recording in recordings:
        order = recording.track_rows
        lane = lane_index(recording.site, recording.x[order], recording.y[order])
        for begin, end in zip(recording.track_offsets[:-1], recording.track_offsets[1:], strict=True):
            lanes = lane[begin:end]
            starts = np.flatnonzero(np.diff(lanes, prepend=lanes[0] - 1))
            held = lanes[starts[np.diff(np.append(starts, len(lanes))) >= SECOND]]
            changes += int((np.diff(held) != 0).sum())
            metres += float(np.ptp(recording.x[order[begin:end]]))
    return 1000 * changes / metres, changes


def pool(samples: list[Sample]) -> Sample:
    """All samples as one; vehicles of different samples stay different."""
    return Sample(
        values={q: np.concatenate([s.values[q] for s in samples]) for q in QUANTITIES},
        vehicle={
            q: np.concatenate([s.vehicle[q] + k * 10**8 for k, s in enumerate(samples)]) for q in QUANTITIES
        },
    )


def halves(s: Sample, quantity: str) -> tuple[Floats, Floats]:
    """The values of two random halves of the vehicles: how far apart two samples of one thing are."""
    ids = np.unique(s.vehicle[quantity])
    first = np.random.default_rng(0).permutation(len(ids)) < len(ids) / 2
    mine = first[np.searchsorted(ids, s.vehicle[quantity])]
    return s.values[quantity][mine], s.values[quantity][~mine]


def table(pairs: dict[str, tuple[Sample, Sample]]) -> str:
    """Means, standard deviations and distances in Markdown."""
    lines = [
        "| stream | quantity | real: mean, std | generated: mean, std | Wasserstein | KS | real half to half: W, KS |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (real, made) in pairs.items():
        for quantity, unit in QUANTITIES.items():
            a, b = real.values[quantity], made.values[quantity]
            c, d = halves(real, quantity)
            lines.append(
                f"| {name} | {quantity}, {unit} | {a.mean():.2f}, {a.std():.2f} | {b.mean():.2f}, {b.std():.2f} "
                f"| {wasserstein_distance(a, b):.2f} | {ks_2samp(a, b).statistic:.2f} "
                f"| {wasserstein_distance(c, d):.2f}, {ks_2samp(c, d).statistic:.2f} |"
            )
    return "\n".join(lines)


def draw(pairs: dict[str, tuple[Sample, Sample]], out: Path) -> None:
    """One row of histograms for each stream."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(len(pairs), len(QUANTITIES), figsize=(11, 2.3 * len(pairs)), squeeze=False)
    for row, (name, (real, made)) in zip(axes, pairs.items(), strict=True):
        for ax, (quantity, unit) in zip(row, QUANTITIES.items(), strict=True):
            a, b = real.values[quantity], made.values[quantity]
            low, high = np.percentile(np.concatenate([a, b]), [0.5, 99.5])
            bins = np.linspace(low, high, 41)
            ax.hist(a, bins, density=True, color="0.75", label="real")
            ax.hist(b, bins, density=True, histtype="step", color="tab:blue", lw=1.5, label="generated")
            ax.set_title(f"{name}: {quantity} ({unit})", fontsize=9)
            ax.set_yticks([])
            ax.tick_params(labelsize=8)
    axes[0, 0].legend(fontsize=8)
    fig.tight_layout()
    fig.savefig(out, dpi=110)


def recordings(folder: Path, site: str, minutes: float) -> dict[int, Recording]:
    """The generated recordings of a site, by congestion. Missing ones are made where `minutes` is positive."""
    found = {}
    for level in LEVELS:
        path = folder / f"{site}_{level}.parquet"
        if not path.exists() and minutes > 0:
            print(f"generating {path}", flush=True)
            folder.mkdir(parents=True, exist_ok=True)
            write_parquet(generate(TrafficConfig(site=site, congestion=level, minutes=minutes)), path)
        if path.exists():
            found[level] = read_parquet(path)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder with ngsim/ and commonroad/")
    parser.add_argument("--generated", type=Path, default=Path("runs/traffic"))
    parser.add_argument("--minutes", type=float, default=15.0, help="of a missing recording; 0: leave it out")
    parser.add_argument("--out", type=Path, default=Path("docs/img/traffic_realism.png"))
    args = parser.parse_args()
    i80, us101 = (recordings(args.generated, site, args.minutes) for site in ("i80", "us101"))
    scenes = [read_commonroad(p) for p in sorted((args.data / "commonroad").glob("USA_US101-*.xml"))]
    lane1, ramp = (args.data / "ngsim" / f for f in ("i80_lane1_0400_0415.parquet", "i80_lane7_ramp.parquet"))
    pairs = {}
    if 0 in i80:  # the stream of lane 1 is of the first period
        pairs["I-80 carpool lane"] = (from_stream(lane1), from_recording(i80[0], sizes=False, keep_lane=1))
    for level, recording in i80.items():
        made = from_recording(recording, sizes=False, ramp=True)
        pairs[f"I-80 ramp, period {level}"] = (from_stream(ramp, level), made)
    if us101:
        pairs["US-101"] = (
            pool([from_recording(r, sizes=True) for r in scenes]),
            pool([from_recording(r, sizes=True) for r in us101.values()]),
        )
    if not pairs:
        raise SystemExit(f"nothing to compare: no recording in {args.generated} has its like in {args.data}")
    print(table(pairs))
    for name, made_or_real in (
        ("real US-101", scenes),
        ("generated US-101", list(us101.values())),
        ("generated I-80", list(i80.values())),
    ):
        if made_or_real:
            rate, seen = lane_changes(made_or_real)
            print(f"{name}: {rate:.2f} lane changes per vehicle-km ({seen} seen)")
    draw(pairs, args.out)


if __name__ == "__main__":
    main()
