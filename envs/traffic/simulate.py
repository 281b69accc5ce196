"""Run SUMO on a road and a population, and read back who was where in every frame."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from envs.errors import Failed, InputError
from envs.sites import Layout
from envs.traffic.config import DT, Congestion, TrafficConfig
from envs.traffic.drivers import Vehicle, routes_xml
from envs.traffic.network import CONTROL, EXIT, MAIN_LIMIT, RAMP, Edge, edges, write_network

LATERAL_RESOLUTION = 0.8  # m, of SUMO's sublanes
CARPOOL_WAVE = (3.0, 500.0)  # m/s and s: how the carpool lane's speed swells and ebbs

NETCONVERT_OPTIONS = (
    "-n road.nod.xml -e road.edg.xml -x road.con.xml -o road.net.xml --no-internal-links --no-turnarounds"
)
SUMO_OPTIONS = (  # the log's lines reach us when 4 kB of them are full, so there must be many
    "-n road.net.xml -r routes.xml -a limits.xml --no-internal-links "
    f"--step-length {DT} --lateral-resolution {LATERAL_RESOLUTION} --step-method.ballistic "
    "--time-to-teleport -1 --collision.action none --no-warnings --step-log.period 10 "
    "--fcd-output tracks.parquet --fcd-output.attributes lane,pos,posLat --fcd-output.skip-empty"
)

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Tracks:
    """Rows sorted by (vehicle, frame): front bumpers in straight lanes.

    x is along the road, y across it from the left edge of lane 1 as if the side lane were straight too (`Layout.place`
    bends it).
    """

    vehicle: NDArray[np.int64]  # the vehicle's id
    frame: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def sumo_tool(name: str) -> Path:
    """Path of one of SUMO's programs. Raises InputError, naming the extra to install, where SUMO is missing."""
    spec = importlib.util.find_spec("sumo")
    home = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    program = home / "bin" / name if home is not None else None
    if program is None or not program.exists():
        raise InputError("generating traffic needs SUMO: pip install 'headway[traffic]'")
    return program


def sumo_version() -> str:
    """SUMO's version; the recordings of another may differ."""
    return importlib.metadata.version("eclipse-sumo")


def simulate(
    layout: Layout,
    level: Congestion,
    vehicles: list[Vehicle],
    config: TrafficConfig,
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> Tracks:
    """Simulate warm-up and recording; frames count from the end of the warm-up."""
    netconvert, sumo = sumo_tool("netconvert"), sumo_tool("sumo")
    end = config.warmup + 60 * config.minutes
    with tempfile.TemporaryDirectory(prefix="headway-traffic-") as name:
        folder = Path(name)
        write_network(layout, folder)
        _run(netconvert, NETCONVERT_OPTIONS, folder)
        (folder / "routes.xml").write_text(routes_xml(vehicles, layout), encoding="utf-8")
        (folder / "limits.xml").write_text(
            limits_xml(layout, level, config, end, generator), encoding="utf-8"
        )
        options = f"{SUMO_OPTIONS} --end {end} --seed {config.seed} --device.fcd.begin {config.warmup}"
        _run(sumo, options, folder, progress and (lambda line: _report(line, end, progress)))
        return _read(folder / "tracks.parquet", layout, config.warmup)


def limits_xml(
    layout: Layout, level: Congestion, config: TrafficConfig, end: float, generator: np.random.Generator
) -> str:
    """Speed limits that change every second: the control section's, and the carpool lane's along the whole road."""
    t = np.arange(0.0, end + 1.0)
    control = level.mean + level.amplitude * np.sin(2 * np.pi * t / level.wave_period)
    control += _autoregressive(len(t), level.noise, level.noise_time, generator)
    control[t < config.queue_building] = config.queue_speed
    lanes = layout.lanes - layout.carpool_lane
    signs = [("queue", [f"{CONTROL}_{k}" for k in range(lanes)], control)]
    if layout.carpool_lane:
        swell, period = CARPOOL_WAVE
        phase = generator.uniform(0, 2 * np.pi)
        carpool = level.carpool_speed + swell * np.sin(2 * np.pi * t / period + phase)
        carpool += _autoregressive(len(t), level.noise, level.noise_time, generator)
        top = [f"{e.name}_{e.lanes - 1}" for e in edges(layout) if e.name not in (RAMP, EXIT)]
        signs.append(("carpool", top, carpool))
    lines = []
    for name, where, speed in signs:
        lines.append(f'<variableSpeedSign id="{name}" lanes="{" ".join(where)}">')
        for second, v in zip(t, np.clip(speed, 1.0, MAIN_LIMIT), strict=True):
            lines.append(f'<step time="{second:.0f}" speed="{v:.3f}"/>')
        lines.append("</variableSpeedSign>")
    return "<additional>\n" + "\n".join(lines) + "\n</additional>\n"


def _autoregressive(n: int, std: float, memory: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """n values, one a second, of a stationary first-order process that forgets over `memory` seconds."""
    keep = np.exp(-1 / memory)
    kicks = generator.normal(0, std * np.sqrt(1 - keep**2), n)
    out = np.empty(n)
    value = 0.0
    for i, kick in enumerate(kicks):
        value = keep * value + kick
        out[i] = value
    return out


def _run(program: Path, options: str, folder: Path, heard: Callable[[str], None] | None = None) -> None:
    """Run one of SUMO's programs; `heard` gets each line it prints. Its last words are the error when it fails."""
    command = [str(program), *options.split()]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        last: deque[str] = deque(maxlen=20)
        try:
            for line in process.stdout:
                last.append(line.strip())
                if heard is not None:
                    heard(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise Failed(f"{program.name} failed: {' '.join(last)}")


def _report(text: str, end: float, progress: Progress) -> None:
    """Tell how far SUMO is; it prints lines such as `Step #100.00 (...)`."""
    for step in text.split("Step #")[1:]:
        progress(min(float(step.split()[0]) / end, 1.0))


def _read(path: Path, layout: Layout, warmup: float) -> Tracks:
    """SUMO's table of (time, id, lane, pos, posLat) as tracks."""
    table = pq.read_table(path)
    names = {n.rsplit("_", 1)[-1]: n for n in table.column_names}
    if "lane" not in names:  # nobody came
        none = np.zeros(0, np.int64)
        return Tracks(none, none, none.astype(float), none.astype(float))
    lane = table[names["lane"]].dictionary_encode().combine_chunks()
    codes = lane.indices.to_numpy()
    road: dict[str, Edge] = {e.name: e for e in edges(layout)}
    begin, centre = np.empty(len(lane.dictionary)), np.empty(len(lane.dictionary))
    for k, label in enumerate(lane.dictionary.to_pylist()):
        edge, index = label.rsplit("_", 1)
        e = road[edge]
        begin[k] = e.begin
        from_left = (
            layout.lanes + e.side_lane - int(index) if e.name not in (RAMP, EXIT) else layout.lanes + 1
        )
        centre[k] = -(from_left - 0.5) * layout.lane_width
    vehicle = table[names["id"]].to_numpy().astype(np.int64)
    time = table[names["time"]].to_numpy()
    frame = np.round((time - warmup) / DT).astype(np.int64)
    x = begin[codes] + table[names["pos"]].to_numpy()
    y = centre[codes] + table[names["posLat"]].to_numpy()
    order = np.lexsort((frame, vehicle))
    return Tracks(vehicle[order], frame[order], x[order], y[order])
