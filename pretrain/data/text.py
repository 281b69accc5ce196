"""Sentences of news as numbers of words: the Lee background corpus, a file inside gensim's wheel.

300 short reports of the Australian Broadcasting Corporation, of 2000 and 2001. gensim is not imported. Source: Lee,
Pincombe and Welsh 2005.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor

from pretrain.data.packages import folder_of

SPECIAL = (
    "[PAD]",
    "[MASK]",
    "[UNK]",
)  # words 0, 1, 2: the end of a short sentence, a hidden word, a rare word
TRAIN_DOCUMENTS = 240  # of 300
VOCABULARY = 1000  # words, 76 % of what is written
LENGTH = 32  # words; longer sentences are cut into several
SHORTEST = 4  # words; shorter sentences are left out
SENTENCE_END = re.compile(r"(?<=[.!?])[\"']?\s+")
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|[0-9]+")


class Text(NamedTuple):
    """Sentences (N, 32) of numbers of words, filled up with 0, and the words by number, SPECIAL first."""

    sentences: Tensor
    words: tuple[str, ...]


def lee(part: str = "train") -> Text:
    """The sentences of the first 240 documents ("train") or of the other 60 ("test").

    The words are the 1,000 most frequent ones of the first, in that order; all others are [UNK]. The corpus repeats
    itself: a sentence that was seen before is left out, so none is in both parts, but for a few (3 of 567) that differ
    in rare words only.

    Raises:
        ModuleNotFoundError: gensim is not installed.
    """
    train, test = _parts()
    known = Counter(word for sentence in train for word in sentence).most_common(VOCABULARY)
    words = (*SPECIAL, *(word for word, _ in known))
    number = {word: k for k, word in enumerate(words)}
    chosen = train if part == "train" else test
    sentences = torch.zeros(len(chosen), LENGTH, dtype=torch.int64)
    for k, sentence in enumerate(chosen):
        sentences[k, : len(sentence)] = torch.tensor(
            [number.get(word, SPECIAL.index("[UNK]")) for word in sentence]
        )
    return Text(sentences, words)


@functools.cache
def documents() -> tuple[str, ...]:
    """The reports as they were written, one a line.

    Raises:
        ModuleNotFoundError: gensim is not installed.
    """
    path = folder_of("gensim") / "test" / "test_data" / "lee_background.cor"
    return tuple(path.read_text(encoding="utf-8").splitlines())


def sentences_of(document: str) -> list[tuple[str, ...]]:
    """Its sentences of four words or more, in lower case, in pieces of at most 32 words."""
    words = [WORD.findall(sentence.lower()) for sentence in SENTENCE_END.split(document)]
    pieces = [tuple(one[k : k + LENGTH]) for one in words for k in range(0, len(one), LENGTH)]
    return [piece for piece in pieces if len(piece) >= SHORTEST]


def _parts() -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Sentences of the train and of the test documents, each sentence where it stands first."""
    seen: set[tuple[str, ...]] = set()
    parts: tuple[list[tuple[str, ...]], list[tuple[str, ...]]] = ([], [])
    for k, document in enumerate(documents()):
        for sentence in sentences_of(document):
            if sentence not in seen:
                seen.add(sentence)
                parts[k >= TRAIN_DOCUMENTS].append(sentence)
    return parts
