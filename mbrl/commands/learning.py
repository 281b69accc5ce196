"""Commands that train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mbrl.commands.arguments import (
    Device,
    Recordings,
    all_files,
    naming_bad_arguments,
    read_all,
    refuse,
    require_device,
    require_folder,
    require_readable,
    require_some,
    runner_of_jobs,
)

if TYPE_CHECKING:
    from mbrl.policy_training import Method
    from mbrl.presets import Preset


def demo(
    out: Path = Path("runs/demo"),
    seed: int = 0,
    preset: Literal["quick", "debug"] = "quick",
    device: Device = "cpu",
) -> None:
    """See the whole of headway on the recording that ships with it, in 10 to 13 minutes on two cores.

    Args:
        out: folder for results.json, report.html, the video, the trained model and policy.
        seed: of everything random.
        preset: quick, or debug (seconds of training, to see that everything runs).
        device: where networks are trained.
    """
    require_folder(out)
    require_device(device)
    from mbrl.demo import run_demo

    run_demo(out, device=device, preset=preset, seed=seed)


def train_model(
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR")],
    preset: Literal["quick", "paper", "debug"] = "quick",
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """Train a forward model: what the traffic around a car will do next, and how sure that is.

    Args:
        recording: recordings to learn from.
        out: folder for the model; if it holds an interrupted run, that run goes on.
        preset: quick (minutes on two cores), paper (a day on one GPU), debug (seconds).
        seed: of everything random.
        device: where the network is trained.
    """
    files = all_files(recording)
    require_folder(out)
    from mbrl.data_parallel import check_parts, joined

    with joined(device) as own_device:
        require_device(own_device)
        from mbrl.presets import model_training
        from mbrl.train_model import train_model
        from mbrl.trainings import keep_setting

        config = model_training(preset, seed)
        check_parts(*config.batch_sizes)
        recordings = read_all(files)
        keep_setting(out, recordings, training="forward model", preset=preset, seed=seed)
        train_model(config, recordings, out, device=own_device)


def train_policy(
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR")],
    model: Annotated[Path | None, arg(metavar="DIR")] = None,
    method: Literal["mpur", "mpur-no-uncertainty", "log-replay"] = "mpur",
    preset: Literal["quick", "paper", "debug"] = "quick",
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """Train a policy in the futures that a forward model imagines, or in recorded ones, starting from an imitation.

    Args:
        recording: recordings whose situations the policy starts from.
        out: folder for the policy; if it holds an interrupted run, that run goes on.
        model: folder of a trained forward model (from `headway train-model`); log-replay needs none.
        method: mpur (costs and the model's uncertainty), mpur-no-uncertainty (costs alone), or log-replay (costs among
            the recorded cars, which do what they did).
        preset: quick (minutes on two cores), paper (one GPU), debug (seconds).
        seed: of everything random.
        device: where the networks are trained.
    """
    if (model is None) != (method == "log-replay"):
        refuse(
            "log-replay learns without --model"
            if model
            else f"{method} needs --model, a trained forward model"
        )
    _train_policy(method, model, recording, out, preset, seed, device)


def distill(
    model: Annotated[Path, arg(metavar="DIR")],
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR")],
    preset: Literal["quick", "debug"] = "quick",
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """Train a policy to do what a planner finds in imagined futures, without planning at the wheel.

    Args:
        model: folder of a trained separated model (from `headway train-model`), through which the planner looks ahead.
        recording: recordings whose situations the planner starts from.
        out: folder for the policy; if it holds an interrupted run, that run goes on.
        preset: quick (minutes on two cores), debug (seconds).
        seed: of everything random.
        device: where the networks are trained.
    """
    _train_policy("distill", model, recording, out, preset, seed, device)


def reproduce(
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR")],
    preset: Literal["quick", "paper", "debug"] = "quick",
    seeds: tuple[int, ...] = (0, 1),
    rows: tuple[str, ...] = (),
    ray: bool = False,
    device: Device = "cpu",
) -> None:
    """Train and drive every row of the paper's table, and those headway adds: results.md, report.html in DIR.

    Args:
        recording: recordings to learn from and to drive in.
        out: folder for everything; if it holds an interrupted run, that run goes on.
        preset: quick (two cores, hours), paper (one GPU, days), debug (minutes).
        seeds: each row is trained once for each.
        rows: names of the rows to run; all by default.
        ray: run rows and seeds as Ray tasks (needs `pip install headway[ray]`), on the cluster RAY_ADDRESS names if it
            is set, whose machines must share the folders.
        device: where the networks are trained.
    """
    files = all_files(recording)
    if not seeds:
        refuse("--seeds needs at least one")
    require_folder(out)
    require_device(device)
    from mbrl.reproduce import reproduce as run_all

    run_all(out, files, preset=preset, seeds=seeds, only=rows, device=device, run=runner_of_jobs(ray, device))
    print((out / "results.md").read_text())


def _train_policy(
    method: Method,
    model: Path | None,
    recording: Recordings,
    out: Path,
    preset: Preset,
    seed: int,
    device: str,
) -> None:
    """From an imitation of the humans, through a model if there is one."""
    if model is not None:
        require_readable(model)
    files = all_files(recording)
    require_folder(out)
    from mbrl.data_parallel import check_parts, joined

    with joined(device) as own_device:
        require_device(own_device)
        from envs.formats.fingerprint import digest_of
        from mbrl.presets import policy_training
        from mbrl.train_policy import check_fit, train_policy
        from mbrl.trained_model import MODEL_FILE, load_model
        from mbrl.trainings import keep_setting

        imitation, config = policy_training(preset, "imitation", seed), policy_training(preset, method, seed)
        check_parts(imitation.batch_size, config.batch_size)
        trained = load_model(model, own_device) if model is not None else None
        if trained is not None:
            check_fit(config, trained)
        through = {"model": digest_of(model / MODEL_FILE)} if model is not None else {}
        recordings = read_all(files)
        keep_setting(out, recordings, training=method, preset=preset, seed=seed, **through)
        start = train_policy(imitation, recordings, out / "imitation", tracking_root=out, device=own_device)
        train_policy(config, recordings, out, trained=trained, start_from=start, device=own_device)


def train_rl(
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR")],
    algorithm: Literal["ppo", "a2c", "sac", "td3", "dqn", "tqc", "recurrent-ppo"] = "ppo",
    steps: int = 1_000_000,
    num_envs: int = 64,
    sees: Literal["cells", "pictures"] = "cells",
    traffic: Literal["blind", "reactive"] = "blind",
    progress: float = 0.1,
    hidden: tuple[int, ...] = (128, 128),
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """Train a model of stable-baselines3 in the recorded traffic itself: a baseline for what is trained in imagination.

    Args:
        recording: recordings to drive in.
        out: folder for the model; if it holds an interrupted run, that run goes on from its last saving.
        algorithm: of stable-baselines3; tqc and recurrent-ppo need `pip install headway[rl-extra]`.
        steps: of 0.1 s, of all cars together.
        num_envs: cars driven at once.
        sees: cells (a few hundred numbers, for a CPU) or pictures (the policy network's convolutions).
        traffic: blind (the others follow the recording) or reactive (they brake for the ego).
        progress: reward per metre along the road; a step's other weights are those of envs.reward.
        hidden: sizes of the layers.
        seed: of everything random.
        device: where the network is trained.
    """
    files = all_files(recording)
    require_folder(out)
    require_device(device)
    from envs.reward import Reward
    from mbrl.rl_training import RLTraining
    from mbrl.train_rl import train_rl
    from mbrl.trainings import keep_setting

    with naming_bad_arguments():
        config = RLTraining(
            algorithm=algorithm,
            steps=steps,
            num_envs=num_envs,
            sees=sees,
            traffic=traffic,
            reward=Reward(progress=progress),
            hidden=hidden,
            seed=seed,
        )
    recordings = read_all(files)
    keep_setting(out, recordings, training=algorithm, seed=seed)
    train_rl(config, recordings, out, device=device)


def pretrain(
    method: Positional[Annotated[str, arg(metavar="METHOD")]],
    data: Annotated[str, arg(metavar="NAME|FILE.parquet|speeds:FILE.parquet")],
    out: Annotated[Path, arg(metavar="DIR")],
    updates: int = 1000,
    batch_size: int = 128,
    seed: int = 0,
) -> None:
    """Train an energy, an encoder or a density on points, images, signals, text or traffic: its state in DIR.

    Args:
        method: one of docs/pretrain.md; an unknown name lists them.
        data: mnist, patches or lee (text; all need `pip install headway[pretrain]`), gunpoint, basic-motions or
            japanese-vowels (signals), speech, parabola, spiral or ring (points), pictures of where others drive around
            the cars of a recording, or windows of their speeds.
        out: folder for the method and pictures of it; if it holds an interrupted run, that run goes on.
        updates: rounds of training; a method that is fitted at once ignores them.
        batch_size: samples of one update.
        seed: of everything random.
    """
    require_folder(out)
    from mbrl.pretrain_data import pretrain_data
    from mbrl.train_method import MethodTraining, train_method

    with naming_bad_arguments():
        config = MethodTraining(method=method, data=data, updates=updates, batch_size=batch_size, seed=seed)
    train_method(config, pretrain_data(data, seed), out)


def experiment(
    names: Positional[Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="(required)")]],
    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/experiments"),
    seeds: tuple[int, ...] = (0, 1, 2),
    quick: bool = False,
) -> None:
    """Run experiments that ask how methods of pretrain/ compare with their controls: DIR/NAME.md and NAME.json.

    Fails if a claim does not hold for every seed.

    Args:
        names: of the experiments; an unknown name lists them.
        out: folder for the numbers, pictures and pages; seeds that it holds are not run again.
        seeds: each experiment runs once for each; pictures are of the first.
        quick: seconds instead of minutes, to see that everything runs; claims are then not judged.
    """
    require_some(names, "NAME")
    require_some(seeds, "--seeds")
    require_folder(out)
    from envs.errors import Failed
    from mbrl.experiments import as_table, find_experiments, run_experiment
    from mbrl.named import choose

    broken = []
    for one in choose(find_experiments(), names, "experiment"):
        try:
            found = run_experiment(one, seeds, out, quick=quick)
        except ModuleNotFoundError as error:
            refuse(str(error))
        print(as_table(found))
        broken += [f"{one.name}: {claim}" for claim in found.broken()]
    if broken:
        raise Failed(f"does not hold for every seed: {'; '.join(broken)}")
