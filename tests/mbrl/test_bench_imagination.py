"""What is timed against the plain steps is the same computation, and it is what trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import compiled
from benchmarks import naive_imagination as naive
from envs.context import Context, Recorded, motion
from envs.errors import InputError
from mbrl import bench_imagination as bench
from mbrl import model_losses
from mbrl.bench_imagination import STEPS, Setting, prepare
from mbrl.forward_models import PaperModel
from mbrl.forward_models.layers import ConvTranspose2d, Layer
from mbrl.imagination import stepwise, unroll
from mbrl.model_losses import rollout_error
from mbrl.policy_rollouts import Imagined
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty
from tests.mbrl.test_layers import kept

MASKS = 3


class Masks(nn.Module):
    """Dropout that is known: under mask k it drops every third channel, from the k-th on; examples are mask-major."""

    def __init__(self, num_masks: int, first: int = 0) -> None:
        super().__init__()
        self.num_masks, self.first = num_masks, first

    def forward(self, x: Tensor) -> Tensor:
        mask = self.first + torch.arange(self.num_masks)[:, None]
        keep = 1.5 * ((torch.arange(x.shape[1]) + mask) % 3 != 0)
        by_mask = x.unflatten(0, (self.num_masks, -1))
        return (by_mask * keep.view(self.num_masks, 1, -1, *[1] * (x.dim() - 2)).to(x)).flatten(0, 1)


def put(network: nn.Module, dropout: nn.Module) -> nn.Module:
    """In the place of all dropout layers."""
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, nn.modules.dropout._DropoutNd | Masks):
                parent._modules[name] = dropout
    return network


@pytest.fixture(params=["intensity", "logit"])
def setting(request: pytest.FixtureRequest) -> Setting:
    found = prepare("debug")
    torch.manual_seed(0)
    found = found._replace(model=PaperModel(replace(found.model.config, residual=request.param)))
    training = replace(found.training, masks=MASKS, gamma=0.99, off_road_weight=0.2)
    return found._replace(training=training)


@pytest.fixture
def exact(setting: Setting) -> Setting:
    """In double precision."""
    c = setting.context
    context = Context(tuple(frame.double() for frame in c.frames), c.poses.double(), c.size.double())
    model, policy = setting.model.double(), setting.policy.double()
    return setting._replace(model=model, policy=policy, context=context, noise=setting.noise.double())


def gradients(module: nn.Module) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad(set_to_none=True)
    return found


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], rtol: float) -> None:
    assert one.keys() == other.keys()
    for name, slope in one.items():
        atol = rtol * float(other[name].abs().max())
        np.testing.assert_allclose(slope, other[name], rtol=rtol, atol=atol, err_msg=name)


def imagined(setting: Setting, model: PaperModel, mixed_precision: bool = False) -> Imagined:
    trained = TrainedModel(model.requires_grad_(False).eval(), Uncertainty(setting.training.horizon))
    training = replace(setting.training, mixed_precision=mixed_precision)
    return Imagined(training, setting.policy, trained, [bench_traffic()])


def bench_traffic() -> Any:
    from mbrl.bench import traffic

    return traffic()


@pytest.mark.parametrize("dropout", [nn.Identity(), Masks(1)], ids=["none", "known"])
def test_the_plain_model_step_is_ours(
    setting: Setting, dropout: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradients, z from the posterior with the same noise."""

    def reparameterise(mu: Tensor, log_var: Tensor, *_: object) -> Tensor:
        return mu + torch.exp(log_var / 2) * torch.linspace(-1, 1, mu.shape[1])

    for module in (naive, model_losses):
        monkeypatch.setattr(module, "reparameterise", reparameterise)
    model, after = setting.model, Recorded.of(setting.windows)
    network = put(naive.Network(model), dropout)
    put(model, dropout)
    want = naive.model_step(network, setting.context, after.actions, after.images, after.poses, z_dropout=0.0)
    error, kl = rollout_error(model, setting.windows, after.actions.shape[1], "cpu", None, 0.0)
    loss = error.mean() + 1e-6 * kl
    loss.backward()
    np.testing.assert_allclose(loss.detach(), want, rtol=1e-5)
    assert_same(gradients(model), gradients(network), 1e-3)


def test_the_plain_policy_step_is_ours_without_dropout(exact: Setting) -> None:
    """There U is nothing, and the mean over masks is the rollout for the costs."""
    network = put(naive.Network(exact.model).double(), nn.Identity())
    ours = imagined(exact, put(exact.model, nn.Identity()))
    want = naive.policy_step(network, exact.policy, exact.context, exact.noise, MASKS)
    slopes = gradients(exact.policy)
    loss = ours.imagine(exact.context, exact.noise)[0]
    loss.backward()
    np.testing.assert_allclose(loss.detach(), want, rtol=1e-6)
    assert_same(gradients(exact.policy), slopes, 1e-6)


def one_mask_after_the_other(setting: Setting) -> Tensor:
    """The loss of our policy step by plain rollouts: the policy drives under mask 0, its actions count under all."""
    network, actions = naive.Network(setting.model).to(setting.noise.dtype), []

    def act(t: int, seen: Context) -> Tensor:
        if len(actions) == t:
            actions.append(setting.policy(seen))
        return actions[t]

    rollouts = []
    for k in range(MASKS):
        put(network, Masks(1, first=k))
        rollouts.append(
            naive.rollout(network, setting.context, act, setting.noise, setting.policy.config.view)
        )
    images, poses, cost = (torch.stack(part) for part in zip(*rollouts, strict=True))
    discount = 0.99 ** torch.arange(cost.shape[-1])
    terms = images.var(0).sum((-3, -2, -1)), motion(poses).var(0).sum(-1), cost.var(0)
    return (discount * cost).mean() + setting.training.uncertainty_weight * sum(terms).mean()


def test_our_policy_step_is_one_mask_after_the_other(exact: Setting) -> None:
    want = one_mask_after_the_other(exact)
    want.backward()
    slopes = gradients(exact.policy)
    loss, metrics = imagined(exact, put(exact.model, Masks(MASKS))).imagine(exact.context, exact.noise)
    loss.backward()
    np.testing.assert_allclose(loss.detach(), want.detach(), rtol=1e-6)
    assert metrics["uncertainty"] > 1e-3
    assert_same(gradients(exact.policy), slopes, 1e-6)


def test_bfloat16_leads_the_policy_the_same_way(setting: Setting) -> None:
    model = put(setting.model, Masks(MASKS))
    losses, slopes = [], []
    for mixed_precision in (False, True):
        loss, _ = imagined(setting, model, mixed_precision).imagine(setting.context, setting.noise)
        loss.backward()
        losses.append(float(loss.detach()))
        slopes.append(torch.cat([slope.flatten() for slope in gradients(setting.policy).values()]))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]
    assert float(torch.cosine_similarity(*slopes, dim=0)) > 0.99
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_rollout_of_a_frozen_model_keeps_less_than_half(setting: Setting) -> None:
    config = replace(setting.model.config, channels=(32, 64, 64))
    model = PaperModel(config).requires_grad_(False)
    network, policy, (num, steps, _) = naive.Network(model), setting.policy, setting.noise.shape
    act = torch.zeros(num, 2, requires_grad=True)
    view = policy.config.view

    def plain() -> Tensor:
        return naive.rollout(network, setting.context, lambda *_: act, setting.noise, view).images

    def ours() -> Tensor:
        h, images = model.encode(setting.context), []
        for _, prediction, _ in unroll(model, h, lambda *_: act, stepwise(setting.noise), steps):
            images.append(prediction.image)
        return torch.stack(images)

    assert kept(model, ours) < kept(network, plain) / 2


@pytest.mark.parametrize("what", STEPS)
def test_everything_can_be_measured(what: str) -> None:
    found = list(bench.measure("debug", what, range(2)))
    assert len(found) == 2
    for turn in found:
        assert turn["seconds"] > 0
        assert turn["rss_mb"] >= turn["step_mb"] >= 0
        assert (turn["flops"] > 0) == (what in ("model", "matmul"))


def test_the_matrix_work_of_a_step_is_what_its_layers_multiply(setting: Setting) -> None:
    """Forward and twice that back, but for what no gradient goes to: pictures, and inputs of what is looked ahead."""
    done: list[int] = []

    def note(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        places = inputs[0] if isinstance(layer, ConvTranspose2d) else output
        done.append(2 * layer.weight.numel() * places.numel() // places.shape[1])

    for layer in setting.model.modules():
        if isinstance(layer, Layer):
            layer.register_forward_hook(note)
    with FlopCounterMode(display=False) as counter:
        bench.model_step(setting)()
    forward = sum(done)
    assert 2.2 * forward < counter.get_total_flops() <= 3 * forward


def test_ratios_are_the_plain_step_over_ours_of_their_best_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {
        "model": [2, 4], "policy": [5, 1], "frames": [0.5, 0.6], "naive-model": [9, 3], "naive-policy": [8, 10],
        "matmul": [0.5, 0.7],
    }  # fmt: skip
    memory = {what: 90.0 if what == "naive-policy" else 30.0 for what in seconds}

    flops = {"model": 6, "matmul": 10}

    def in_turns(size: str, device: str) -> dict[str, list[bench.Turn]]:
        return {
            what: [
                {
                    "seconds": s,
                    "frames": 60,
                    "rss_mb": 500,
                    "step_mb": memory[what],
                    "flops": flops.get(what, 0),
                }
                for s in of
            ]
            for what, of in seconds.items()
        }

    monkeypatch.setattr(bench, "_in_turns", in_turns)
    found = bench.bench_imagination(("debug",))["debug"]
    assert (found["model_step_ratio"], found["policy_step_ratio"]) == (1.5, 8.0)
    assert found["all_seconds"] == seconds
    assert found["imagined_frames_per_s"] == 120
    assert found["matmul_share"] == 0.15
    assert found["memory_ratio"] == pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.slow
def test_processes_take_turns() -> None:
    found = bench.bench_imagination(("debug",))["debug"]
    assert found.keys() >= {"model_step_ratio", "policy_step_ratio", "memory_ratio"}
    assert {len(of) for of in found["all_seconds"].values()} == {bench.TURNS["debug"]}


@pytest.mark.slow
def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(InputError, match="'nothing'"):
        bench._started("debug", "nothing", "cpu")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch warns itself while it traces
def test_compiled_updates_are_compared_with_plain_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By torch.compile's tracing alone, whose code needs no compiler and takes seconds instead of minutes."""
    calls, plain = [], torch.compile

    def traced(step: Any, **how: Any) -> Any:
        calls.append(how)
        return plain(step, backend="eager", **how)

    monkeypatch.setattr(torch, "compile", traced)
    compiled.main(["--size", "debug", "--turns", "1"])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["forward model", "policy"]
    assert len(calls) == len(rows)
    assert all(float(number) > 0 for row in rows for number in row[1:4])
