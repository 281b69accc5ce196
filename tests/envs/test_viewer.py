"""Pictures, window and video: what is drawn stands where it should, and the files play."""

from __future__ import annotations

import re
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pygame
import pytest
from numpy.typing import NDArray

from agents import Human, NoAction
from envs.drawing import ASPHALT, BESIDE_THE_ROAD, CRASHED, EGO, KIND_COLOURS, MARKING, Camera, speed_colour
from envs.drives import find_drives
from envs.environment import ReplayEnv, ReplayVectorEnv
from envs.errors import InputError
from envs.pictures import RoadPicture, SitePicture
from envs.recording import Recording
from envs.replay import Replay
from envs.video import write_mp4
from envs.viewer import choose_drives, drive_pictures, view
from envs.window import Window
from tests.toys import LANE, lane_centre, straight_site

FRAMES = 150


@pytest.fixture
def window_to_nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.quit()
    yield
    pygame.display.quit()


@pytest.fixture(scope="module")
def lone_pair() -> Recording:
    """Car 1 at 10 m/s in lane 1; truck 2, 30 m ahead of it in lane 2, at the same speed; one stands at the end."""
    t = np.arange(FRAMES)
    x = np.concatenate([30 + t, 60 + t, np.full(FRAMES, 300.0)])
    y = np.repeat([lane_centre(1), lane_centre(2), lane_centre(0)], FRAMES)
    return Recording.from_tracks(
        site=straight_site(start=40.0, goal=120.0),
        vehicle_id=np.repeat([1, 2, 3], FRAMES),
        frame=np.tile(t, 3),
        x=x,
        y=y,
        length=np.repeat([4.0, 12.0, 4.0], FRAMES),
        width=2.0,
        kind=np.repeat([2, 3, 2], FRAMES),
    )


def drive(recording: Recording, actions: tuple[float, float], steps: int) -> Replay:
    replay = Replay([recording], 1, history=3)
    replay.reset(find_drives(replay.world, [recording], history=3).take(slice(0, 1)))
    for _ in range(steps):
        replay.step(np.array([actions]))
    return replay


def pixel(picture: NDArray[np.uint8], camera: Camera, x: float, y: float) -> NDArray[np.int64]:
    column, row = np.floor(camera.px([x, y])).astype(int)
    return picture[row, column].astype(int)


def is_colour(found: NDArray[np.int64], colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(found - colour).max() <= 2)


@pytest.mark.parametrize("px_per_m", [5.0, 9.0, 14.0])
def test_everything_is_drawn_where_it_is_at_any_zoom(lone_pair: Recording, px_per_m: float) -> None:
    replay = drive(lone_pair, (-3.0, 0.0), 10)
    x, y = replay.state[0, :2]
    human_x = float(replay.human_state()[0, 0])
    assert human_x - x > 1
    road = RoadPicture(replay, size=(1000, 500), px_per_m=px_per_m)
    picture, camera = road.picture(0), road.camera(0)
    assert is_colour(pixel(picture, camera, x - 1.6, y), EGO), "the ego's rear"
    assert is_colour(pixel(picture, camera, x, y + 0.7), EGO)
    ghost = pixel(picture, camera, human_x + 1.8, y + 0.8)
    assert not is_colour(ghost, ASPHALT)
    assert not is_colour(ghost, MARKING)
    assert not is_colour(ghost, EGO)
    truck_x = human_x + 30
    for along, across in ((-5.6, 0.0), (0.0, 0.7), (0.0, -0.7)):
        assert is_colour(pixel(picture, camera, truck_x + along, lane_centre(2) + across), KIND_COLOURS[3])
    assert is_colour(pixel(picture, camera, truck_x - 6.5, lane_centre(2)), ASPHALT)
    assert is_colour(pixel(picture, camera, x, lane_centre(3) - 0.8), ASPHALT)
    assert is_colour(pixel(picture, camera, x, 3.0), BESIDE_THE_ROAD)
    assert pixel(picture, camera, x, 0.0).min() > 130, "the road's edge is a solid line"


def test_lanes_are_parted_by_dashes_and_the_road_ends_in_solid_lines(lone_pair: Recording) -> None:
    road = RoadPicture(drive(lone_pair, (0.0, 0.0), 1))
    picture, camera = road.picture(0), road.camera(0)
    x0 = float(camera.x)
    lit = {
        y: np.mean([pixel(picture, camera, x, y).min() > 130 for x in np.arange(x0 - 36, x0 + 36, 0.5)])
        for y in (0.0, -LANE, -4 * LANE)
    }
    assert lit[0.0] > 0.95
    assert lit[-4 * LANE] > 0.95
    assert lit[-LANE] == pytest.approx(1 / 3, abs=0.1)


def test_a_crashed_ego_changes_colour_and_costs_fill_their_bars(lone_pair: Recording) -> None:
    replay = drive(lone_pair, (0.0, 0.0), 1)
    road = RoadPicture(replay)
    x, y = replay.state[0, :2]
    assert is_colour(pixel(road.picture(0, notice="collision"), road.camera(0), x, y + 0.5), CRASHED)
    lit = [
        int((np.abs(road.picture(0, (cost, 0, 0)).astype(int) - (240, 120, 84)).max(-1) < 12).sum())
        for cost in (0, 0.5, 1)
    ]
    assert lit[0] < lit[1] < lit[2]
    assert lit[2] == pytest.approx(2 * lit[1], rel=0.1)
    assert not np.array_equal(road.picture(0, uncertainty=0.7), road.picture(0))


def test_yielding_cars_are_drawn_where_they_yield() -> None:
    t = np.arange(FRAMES)
    recording = Recording.from_tracks(
        site=straight_site(start=40.0, goal=120.0),
        vehicle_id=np.repeat([1, 2], FRAMES),
        frame=np.tile(t, 2),
        x=np.concatenate([30 + t, 20 + t]),
        y=np.full(2 * FRAMES, lane_centre(1)),
        length=4.0,
        width=2.0,
    )
    replay = Replay([recording], 1, history=3, traffic="reactive")
    replay.reset(find_drives(replay.world, [recording], history=3).take(slice(0, 1)))
    for _ in range(40):
        _, step = replay.step(np.array([[-3.0, 0.0]]))
    assert step.hit[0] == -1
    road = RoadPicture(replay)
    picture, camera = road.picture(0), road.camera(0)
    recorded_x = 20 + float(replay.frame[0])
    assert not is_colour(pixel(picture, camera, recorded_x - 1.5, lane_centre(1)), KIND_COLOURS[2])
    assert (np.abs(picture.astype(int) - KIND_COLOURS[2]).max(-1) < 3).sum() > 300, "it is drawn somewhere"


def test_the_site_shows_everybody_in_the_colour_of_their_speed(lone_pair: Recording) -> None:
    site = SitePicture(lone_pair, width=1000)
    picture = site.picture(40)
    assert picture.shape[1] == 1000
    assert picture.shape[0] % 2 == 0
    for speed in (0.0, 10.0):
        assert (np.abs(picture.astype(int) - speed_colour(speed)).max(-1) < 3).sum() > 20
    assert len({speed_colour(v) for v in (0.0, 5.0, 9.0, 14.0, 20.0)}) == 5
    assert not np.array_equal(picture, site.picture(41))


def read_mp4(path: Path) -> tuple[str, NDArray[np.uint8]]:
    """What ffmpeg says of a video, and its frames (n, height, width, 3)."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    about = next(line for line in done.stderr.decode().splitlines() if "Video:" in line)
    size = re.search(r", (\d+)x(\d+)", about)
    assert size is not None
    return about, np.frombuffer(done.stdout, np.uint8).reshape(-1, int(size[2]), int(size[1]), 3)


@pytest.mark.slow
def test_a_video_has_its_frames_its_size_and_its_colours(tmp_path: Path) -> None:
    shades = [20, 90, 160, 230]
    write_mp4(tmp_path / "v.mp4", (np.full((63, 95, 3), s, np.uint8) for s in shades), fps=10)
    about, frames = read_mp4(tmp_path / "v.mp4")
    assert frames.shape == (4, 64, 96, 3)
    assert "h264" in about
    assert "yuv420p" in about
    assert " 10 fps" in about
    assert np.abs(frames.mean((1, 2, 3)) - shades).max() < 4
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_a_video_that_fails_leaves_nothing_and_spares_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_text("old")

    def broken() -> Iterator[NDArray[np.uint8]]:
        yield np.zeros((64, 64, 3), np.uint8)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_mp4(tmp_path / "v.mp4", broken(), fps=10)
    with pytest.raises(ValueError, match="frame 1"):
        write_mp4(
            tmp_path / "v.mp4", [np.zeros((64, 64, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)], fps=10
        )
    with pytest.raises(ValueError, match="at least one frame"):
        write_mp4(tmp_path / "v.mp4", [], fps=10)
    assert (tmp_path / "v.mp4").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_a_video_that_does_not_fit_on_the_disk_is_refused_and_spares_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_text("old")
    noise = np.random.default_rng(0).integers(0, 256, (20, 256, 256, 3), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(InputError, match="of its 20 frames: is the disk full"):
            write_mp4(tmp_path / "v.mp4", noise, fps=10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "v.mp4").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_view_writes_the_recording_and_an_agents_drive(lone_pair: Recording, tmp_path: Path) -> None:
    view(lone_pair, mp4=tmp_path / "all.mp4", seconds=0.5)
    assert len(read_mp4(tmp_path / "all.mp4")[1]) == 5
    view(lone_pair, NoAction(), vehicle=1, mp4=tmp_path / "one.mp4", seconds=0.6)
    _, frames = read_mp4(tmp_path / "one.mp4")
    assert frames.shape == (6, 560, 1280, 3)


def test_a_drive_is_shown_to_its_end_which_stays_a_second(lone_pair: Recording) -> None:
    human = Human()
    drives = choose_drives(lone_pair, human.history, vehicle=1)
    pictures = list(drive_pictures(lone_pair, human, drives))
    assert len(pictures) == drives.human_frame[0] - drives.start_frame[0] + 10
    assert pictures[-1] is pictures[-10]
    assert pictures[-10] is not pictures[-11]
    with pytest.raises(InputError, match="vehicle 3 does not drive"):
        choose_drives(lone_pair, human.history, vehicle=3)


def press(key: int, text: str = "") -> None:
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key, unicode=text))


@pytest.mark.usefixtures("window_to_nowhere")
def test_keys_pause_step_change_the_speed_and_quit(monkeypatch: pytest.MonkeyPatch) -> None:
    window, blank = Window(fps=1000), np.zeros((200, 300, 3), np.uint8)
    assert window.show(blank)
    press(pygame.K_PLUS, "+")
    assert window.show(blank)
    assert window.speed == 2
    press(pygame.K_MINUS, "-")
    press(pygame.K_MINUS, "-")
    assert window.show(blank)
    assert window.speed == 0.5

    waited = []

    def wait(milliseconds: int) -> int:  # the user thinks, then presses a key
        waited.append(milliseconds)
        if len(waited) == 3:
            press(pygame.K_RIGHT)
        return milliseconds

    monkeypatch.setattr(pygame.time, "wait", wait)
    press(pygame.K_SPACE)
    assert window.show(blank)
    assert window.paused
    assert len(waited) == 3
    press(pygame.K_SPACE)
    assert window.show(blank)
    assert not window.paused
    assert len(waited) == 3
    press(pygame.K_q)
    assert not window.show(blank)
    assert window.closed
    assert not window.show(blank), "it stays closed"


@pytest.mark.usefixtures("window_to_nowhere")
def test_the_window_shows_the_picture_and_the_keys(lone_pair: Recording) -> None:
    window = Window(fps=1000)
    picture = RoadPicture(drive(lone_pair, (0.0, 0.0), 1)).picture(0)
    window.show(picture)
    shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    assert np.array_equal(shown[:-30], picture[:-30])
    assert not np.array_equal(shown[-30:], picture[-30:]), "the help"
    window.close()
    window.close()


def test_no_display_is_refused_in_one_line(lone_pair: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(InputError, match="no display"):
        view(lone_pair)


def test_environments_render(lone_pair: Recording) -> None:
    env = ReplayEnv(lone_pair, split="all", render_mode="rgb_array")
    env.reset(options={"drive": 0})
    before = env.render()
    assert before is not None
    assert before.shape == (560, 1280, 3)
    assert before.dtype == np.uint8
    env.step(np.zeros(2, np.float32))
    env.uncertainty = 0.5
    assert not np.array_equal(env.render(), before)
    many = ReplayVectorEnv(2, lone_pair, split="all", render_mode="rgb_array")
    many.reset(options={"drive": 0})
    pictures = many.render()
    assert pictures is not None
    assert len(pictures) == 2
    assert np.array_equal(pictures[0], before)
