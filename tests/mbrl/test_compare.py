"""What policies promise themselves, on a model whose disagreement is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.policies import Policy
from envs.context import Context, context_of_windows
from envs.recording import Recording
from envs.windows import Windows
from mbrl import compare
from mbrl.compare import imagined_futures, promises
from mbrl.forward_models import build
from mbrl.presets import model_training, policy_training
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from tests.toys import random_traffic


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
