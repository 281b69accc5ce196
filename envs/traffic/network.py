"""The road as SUMO sees it: straight edges end to end, whose given lengths, not their drawing, say where a car is.

SUMO trims lanes at junctions, so its own x and y jump there by metres. Here every edge has an explicit length and cars
are located by (edge, metres along it), which is continuous by construction; simulate.py turns that into site
coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from envs.sites import Layout

UPSTREAM = 700.0  # m before x = 0, where traffic enters and settles
CONTROL_GAP = 250.0  # m between the end of the site and the control section
CONTROL_LENGTH = 300.0  # m
RUNOUT = 350.0  # m behind it
RAMP_LENGTH = 300.0  # m
MAIN_LIMIT, RAMP_LIMIT = 29.0, 14.0  # m/s
CONTROL = "control"
RAMP, EXIT = "ramp", "exit"


@dataclass(frozen=True)
class Edge:
    """A piece of road of constant width: begin and end in site x; lanes counted from the right, as SUMO does."""

    name: str
    begin: float
    end: float
    lanes: int
    side_lane: bool = False  # lane 0 is the site's side lane

    @property
    def length(self) -> float:
        return self.end - self.begin


def edges(layout: Layout) -> tuple[Edge, ...]:
    """The through road from where traffic enters to where it leaves, then the ramps."""
    side = layout.side
    side_end = side.exit_nose if side.exit_nose is not None else side.merge_end
    assert side_end is not None, "a side lane ends at an off-ramp or at merge_end"
    control = layout.length + CONTROL_GAP
    road = [
        Edge("upstream", -UPSTREAM, side.entry_nose, layout.lanes),
        Edge("beside", side.entry_nose, side_end, layout.lanes + 1, side_lane=True),
        Edge("downstream", side_end, control, layout.lanes),
        Edge(CONTROL, control, control + CONTROL_LENGTH, layout.lanes),
        Edge("runout", control + CONTROL_LENGTH, control + CONTROL_LENGTH + RUNOUT, layout.lanes),
        Edge(RAMP, side.entry_nose - RAMP_LENGTH, side.entry_nose, 1, side_lane=True),
    ]
    if side.exit_nose is not None:
        road.append(Edge(EXIT, side_end, side_end + RAMP_LENGTH, 1, side_lane=True))
    return tuple(road)


def write_network(layout: Layout, folder: Path) -> None:
    """Write SUMO's plain XML (nodes, edges, connections) for netconvert into `folder`."""
    road = edges(layout)
    through = [e for e in road if e.name not in (RAMP, EXIT)]
    nodes = {f"n{i}": (e.begin, 0.0) for i, e in enumerate(through)}
    nodes["end"] = (through[-1].end, 0.0)
    ends = {e.name: (f"n{i}", f"n{i + 1}" if i + 1 < len(through) else "end") for i, e in enumerate(through)}
    away = -60.0  # m; ramps only have to be apart on SUMO's map
    for e in road[len(through) :]:
        if e.name == RAMP:
            nodes["ramp_begin"] = (e.begin, away)
            ends[RAMP] = ("ramp_begin", ends["beside"][0])
        else:
            nodes["exit_end"] = (e.end, away)
            ends[EXIT] = (ends["beside"][1], "exit_end")
    _write(
        folder / "road.nod.xml", "nodes", [f'<node id="{n}" x="{x}" y="{y}"/>' for n, (x, y) in nodes.items()]
    )
    _write(folder / "road.edg.xml", "edges", [_edge_xml(e, *ends[e.name], layout) for e in road])
    _write(folder / "road.con.xml", "connections", _connections(road, through))


def _edge_xml(e: Edge, begin: str, end: str, layout: Layout) -> str:
    limit = RAMP_LIMIT if e.name in (RAMP, EXIT) else MAIN_LIMIT
    lanes = []
    if layout.side.exit_nose is None and e.name in (RAMP, "beside"):
        lanes.append('<lane index="0" allow="custom1"/>')  # a lane that ends is for those who come in by it
    if layout.carpool_lane and e.name not in (RAMP, EXIT):
        lanes.append(f'<lane index="{e.lanes - 1}" allow="hov"/>')
    return (
        f'<edge id="{e.name}" from="{begin}" to="{end}" numLanes="{e.lanes}" speed="{limit}" length="{e.length}" '
        f'width="{layout.lane_width}">{"".join(lanes)}</edge>'
    )


def _connections(road: tuple[Edge, ...], through: list[Edge]) -> list[str]:
    """Each through lane runs on in the next edge; the ramps join and leave at lane 0 of the edge beside them."""
    lines = []
    for a, b in pairwise(through):
        for lane in range(min(a.lanes, b.lanes)):
            lines.append((a.name, lane + a.side_lane, b.name, lane + b.side_lane))
    for e in road[len(through) :]:
        lines.append((RAMP, 0, "beside", 0) if e.name == RAMP else ("beside", 0, EXIT, 0))
    return [f'<connection from="{a}" fromLane="{i}" to="{b}" toLane="{j}"/>' for a, i, b, j in lines]


def _write(path: Path, tag: str, lines: list[str]) -> None:
    path.write_text(f"<{tag}>\n" + "\n".join(lines) + f"\n</{tag}>\n", encoding="utf-8")
