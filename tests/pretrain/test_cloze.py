"""What is said of hidden words is of them alone, and a method that knows frequencies does as well as frequencies."""

from __future__ import annotations

import math

import pytest
import torch

from pretrain.autoencoders.masked_tokens import Filled
from pretrain.cloze import as_markdown, judged

WORDS = ("[PAD]", "[MASK]", "[UNK]", "the", "car", "stops")


def filled(y: torch.Tensor, hidden: torch.Tensor, guess: int, surprise: torch.Tensor) -> Filled:
    return Filled(torch.where(hidden, 1, y), hidden, torch.full_like(y, guess), surprise)


def test_only_hidden_words_count() -> None:
    y = torch.tensor([[3, 4, 5, 0], [3, 2, 5, 5]])
    hidden = torch.tensor([[True, True, False, False], [False, False, True, False]])
    surprise = torch.where(hidden, torch.tensor([[1.0, 2.0, 0, 0], [0, 0, 6.0, 0]]), 100.0)
    train = torch.tensor([[3, 3, 3, 4, 5, 2, 0]])  # counted with one more each: 4, 2 and 2 of 8
    found = judged(filled(y, hidden, 3, surprise), y, train)
    assert found.surprise == pytest.approx(3)
    assert found.by_frequency == pytest.approx((math.log(2) + 2 * math.log(4)) / 3)
    assert found.right == pytest.approx(1 / 3)


def test_a_page_shows_truth_and_guess_and_no_padding() -> None:
    y = torch.tensor([[3, 2, 5, 0], [3, 4, 5, 0], [4, 5, 0, 0]])
    hidden = torch.tensor([[False] * 4, [False, True, False, False], [False, True, False, False]])
    shown = filled(y, hidden, 5, torch.ones(3, 4))
    page = as_markdown(shown, y, WORDS, judged(shown, y, y), 1)
    assert "\n- the **car** (stops) stops\n" in page
    assert page.count("\n- ") == 1
    assert "50 % are guessed" in page
    y[1, 2] = 2
    assert "\n- the **car** (stops) ...\n" in as_markdown(shown, y, WORDS, judged(shown, y, y), 1)
