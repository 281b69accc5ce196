"""Writing videos that browsers play: H.264 in MP4, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray


def write_mp4(path: str | Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
    """Write frames (height, width, 3), all of one size, to a video of `fps` frames a second.

    H.264 with 4:2:0 colours needs even sizes: an odd one is repeated at the right and bottom edge. The file appears
    under its name when it is complete.

    Raises:
        ValueError: there is no frame, or one of another size.
    """
    path = Path(path)
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    height, width = first.shape[:2]
    padded = ((0, height % 2), (0, width % 2), (0, 0))
    unfinished = path.with_name(f".{path.name}.unfinished.mp4")
    writer = imageio_ffmpeg.write_frames(
        str(unfinished),
        (width + width % 2, height + height % 2),
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p",
        macro_block_size=2,
        quality=None,
        bitrate=None,
        output_params=["-crf", "21", "-preset", "veryfast", "-movflags", "+faststart"],
        ffmpeg_log_level="error",
    )
    try:
        writer.send(None)
        for k, frame in enumerate(chain([first], frames)):
            if frame.shape != first.shape:
                raise ValueError(f"frame {k} is {frame.shape}, the first one {first.shape}")
            writer.send(np.ascontiguousarray(np.pad(frame, padded, mode="edge")))
        writer.close()
        unfinished.replace(path)
    finally:
        writer.close()
        unfinished.unlink(missing_ok=True)
