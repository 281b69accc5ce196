"""The experiment runs, its controls hide what they say, and its counts are probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.experiments.cloze import EXPERIMENT, alone, discounted, of_counts, pair_counts, shuffled
from tests.pretrain.data.installed import needs_gensim
from tests.pretrain.toys import generator


@pytest.mark.slow
@needs_gensim
def test_it_runs_quickly_and_its_claims_are_of_its_numbers() -> None:
    numbers, pictures = EXPERIMENT.run(0, True)
    assert np.isfinite(list(numbers.values())).all()
    assert all(claim.holds(numbers) in (True, False) for claim in EXPERIMENT.claims)
    assert numbers["neighbours/nats"] < numbers["left/nats"] < numbers["frequency/nats"]
    assert pictures["by_frequency"].dtype == np.uint8
    assert pictures["by_frequency"].std() > 20


def test_what_is_seen_changes_places_and_what_is_hidden_does_not() -> None:
    seen = torch.tensor([[3, 1, 4, 5, 2, 1, 6, 0], [7, 8, 1, 0, 0, 0, 0, 0]])
    mixed = shuffled(seen.repeat(20, 1), generator())
    still = (seen < 2).repeat(20, 1)
    assert torch.equal(mixed[still], seen.repeat(20, 1)[still])
    assert torch.equal(mixed.sort(1).values, seen.repeat(20, 1).sort(1).values)
    assert len(mixed[::2].unique(dim=0)) > 10
    assert alone(seen).tolist() == [[1] * 7 + [0], [1, 1, 1, 0, 0, 0, 0, 0]]


def test_counts_are_of_neighbours_and_of_the_ends() -> None:
    counts = pair_counts(torch.tensor([[3, 4, 3, 0, 0], [4, 3, 4, 3, 4]]), 5)
    want = torch.zeros(5, 5)
    want[0, 3] = want[0, 4] = want[3, 0] = want[4, 0] = 1
    want[3, 4], want[4, 3] = 3, 3
    assert torch.equal(counts, want)


def test_discounted_counts_sum_to_one_and_back_off_to_the_frequency() -> None:
    pairs = torch.zeros(6, 6)
    pairs[3, 3:], pairs[4, 3:] = torch.tensor([4.0, 1, 0]), torch.tensor([2.0, 0, 1])
    frequency = torch.tensor([0.5, 0.2, 0.3])
    p = discounted(pairs, frequency)
    assert p.sum(1).tolist() == pytest.approx([1] * 6)
    d = 2 / (2 + 2 * 1)  # two pairs stand once, one twice
    assert p[3].tolist() == pytest.approx(
        [(4 - d + 2 * d * 0.5) / 5, (1 - d + 2 * d * 0.2) / 5, 2 * d * 0.3 / 5]
    )
    assert p[5].tolist() == pytest.approx(frequency.tolist())


def test_both_neighbours_tell_what_neither_tells_alone() -> None:
    """A word behind a or b, before c or d: between a and d only one of three stood."""
    a, b, c, d = 6, 7, 8, 9
    learned = torch.tensor([[a, 3, c], [a, 4, d], [b, 5, d]] * 20)
    y = torch.tensor([[a, 4, d]])
    hidden = torch.tensor([[False, True, False]])
    nats = of_counts(torch.where(hidden, 1, y), hidden, y, learned, 10)
    assert all(each.shape == (1,) for each in nats.values())
    assert nats["neighbours"] < 0.1 < 0.6 < min(nats["left"], nats["right"]) < nats["frequency"]
    assert float(nats["frequency"]) == pytest.approx(np.log(187 / 21))  # one more of each of 7
