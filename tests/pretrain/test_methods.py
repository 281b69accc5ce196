"""Every trainable class has a name, and every name trains on every kind of data it takes, and can be shown."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import Tensor

import pretrain
from pretrain.learner import Fitted, Learner, step
from pretrain.methods import METHODS, Kind, Method
from pretrain.pictures import Shown, pictures
from pretrain.whitened import Whitened
from tests.pretrain.toys import generator

CASES = [(name, kind) for name, method in METHODS.items() for kind in method.takes]


def data(kind: Kind, num: int = 200) -> Tensor:
    if kind == "plane":
        return 2 * torch.rand(num, 2, generator=generator()) - 1
    if kind == "patches":
        return torch.randn(num, 1, 12, 12, generator=generator())
    if kind == "signals":
        return torch.randn(num, 3, 22, generator=generator())
    if kind == "text":
        return torch.randint(3, 40, (num, 12), generator=generator())
    return torch.rand(num, 1, 12, 16, generator=generator()) ** 3


def built(method: Method, y: Tensor) -> Learner | Fitted:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return method.build(y, generator())


def trained(method: Method, y: Tensor) -> Learner | Fitted:
    one, rng = built(method, y), generator()
    if isinstance(one, Fitted):
        one.fit(y, rng)
    else:
        adams = {player: torch.optim.Adam(one.parameters_of(player), 1e-2) for player in one.players}
        for _ in range(2):
            for player in method.turns:
                step(one, adams[player], y[:32], rng, player)
    return one.eval()


def subclasses(base: type) -> set[type]:
    return {base}.union(*(subclasses(one) for one in base.__subclasses__()))


def test_every_trainable_class_has_a_name() -> None:
    for module in pkgutil.walk_packages(pretrain.__path__, "pretrain."):
        if ".experiments" not in module.name:
            importlib.import_module(module.name)
    types = {type(built(METHODS[name], METHODS[name].prepare(data(kind)))) for name, kind in CASES}
    for one in subclasses(Learner) | subclasses(Fitted):
        ours = one.__module__.startswith("pretrain.") and ".experiments" not in one.__module__
        if ours and not inspect.isabstract(one):
            assert types & subclasses(one), f"{one.__name__} is not in METHODS"


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_method_learns_and_shows_what_it_learned(name: str, kind: Kind) -> None:
    method, raw = METHODS[name], data(kind)
    y = method.prepare(raw)
    before = {key: value.clone() for key, value in built(method, y).state_dict().items()}
    one = trained(method, y)
    state = one.state_dict()
    assert any(not torch.equal(before[key], value) for key, value in state.items())
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())
    with torch.no_grad():
        energies = method.energy(one, y[:8])
        assert energies.shape == (8,)
        assert torch.isfinite(energies).all()
        assert energies.std() > 0
        torch.testing.assert_close(method.energy(one, y[3:5]), energies[3:5], rtol=1e-3, atol=1e-4)
        if method.reconstruct is not None:
            assert method.reconstruct(one, y[:8]).shape == y[:8].shape
        if method.sample is not None:
            assert method.sample(one, 5, generator()).shape == (5, *y.shape[1:])
        if method.restore is not None:
            found = method.restore(one, y[:8], generator())
            assert found.true.shape == found.left.shape == found.made.shape == (8, *y.shape[1:])
            assert not torch.equal(found.left, found.true)
            assert not torch.equal(found.made, found.left)
        if method.fill is not None:
            filled = method.fill(one, y[:8], generator())
            assert filled.hidden.any()
            assert torch.equal(filled.seen != y[:8], filled.hidden)
        drawn = pictures(method, one, Shown(kind, y[:12], tuple(raw.shape[1:])), generator())
        assert drawn or kind == "text"  # which has a page of guessed words instead
    if not isinstance(one, Fitted):
        assert set(one.players) == set(method.turns)


@pytest.mark.parametrize(
    "name", ["k-means", "persistent-contrastive-divergence", "convolutional-psd", "wgan-gp", "vq-vae"]
)
def test_pictures_fit_the_data(name: str) -> None:
    method = METHODS[name]
    for kind in method.takes:
        raw = data(kind)
        y = method.prepare(raw)
        drawn = pictures(method, trained(method, y), Shown(kind, y, tuple(raw.shape[1:])), generator())
        assert ("surface" in drawn) == (kind == "plane")
        assert ("code_usage" in drawn) == (method.codes is not None)
        assert ("atoms" in drawn) == (kind != "plane" and method.atoms is not None)
        assert ("reconstructions" in drawn) == (kind != "plane" and method.reconstruct is not None)
        assert ("restored" in drawn) == (kind != "plane" and method.restore is not None)
        for picture in drawn.values():
            assert picture.shape[2] == 3
            assert picture.std() > 1


@pytest.mark.parametrize("name", ["contrastive-divergence", "sliced-score-matching"])
def test_signals_that_vary_in_a_few_ways_only_are_learned_in_these(name: str) -> None:
    """Speeds are smooth: of 64 directions most vary by rounding alone."""
    t = torch.linspace(0, 1, 80)
    y = torch.randn(400, 5, generator=generator()) @ torch.stack([torch.cos(k * t) for k in range(5)])
    learner = trained(METHODS[name], METHODS[name].prepare(y[:, None] + 1e-7 * torch.randn(400, 1, 80)))
    assert isinstance(learner, Whitened)
    assert len(learner.pca.variances) <= 5
