"""What holds for every planner: seeds, batches, bounds, broken candidates, endings, warm starts, time."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from mbrl.uncertainty import Terms, Uncertainty
from planners import (
    BeamConfig,
    Box,
    CEMConfig,
    Dynamics,
    GradientCEMConfig,
    GradientConfig,
    ICEMConfig,
    ILQRConfig,
    IterativeConfig,
    LBFGSConfig,
    MixedConfig,
    MPPIConfig,
    Plan,
    PlannerConfig,
    PredictiveSamplingConfig,
    RandomShooting,
    RandomShootingConfig,
)
from tests.planners import linear_quadratic as lq
from tests.planners.cases import CASES, GEARS, Case, H, acceleration, total_cost

every_planner = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
SHOOTING = CASES["random shooting"]
SEEDS = [11, 12, 13, 14]


def same(a: Plan, b: Plan, exactly: bool = False) -> bool:
    close = torch.equal if exactly else lambda x, y: torch.allclose(x, y, rtol=1e-7, atol=1e-9)
    return close(a.actions, b.actions) and close(a.cost, b.cost)


# --- seeds and batches -----------------------------------------------------------------------------------------------


@every_planner
def test_a_seed_decides_the_plan_and_nothing_else_does(case: Case) -> None:
    state, before = lq.starts(4), torch.get_rng_state()
    plan = case.plan(state, seeds=SEEDS)
    assert same(plan, case.plan(state, seeds=SEEDS), exactly=True)
    assert torch.equal(before, torch.get_rng_state()), "the global generator was used"
    other = case.plan(state, seeds=[seed + 100 for seed in SEEDS])
    assert same(plan, other) != case.draws


@every_planner
def test_a_start_gets_alone_what_it_gets_in_a_batch(case: Case) -> None:
    state = lq.starts(4)
    together = case.plan(state, seeds=SEEDS)
    for k in range(4):
        alone = case.plan(state[k : k + 1], seeds=SEEDS[k : k + 1])
        assert torch.allclose(alone.actions[0], together.actions[k], rtol=1e-7, atol=1e-9)
        assert torch.allclose(alone.cost[0], together.cost[k])


@every_planner
def test_starts_that_break_leave_the_others_alone(case: Case) -> None:
    state = lq.starts(3)
    broken = state.clone()
    broken[1] = torch.nan
    plan, fine = case.plan(broken, seeds=SEEDS[:3]), case.plan(state, seeds=SEEDS[:3])
    assert plan.info.failed.tolist() == [False, True, False]
    assert torch.allclose(plan.actions[::2], fine.actions[::2], rtol=1e-7, atol=1e-9)


@every_planner
def test_many_starts_take_as_many_calls_as_one(case: Case) -> None:
    calls = []

    def step(state: Tensor, action: Tensor) -> Tensor:
        calls[-1] += 1
        return case.step(state, action)

    for num in (1, 16):
        calls.append(0)
        case.plan(lq.starts(num), dynamics=step)
    assert calls[0] == calls[1]


def test_starts_of_one_seed_share_their_noise_and_without_seeds_it_is_0() -> None:
    state = lq.starts(1).expand(3, -1)
    plan = SHOOTING.plan(state)
    assert torch.allclose(plan.actions[0], plan.actions[1])
    assert same(plan, SHOOTING.plan(state, seeds=[0, 0, 0]))
    assert not torch.allclose(plan.actions, SHOOTING.plan(state, seeds=[1, 2, 3]).actions)


# --- costs and bounds ------------------------------------------------------------------------------------------------


@every_planner
def test_a_plan_costs_what_it_says_and_stays_within_bounds(case: Case) -> None:
    state = lq.starts(8)
    plan = case.plan(state)
    assert torch.allclose(plan.cost, total_cost(state, plan.actions))
    assert bool(((plan.actions >= case.space.low) & (plan.actions <= case.space.high)).all())
    nothing = total_cost(state, torch.zeros_like(plan.actions))
    assert bool((plan.cost <= nothing).all()) if case.keeps_best else bool((plan.cost < nothing).any())


@every_planner
def test_each_start_has_bounds_of_its_own(case: Case) -> None:
    state = lq.starts(2)
    share = torch.tensor([1.0, 0.25], dtype=torch.float64)[:, None, None]
    space = case.space
    if case.num_actions == 4:
        share = torch.cat([torch.ones(2, 1, 3, dtype=torch.float64), share], -1)
    own = Box(space.low * share, space.high * share, space.scale.expand(2, 1, -1))
    plan = replace(case, space=own).plan(state, seeds=SEEDS[:2])
    assert bool((plan.actions <= own.high).all())
    assert bool((plan.actions >= own.low).all())
    assert torch.allclose(plan.actions[0], case.plan(state, seeds=SEEDS[:2]).actions[0], rtol=1e-7, atol=1e-9)


@every_planner
def test_discount_and_terminal_cost_count(case: Case) -> None:
    planner, state = case.make(), lq.starts(3)
    planner.config = replace(planner.config, gamma=0.8)
    plan = case.plan(state, planner, terminal=lambda s: 3 * s[:, 0].square())
    j, s = torch.zeros(3, dtype=torch.float64), state
    for t in range(H):
        s = case.step(s, plan.actions[:, t])
        j = j + 0.8**t * case.cost(s, plan.actions[:, t])
    assert torch.allclose(plan.cost, j + 0.8**H * 3 * s[:, 0].square())


# --- candidates that are not finite ----------------------------------------------------------------------------------


@every_planner
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_candidate_that_is_not_finite_is_never_chosen(case: Case, bad: float) -> None:
    """Speeding up is best for starts on the left, and breaks the model."""
    state = torch.tensor([[-1.0, -0.5], [-0.8, 0.1]], dtype=torch.float64)

    def cost(states: Tensor, actions: Tensor) -> Tensor:
        return torch.where(acceleration(actions)[..., 0] > 0.1, bad, case.cost(states, actions))

    best = case.plan(state)
    assert bool((acceleration(best.actions) > 0.1).any(1).all()), "the test asks for nothing"
    plan = case.plan(state, cost=cost)
    assert not bool(plan.info.failed.any())
    assert bool((acceleration(plan.actions) <= 0.1).all())
    assert torch.allclose(plan.cost, total_cost(state, plan.actions))


@every_planner
def test_without_a_finite_candidate_the_start_is_returned_and_flagged(case: Case) -> None:
    def cost(states: Tensor, actions: Tensor) -> Tensor:
        return case.cost(states, actions) * torch.nan

    state = lq.starts(2)
    plan = case.plan(state, cost=cost)
    assert plan.info.failed.all()
    assert bool((plan.cost == torch.inf).all())
    nothing = acceleration(torch.zeros(2, H, case.num_actions, dtype=torch.float64))
    if case.num_actions == 4:
        nothing = nothing + GEARS[0]  # a choice there is always one
    assert torch.equal(acceleration(plan.actions), nothing)
    last = case.plan(state)
    plan = case.plan(state, cost=cost, previous=last)
    assert torch.equal(plan.actions, last.shifted())


@every_planner
def test_actions_that_are_not_finite_are_no_start(case: Case) -> None:
    state = lq.starts(2)
    init = torch.zeros(2, H, case.num_actions, dtype=torch.float64)
    init[0, 3] = torch.nan
    assert same(case.plan(state, init=init), case.plan(state))


# --- endings ---------------------------------------------------------------------------------------------------------


@every_planner
def test_what_comes_after_the_end_does_not_count(case: Case) -> None:
    """Starts that end after three steps, or never; afterwards nothing is known."""
    state = torch.cat([lq.starts(2), torch.tensor([[3.0], [H]], dtype=torch.float64)], 1)

    def step(s: Tensor, action: Tensor) -> Tensor:
        moved = case.step(s[:, :2], action)
        moved = torch.where(s[:, 2:] > 0, moved, torch.nan)
        return torch.cat([moved, s[:, 2:] - 1], 1)

    def cost(states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        return case.cost(states[..., :2], actions), states[..., 2] <= 0

    def beyond(s: Tensor) -> Tensor:
        return 5 * s[:, 0].square()

    plan = case.plan(state, dynamics=step, cost=cost, terminal=beyond, seeds=SEEDS[:2])
    assert not plan.info.failed.any()
    ended = total_cost(state[:1, :2], plan.actions[:1, :3])
    assert torch.allclose(plan.cost[0], ended[0])
    assert bool(ended[0] < total_cost(state[:1, :2], torch.zeros(1, 3, 1).to(state))[0])


# --- where a search begins -------------------------------------------------------------------------------------------


@every_planner
def test_a_search_begins_with_the_last_plan_shifted(case: Case) -> None:
    state = lq.starts(5)
    last = case.plan(state)
    after = case.step(state, last.actions[:, 0])
    start = torch.cat([last.actions[:, 1:], last.actions[:, -1:]], 1)
    assert torch.equal(last.shifted(), start)
    assert torch.equal(last.shifted(H + 2), last.actions[:, -1:].expand(-1, H, -1))
    plan = case.plan(after, previous=last)
    if case.keeps_best and case.keeps_start:
        assert bool((plan.cost <= total_cost(after, start) + 1e-12).all())
    unshifted = case.plan(state, previous=last, shift=0)
    if case.keeps_best:
        assert bool((unshifted.cost <= last.cost + 1e-12).all())


def test_a_policy_gives_the_start_and_the_cheaper_start_is_taken() -> None:
    """Two candidates per start, the start among them: what comes out is no worse than it."""
    planner = RandomShooting(RandomShootingConfig(horizon=H, num_samples=2))
    state = lq.starts(6)
    good, bad = lq.least_squares(state, H, lq.TIGHT), torch.full((6, H, 1), 0.7, dtype=torch.float64)

    def policy(s: Tensor) -> Tensor:
        assert s.shape == (6, 2)
        return -0.8 * s[:, :1] - 2.0 * s[:, 1:]

    actions, s = [], state
    for _ in range(H):
        actions.append(policy(s).clamp(-0.5, 0.8))
        s = lq.step(s, actions[-1])
    driven = lq.total_cost(state, torch.stack(actions, 1))
    plan = planner.plan(lq.step, lq.cost, state, lq.TIGHT, init=policy)
    assert bool((plan.cost <= driven + 1e-12).all())
    assert bool((plan.cost < lq.total_cost(state, bad)).all())
    mixed = torch.cat([good[:3], bad[3:]])
    last = planner.plan(lq.step, lq.cost, state, lq.TIGHT, init=torch.cat([bad[:3], good[3:]]))
    plan = planner.plan(lq.step, lq.cost, state, lq.TIGHT, init=mixed, previous=last, shift=0)
    assert torch.allclose(plan.cost, lq.total_cost(state, good)), "each start takes its cheaper beginning"


# --- time ------------------------------------------------------------------------------------------------------------


class RowClock:
    """A second passes with each row that the dynamics move."""

    def __init__(self, case: Case) -> None:
        self.now, self._case = 50.0, case

    def __call__(self) -> float:
        return self.now

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        self.now += len(state)
        return self._case.step(state, action)


@every_planner
def test_a_budget_is_kept_and_there_is_always_an_answer(case: Case) -> None:
    state = lq.starts(2)

    def timed(budget: float | None) -> tuple[Plan, float]:
        clock = RowClock(case)
        plan = case.plan(state, case.make(clock=clock), dynamics=clock.step, budget=budget)
        assert plan.info.seconds == clock.now - 50
        return plan, plan.info.seconds

    at_once, shortest = timed(0.0)
    assert at_once.info.iterations == 1, "the first iteration always runs"
    assert not at_once.info.failed.any()
    at_leisure, longest = timed(1e9)
    assert at_leisure.info.iterations > 2
    spent = set()
    for share in (0.3, 0.5, 0.7, 0.9):
        budget = shortest + share * (longest - shortest)
        plan, seconds = timed(budget)
        assert seconds <= budget
        spent.add(seconds)
        if case.keeps_best:
            assert bool((at_leisure.cost <= plan.cost).all())
            assert bool((plan.cost <= at_once.cost).all())
    assert len(spent) > 1, "more time is used when there is more"


def test_time_ends_a_search_between_iterations() -> None:
    """What 3.5 iterations' time gives is what 3 iterations give."""
    clock = RowClock(SHOOTING)
    budget = 3.5 * 40 * H * 2
    plan = SHOOTING.plan(lq.starts(2), SHOOTING.make(clock=clock), dynamics=clock.step, budget=budget)
    short = SHOOTING.make()
    short.config = replace(short.config, num_iterations=3)
    assert same(plan, SHOOTING.plan(lq.starts(2), short), exactly=True)


def test_the_clock_is_real_by_default() -> None:
    assert 0 < SHOOTING.plan(lq.starts(1)).info.seconds < 60


# --- states and dynamics of any kind ---------------------------------------------------------------------------------


class Car(NamedTuple):
    position: Tensor
    speed: Tensor


@dataclass(frozen=True)
class Opaque:
    """A state only its dynamics see into."""

    inside: Tensor

    @property
    def batch_size(self) -> int:
        return len(self.inside)

    def repeat(self, times: int) -> Opaque:
        return Opaque(self.inside.repeat(times, 1))

    def take(self, index: Tensor) -> Opaque:
        return Opaque(self.inside[index])


class Twins(Dynamics):
    """Like a learned model: an opaque state, a rollout of its own, two heads that disagree where |a| is large."""

    def step(self, state: Opaque, action: Tensor) -> Opaque:
        return Opaque(lq.step(state.inside, action))

    def rollout(self, state: Opaque, actions: Tensor) -> tuple[Any, Opaque]:
        states = []
        for action in actions.unbind(1):
            state = self.step(state, action)
            states.append(state.inside)
        mean, away = torch.stack(states, 1), torch.relu(actions.abs() - 0.3)
        return (mean - away, mean + away), state


ALONE = ("ilqr", "mixed")  # in what they take for a state, and for an action
of_any_state = pytest.mark.parametrize("name", [name for name in CASES if name not in ALONE])


@of_any_state
def test_a_state_is_whatever_the_dynamics_take(name: str) -> None:
    case, state = CASES[name], lq.starts(3)
    plan = case.plan(state)

    def step_car(car: Car, action: Tensor) -> Car:
        moved = lq.step(torch.stack(car, 1), action)
        return Car(moved[:, 0], moved[:, 1])

    def step_dict(s: dict[str, list[Tensor]], action: Tensor) -> dict[str, list[Tensor]]:
        return {"all": [lq.step(s["all"][0], action)]}

    def cost_of_car(car: Car, actions: Tensor) -> Tensor:
        return lq.cost(torch.stack(car, -1), actions)

    as_car = case.plan(Car(state[:, 0], state[:, 1]), dynamics=step_car, cost=cost_of_car)
    assert same(plan, as_car)
    as_dict = case.plan({"all": [state]}, dynamics=step_dict, cost=lambda s, a: lq.cost(s["all"][0], a))
    assert same(plan, as_dict)


@of_any_state
def test_a_model_with_an_uncertainty_of_its_own_fits(name: str) -> None:
    """Its rollout and its cost decide what is read; the U of policy training keeps plans where the heads agree."""
    uncertainty = Uncertainty(H).double()
    state = Opaque(torch.tensor([[-1.0, -0.6], [1.0, 0.8]], dtype=torch.float64))

    def cost(heads: tuple[Tensor, Tensor], actions: Tensor) -> Tensor:
        a, b = heads
        spread, none = (a - b).square().sum(-1) / 2, torch.zeros_like(a[..., 0])
        return lq.cost((a + b) / 2, actions) + 200 * uncertainty(Terms(none, spread, none))

    def careless(heads: tuple[Tensor, Tensor], actions: Tensor) -> Tensor:
        return lq.cost((heads[0] + heads[1]) / 2, actions)

    case = CASES[name]
    sure, bold = (case.plan(state, dynamics=Twins(), cost=c) for c in (cost, careless))
    assert float(bold.actions.abs().max()) > 0.45
    assert float(sure.actions.abs().max()) < 0.42


@every_planner
def test_what_belongs_to_a_start_is_found_by_its_row_modulo_b(case: Case) -> None:
    """Drifts kept in the dynamics, once for each start, act like drifts that every candidate carries along."""
    state, drift = lq.starts(3), 0.3 * lq.starts(3, seed=1)

    def step(s: Tensor, action: Tensor) -> Tensor:
        return case.step(s, action) + drift[torch.arange(len(s)) % 3]

    def carried(s: Tensor, action: Tensor) -> Tensor:
        return torch.cat([case.step(s[:, :2], action) + s[:, 2:], s[:, 2:]], 1)

    def cost(states: Tensor, actions: Tensor) -> Tensor:
        return case.cost(states[..., :2], actions)

    kept = case.plan(state, dynamics=step, seeds=SEEDS[:3])
    wanted = case.plan(torch.cat([state, drift], 1), dynamics=carried, cost=cost, seeds=SEEDS[:3])
    assert same(kept, wanted)
    assert not same(kept, case.plan(state, seeds=SEEDS[:3])), "the drifts do nothing"


def test_states_that_cannot_be_stacked_are_refused() -> None:
    def step(state: Opaque, action: Tensor) -> Opaque:
        return Opaque(lq.step(state.inside, action))

    with pytest.raises(TypeError, match="override Dynamics"):
        SHOOTING.plan(Opaque(lq.starts(2)), dynamics=step)


@pytest.mark.gpu
@every_planner
def test_a_gpu_plans_as_the_cpu_does(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    state = lq.starts(3)
    on_cpu = case.plan(state, seeds=SEEDS[:3], budget=1e9)
    there = Box(case.space.low.cuda(), case.space.high.cuda(), case.space.scale.cuda())
    monkeypatch.setattr("tests.planners.cases.GEARS", GEARS.cuda())
    plan = replace(case, space=there).plan(state.cuda(), seeds=SEEDS[:3], budget=1e9)
    assert plan.actions.is_cuda
    assert torch.allclose(plan.actions.cpu(), on_cpu.actions, atol=1e-6)


# --- what is refused -------------------------------------------------------------------------------------------------


REFUSED: list[tuple[Callable[..., PlannerConfig], str, float]] = [
    (IterativeConfig, "horizon", 0),
    (IterativeConfig, "gamma", 0.0),
    (IterativeConfig, "gamma", 1.1),
    (IterativeConfig, "num_iterations", 0),
    (RandomShootingConfig, "num_samples", 1),
    (PredictiveSamplingConfig, "num_samples", 1),
    (PredictiveSamplingConfig, "std", 0.0),
    (PredictiveSamplingConfig, "knots", 30),
    (CEMConfig, "num_elites", 1),
    (CEMConfig, "num_elites", 300),
    (CEMConfig, "std", 0.0),
    (CEMConfig, "min_std", -1.0),
    (CEMConfig, "alpha", 1.0),
    (ICEMConfig, "noise_beta", -1.0),
    (ICEMConfig, "decay", 0.9),
    (ICEMConfig, "keep", 1.1),
    (MPPIConfig, "num_samples", 1),
    (MPPIConfig, "temperature", 0.0),
    (MPPIConfig, "std", 0.0),
    (MPPIConfig, "std_decay", 0.0),
    (MPPIConfig, "alpha", 1.5),
    (MPPIConfig, "noise_beta", -1.0),
    (GradientConfig, "num_samples", 0),
    (GradientConfig, "std", 0.0),
    (GradientConfig, "knots", 0),
    (GradientConfig, "learning_rate", 0.0),
    (GradientConfig, "decay", 1.1),
    (LBFGSConfig, "history", 0),
    (LBFGSConfig, "num_trials", 1),
    (GradientCEMConfig, "gradient_steps", 0),
    (GradientCEMConfig, "learning_rate", 0.0),
    (GradientCEMConfig, "min_std", 0.0),
    (ILQRConfig, "num_trials", 0),
    (ILQRConfig, "regularisation", -1.0),
    (ILQRConfig, "regularisation", 1.0),
    (BeamConfig, "width", 0),
    (partial(MixedConfig, num_choices=2), "noise", -1.0),
    (partial(MixedConfig, num_choices=2), "held_iterations", -1),
    (MixedConfig, "num_choices", 1),
]


@pytest.mark.parametrize(("config", "name", "value"), REFUSED)
def test_a_config_refuses_what_makes_no_search(
    config: Callable[..., PlannerConfig], name: str, value: float
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{name}={value} must")):
        config(**{name: value})


@pytest.mark.parametrize(
    "options",
    [
        {"seeds": [1, 2]},
        {"init": torch.zeros(3, H + 1, 1)},
        {"cost": lambda s, a: lq.cost(s, a).sum(1)},
        {"cost": lambda s, a: lq.cost(s, a)[..., None]},
    ],
)
def test_a_call_refuses_what_does_not_fit(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        SHOOTING.plan(lq.starts(3), **options)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.differentiates])
def test_what_cannot_be_differentiated_is_refused_and_may_be_sampled(name: str) -> None:
    def cost(states: Tensor, actions: Tensor) -> Tensor:
        return lq.cost(states.detach(), acceleration(actions).detach())

    if name != "ilqr":  # to which the cost of anything is a constant
        with pytest.raises(ValueError, match="not differentiable"):
            CASES[name].plan(lq.starts(2), cost=cost)
    assert not SHOOTING.plan(lq.starts(2), cost=cost).info.failed.any()


def test_a_box_refuses_what_is_none() -> None:
    with pytest.raises(ValueError, match="exceed"):
        Box.of([1.0], [0.0], [1.0])
    with pytest.raises(ValueError, match="scale"):
        Box.of([-torch.inf], [1.0])
    with pytest.raises(ValueError):
        Box(torch.zeros(2), torch.ones(1), torch.ones(2))
    ones = torch.ones(2, 1, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="2 starts"):
        replace(SHOOTING, space=Box(-ones, ones, ones)).plan(lq.starts(3))
