"""Writing videos that browsers play: H.264 in MP4, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from envs.errors import InputError
from envs.formats.atomic import atomic_path

# A constant visible quality; the index at the front, so that a browser can start before it has the whole file.
ENCODING = ["-crf", "21", "-preset", "veryfast", "-movflags", "+faststart", "-f", "mp4"]


def write_mp4(path: str | Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
    """Write frames (height, width, 3), all of one size, to a video of `fps` frames a second.

    H.264 with 4:2:0 colours needs even sizes: an odd one is padded by repeating its last row or column.

    Raises:
        ValueError: there is no frame, or one of another size.
        InputError: `path` cannot be written, or not in whole.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    height, width = first.shape[:2]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    with atomic_path(path) as unfinished:
        writer = imageio_ffmpeg.write_frames(
            str(unfinished),
            (width + width % 2, height + height % 2),
            fps=fps,
            codec="libx264",
            pix_fmt_out="yuv420p",
            macro_block_size=2,
            quality=None,
            output_params=ENCODING,
            ffmpeg_log_level="error",
        )
        try:
            writer.send(None)
            for k, frame in enumerate(chain([first], frames)):
                if frame.shape != first.shape:
                    raise ValueError(f"frame {k} is {frame.shape}, the first one {first.shape}")
                writer.send(np.ascontiguousarray(np.pad(frame, padding, mode="edge")))
        finally:
            writer.close()
        _check_whole(unfinished, k + 1)


def _check_whole(video: Path, num_frames: int) -> None:
    """Raise InputError unless a file holds so many frames: the encoder does not say when the disk was full."""
    try:
        found, _ = imageio_ffmpeg.count_frames_and_secs(str(video))
    except RuntimeError:
        found = 0
    if found != num_frames:
        raise InputError(
            f"the video has {found} of its {num_frames} frames: is the disk full?", path=video.parent
        )
