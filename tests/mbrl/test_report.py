"""The report: one whole page that needs no other file, and whose pictures show what happened."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from agents import Human, NoAction
from agents.evaluate import Evaluation, evaluate
from agents.results import results
from envs.errors import InputError
from envs.replay import Replay
from envs.units import View
from mbrl import page
from mbrl.axes import HEIGHT, TOP
from mbrl.forensics import look_back, seen
from mbrl.forward_models import Ensemble, EnsembleConfig, PaperConfig, SeparatedConfig, Timing, build
from mbrl.plots import ENDINGS, Trace, line_chart, road_chart, scatter_chart
from mbrl.report import ExtraTable, Imagined, headline, write_report
from mbrl.strips import ASPHALT, EGO_COLOUR, strip, to_rgb
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from tests.agents import scenes

VOID = {"meta", "br", "img"}
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class Outline(HTMLParser):
    """Checks that what is opened is closed, and collects attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [
            value or "" for key, value in attrs if key in ("src", "href", "data", "poster", "srcset")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    mpur, again = scenes.cautious(seed=0), scenes.cautious(seed=1, strength=9.0)
    mpur.name = again.name = "mpur"
    odd = scenes.constant(0.3, name="<i>odd & co</i>")
    recordings = [scenes.clean_traffic(num_cars=40), scenes.parked_car_ahead()]
    return evaluate(
        [Human(), NoAction(), mpur, odd, again], recordings, names=["clean", "parked"], split="all", threads=1
    )


def future(num: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, 3, 117, 24), np.uint8)


def written(tmp_path: Path, evaluation: Evaluation, **kwargs: object) -> str:
    write_report(tmp_path / "report.html", evaluation, **kwargs)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".mp4"] == ["report.html"]
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_whole_page(evaluation, tmp_path):
    (tmp_path / "drive.mp4").write_bytes(b"not really a video")
    text = written(
        tmp_path,
        evaluation,
        curves={
            "model": {"image loss": [(s, 3.0 / (s + 1)) for s in range(1000)]},
            "policy": {"cost": [(0, float("nan"))]},
        },
        imagined=[Imagined("car 1 < 2", future(), future())],
        tables=[
            ExtraTable(
                "With & without", ["agent", "U"], [["mpur", 0.4], ["mpur-no-uncertainty", 1081]], note="So."
            )
        ],
        facts={
            "command": "headway demo",
            "config": {"seed": 3, "model": {"width": 64}},
            "seconds": {"model": 12.5},
        },
        video_path=tmp_path / "drive.mp4",
    )
    outline = Outline(text)
    said = " ".join(outline.text)
    for label in (
        "human",
        "no-action",
        "mpur (seed 0)",
        "mpur (seed 1)",
        "mpur (2 seeds)",
        "<i>odd & co</i>",
    ):
        assert label in said
    for words in (
        "image loss",
        "no finite value",
        "car 1 < 2",
        "With & without",
        "1081",
        "config.model.width",
        "12.5",
    ):
        assert words in said
    assert headline(results(evaluation), results(evaluation)["pooled"][0], True) in said
    assert "Who fails" in said
    assert "their human had not" in said
    assert outline.tags.count("video") == 1


def test_nothing_is_loaded_from_elsewhere(evaluation, tmp_path):
    text = written(tmp_path, evaluation, imagined=[Imagined("a", future(), future())])
    links = Outline(text).links
    assert len(links) > 3
    assert all(link.startswith("data:image/png;base64,") for link in links)
    for fetches in ("http:", "https:", "//www", "@import", "url(", "<script", "<link"):
        assert fetches not in text


def test_the_headline_says_the_numbers(evaluation):
    row = {"name": "mpur", "success": 0.871, "success_ci": [0.834, 0.904], "speed_vs_human": 1.042}
    data = {"split": "test", "cars": 212, "agents": [{"name": "no-action", "success": 0.064}]}
    assert headline(data, row, True).replace("\N{NO-BREAK SPACE}", " ") == (
        "mpur drives 87 % of 212 unseen cars to the end of the road without a collision (95 % interval 83 to 90 %),"
        " at 1.04 times the speed of their human drivers; doing nothing gets 6 % there."
    )
    assert "to the end of their recording" in headline(data | {"split": "all"}, row, False)


def test_a_failures_pictures_show_what_the_agent_saw(evaluation):
    """The views drawn afterwards from the log are those of a fresh replay of the same drive."""
    run = evaluation.runs[1]
    car = int(np.flatnonzero(run.outcomes.ending() == "collision")[0])
    ended = int(run.outcomes.ended()[car])
    replay = Replay(evaluation.recordings, 1, history=4, threads=1)
    observation = replay.reset(evaluation.drives.take(np.array([car])))
    for _ in range(ended):
        observation, step = replay.step(np.zeros((1, 2)))
    assert step.collided[0]
    steps = np.arange(ended - 3, ended + 1)
    views = seen(evaluation, car, run.outcomes.states[car, steps, :3], steps, View())
    different = (
        np.abs(views.astype(int) - observation.images[0]) > 2
    )  # the log is float32: a pixel may fall elsewhere
    assert different.mean() < 2e-3


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    """An untrained model: everything goes on as it did."""
    config = SeparatedConfig(timing=Timing(frames=3, stride=2), channels=(4, 8, 8), back=(0, 1, 2), z_dim=0)
    return TrainedModel(build(config).eval(), Uncertainty(10))


def test_a_model_that_is_right_imagines_the_failure_as_it_came(
    evaluation: Evaluation, trained: TrainedModel
) -> None:
    """Nobody changes its speed before a car runs into a parked one, so its future is known."""
    run = evaluation.runs[1]
    collided = run.outcomes.ending() == "collision"
    cars = np.flatnonzero(collided & (evaluation.recording_of == 1) & (run.outcomes.ended() > 30))
    back = look_back(evaluation, run, int(cars[0]), trained)
    assert back is not None
    np.testing.assert_allclose(back.seconds, -0.2 * np.arange(9, -1, -1), atol=1e-9)
    np.testing.assert_allclose(back.actions, 0, atol=1e-3)
    assert back.real.proximity[-1] > 0.99
    assert back.real.proximity[0] < 0.9
    np.testing.assert_allclose(back.imagined.proximity, back.real.proximity, atol=0.1)
    np.testing.assert_allclose(back.imagined.off_road, back.real.off_road, atol=0.1)
    difference = np.abs(back.imagined_images[:, 1].astype(float) - back.real_images[:, 1])
    assert difference.mean() < 0.05 * back.real_images[:, 1].astype(float).mean() + 1
    np.testing.assert_array_equal(back.uncertainty, 0)


def build_ensemble(alike: bool) -> Ensemble:
    """Of two paper's models that see what drives saw."""
    config = PaperConfig(
        timing=Timing(frames=3, stride=2), channels=(4, 6, 8), hidden=8, z_dim=0, dropout=0.0
    )
    torch.manual_seed(0)
    model = build(EnsembleConfig(member=config, members=2)).eval()
    assert isinstance(model, Ensemble)
    if alike:
        model.members[1].load_state_dict(model.members[0].state_dict())
    return model


def test_what_was_done_is_looked_back_on_and_members_doubt(evaluation: Evaluation) -> None:
    run = next(run for run in evaluation.runs if "odd" in run.name)  # always 0.3 m/s^2
    car = int(np.flatnonzero(run.outcomes.ended() > 30)[0])
    for alike in (True, False):
        ensemble = TrainedModel(build_ensemble(alike), Uncertainty(3))
        back = look_back(evaluation, run, car, ensemble)
        assert back is not None
        np.testing.assert_allclose(back.actions, [[0.3, 0.0]] * 3, atol=1e-2)
        assert (back.uncertainty.max() < 1e-3) == alike


def test_a_drive_that_is_too_short_is_not_looked_back_on(
    evaluation: Evaluation, trained: TrainedModel
) -> None:
    run = evaluation.runs[1]
    car = int(np.flatnonzero(run.outcomes.ended() > 30)[0])
    states = run.outcomes.states.copy()
    contact = run.outcomes.contacts["paper"]
    early = contact._replace(step=np.where(np.arange(len(states)) == car, 5, contact.step))
    short = replace(run, outcomes=replace(run.outcomes, contacts={**run.outcomes.contacts, "paper": early}))
    assert look_back(evaluation, short, car, trained) is None
    with pytest.raises(ValueError, match="blind"):
        look_back(replace(evaluation, traffic="reactive"), run, car, trained)


def test_failures_show_what_the_model_imagined(
    evaluation: Evaluation, trained: TrainedModel, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    write_report(path, evaluation, chosen="no-action", trained=trained)
    outline = Outline(path.read_text())
    assert any("what the model imagined for the same actions" in words for words in outline.text)
    assert "costs as they came and as imagined, U, actions" in outline.text


def test_agents_without_failures_and_scenes_without_goal(tmp_path):
    scene = scenes.without_goal(scenes.clean_traffic(num_cars=8))
    text = written(tmp_path, evaluate([Human()], [scene], split="all", threads=1))
    said = " ".join(Outline(text).text)
    assert "human has none." in said
    assert "of 8 cars to the end of their recording" in said


def test_reactive_traffic_shows_no_pictures_it_could_not_draw(evaluation, tmp_path):
    text = written(tmp_path, replace(evaluation, traffic="reactive"))
    assert "data:image/png" not in text
    assert "All " in text


def test_dropped_cars_are_listed(tmp_path):
    lane = np.array(scenes.lane_centre(2))
    recording = scenes.recording_of(
        scenes.Track(11, scenes.along(5.0), np.array(scenes.lane_centre(0))),
        scenes.Track(12, 160 + scenes.still(), lane),
        scenes.Track(4321, scenes.along(5.0), lane, first=7),
    )
    said = Outline(written(tmp_path, evaluate([NoAction()], [recording], split="all", threads=1))).text
    assert any("1 car dropped" in words for words in said)
    assert "4321" in said


def test_an_agent_that_does_not_exist_leaves_the_old_report(evaluation, tmp_path):
    before = written(tmp_path, evaluation)
    with pytest.raises(ValueError, match="must be one of"):
        write_report(tmp_path / "report.html", evaluation, chosen="nobody")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before


def test_a_missing_folder_is_refused(evaluation, tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "none" / "report.html", evaluation)


def test_a_large_video_stays_outside(tmp_path, monkeypatch):
    (tmp_path / "drive.mp4").write_bytes(bytes(100))
    assert "data:video/mp4;base64,AAAA" in page.video(tmp_path / "drive.mp4")
    monkeypatch.setattr(page, "MAX_EMBEDDED", 99)
    assert "data:" not in page.video(tmp_path / "drive.mp4")
    assert "drive.mp4" in page.video(tmp_path / "drive.mp4")


def ends_of(path: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """First and last point of a path M x y l dx dy ..."""
    numbers = np.array([float(n) for n in NUMBER.findall(path)]).reshape(-1, 2)
    return tuple(numbers[0]), tuple(numbers.sum(0))


def test_a_lines_height_is_its_value():
    colours = {"a": "red", "b": "blue"}
    chart = line_chart({"a": [(0, 0.0), (5, float("nan")), (10, 8.0)], "b": [(0, 4.0), (10, 4.0)]}, colours)
    a, b = (ends_of(d) for d in re.findall(r'<path d="(M[^"]*l[^"]*)"', chart))
    bottom, top = a[0][1], a[1][1]
    assert top == pytest.approx(TOP, abs=0.2)
    assert bottom > HEIGHT * 0.8
    assert b[0][1] == b[1][1] == pytest.approx((top + bottom) / 2, abs=0.2)
    assert a[0][0] < a[1][0]


def test_a_wide_range_is_logarithmic():
    chart = line_chart({"a": [(0, 1000.0), (1, 31.623), (2, 1.0)]}, {"a": "red"})
    (d,) = re.findall(r'<path d="(M[^"]*l[^"]*)"', chart)
    numbers = [float(n) for n in NUMBER.findall(d)]
    assert numbers[3] == pytest.approx(numbers[5], abs=0.2), "half the decades, half the height"


@pytest.mark.parametrize(
    "points", [[(3, 2.0)], [(0, 1.0), (5, 1.0)], [(0, -1e9), (1, 1e9)], [(i, 1.0) for i in range(5000)]]
)
def test_curves_of_any_shape_are_drawn(points):
    chart = line_chart({"a": points}, {"a": "red"})
    assert "nan" not in chart
    assert chart.count("<path") >= 2
    assert len(chart) < 10_000


def test_labelled_axes_begin_where_they_are_told_and_leave_room_for_words():
    options = {"x_label": "seconds <ahead>", "y_label": "metres", "shows": [(0, 0.0)], "is_log": False}
    chart = line_chart({"a": [(1, 1000.0), (2, 1.0)]}, {"a": "red"}, **options)
    said = Outline(chart).text
    assert "seconds <ahead>" in said
    assert "metres" in said
    (line,) = re.findall(r'<path d="(M[^"]*l[^"]*)"', chart)
    first, last = ends_of(line)
    rows = [float(y) for y in re.findall(r'<path d="M46 ([0-9.]+)H', chart)]
    assert first[1] == pytest.approx(min(rows), abs=0.2)
    assert last[1] == pytest.approx(max(rows), abs=0.5), "1 of 1000 is hardly above the 0 that was asked for"
    words = [float(y) for y in re.findall(r'<text x="[0-9.]+" y="([0-9.]+)"', chart)]
    assert max(rows) < max(words) <= HEIGHT
    assert min(words) < min(rows)


def test_equal_numbers_lie_on_the_dashed_line():
    chart = scatter_chart([(0.1, 0.1), (0.4, 0.4), (0.4, 0.2), (float("nan"), 1.0)], x_label="a", y_label="b")
    (line,) = re.findall(r'<path d="(M[^"]*l[^"]*)"', chart)
    (x0, y0), (x1, y1) = ends_of(line)
    dots = [(float(x), float(y)) for x, y in re.findall(r'cx="([0-9.]+)" cy="([0-9.]+)"', chart)]
    above = [y - (y0 + (x - x0) * (y1 - y0) / (x1 - x0)) for x, y in dots]
    np.testing.assert_allclose(above[:2], 0, atol=0.3)
    assert len(dots) == 3
    assert above[2] > 10, "less on the vertical axis lies lower"
    assert "no finite value" in scatter_chart([], x_label="a", y_label="b")


def test_the_road_shows_every_ending(evaluation):
    x = np.linspace(60, 100, 30)
    traces = [Trace(x, np.full(30, -3.0 * k - 1), ending) for k, ending in enumerate(ENDINGS)]
    chart = road_chart(evaluation.recordings[0].site, traces, x_range=(50, 270))
    Outline(chart)
    for ending, colour in ENDINGS.items():
        assert chart.count(f'stroke="{colour}"') == 1
        assert chart.count(f'fill="{colour}"') == (ending != "arrived"), "a dot where a drive failed"


def test_a_strip_is_the_frames_side_by_side():
    images = np.zeros((3, 3, 117, 24), np.uint8)
    images[1, 1, :10] = 255
    address = strip(images)
    picture = imread(io.BytesIO(base64.b64decode(address.split(",")[1])), format="png")
    assert picture.shape == (117, 3 * 24 + 2 * 2, 4)
    assert (picture[:, 24:26, 3] == 0).all()
    np.testing.assert_array_equal(np.round(picture[:, 26:50, :3] * 255), to_rgb(images)[1])
    rgb = to_rgb(images)
    assert rgb[0, 58, 12].tolist() == list(EGO_COLOUR)
    assert rgb[0, 0, 0].tolist() == list(ASPHALT)
    assert rgb[1, 0, 0].tolist() != list(ASPHALT)
