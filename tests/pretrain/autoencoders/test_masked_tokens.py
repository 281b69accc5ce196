"""Tokens are masked as often as BERT says, anew each time; a toy grammar is learned from both sides."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.autoencoders import MaskedTokens, MaskedTokensConfig, mask_tokens
from pretrain.learner import step
from tests.pretrain.toys import generator

CONFIG = MaskedTokensConfig(num_tokens=50, length=40, num_special=3)


def test_frequencies_are_bert_s() -> None:
    tokens = torch.randint(3, 50, (3000, 40), generator=generator())
    seen, chosen = mask_tokens(tokens, CONFIG, generator(1))
    assert float(chosen.float().mean()) == pytest.approx(0.15, abs=0.005)
    assert torch.equal(seen[~chosen], tokens[~chosen])
    hidden = seen[chosen] == 1
    kept = seen[chosen] == tokens[chosen]
    assert float(hidden.float().mean()) == pytest.approx(0.8, abs=0.01)
    assert float(kept.float().mean()) == pytest.approx(0.1 + 0.1 / 47, abs=0.01)
    drawn = seen[chosen][~hidden & ~kept]
    assert int(drawn.min()) == 3  # never a special token
    assert int(drawn.max()) == 49
    assert float(torch.bincount(drawn, minlength=50)[3:].float().std() / (len(drawn) / 47)) < 0.3


def test_masks_are_drawn_anew_and_repeat_with_the_generator() -> None:
    tokens = torch.full((10, 40), 7)
    rng = generator()
    first, second = mask_tokens(tokens, CONFIG, rng), mask_tokens(tokens, CONFIG, rng)
    assert not torch.equal(first.chosen, second.chosen)
    assert torch.equal(first.tokens, mask_tokens(tokens, CONFIG, generator()).tokens)


def test_special_tokens_are_never_chosen() -> None:
    tokens = torch.randint(0, 50, (500, 40), generator=generator())
    seen, chosen = mask_tokens(tokens, CONFIG, generator(1))
    assert not chosen[tokens < 3].any()
    assert torch.equal(seen[tokens < 3], tokens[tokens < 3])


def small(**options: int) -> MaskedTokens:
    torch.manual_seed(0)
    return MaskedTokens(MaskedTokensConfig(num_tokens=8, length=12, width=32, depth=2, heads=2, **options))


def test_the_loss_is_the_mean_over_chosen_tokens() -> None:
    model = small()
    y = torch.randint(2, 8, (20, 12), generator=generator())
    seen, chosen = mask_tokens(y, model.config, generator(4))
    log_p = torch.log_softmax(model.logits(seen), -1).gather(2, y[..., None])[..., 0]
    loss = model.terms(y, generator(4))["surprise"].mean()
    assert float(loss.detach()) == pytest.approx(-float(log_p[chosen].detach().mean()), rel=1e-5)


def test_nothing_chosen_is_no_loss() -> None:
    loss = small().terms(
        torch.zeros(3, 5, dtype=torch.int64).index_fill(1, torch.tensor([0]), 1), generator()
    )
    assert (loss["surprise"] == 0).all()


def test_padding_changes_nothing() -> None:
    model = small()
    y = torch.randint(2, 8, (5, 7), generator=generator())
    padded = torch.cat([y, torch.zeros(5, 4, dtype=torch.int64)], 1)
    for mode in (True, False):  # torch has a faster path for evaluation
        model.train(mode)
        with torch.no_grad():
            np.testing.assert_allclose(model.logits(padded)[:, :7], model.logits(y), atol=1e-5)
            np.testing.assert_allclose(model.energy(padded), model.energy(y), rtol=1e-4)


def test_the_energy_hides_a_token_from_itself() -> None:
    """Untrained and with weights that copy, a token's own prediction would be near certain; hidden, it is a guess."""
    model = small()
    with torch.no_grad():
        model.embed.weight.mul_(20)
        y = torch.randint(2, 8, (50, 12), generator=generator())
        seen = model.surprise(y, y).sum(1).mean()
        hidden = model.energy(y).mean()
    assert float(hidden) > float(seen) + 12 * math.log(2)


def alternating(num: int, rng: torch.Generator) -> Tensor:
    """Sequences a b a b ... of two different tokens."""
    a = torch.randint(2, 8, (num, 1), generator=rng)
    b = 2 + (a - 2 + torch.randint(1, 6, (num, 1), generator=rng)) % 6
    return torch.cat([a, b], 1).repeat(1, 6)


@pytest.mark.slow
def test_it_learns_a_grammar() -> None:
    model, rng = small(), generator()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(400):
        step(model, optimiser, alternating(128, rng), rng)
    model.eval()
    with torch.no_grad():
        right = alternating(100, rng)
        wrong = right.clone()
        wrong[:, 5] = 2 + (right[:, 5] - 2 + 1) % 6
        assert float(model.energy(right).mean()) < 12 * 0.1
        assert (model.energy(wrong) > model.energy(right) + 2).float().mean() > 0.95
        half = right.clone()
        half[:, 6:] = model.config.mask
        predicted = model.logits(half)[:, 6:].argmax(-1)
    assert float((predicted == right[:, 6:]).float().mean()) > 0.9


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_special=1"):
        MaskedTokensConfig(num_tokens=10, length=5, num_special=1)
    with pytest.raises(ValueError, match=r"hidden=0\.9"):
        MaskedTokensConfig(num_tokens=10, length=5, hidden=0.9, random=0.2)
    with pytest.raises(ValueError, match="13 tokens are more than length=12"):
        small().features(torch.zeros(1, 13, dtype=torch.int64))
