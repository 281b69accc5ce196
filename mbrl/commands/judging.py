"""Commands that find out how good something is."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mbrl.commands.arguments import (
    Agents,
    Device,
    OwnAgents,
    OwnRecordings,
    Recordings,
    Scenes,
    all_agents,
    all_files,
    all_scenes,
    each_once,
    read_all,
    refuse,
    require_device,
    require_file,
    require_folder,
    require_readable,
    require_some,
    runner_of_jobs,
)


def evaluate(
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR")],
    agent: Agents,
    split: Literal["test", "validation", "train", "all"] = "test",
    traffic: Literal["blind", "reactive"] = "blind",
    perturbed: bool = False,
    history: int = 20,
    min_seconds: float = 5.0,
    max_cars: int | None = None,
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """Let agents drive the same cars among the recorded ones and score them, into DIR/results.json.

    Args:
        recording: recordings to drive in.
        out: folder for results.json.
        agent: human, no-action, lane-keeper, idm, idm+mobil, pretrained, the folder of a trained policy (train-policy,
            train-rl), a zip of train-rl, or a planner with the folder of a model (gradient:DIR; also lbfgs, cem, icem,
            gradient-cem, ilqr, mppi, predictive-sampling, random-shooting, beam, mixed); several after each other,
            or the option again.
        split: which of the recorded cars are taken over.
        traffic: blind (the others follow the recording) or reactive (they brake for the ego).
        perturbed: start a little off the recording, each car in its own way, the same for all agents.
        history: recorded frames (0.1 s) a car must have before it is taken over.
        min_seconds: the shortest drive that is scored.
        max_cars: at most so many cars, chosen at random by the seed; all by default.
        seed: of everything random.
        device: where networks run.
    """
    agents, files = all_agents(agent), all_files(recording)
    require_some(agents, "--agent")
    require_folder(out)
    require_device(device)
    from agents.results import print_table, write_results
    from mbrl.agents_by_name import agents_by_name
    from mbrl.demo import evaluate_with_bars

    drivers = agents_by_name(agents, device)
    names = [path.name for path in files]
    evaluation = evaluate_with_bars(
        drivers, read_all(files), names=names, split=split, traffic=traffic, perturbed=perturbed,
        history=history, min_seconds=min_seconds, max_cars=max_cars, seed=seed,
    )  # fmt: skip
    print_table(write_results(evaluation, out))


def benchmark(
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR")],
    agent: OwnAgents = (),
    scenes: Scenes = (),
    preset: Literal["quick", "debug"] = "quick",
    seeds: tuple[int, ...] = (0, 1, 2),
    entrants: tuple[str, ...] = (),
    traffic: tuple[Literal["blind", "reactive", "perturbed"], ...] = ("blind", "reactive", "perturbed"),
    split: Literal["test", "validation", "train", "all"] = "test",
    max_cars: int | None = None,
    rl_steps: int = 1_000_000,
    ray: bool = False,
    device: Device = "cpu",
) -> None:
    """Compare everybody on the same cars, planners, policies, rules and RL: benchmark.md, .html, .json in DIR.

    Args:
        recording: recordings to learn from and to drive in.
        out: folder for everything; if it holds an interrupted run, that run goes on.
        agent: drives beside the entrants, named as for `headway evaluate`: the folder of your own policy, or a planner
            through a model; several after each other, or the option again.
        scenes: recordings from elsewhere (CommonRoad, Parquet), or folders of them, to drive in without learning from
            them; all their cars, from their first frame, in blind traffic.
        preset: quick (two cores, hours), debug (minutes).
        seeds: what learns is trained once for each.
        entrants: who takes part; by default all but further planners (lbfgs, icem, gradient-cem, ilqr, mppi,
            predictive-sampling, random-shooting, beam, mixed) and further algorithms of RL (a2c, td3, dqn, tqc,
            recurrent-ppo). A wrong name lists everybody.
        traffic: blind (the others follow the recording), reactive (they brake when the car cuts in), perturbed (blind,
            from starts off the recording).
        split: which of the recorded cars are taken over.
        max_cars: at most so many of them, chosen at random; all by default.
        rl_steps: environment steps that each model of stable-baselines3 is trained for.
        ray: train and drive as Ray tasks (needs `pip install headway[ray]`), see `headway reproduce`.
        device: where networks are trained and run.
    """
    files, elsewhere = all_files(recording), all_scenes(scenes)
    each_once([*files, *elsewhere])
    for what, given in (("--seeds", seeds), ("--traffic", traffic)):
        require_some(given, what)
    require_folder(out)
    require_device(device)
    from mbrl.benchmark import Setting
    from mbrl.benchmark import benchmark as run_all
    from mbrl.benchmark_page import TABLE_FILE

    setting = Setting(
        out, tuple(files), preset, rl_steps, split, max_cars, device, tuple(elsewhere), all_agents(agent)
    )
    run_all(setting, seeds=seeds, only=entrants, conditions=traffic, run_jobs=runner_of_jobs(ray, device))
    print((out / TABLE_FILE).read_text())


def diagnose(
    out: Annotated[Path, arg(metavar="DIR")],
    model: Annotated[Path | None, arg(metavar="DIR")] = None,
    policy: Annotated[Path | None, arg(metavar="DIR")] = None,
    recording: OwnRecordings = (),
    split: Literal["test", "validation", "train", "all"] = "validation",
    situations: int = 256,
    masks: int = 8,
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """See how far a forward model can be trusted: DIR/diagnosis.html and DIR/diagnosis.json.

    Args:
        out: folder for both files.
        model: folder of a trained forward model; by default the one that ships with headway.
        policy: folder of the policy that drives in its futures; by default the one that ships with headway.
        recording: recordings to examine it on; by default the one that ships with headway.
        split: which of the recorded cars are taken over.
        situations: how many recorded situations each measurement takes.
        masks: how many dropout masks may disagree; an ensemble has its members instead.
        seed: of everything random.
        device: where networks run.
    """
    require_readable(*(folder for folder in (model, policy) if folder is not None))
    from envs import SAMPLE

    files = all_files(recording or ((SAMPLE,),))
    require_folder(out)
    require_device(device)
    from mbrl.diagnose import as_text, diagnose

    data = diagnose(
        out, files, model=model, policy=policy, split=split, situations=situations, masks=masks, seed=seed,
        device=device,
    )  # fmt: skip
    print(as_text(data))


def failures(
    out: Annotated[Path, arg(metavar="DIR")],
    agent: Annotated[str, arg(metavar="AGENT")] = "pretrained",
    model: Annotated[Path | None, arg(metavar="DIR")] = None,
    recording: OwnRecordings = (),
    split: Literal["test", "validation", "train", "all"] = "validation",
    vehicle: Annotated[tuple[int, ...], arg(metavar="NUMBER...")] = (),
    device: Device = "cpu",
) -> None:
    """See why an agent fails, car by car: DIR/failures.html.

    Its last moments as they came, as a forward model imagined them from the same actions, costs, U and actions.

    Args:
        out: folder for the page.
        agent: as of `headway evaluate`.
        model: folder of the forward model; by default the one that ships with headway.
        recording: recordings to drive in; by default the one that ships with headway.
        split: which of the recorded cars are taken over.
        vehicle: the failed cars to show, by their numbers in the source; some of them by default.
        device: where the agent's networks run.
    """
    if model is not None:
        require_readable(model)
    from envs import SAMPLE

    files = all_files(recording or ((SAMPLE,),))
    require_folder(out)
    require_device(device)
    from mbrl.failures import explain_failures

    print(explain_failures(out, files, agent, model, split=split, vehicles=vehicle, device=device))


def imagine(
    model: Annotated[Path | None, arg(metavar="DIR")] = None,
    recording: Annotated[Path | None, arg(metavar="FILE.parquet")] = None,
    out: Annotated[Path, arg(metavar="FILE.mp4|FILE.png")] = Path("runs/imagined.mp4"),
    agent: Annotated[str, arg(metavar="AGENT")] = "human",
    vehicle: Annotated[int | None, arg(metavar="NUMBER")] = None,
    steps: int = 200,
    futures: int = 4,
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """Let a forward model run on its own predictions from one recorded situation, and see what becomes of it.

    Args:
        model: folder of a trained forward model; without it, the one that ships with headway.
        recording: where the situation is from; without it, the recording that ships with headway.
        out: the video to write, of what was recorded beside the futures, each with how bright its vehicles are of what
            they were at the start; or one picture of some moments (.png). The numbers of every step go beside it, into
            FILE.json.
        agent: who drives in the futures: human (the recorded actions while they last, then none), no-action,
            pretrained, or the folder of a trained policy.
        vehicle: the car to take over, by its number in the source; by default `seed` chooses one.
        steps: of the model, 0.2 s each for a quick one.
        futures: how many, z of each drawn from the prior.
        seed: of z, and of the car.
        device: where networks run.
    """
    if out.suffix.lower() not in (".mp4", ".png"):
        refuse("expected the name of a video (.mp4) or a picture (.png)", out)
    if recording is not None:
        require_readable(recording)
    require_file(out, out.with_suffix(".json"))
    require_device(device)
    from envs import SAMPLE
    from mbrl.agents_by_name import PRETRAINED, agent_by_name
    from mbrl.free_running import run_free
    from mbrl.free_running_report import as_text, write_free_run
    from mbrl.trained_model import load_model

    driver = agent_by_name(agent, device)
    model, recording = model or PRETRAINED / "model", recording or SAMPLE
    run = run_free(
        load_model(model, device).model, read_all([recording])[0], driver, steps=steps, num_futures=futures,
        vehicle=vehicle, seed=seed,
    )  # fmt: skip
    write_free_run(run, out, {"model": str(model), "recording": str(recording), "seed": seed})
    print(as_text(run))


def bench(
    name: Positional[Annotated[str, arg(metavar="NAME")]], json: bool = False, device: Device = "cpu"
) -> None:
    """Measure how fast headway is on this machine.

    Args:
        name: what to measure: replay, imagination, planning, pretrain.
        json: print one JSON object and nothing else on standard output.
        device: where imagination is measured.
    """
    require_device(device)
    from mbrl.bench import as_text, run_bench

    results = run_bench(name, device)
    print(json_format.dumps(results) if json else as_text(results))
