"""How much memory a recording takes in replay; run as a program of its own, so that nothing else is weighed with it.

python -m mbrl.bench_memory RECORDING.parquet NUM_EGOS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from envs.drives import find_drives
from envs.formats import read_parquet
from envs.replay import Replay

NUM_STEPS = 20


def drive_and_weigh(parquet: str | Path, num_egos: int) -> float:
    """Load a recording, drive in it, and return this process's peak resident memory so far, MiB."""
    recording = read_parquet(parquet)
    replay = Replay([recording], num_egos)
    drives = find_drives(replay.world, [recording])
    replay.reset(drives.take(np.arange(num_egos) % len(drives)))
    for _ in range(NUM_STEPS):
        replay.step(replay.human_actions())
    return peak_rss_mb()


def peak_rss_mb() -> float:
    """Of this process, MiB. Linux's getrusage would tell the parent's if that was larger, so /proc is asked first."""
    try:
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / (1 << 10)
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # bytes on macOS


if __name__ == "__main__":
    print(drive_and_weigh(sys.argv[1], int(sys.argv[2])))
