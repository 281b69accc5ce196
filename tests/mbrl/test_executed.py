"""What was imagined is compared with what really came of the same actions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.policies import Policy, PolicyConfig
from envs.context import Context
from envs.errors import InputError
from mbrl.executed import Executed, correlation, imagined_against_executed
from mbrl.forward_models import SeparatedConfig, build
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from tests.agents.scenes import clean_traffic
from tests.mbrl.small import TIMING, VARIANTS, VIEW, small_ensemble, small_model
from tests.toys import orderly_traffic

SMALL = PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(3, 4, 4), hidden=8)


def policy(config: PolicyConfig = SMALL) -> Policy:
    torch.manual_seed(0)
    return Policy(config)


def trained(variant: str, horizon: int = 3) -> TrainedModel:
    return TrainedModel(small_model(variant), Uncertainty(horizon))


def known(cost: np.ndarray, real: np.ndarray, vehicle: np.ndarray) -> Executed:
    a, b = (np.asarray(x, np.float32)[:, None] for x in (cost, real))
    return Executed(vehicle, a, b, a, b)


class Braking(Policy):
    """As hard as it can."""

    def units(self, context: Context) -> Tensor:
        return torch.tensor([-6.0, 0.0]).expand(context.batch_size, 2)


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_the_ego_goes_where_it_was_imagined_to_go_if_its_motion_is_exact(variant: str) -> None:
    """The separated model integrates it; a network that was never trained does not know it."""
    found = imagined_against_executed(
        policy(), trained(variant), [clean_traffic()], split="all", num_examples=40
    )
    assert found.imagined_cost.shape == found.executed_way.shape == (40, 3)
    apart = np.abs(found.imagined_way - found.executed_way).max()
    assert apart < 0.02 if variant == "separated" else apart > 0.1
    assert (found.executed_way[:, -1] > 1).all()
    assert ((found.executed_cost >= 0) & (found.executed_cost <= 1.4)).all()


def test_the_imagined_ego_can_do_what_its_car_can() -> None:
    """Lorries of 8 m reach a quarter of what is asked of them, in the imagination as in the replay."""
    traffic = clean_traffic()
    vehicles = traffic.vehicles
    lorries = replace(traffic, vehicles=replace(vehicles, length=np.full_like(vehicles.length, 8.0)))
    found = imagined_against_executed(
        Braking(SMALL), trained("separated", 10), [lorries], split="all", num_examples=40
    )
    assert np.abs(found.imagined_way - found.executed_way).max() < 0.02
    cars = imagined_against_executed(
        Braking(SMALL), trained("separated", 10), [traffic], split="all", num_examples=40
    )
    assert (found.imagined_way[:, -1] - cars.imagined_way[:, -1] > 1).all()


def test_a_model_that_knows_the_future_imagines_what_is_executed() -> None:
    """Everybody keeps its speed, which is what the untrained separated model expects, within what it can see."""
    torch.manual_seed(0)
    config = SeparatedConfig(timing=TIMING, channels=(4, 6, 8), back=(0, 1, 2), z_dim=0)
    right = TrainedModel(build(config).eval(), Uncertainty(10))
    sees = replace(SMALL, view=config.view)
    recording = orderly_traffic(headway=2.0)
    found = imagined_against_executed(policy(sees), right, [recording], split="all", num_examples=60)
    assert found.executed_cost.std() > 0.05, "there is something to know"
    assert found.correlation > 0.97
    assert np.abs(found.imagined_cost - found.executed_cost).mean() < 0.02
    low, high = found.correlation_interval()
    assert 0.9 < low < found.correlation < high <= 1


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_an_ensemble_of_one_and_the_same_model_is_that_model(variant: str) -> None:
    together, member = small_ensemble(variant, alike=True), small_ensemble(variant, alike=True).members[0]
    options: dict[str, Any] = {"split": "all", "num_examples": 40, "seed": 3}
    whole, alone = (
        imagined_against_executed(policy(), TrainedModel(model, Uncertainty(3)), [clean_traffic()], **options)
        for model in (together, member)
    )  # type: ignore[arg-type]
    for name in ("vehicle", "imagined_cost", "executed_cost", "imagined_way", "executed_way"):
        np.testing.assert_allclose(getattr(whole, name), getattr(alone, name), rtol=1e-4, atol=1e-5)


class Reacting(Policy):
    """Brakes by the vehicles it sees, of which each member imagines others."""

    def forward(self, context: Context) -> Tensor:
        brake = -20 * context.frames[-1][:, 1].mean((1, 2)).clamp(max=0.1)  # 2 m/s^2: any car can
        return torch.stack([brake, torch.zeros_like(brake)], 1)


def test_one_plan_is_driven_under_every_member() -> None:
    """The first member's: if each drove its own, the executed ways would not be the mean of the imagined ones."""
    model, dense = small_ensemble("separated"), orderly_traffic(headway=1.0)
    found = imagined_against_executed(
        Reacting(SMALL), TrainedModel(model, Uncertainty(10)), [dense], split="all", num_examples=20
    )
    assert found.executed_way[:, -1].std() > 0.5
    np.testing.assert_allclose(found.imagined_way, found.executed_way, atol=0.02)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_model_can_be_driven_in(variant: str) -> None:
    found = imagined_against_executed(
        policy(), trained(variant), [clean_traffic()], split="all", num_examples=3
    )
    assert all(np.isfinite(x).all() for x in vars(found).values())


def test_correlation_is_that_of_means_over_a_drive() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 50, 4)).astype(np.float32)
    found = Executed(np.arange(50), a, b, a, b)
    assert found.correlation == pytest.approx(np.corrcoef(a.mean(1), b.mean(1))[0, 1], abs=1e-6)
    assert np.isnan(correlation(np.full(7, np.float32(0.3)), rng.random(7)))


def test_situations_of_one_car_count_as_one() -> None:
    rng = np.random.default_rng(0)
    a = rng.random(80)
    b = a + 0.5 * rng.random(80)
    once = known(a, b, np.arange(80))
    low, high = once.correlation_interval(seed=1)
    assert low < once.correlation < high
    repeated = known(np.repeat(a, 5), np.repeat(b, 5), np.repeat(np.arange(80), 5))
    assert repeated.correlation_interval(seed=1) == pytest.approx((low, high), abs=1e-6)
    as_if_independent = known(np.repeat(a, 5), np.repeat(b, 5), np.arange(400)).correlation_interval(seed=1)
    assert as_if_independent[1] - as_if_independent[0] < 0.7 * (high - low)
    assert np.isnan(known(np.zeros(5), b[:5], np.arange(5)).correlation_interval()).all()


def test_a_recording_without_such_drives_is_refused() -> None:
    with pytest.raises(InputError, match="no car of the all split drives the scored stretch for 2000 frames"):
        imagined_against_executed(policy(), trained("vae", 1000), [clean_traffic()], split="all")
