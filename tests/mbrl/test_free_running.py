"""Free runs against steps by hand, a world that a model is right about, and numbers written out; what is shown."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import Tensor

from agents import Agent, Human, NoAction
from agents.learned import LearnedAgent
from agents.policies import Policy, PolicyConfig
from agents.rules import RuleDriver, RulesConfig
from envs.context import Recorded, context_of_windows
from envs.errors import InputError
from envs.recording import Recording
from envs.units import View
from envs.windows import WindowConfig, Windows, WindowSampler
from mbrl import free_running_report as report
from mbrl.cli import main
from mbrl.forward_models import EnsembleConfig, ForwardModel, Prediction, build
from mbrl.free_running import FreeRun, run_free
from mbrl.free_running_report import as_text, frames, overview, write_free_run
from tests.agents.scenes import Track, along, recording_of
from tests.envs.test_viewer import read_mp4
from tests.mbrl.small import TIMING, VARIANTS, VIEW, small_model
from tests.toys import lane_centre, straight_site

POLICY = PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(3, 4, 4), hidden=8)
LEFT = 60  # frames of car 1 after it was taken over


@cache
def traffic() -> Recording:
    """Car 1 brakes and swerves between two that keep their speed; it is recorded for 30 steps of the small models."""
    t = 0.1 * np.arange(200)
    x = along(10 - 0.5 * t[:-1], len(t), x0=40.0)
    begin = int(np.flatnonzero(x >= 60)[0])
    x, y = x[: begin + LEFT + 1], lane_centre(1) + np.sin(0.4 * t[: begin + LEFT + 1])
    ahead, beside = along(7.5, 200, x0=55.0), along(7.8, 200, x0=40.0)
    return recording_of(
        Track(1, x, y), Track(2, ahead, lane_centre(1)), Track(3, beside, lane_centre(2)),
        site=straight_site(start=60.0, goal=100.0),
    )  # fmt: skip


def as_recorded(recording: Recording, vehicle: int, steps: int) -> Windows:
    """What car `vehicle` saw and did from the frame on in which it is taken over."""
    config = WindowConfig(context=TIMING.context, targets=TIMING.targets(steps), view=VIEW)
    sampler = WindowSampler([recording], config, batch_size=1, split="all")
    track = recording.track(vehicle)
    frame = int(np.flatnonzero(recording.x[track] >= 60)[0])
    rows = sampler.world.row(np.array([vehicle]), np.array([frame]))
    return sampler.render(rows, np.random.default_rng(0))


def unrolled(
    model: ForwardModel[Any], windows: Windows, actions: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """By hand, each future alone: pictures (K, T, 3, H, W) and poses (K, T, 4)."""
    pictures, poses = [], []
    with torch.no_grad():
        for future in noise:
            h = model.encode(context_of_windows(windows))
            for action, eps in zip(actions, future, strict=True):
                prediction, h = model.step(h, action[None], model.latent(h, eps[None]))
                pictures.append(prediction.image[0])
                poses.append(prediction.pose[0])
    shape = noise.shape[:2]
    return torch.stack(pictures).unflatten(0, shape), torch.stack(poses).unflatten(0, shape)


# --- running ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_model_runs_on_its_own_predictions_along_the_recorded_actions(variant: str) -> None:
    """And without any, when the recording has ended."""
    model, windows = small_model(variant), as_recorded(traffic(), 0, 30)
    if model.bank is not None:
        model.bank.fill(torch.randn(50, 3, generator=torch.Generator().manual_seed(1)))
    run = run_free(model, traffic(), Human(), steps=32, num_futures=2, vehicle=1, seed=5)
    actions = torch.cat([Recorded.of(windows).actions[0], torch.zeros(2, 2)])
    noise = model.noise(2, 32, like=actions, generator=torch.Generator().manual_seed(5))
    pictures, poses = unrolled(model, windows, actions, noise)
    assert np.abs(run.imagined - 255 * pictures.numpy()).max() < 1
    np.testing.assert_allclose(run.way, poses[..., :2] - context_of_windows(windows).now()[0, :2], atol=0.01)
    np.testing.assert_array_equal(run.recorded, windows.target_images[0])
    np.testing.assert_array_equal(run.start, windows.images[0, -1])
    assert np.array_equal(run.imagined[0], run.imagined[1]) == (model.z_dim == 0)
    assert (run.spread() > 0).any() == (model.z_dim > 0)
    assert run.agent == "human"
    assert run.vehicle == 1


def test_a_model_that_is_right_stays_right_as_long_as_it_is_known() -> None:
    """Everybody keeps the ego's speed, so nothing moves in its view, for ever."""
    cars = [Track(k + 1, along(8.0, 300, x0=45.0 - 14 * k), lane_centre(k % 3)) for k in range(3)]
    recording = recording_of(*cars, site=straight_site(start=60.0, goal=120.0))
    model = build(VARIANTS["separated, no z"]).eval()
    run = run_free(model, recording, Human(), steps=80, num_futures=2, vehicle=1)
    assert run.error().shape == (2, 80)
    assert run.error().max() < 1e-3
    for pictures in (run.imagined, run.recorded):
        np.testing.assert_allclose(run.brightness(pictures)[..., 1], 1, atol=0.03)
    assert (run.spread() == 0).all()
    np.testing.assert_allclose(
        np.hypot(*run.way.T), np.hypot(*run.recorded_way.T)[:, None] * [1, 1], atol=0.05
    )


def test_what_is_expected_is_the_recorded_traffic_seen_from_the_imagined_pose() -> None:
    """Along the recorded actions that is what was recorded; without any, it is what another driver would have seen."""
    model = small_model("separated, no z")
    human = run_free(model, traffic(), Human(), steps=30, num_futures=1, vehicle=1)
    np.testing.assert_allclose(human.way[0], human.recorded_way, atol=0.02)
    assert np.abs(human.expected[0].astype(float) - human.recorded).mean() < 0.5
    none = run_free(model, traffic(), NoAction(), steps=30, num_futures=1, vehicle=1)
    start = context_of_windows(as_recorded(traffic(), 0, 1)).now()[0]
    way = (
        0.2 * np.arange(1, 31)[:, None] * float(start[3]) * np.array([math.cos(start[2]), math.sin(start[2])])
    )
    np.testing.assert_allclose(none.way[0], way, atol=0.02)
    assert none.expected[0, -1, 1].sum() > 0
    column = none.expected[0, -1, 1].sum(0) @ np.arange(VIEW.width) / none.expected[0, -1, 1].sum()
    assert np.abs(none.expected[0].astype(float) - none.recorded).mean() > 2
    assert column != pytest.approx((VIEW.width - 1) / 2, abs=0.5)


def test_beyond_the_recorded_stretch_nothing_is_known() -> None:
    recording = replace(traffic(), site=replace(traffic().site, length=95.0))
    run = run_free(small_model("separated"), recording, NoAction(), steps=30, num_futures=2, vehicle=1)
    start = context_of_windows(as_recorded(traffic(), 0, 1)).now()[0]
    inside = float(start[0]) + run.way[..., 0] <= 95
    assert 10 < inside[0].sum() < 25
    np.testing.assert_array_equal(np.isfinite(run.error()), inside)


def test_who_is_still_in_view_is_counted_among_those_of_the_start() -> None:
    """The ego at 10 m/s leaves a car at 5 m/s behind; others come into view, and do not count."""
    ego = along(10.0, 160, x0=40.0)
    slow, with_it = along(5.0, 160, x0=60.0), along(10.0, 160, x0=45.0)
    parked = [Track(k, np.full(160, 100.0 + 10 * k), lane_centre(2)) for k in range(4, 8)]
    cars = [Track(1, ego, lane_centre(1)), Track(2, slow, lane_centre(0)), Track(3, with_it, lane_centre(2))]
    recording = recording_of(*cars, *parked, site=straight_site(start=60.0, goal=120.0))
    run = run_free(small_model("separated, no z"), recording, Human(), steps=60, num_futures=1, vehicle=1)
    behind = 10 - 5 * run.seconds  # the slow one's place ahead of the ego; it was 10 m ahead at the start
    np.testing.assert_allclose(run.still_in_view, np.where(behind >= -VIEW.top, 1.0, 0.5))
    assert 0 < (run.still_in_view == 1).sum() < 60
    assert run.brightness(run.recorded)[:, 1].max() > 1.5


def test_a_policy_decides_in_each_future() -> None:
    torch.manual_seed(0)
    model, policy = small_model("vae"), Policy(POLICY)
    run = run_free(model, traffic(), LearnedAgent(policy, "mpur"), steps=6, num_futures=2, vehicle=1, seed=3)
    noise = model.noise(2, 6, like=torch.zeros(1), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        for k in range(2):
            h = model.encode(context_of_windows(as_recorded(traffic(), 0, 1)))
            for t in range(6):
                prediction, h = model.step(h, policy(model.context(h)), noise[k : k + 1, t])
            assert np.abs(run.imagined[k, -1] - 255 * prediction.image[0].numpy()).max() < 1
    assert run.agent == "mpur"


def test_an_ensemble_shares_the_futures_among_its_members() -> None:
    torch.manual_seed(0)
    member = replace(VARIANTS["vae"], z_dim=0)
    model = build(EnsembleConfig(member=member, members=2)).eval()  # type: ignore[arg-type]
    run = run_free(model, traffic(), Human(), steps=3, num_futures=4, vehicle=1)
    np.testing.assert_array_equal(run.imagined[0], run.imagined[1])
    assert not np.array_equal(run.imagined[1], run.imagined[2])
    with pytest.raises(InputError, match="ensemble of 2: 3 futures"):
        run_free(model, traffic(), Human(), steps=3, num_futures=3, vehicle=1)


def test_the_seed_decides_everything() -> None:
    model = small_model("separated")
    one, same, other = (run_free(model, traffic(), Human(), steps=12, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.imagined, same.imagined)
    assert not np.array_equal(one.imagined, other.imagined)


def test_of_all_cars_one_is_chosen_that_was_recorded_long_enough() -> None:
    """Car 1 is there for 30 steps, cars 2 and 3 for longer."""
    model = small_model("separated, no z")
    recording = traffic()
    in_test = recording.in_split("test")
    if in_test.any():
        pytest.fail("these cars were to be in no test split, so that all count")
    chosen = {run_free(model, recording, Human(), steps=40, num_futures=1, seed=s).vehicle for s in range(4)}
    assert chosen == {2, 3}
    assert len(run_free(model, recording, Human(), steps=60, num_futures=1, vehicle=1).recorded) == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"num_futures": 0}, "futures=0"),
        ({"seed": -1}, "seed=-1"),
        ({"vehicle": 77}, "vehicle 77 does not drive"),
        ({"recording": "slower"}, r"a frame every 0\.2 s"),
        ({"agent": "near-sighted"}, "the model sees 3 frames, 2 apart"),
        ({"agent": "idm"}, "idm looks at the traffic itself"),
    ],
)
def test_what_does_not_go_together_is_refused(change: dict[str, Any], message: str) -> None:
    options = {"steps": 2, **change}
    recording = replace(traffic(), dt=0.2) if options.pop("recording", None) else traffic()
    agents: dict[Any, Agent] = {
        None: Human(),
        "near-sighted": LearnedAgent(Policy(replace(POLICY, stride=1)), "mpur"),
        "idm": RuleDriver(RulesConfig(rules="idm")),
    }
    agent = agents[options.pop("agent", None)]
    with pytest.raises(InputError, match=message):
        run_free(small_model("separated"), recording, agent, **options)


# --- numbers ---------------------------------------------------------------------------------------------------------


def some_run(*, steps: int = 5, recorded: int = 3, view: View = VIEW) -> FreeRun:
    """Two futures of noise; no off-road area at the start."""
    rng = np.random.default_rng(0)

    def pictures(*shape: int) -> Any:
        return rng.integers(0, 256, (*shape, 3, view.height, view.width), dtype=np.uint8)

    start = pictures()
    start[2] = 0
    return FreeRun(
        vehicle=7, agent="human", step_seconds=0.2, size=(4.0, 2.0), px_per_m=1.62, start=start,
        recorded=pictures(recorded), imagined=pictures(2, steps), expected=pictures(2, recorded),
        known=np.ones((2, recorded), bool), still_in_view=rng.random(recorded),
        recorded_way=rng.normal(size=(recorded, 2)),
        way=rng.normal(size=(2, steps, 2)),
    )  # fmt: skip


def test_the_numbers_written_out() -> None:
    run = some_run()
    known = run.known.copy()
    known[1, 2] = False
    run = replace(run, known=known)
    told = json.loads(json.dumps(run.to_dict(), allow_nan=False))
    for t in range(5):
        both = [run.imagined[k, t].astype(float) / 255 for k in range(2)]
        assert told["spread"][t] == pytest.approx(np.mean((both[0] - both[1]) ** 2) / 4, abs=1e-5)
        for k, future in enumerate(told["futures"]):
            for c, name in enumerate(("lanes", "vehicles")):
                share = run.imagined[k, t, c].mean() / run.start[c].mean()
                assert future["brightness"][name][t] == pytest.approx(share, abs=1e-5)
            assert future["brightness"]["off_road"][t] is None
            assert future["distance_m"][t] == pytest.approx(math.hypot(*run.way[k, t]), abs=1e-5)
            if t < 3 and (k, t) != (1, 2):
                want = np.mean((both[k] - run.expected[k, t] / 255) ** 2)
                assert future["error"][t] == pytest.approx(want, abs=1e-5)
            else:
                assert future["error"][t] is None
    assert told["recorded"]["brightness"]["vehicles"][3:] == [None, None]
    assert told["recorded"]["brightness"]["vehicles"][2] == pytest.approx(
        run.recorded[2, 1].mean() / run.start[1].mean(), abs=1e-5
    )
    assert told["recorded"]["still_in_view"] == [*np.round(run.still_in_view, 5), None, None]
    assert told["seconds"] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert (told["steps"], told["recorded_steps"]) == (5, 3)
    assert told["first_step_not_finite"] == [None, None]


def test_a_future_that_breaks_is_named_and_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = small_model("vae"), iter(range(100))
    sound = run_free(model, traffic(), Human(), steps=5, num_futures=2, vehicle=1)
    step = model.step

    def breaking(h: Any, action: Tensor, z: Tensor) -> tuple[Prediction, Any]:
        prediction, h = step(h, action, z)
        if next(calls) >= 2:
            prediction.image[1, 0, 0, 0] = torch.nan
        return prediction, h

    monkeypatch.setattr(model, "step", breaking)
    run = run_free(model, traffic(), Human(), steps=5, num_futures=2, vehicle=1)
    told = run.to_dict()
    assert told["first_step_not_finite"] == [None, 3]
    assert (run.imagined[1, 2:] == 0).all()
    np.testing.assert_array_equal(run.imagined[0], sound.imagined[0])
    np.testing.assert_array_equal(run.imagined[1, :2], sound.imagined[1, :2])
    broken = told["futures"][1]
    for numbers in (broken["error"], broken["distance_m"], broken["brightness"]["vehicles"], told["spread"]):
        assert [x is None for x in numbers] == [False, False, True, True, True]
    assert "future 2 is not finite from step 3 on" in as_text(run)


def test_moments_are_closer_together_at_first() -> None:
    run = some_run(steps=200)
    moments = run.moments(9)
    assert (moments[0], moments[-1], len(moments)) == (0, 200, 9)
    assert (np.diff(moments, 2) > 0).sum() >= 6
    assert some_run(steps=2).moments(9) == [0, 1, 2]


def test_the_terminal_is_told_what_the_file_says() -> None:
    run = some_run()
    told, lines = run.to_dict(), as_text(run).splitlines()
    assert "2 futures of 5 steps (1.0 s), 3 of them recorded" in lines[0]
    third = lines[3 + run.moments(9)[1:].index(3)].split()
    assert float(third[0]) == pytest.approx(0.6)
    assert third[2] == f"{told['recorded']['brightness']['vehicles'][2]:.0%}"
    assert third[3] == f"{run.still_in_view[2]:.0%}"
    assert third[4] == f"{np.mean([f['brightness']['vehicles'][2] for f in told['futures']]):.0%}"
    assert third[5:] == [f"{run.error()[:, 2].mean():.4f}", f"{run.spread()[2]:.4f}"]
    assert [lines[-1].split()[k] for k in (2, 3, 5)] == ["–"] * 3


# --- pictures --------------------------------------------------------------------------------------------------------


def panel(picture: np.ndarray, k: int, view: View = VIEW) -> np.ndarray:
    """The k-th picture of a video's frame."""
    scale = round(report.HEIGHT / view.height)
    width = max(scale * view.width, report.MIN_WIDTH)
    left = report.GAP + k * (width + report.GAP) + (width - scale * view.width) // 2
    return picture[report.TOP : report.TOP + scale * view.height, left : left + scale * view.width]


@pytest.mark.parametrize("view", [VIEW, View(), View(height=16, width=7)], ids=["small", "paper", "narrow"])
def test_a_video_begins_alike_in_all_its_panels_and_shows_when_the_recording_ended(view: View) -> None:
    run = some_run(view=view)
    run.imagined[:, 0], run.recorded[0] = 0, 0
    shown = list(frames(run))
    assert len(shown) == 6
    assert len({picture.shape for picture in shown}) == 1
    for t in (0, 1):  # the start, and a step in which all are black
        np.testing.assert_array_equal(panel(shown[t], 0, view), panel(shown[t], 1, view))
        np.testing.assert_array_equal(panel(shown[t], 0, view), panel(shown[t], 2, view))
    assert not np.array_equal(panel(shown[2], 1, view), panel(shown[2], 2, view))
    pictured = [[panel(shown[t], k, view)[-20:].std((0, 1)).max() > 5 for k in range(3)] for t in range(6)]
    assert pictured[2:] == [[True] * 3] * 2 + [[False, True, True]] * 2


def test_an_overview_has_a_row_for_each_future_and_a_column_for_each_moment() -> None:
    """What was bright is found where it belongs: step 2 of the recording, step 4 of the second future."""
    run = some_run(steps=4)
    for pictures in (run.start, run.recorded, run.imagined):
        pictures[:] = 0
    run.recorded[1], run.imagined[1, 3] = 255, 255
    picture, scale = overview(run), round(report.SMALL / VIEW.height)
    width, height = scale * VIEW.width + report.GAP, scale * VIEW.height + report.GAP
    cells = picture[report.TOP :, report.LABELS :].astype(int)
    bright = [
        [cells[i * height + 30 : (i + 1) * height - report.GAP, j * width : (j + 1) * width - report.GAP].mean()
         for j in range(5)] for i in range(3)
    ]  # fmt: skip
    assert run.moments(9) == [0, 1, 2, 3, 4]
    assert [[mean > 80 for mean in row] for row in bright] == [
        [False, False, True, False, False], [False] * 5, [False, False, False, False, True]
    ]  # fmt: skip


def test_files_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = some_run()
    write_free_run(run, tmp_path / "a.mp4", {"seed": 3})
    about, video = read_mp4(tmp_path / "a.mp4")
    assert " 5 fps" in about
    shown = np.stack(list(frames(run)))
    assert np.abs(video[:, : shown.shape[1]].astype(float) - shown).mean() < 20
    assert json.loads((tmp_path / "a.json").read_text()) == {"seed": 3, **run.to_dict()}
    write_free_run(run, tmp_path / "b.png", {})
    np.testing.assert_allclose(imread(tmp_path / "b.png")[..., :3] * 255, overview(run), atol=0.5)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert before == ["a.json", "a.mp4", "b.json", "b.png"]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "to_array", interrupted)
    for name in ("c.mp4", "c.png"):
        with pytest.raises(KeyboardInterrupt):
            write_free_run(run, tmp_path / name, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == before


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_shipped_model_runs_on_the_shipped_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "imagined.png"
    assert main(f"imagine --out {out} --steps 12 --futures 2 --agent pretrained --seed 1".split()) == 0
    told = json.loads(out.with_suffix(".json").read_text())
    assert (told["seed"], told["agent"], told["steps"], told["recorded_steps"]) == (1, "pretrained", 12, 12)
    assert told["recording"].endswith("i80_sample.parquet")
    assert told["first_step_not_finite"] == [None, None]
    for future in told["futures"]:
        assert 0.5 < future["brightness"]["vehicles"][-1] < 1.5
        assert 0 < future["error"][-1] < 0.2
    assert "2 futures of 12 steps" in capsys.readouterr().out
    assert imread(out).shape[0] > 400


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--out {tmp}/a.gif", "a.gif: expected the name of a video"),
        ("--out {tmp}/a.mp4 --model {tmp}", "no trained model here"),
        ("--out {tmp}/a.mp4 --recording {tmp}/none.parquet", "no such file"),
        ("--out {tmp}/a.mp4 --agent nobody", "no agent 'nobody'"),
        ("--out {tmp}/a.mp4 --steps 0", "--steps 0: must be at least 1"),
        ("--out {tmp}/a.mp4 --vehicle -3", "vehicle -3 does not drive"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["imagine", *arguments.format(tmp=tmp_path).split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("headway: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())
