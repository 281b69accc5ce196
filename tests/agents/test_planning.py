"""A planner at the wheel does what was planned for what it sees, and nothing else."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents import Agent
from agents.evaluate import evaluate
from agents.metrics import NEVER
from agents.planning import Driving, PlanningAgent, RecordedFuture, Situation, action_space
from envs.context import Context
from envs.drives import Drives
from envs.kinematics import MAX_ACCELERATION, MAX_CURVATURE
from envs.recording import Recording
from envs.replay import Replay
from planners import GradientConfig, GradientPlanner, Plan
from tests.agents.scenes import clean_traffic, parked_car_ahead

PLANNER = GradientPlanner(GradientConfig(horizon=10, num_iterations=20, learning_rate=0.2))


@pytest.fixture(scope="module")
def traffic() -> Recording:
    return clean_traffic(num_cars=24)


class KeepSpeed:
    """A foresight that minds nothing but speeds that are not 12 m/s; it keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, np.ndarray, int]] = []

    def __call__(self, context: Context, replay: Replay, egos: np.ndarray, seed: int) -> Situation:
        self.asked.append((context.batch_size, egos.copy(), seed))

        def cost(poses: Tensor, actions: Tensor) -> Tensor:
            return (poses[..., 3] - 12.0).square() + 1e4 * actions[..., 1].square()

        return Situation(Driving(0.1, 2), cost, context.now())


def begun(traffic: Recording, agent: PlanningAgent, num_egos: int = 3) -> tuple[Replay, np.ndarray]:
    replay = Replay([traffic], num_egos, history=agent.history, threads=1)
    frames = np.array([80, 95, 100])
    replay.reset(Drives(np.array([3, 9, 14]), frames, frames, frames + 100), np.arange(3))
    agent.begin(replay)
    return replay, np.arange(num_egos) < 3


class Asked:
    """Plans as PLANNER does, and keeps the seconds it was given."""

    config = PLANNER.config

    def __init__(self) -> None:
        self.budgets: list[float | None] = []

    def plan(self, *situation: Any, budget: float | None, **options: Any) -> Plan:
        self.budgets.append(budget)
        return PLANNER.plan(*situation, budget=budget, **options)


@pytest.mark.parametrize(("budget", "left"), [(None, None), (0.02, 0.0), (10.0, 9.96)])
def test_what_is_imagined_counts_towards_the_budget(
    traffic: Recording, budget: float | None, left: float | None
) -> None:
    class Slow(KeepSpeed):
        def __call__(self, *asked: Any) -> Situation:
            time.sleep(0.04)
            return super().__call__(*asked)

    planner = Asked()
    agent = PlanningAgent(planner, Slow(), "hurried", frames=2, stride=2, budget=budget)  # type: ignore[arg-type]
    replay, _ = begun(traffic, agent)
    agent.act(replay.observe())
    (given,) = planner.budgets
    assert given == left or (left and given and left - 5 < given < left)


def test_it_reaches_what_it_plans_for(traffic: Recording) -> None:
    agent = PlanningAgent(PLANNER, KeepSpeed(), "keeper", frames=2, stride=2)
    assert isinstance(agent, Agent)
    replay, active = begun(traffic, agent)
    for _ in range(40):
        replay.step(agent.act(replay.observe()), active)
    np.testing.assert_allclose(replay.state[:, 3], 12.0, atol=0.1)


def test_an_action_is_held_for_a_step_of_its_foresight(traffic: Recording) -> None:
    foresight = KeepSpeed()
    agent = PlanningAgent(PLANNER, foresight, "keeper", frames=2, stride=3, seed=5)
    replay, active = begun(traffic, agent)
    actions = []
    for _ in range(6):
        actions.append(agent.act(replay.observe()))
        replay.step(actions[-1], active)
    for t in range(6):
        np.testing.assert_array_equal(actions[t], actions[t // 3 * 3])
    assert [num for num, *_ in foresight.asked] == [3, 3]


def test_every_decision_of_every_seed_has_a_seed_of_its_own(traffic: Recording) -> None:
    seeds = []
    for seed in (0, 1, 3):
        foresight = KeepSpeed()
        agent = PlanningAgent(PLANNER, foresight, "keeper", frames=2, stride=3, seed=seed)
        replay, active = begun(traffic, agent)
        for _ in range(12):
            replay.step(agent.act(replay.observe()), active)
        seeds += [own for *_, own in foresight.asked]
    assert len(set(seeds)) == len(seeds) == 12


def test_only_drives_that_go_on_are_planned(traffic: Recording) -> None:
    foresight = KeepSpeed()
    agent = PlanningAgent(PLANNER, foresight, "keeper", frames=2, stride=2)
    replay, active = begun(traffic, agent)
    kept = []
    for t in range(6):
        kept.append(agent.act(replay.observe()))
        replay.step(kept[-1], active & (np.arange(3) != 1) if t >= 2 else active)
    assert [egos.tolist() for _, egos, _ in foresight.asked] == [[0, 1, 2], [0, 1, 2], [0, 2]]
    alone = PlanningAgent(PLANNER, KeepSpeed(), "keeper", frames=2, stride=2)
    again, active = begun(traffic, alone)
    for t in range(6):
        actions = alone.act(again.observe())
        np.testing.assert_array_equal(actions[[0, 2]], kept[t][[0, 2]], err_msg="the others do not matter")
        again.step(actions, active)


def test_a_drive_that_pauses_is_planned_again(traffic: Recording) -> None:
    foresight = KeepSpeed()
    agent = PlanningAgent(PLANNER, foresight, "keeper", frames=2, stride=1)
    replay, active = begun(traffic, agent)
    for t in range(4):
        replay.step(agent.act(replay.observe()), active & (np.arange(3) != 1) if t == 1 else active)
    assert [egos.tolist() for _, egos, _ in foresight.asked] == [[0, 1, 2], [0, 1, 2], [0, 2], [0, 1, 2]]


def test_a_plan_begins_with_the_cheaper_of_the_last_one_and_what_is_told(traffic: Recording) -> None:
    """The search itself moves next to nothing."""

    class Told(KeepSpeed):
        """Says to speed up, at first."""

        def __call__(self, context: Context, replay: Replay, egos: np.ndarray, seed: int) -> Situation:
            told = torch.zeros(context.batch_size, 10, 2)
            told[..., 0] = 1.0 if not self.asked else -1.0
            return super().__call__(context, replay, egos, seed)._replace(init=told)

    stay = GradientPlanner(GradientConfig(horizon=10, num_iterations=1, learning_rate=1e-6))
    agent = PlanningAgent(stay, Told(), "told", frames=2, stride=2)
    replay, active = begun(traffic, agent)
    assert (replay.state[:, 3] < 12).all(), "the scene: to slow down is wrong"
    for _ in range(4):
        actions = agent.act(replay.observe())
        np.testing.assert_allclose(actions[:, 0], 1.0, atol=1e-4)
        replay.step(actions, active)


def test_it_must_be_begun(traffic: Recording) -> None:
    agent = PlanningAgent(PLANNER, KeepSpeed(), "keeper", frames=2, stride=2)
    replay, _ = begun(traffic, PlanningAgent(PLANNER, KeepSpeed(), "other", frames=2, stride=2))
    with pytest.raises(RuntimeError, match="begin"):
        agent.act(replay.observe())


def test_a_long_vehicle_can_do_less() -> None:
    space = action_space(torch.tensor([[3.9, 2.0], [7.8, 2.0]]))
    np.testing.assert_allclose(space.high[:, 0, 0], [MAX_ACCELERATION, MAX_ACCELERATION / 4], rtol=1e-6)
    np.testing.assert_allclose(space.high[:, 0, 1], [MAX_CURVATURE, MAX_CURVATURE / 4], rtol=1e-6)
    assert torch.equal(space.low, -space.high)
    assert (space.scale <= space.high).all()


def test_who_knows_the_future_stops_for_what_is_parked_there() -> None:
    recording = parked_car_ahead(speed=10.0, num=250)
    planner = GradientPlanner(GradientConfig(horizon=10, num_iterations=5, learning_rate=0.5))
    agent = PlanningAgent(planner, RecordedFuture(10, 2), "oracle", frames=1, stride=2)
    blind = PlanningAgent(planner, KeepSpeed(), "blind", frames=1, stride=2)
    hit = {
        run.name: run.outcomes.contacts["box"].step
        for run in evaluate([agent, blind], [recording], split="all", stop_at_failure=True).runs
    }
    assert (hit["blind"] < NEVER).all()
    assert (hit["oracle"] == NEVER).all()
