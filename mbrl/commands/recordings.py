"""Commands that make, read and show recordings."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mbrl.commands.arguments import (
    Device,
    Files,
    Recordings,
    all_files,
    naming_bad_arguments,
    read_all,
    refuse,
    require_device,
    require_file,
    require_folder,
    require_parquet,
    require_readable,
    require_some,
)


def generate(
    out: Annotated[Path, arg(metavar="FILE.parquet")],
    site: str = "i80",
    seed: int = 0,
    minutes: float = 15.0,
    congestion: Literal[0, 1, 2] = 1,
    ngsim: Annotated[Path | None, arg(metavar="FILE.txt")] = None,
) -> None:
    """Let SUMO drive traffic on a road like a recorded one, and record it (needs `pip install headway[traffic]`).

    Args:
        out: the recording to write.
        site: the road: i80 (six lanes, on-ramp) or us101 (five lanes, on-ramp, auxiliary lane, off-ramp).
        seed: the same seed gives the same recording.
        minutes: how long to record, after a warm-up that is not recorded.
        congestion: 0 dense, 1 denser, 2 the most stop-and-go.
        ngsim: also write the recording as NGSIM's 18-column text.
    """
    require_parquet(out)
    require_file(out, ngsim)
    from envs.formats import write_parquet
    from envs.formats.ngsim_export import write_ngsim
    from envs.traffic import TrafficConfig, generate
    from mbrl.progress import Progress

    with naming_bad_arguments():
        config = TrafficConfig(site=site, seed=seed, minutes=minutes, congestion=congestion)
    with Progress("simulating traffic", 100, unit="%") as progress:
        recording = generate(config, lambda share: progress.reach(round(100 * share)))
    write_parquet(recording, out)
    if ngsim is not None:
        write_ngsim(recording, ngsim)


def import_(
    files: Positional[Files],
    out: Annotated[Path, arg(metavar="FILE.parquet")],
    format: Annotated[str | None, arg(metavar="FORMAT")] = None,
    site: Annotated[str | None, arg(metavar="SITE")] = None,
    location: Annotated[str | None, arg(metavar="LOCATION")] = None,
    units: Annotated[str, arg(metavar="feet|metres")] = "feet",
) -> None:
    """Turn recordings of other programs into one headway recording.

    Args:
        files: what to read; several NGSIM files are periods of one recording.
        out: the recording to write.
        format: ngsim (18-column text or the portal's CSV), ngsim-portal (the CSV only), commonroad (XML); by default
            what the first file looks like.
        site: the road of an NGSIM file, i80 or us101; by default told from its location or day, or drawn from its
            traffic.
        location: the rows to take of a portal file that holds several: i-80, us-101, lankershim or peachtree.
        units: of an NGSIM file.
    """
    require_some(files, "FILE")
    require_readable(*files)
    require_parquet(out)
    require_file(out)
    from envs.formats import read, write_parquet

    write_parquet(read(files, format, site=site, location=location, units=units), out)


def export_minari(
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR-vN")],
    agent: Annotated[str, arg(metavar="AGENT")] = "human",
    split: Literal["test", "validation", "train", "all"] = "train",
    traffic: Literal["blind", "reactive"] = "blind",
    cars: int | None = None,
    device: Device = "cpu",
) -> None:
    """Write what an agent sees and does in recorded traffic as a Minari data set (needs `pip install
    headway[offline]`).

    Args:
        recording: recordings to drive in.
        out: folder of the data set; its name is the set's, and ends in a version: i80-human-v0.
        agent: as of `headway evaluate`; human for the recordings themselves.
        split: which of the recorded cars are taken over.
        traffic: blind (the others follow the recording) or reactive (they brake for the ego).
        cars: the first so many of them; all by default.
        device: where networks run.
    """
    files = all_files(recording)
    require_folder(out.parent)
    require_device(device)
    from agents.episodes import episodes
    from agents.minari_data import write_minari
    from mbrl.agents_by_name import agent_by_name

    driver = agent_by_name(agent, device)
    drives = episodes(driver, read_all(files), split=split, traffic=traffic, num_cars=cars)
    data = write_minari(
        drives, out, algorithm=driver.name, description=", ".join(path.name for path in files)
    )
    print(f"{data.total_episodes} drives of {driver.name}, {data.total_steps} steps")


def info(file: Positional[Annotated[Path, arg(metavar="FILE.parquet")]], json: bool = False) -> None:
    """Say what is in a recording.

    Args:
        file: the recording.
        json: print one JSON object instead of lines.
    """
    require_readable(file)
    from envs.describe import as_text, describe
    from envs.formats import read_parquet

    description = describe(read_parquet(file))
    print(json_format.dumps(description) if json else as_text(description))


def view(
    file: Positional[Annotated[Path | None, arg(metavar="[FILE.parquet]")]] = None,
    agent: Annotated[str | None, arg(metavar="AGENT")] = None,
    mp4: Annotated[Path | None, arg(metavar="FILE.mp4")] = None,
    seconds: float | None = None,
) -> None:
    """Watch a recording, or an agent that drives in it, in a window or as a video.

    Args:
        file: the recording; without it, the one that ships with headway.
        agent: as of `headway evaluate`; without it, the traffic alone.
        mp4: write a video instead of opening a window.
        seconds: how much to show; by default the first minute in a video, and all in a window.
    """
    if file is not None:
        require_readable(file)
    if mp4 is not None and mp4.suffix.lower() != ".mp4":
        refuse("expected the name of a video (.mp4)", mp4)
    if seconds is not None and not seconds > 0:
        refuse(f"--seconds {seconds:g}: expected a time above 0")
    require_file(mp4)
    from envs import SAMPLE
    from envs.formats import read_parquet
    from envs.viewer import view as show

    recording = read_parquet(file or SAMPLE)
    if agent is None:
        show(recording, mp4=mp4, seconds=seconds)
        return
    from mbrl.agents_by_name import agent_by_name

    show(recording, agent_by_name(agent), mp4=mp4, seconds=seconds)
