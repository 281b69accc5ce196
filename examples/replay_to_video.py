"""Replay one recorded car through the simulator, with its own actions, and write what it saw to an MP4.

python examples/replay_to_video.py [RECORDING.parquet [OUT.mp4]]
"""

import sys

import numpy as np

from envs.drives import find_drives
from envs.ending import ending
from envs.pictures import RoadPicture
from envs.replay import Replay, Step
from envs.sources import load_recordings
from envs.video import write_mp4


def main(recording: str | None = None, out: str = "replay.mp4") -> None:
    [traffic] = load_recordings(recording)
    replay = Replay([traffic], num_egos=1, history=20)
    drives = find_drives(replay.world, [traffic])
    replay.reset(drives.take(slice(0, 1)))
    road, frames, step = RoadPicture(replay), [], Step.empty(1)
    drift = 0.0
    while not ending(step):
        frames.append(road.picture(0, step.costs[0], title="human"))
        _, step = replay.step(replay.human_actions())
        drift = max(drift, float(np.hypot(*(replay.state - replay.human_state())[0, :2])))
    write_mp4(out, frames, fps=1 / traffic.dt)
    print(
        f"{ending(step)} after {len(frames) * traffic.dt:.1f} s, at most {drift:.2f} m from the recording: {out}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
