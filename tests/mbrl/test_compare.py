"""What policies promise themselves, on a model whose disagreement is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from agents.policies import Policy, PolicyConfig
from envs.context import Context, context_of_windows
from envs.recording import Recording
from envs.windows import Windows
from mbrl import compare
from mbrl.compare import imagined_futures, promises
from mbrl.forward_models import ForwardModel, build
from mbrl.presets import model_training, policy_training
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from tests.mbrl.small import VIEW, small_ensemble
from tests.toys import random_traffic

SMALL = PolicyConfig(frames=3, stride=2, back=(0, 2), view=VIEW, channels=(3, 4, 4), hidden=8)


@pytest.fixture(scope="module")
def traffic() -> Recording:
    return random_traffic(0, 60, 300)


def trained() -> TrainedModel:
    torch.manual_seed(0)
    config = model_training("debug")
    return TrainedModel(build(config.model).eval(), Uncertainty(config.horizon))


def test_the_same_policy_twice_promises_the_same(traffic: Recording) -> None:
    torch.manual_seed(0)
    policy = Policy(policy_training("debug").policy)
    found = promises({"a": policy, "b": policy}, trained(), [traffic], split="all", num_examples=32)
    assert found["a"] == found["b"]
    assert 0 < found["a"].predicted_cost < 1.4  # at most 1 + 0.2 + 0.2


def test_a_model_that_never_doubts_has_no_uncertainty(traffic: Recording) -> None:
    """The untrained separated model says that nothing moves, under every mask."""
    policy = Policy(policy_training("debug").policy)
    found = promises({"a": policy}, trained(), [traffic], split="all", num_examples=32)
    assert found["a"].uncertainty == pytest.approx(0, abs=1e-6)
    assert found["a"].cost_deviation == pytest.approx(0, abs=1e-6)


def without_dropout(model: ForwardModel[Any]) -> ForwardModel[Any]:
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model


def test_an_ensemble_doubts_by_its_members(traffic: Recording) -> None:
    """However many masks are asked for: it has none."""
    policy = Policy(SMALL)
    for alike in (True, False):
        ensemble = TrainedModel(without_dropout(small_ensemble("vae", alike=alike)), Uncertainty(3))
        found = [
            promises({"a": policy}, ensemble, [traffic], split="all", num_examples=32, num_masks=num)["a"]
            for num in (2, 6)
        ]
        assert found[0] == found[1]
        assert (found[0].cost_deviation < 1e-6) == alike


def test_an_ensemble_s_first_member_draws_its_futures(traffic: Recording) -> None:
    ensemble = small_ensemble("vae")
    first = ensemble.members[0]
    assert isinstance(first, ForwardModel)
    one, other = (
        imagined_futures(TrainedModel(model, Uncertainty(3)), [traffic], 3, split="all")
        for model in (ensemble, first)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.imagined.astype(int), b.imagined, atol=1)


def test_futures_are_drawn_beside_what_came(traffic: Recording) -> None:
    futures = imagined_futures(trained(), [traffic], 2, split="all")
    assert len(futures) == 2
    for future in futures:
        assert future.imagined.shape == future.real.shape == (3, 3, 117, 24)
        imagined, real = (lanes[:, 0].astype(int) for lanes in future)
        moved = np.roll(imagined, 2, axis=-1)  # markings stand still: both show them at the same place
        assert abs(imagined - real).mean() < 0.5 * abs(moved - real).mean()


def test_contexts_go_where_the_model_is(traffic: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained()
    elsewhere = TrainedModel(model.model.to("meta"), model.uncertainty.to("meta"))
    asked: list[torch.device] = []

    def noticed(windows: Windows, device: torch.device) -> Context:
        asked.append(device)
        return context_of_windows(windows, device)

    monkeypatch.setattr(compare, "context_of_windows", noticed)
    policy = Policy(policy_training("debug").policy).to("meta")
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):  # where numbers have no values
        promises({"a": policy}, elsewhere, [traffic], split="all", num_examples=32)
    assert [device.type for device in asked] == ["meta"]
