"""VQ: assignment by brute force, gradients straight through, averages, revival, and perplexity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.autoencoders import VQVAE, Codebook, VQConfig
from pretrain.data import mixture_of_gaussians
from pretrain.learner import step
from tests.pretrain.toys import generator


def codebook(num_codes: int = 5, dim: int = 3, **options: float) -> Codebook:
    book = Codebook(VQConfig(num_codes=num_codes, dim=dim, **options))  # type: ignore[arg-type]
    book.start(torch.randn(50, dim, generator=generator()), generator())
    return book


def test_each_vector_takes_its_nearest_code() -> None:
    book = codebook()
    h = torch.randn(4, 6, 3, generator=generator(1))
    codes, chosen = book(h)
    for i in range(4):
        for j in range(6):
            distances = [float((h[i, j] - code).square().sum()) for code in book.codes]
            assert int(chosen[i, j]) == int(np.argmin(distances))
            np.testing.assert_allclose(codes[i, j], book.codes[chosen[i, j]], atol=1e-6)


def test_gradients_go_straight_through() -> None:
    book = codebook()
    h = torch.randn(7, 3, generator=generator(1), requires_grad=True)
    weight = torch.randn(7, 3, generator=generator(2))
    (gradient,) = torch.autograd.grad((book(h).codes * weight).sum(), h)
    assert torch.equal(gradient, weight)


def test_the_reconstruction_s_gradient_reaches_the_encoder_as_the_codes_own() -> None:
    torch.manual_seed(0)
    vq = VQVAE(nn.Linear(2, 3), nn.Linear(3, 2), VQConfig(num_codes=4, dim=3))
    y = torch.randn(20, 2, generator=generator())
    terms = vq.terms(y, generator())
    (got,) = torch.autograd.grad(
        terms["reconstruction"].sum(), vq.encoder.get_parameter("bias"), retain_graph=True
    )
    codes = vq.encode(y).detach().requires_grad_()
    (at_codes,) = torch.autograd.grad((y - vq.decoder(codes)).square().sum(), codes)
    np.testing.assert_allclose(got, at_codes.sum(0), rtol=1e-4)
    (pull,) = torch.autograd.grad(terms["commitment"].sum(), vq.encoder.get_parameter("bias"))
    h = vq.encoder(y)
    np.testing.assert_allclose(pull, (0.25 * 2 * (h - codes)).sum(0).detach(), rtol=1e-4, atol=1e-6)


def test_codes_are_moving_averages() -> None:
    book = codebook(num_codes=2, dim=1, decay=0.9)
    book.codes.copy_(torch.tensor([[0.0], [10.0]]))
    book.counts.fill_(2.0)
    book.sums.copy_(2 * book.codes)
    book.update(torch.tensor([[1.0], [2.0], [9.0]]))
    # n = .9 * 2 + .1 * (2, 1), m = .9 * 2 e + .1 * (3, 9)
    np.testing.assert_allclose(book.counts, [2.0, 1.9], rtol=1e-6)
    np.testing.assert_allclose(book.codes, [[0.3 / 2.0], [18.9 / 1.9]], rtol=1e-6)


def test_without_memory_an_update_is_a_step_of_lloyd() -> None:
    book = codebook(decay=0.0, dead=0.0)
    h = torch.randn(500, 3, generator=generator(1))
    chosen = book(h).chosen
    book.update(h)
    for k in range(5):
        np.testing.assert_allclose(book.codes[k], h[chosen == k].mean(0), atol=1e-5)


def test_a_dead_code_is_revived_where_it_is_wanted_and_used_next() -> None:
    book = codebook(num_codes=3, dim=1)
    book.codes.copy_(torch.tensor([[0.0], [1.0], [500.0]]))
    book.counts.copy_(torch.tensor([5.0, 5.0, 0.05]))
    book.sums.copy_(book.codes * book.counts[:, None])
    h = torch.tensor([[0.0], [1.0], [0.1], [20.0]])
    book.update(h)
    assert float(book.codes[2]) == 20
    assert int(book(h).chosen[3]) == 2


def test_codes_start_as_different_vectors_of_the_first_batch() -> None:
    torch.manual_seed(0)
    vq = VQVAE(nn.Linear(2, 3), nn.Linear(3, 2), VQConfig(num_codes=8, dim=3))
    y = torch.randn(30, 2, generator=generator())
    vq.terms(y, generator())
    distance = torch.cdist(vq.codebook.codes, vq.encoder(y).detach())
    np.testing.assert_allclose(distance.amin(1), 0, atol=1e-3)
    assert len(set(distance.argmin(1).tolist())) == 8


def test_evaluation_changes_no_code() -> None:
    torch.manual_seed(0)
    vq = VQVAE(nn.Linear(2, 3), nn.Linear(3, 2), VQConfig(num_codes=4, dim=3))
    y = torch.randn(30, 2, generator=generator())
    vq.eval().terms(y, generator())
    assert not vq.codebook.started
    vq.train().terms(y, generator())
    vq.after_step()
    before = {name: value.clone() for name, value in vq.state_dict().items()}
    vq.eval()
    vq.terms(y + 3, generator())
    vq.after_step()
    vq.energy(y)
    assert all(torch.equal(before[name], value) for name, value in vq.state_dict().items())


def test_perplexity_counts_codes_in_use() -> None:
    book = codebook(num_codes=8)
    assert float(book.perplexity(torch.arange(8))) == pytest.approx(8)
    assert float(book.perplexity(torch.tensor([3, 3, 3]))) == pytest.approx(1)
    assert float(book.perplexity(torch.tensor([0, 1]).repeat(5))) == pytest.approx(2)


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 4, 5)])
def test_maps_are_quantised_at_each_place(shape: tuple[int, ...]) -> None:
    vq = VQVAE(nn.Identity(), nn.Identity(), VQConfig(num_codes=4, dim=3))
    y = torch.randn(6, *shape, generator=generator())
    vq.terms(y, generator())
    codes, chosen = vq.quantise(y)
    assert chosen.shape == (6, *shape[1:])
    np.testing.assert_allclose(codes.movedim(1, -1), vq.codebook.codes[chosen], atol=1e-6)


def test_eight_codes_learn_eight_modes() -> None:
    torch.manual_seed(0)
    vq = VQVAE(nn.Linear(2, 2), nn.Linear(2, 2), VQConfig(num_codes=8, dim=2, decay=0.9, dead=2.0))
    rng = generator()
    optimiser = torch.optim.Adam(vq.parameters(), lr=0.02)
    for _ in range(120):
        step(vq, optimiser, mixture_of_gaussians(128, rng, std=0.05), rng)
    y = mixture_of_gaussians(1000, rng, std=0.05)
    vq.eval()
    assert float(vq.codebook.perplexity(vq.quantise(y).chosen)) > 7.5
    assert float(vq.energy(y).mean().detach()) < 0.02
    assert float(vq.energy(torch.zeros(1, 2)).detach()) > 0.5


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="num_codes=1"):
        VQConfig(num_codes=1)
    with pytest.raises(ValueError, match="decay=1"):
        VQConfig(decay=1.0)
