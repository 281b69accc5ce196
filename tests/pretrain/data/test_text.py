"""Sentences are of the corpus, of documents of their part, and can be read back."""

from __future__ import annotations

import sys

import pytest
import torch

from pretrain.data import SPECIAL, lee
from pretrain.data.text import LENGTH, TRAIN_DOCUMENTS, VOCABULARY, documents, sentences_of
from tests.pretrain.data.installed import needs_gensim


def test_sentences_end_at_stops_and_long_ones_are_cut() -> None:
    text = 'He said: "It\'s 4.30pm." Then he left the U.S. embassy! ' + "on and " * 20 + "No."
    first, second, *rest = sentences_of(text)
    assert first == ("he", "said", "it's", "4", "30", "pm")
    assert second[:4] == ("then", "he", "left", "the")
    assert [len(piece) for piece in rest] == [LENGTH, 9]  # 41 words


@needs_gensim
def test_the_corpus_has_300_documents_and_both_parts_know_the_same_words() -> None:
    assert len(documents()) == 300
    assert documents()[0].startswith("Hundreds of people have been forced to vacate their homes")
    train, test = lee("train"), lee("test")
    assert "gensim" not in sys.modules
    assert train.words == test.words
    assert len(train.words) == len(set(train.words)) == len(SPECIAL) + VOCABULARY
    assert train.words[:4] == (*SPECIAL, "the")
    assert train.sentences.dtype == torch.int64
    assert train.sentences.shape[1] == test.sentences.shape[1] == LENGTH
    assert int(train.sentences.max()) == len(train.words) - 1  # each word is in what is learned from
    assert len(train.sentences) > 3 * len(test.sentences)


@needs_gensim
@pytest.mark.parametrize(
    ("part", "among"), [("train", slice(TRAIN_DOCUMENTS)), ("test", slice(TRAIN_DOCUMENTS, None))]
)
def test_sentences_can_be_read_back_in_documents_of_their_part(part: str, among: slice) -> None:
    found = lee(part)
    written = [sentence for document in documents()[among] for sentence in sentences_of(document)]
    read = [
        tuple(found.words[word] for word in sentence if word != 0)
        for sentence in found.sentences[:50].tolist()
    ]
    known = set(found.words)
    originals = {tuple(w if w in known else SPECIAL[2] for w in sentence) for sentence in written}
    assert set(read) <= originals


@needs_gensim
def test_no_sentence_is_in_both_parts_though_the_corpus_repeats_itself() -> None:
    assert len(set(documents())) < 300
    train, test = ({tuple(row) for row in lee(part).sentences.tolist()} for part in ("train", "test"))
    whole = {row for row in test if SPECIAL.index("[UNK]") not in row}
    assert whole
    assert not whole & train
