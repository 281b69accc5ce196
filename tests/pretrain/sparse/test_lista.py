"""Learned inference: before training it is the algorithm it unrolls, after training it beats it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.learner import step
from pretrain.sparse.encoder import Encoder
from pretrain.sparse.energy import energy, lasso
from pretrain.sparse.fista import fista
from pretrain.sparse.inhibition import InhibitionConfig, PartialLISTA, drawn, strongest
from pretrain.sparse.ista import ista
from pretrain.sparse.lcod import LCoD, LCoDConfig, coordinate_descent
from pretrain.sparse.lista import LISTA, LISTAConfig
from tests.pretrain.sparse.problems import optimum, random_problem


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3, 7])
def test_untrained_lista_is_ista(layers: int, tied: bool) -> None:
    y, w, alpha = random_problem()
    lista = LISTA(w, alpha, LISTAConfig(layers=layers, tied=tied))
    np.testing.assert_allclose(lista(y).detach(), ista(lasso(y, w, alpha), layers), atol=1e-12)
    energy(y, lista(y), w, alpha).sum().backward()
    for parameter in lista.parameters():  # and no matrix is there for nothing
        if layers == 1 and parameter is lista.inhibit:
            assert len(parameter) == 0
            continue
        assert parameter.grad is not None
        assert (parameter.grad.flatten(1) != 0).any(1).all()


@pytest.mark.parametrize("steps", [0, 1, 5, 30])
def test_untrained_lcod_is_coordinate_descent(steps: int) -> None:
    y, w, alpha = random_problem()
    z = LCoD(w, alpha, LCoDConfig(steps=steps))(y)
    np.testing.assert_allclose(z.detach(), coordinate_descent(y, w, alpha, steps), atol=1e-12)


def test_coordinate_descent_sets_the_unit_that_changes_most_to_its_optimum() -> None:
    """Against a loop over samples that minimises the energy along one unit by hand."""
    y, w, alpha = random_problem()
    for k in (1, 2, 6):
        want = []
        for one in y:
            z = torch.zeros(14, dtype=y.dtype)
            for _ in range(k):
                match = w.T @ (one - w @ z) + z
                u = match.sign() * (match.abs() - alpha).clamp(min=0)
                m = int((u - z).abs().argmax())
                z[m] = u[m]
            match = w.T @ (one - w @ z) + z
            want.append(match.sign() * (match.abs() - alpha).clamp(min=0))
        np.testing.assert_allclose(coordinate_descent(y, w, alpha, k), torch.stack(want), atol=1e-12)


def test_coordinate_descent_reaches_the_minimum() -> None:
    y, w, alpha = problem = random_problem()
    np.testing.assert_allclose(coordinate_descent(y, w, alpha, 2000), optimum(problem), atol=1e-8)


def test_coordinate_descent_refuses_atoms_of_another_norm() -> None:
    y, w, alpha = random_problem()
    with pytest.raises(ValueError, match="unit norm"):
        coordinate_descent(y, 2 * w, alpha, 3)


def test_only_the_strongest_connections_are_kept_also_when_trained() -> None:
    y, w, alpha = random_problem(atoms=12)
    gram = w.T @ w
    learner = PartialLISTA(w, alpha, InhibitionConfig(layers=3, proportion=0.5))
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.01)
    step(learner, optimiser, y, torch.Generator())
    off = ~torch.eye(12, dtype=torch.bool)
    for inhibit in learner.inhibit.detach():
        assert int((inhibit[off] != 0).sum()) == 66
        kept, removed = gram.abs()[off & (inhibit != 0)], gram.abs()[off & (inhibit == 0)]
        assert kept.min() > removed.max()
        assert (inhibit.diagonal() != 0).all()
    assert strongest(gram, 0).sum() == 12
    assert strongest(gram, 1).all()


def test_connections_drawn_at_random_are_as_many_pairs_and_stay_when_trained() -> None:
    y, w, alpha = random_problem(atoms=12)
    kept = drawn(12, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(kept, kept.T)
    assert kept.diagonal().all()
    assert int(kept.sum()) == 12 + 66
    assert not torch.equal(kept, strongest(w.T @ w, 0.5))
    assert not torch.equal(kept, drawn(12, 0.5, torch.Generator().manual_seed(1)))
    learner = PartialLISTA(w, alpha, InhibitionConfig(layers=3), kept=kept)
    step(learner, torch.optim.Adam(learner.parameters(), lr=0.01), y, torch.Generator())
    assert torch.equal(learner.inhibit.detach() != 0, kept.expand(2, 12, 12))


def test_full_inhibition_is_lista() -> None:
    y, w, alpha = random_problem()
    partial = PartialLISTA(w, alpha, InhibitionConfig(layers=4, proportion=1.0))
    np.testing.assert_allclose(partial(y).detach(), ista(lasso(y, w, alpha), 4), atol=1e-12)


@pytest.mark.parametrize("kind", ["LISTA", "tied LISTA", "partial", "LCoD"])
def test_training_beats_the_algorithm_at_equal_depth_on_new_samples(kind: str) -> None:
    y, w, alpha = random_problem(num=2200, alpha=0.3)
    y, w = y.float() * torch.linspace(0.2, 2, 8), w.float()  # some directions matter more
    train, test = y[:2000], y[2000:]
    learner: Encoder = {
        "LISTA": LISTA(w, alpha, LISTAConfig(layers=3)),
        "tied LISTA": LISTA(w, alpha, LISTAConfig(layers=3, tied=True)),
        "partial": PartialLISTA(w, alpha, InhibitionConfig(layers=3, proportion=0.5)),
        "LCoD": LCoD(w, alpha, LCoDConfig(steps=6)),
    }[kind]
    plain = coordinate_descent(test, w, alpha, 6) if kind == "LCoD" else fista(lasso(test, w, alpha), 3)
    optimiser = torch.optim.Adam(learner.parameters(), lr=1e-2)
    rng = torch.Generator().manual_seed(0)
    for _ in range(120):
        step(learner, optimiser, train[torch.randint(2000, (100,), generator=rng)], rng)
    best = energy(test, fista(lasso(test, w, alpha), 1000), w, alpha).mean()
    gap = learner.energy(test).detach().mean() - best
    assert -1e-5 < float(gap) < 0.6 * float(energy(test, plain, w, alpha).mean() - best)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="layers=0"):
        LISTAConfig(layers=0)
    with pytest.raises(ValueError, match="proportion=2"):
        InhibitionConfig(proportion=2.0)
    with pytest.raises(ValueError, match="steps=-1"):
        LCoDConfig(steps=-1)
