"""Tokens of three kinds of tokenizers: where they stand, which are special, what is cut off."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from igbench.core.tokens import TextEncoder, word_numbers
from igbench.errors import InputError
from igbench.models import hf_encoder
from tests.helpers import tokenizers_of

pytest.importorskip("transformers")

KINDS = {
    "word_piece": tokenizers_of.word_piece,
    "byte_bpe": tokenizers_of.byte_bpe,
    "roberta": lambda: tokenizers_of.byte_bpe(True),
    "unigram": tokenizers_of.unigram,
}
AROUND = {"word_piece": (1, 1), "byte_bpe": (0, 0), "roberta": (1, 1), "unigram": (1, 0)}
"""Special tokens before and behind a text."""


def encoder(kind: str, **named: Any) -> hf_encoder.HuggingFaceEncoder:
    tokenizer = KINDS[kind]()
    table = torch.arange(2.0 * len(tokenizer)).view(-1, 2)
    return hf_encoder.encoder(tokenizer, table, **named)


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't stop", ["don't", "stop"]),
        ("a re-watched café!", ["a", "re-watched", "café", "!"]),
        ("so wonderful", ["so", "wonderful"]),
        ("good  👩‍🚀 \n", ["good", "👩‍🚀"]),
        ("סרט טוב", ["סרט", "טוב"]),
        ("zqx good", ["zqx", "good"]),
        ("good", ["good"]),
        ("", []),
    ],
)
def test_words_are_those_of_the_text_in_every_tokenizer(kind, text, words):
    found = encoder(kind).encode(text)
    numbers = word_numbers(text, found.spans, found.special)
    spans: dict[int, list[int]] = {}
    for number, span in zip(numbers, found.spans, strict=True):
        if number >= 0:
            spans.setdefault(number, []).extend(span)
    assert [text[min(s) : max(s)].strip() for s in spans.values()] == words


def test_special_are_the_tokens_around_a_text(kind):
    before, behind = AROUND[kind]
    found = encoder(kind).encode("good movie")
    n = len(found.ids) - before - behind
    assert found.special.tolist() == [True] * before + [False] * n + [True] * behind
    assert all(span == (0, 0) for span, s in zip(found.spans, found.special, strict=True) if s)
    own = KINDS[kind]()
    assert found.ids.tolist() == own("good movie")["input_ids"]


@pytest.mark.parametrize("written", ["[PAD]", "[CLS]", "<s>", "</s>", "<pad>", "<|endoftext|>"])
def test_special_tokens_that_a_text_spells_out_are_text(kind, written):
    own = KINDS[kind]()
    found = encoder(kind).encode(f"good {written} movie")
    ordinary = set(found.ids[~found.special].tolist()) - {own.unk_token_id}
    assert not ordinary & set(own.all_special_ids)
    assert not set(encoder(kind).plain(written).tolist()) & (
        set(own.all_special_ids) - {own.unk_token_id}
    )


def test_spans_leave_out_the_spaces_that_belong_to_a_token():
    pieces = encoder("byte_bpe").encode("so  wonderful").pieces()
    assert pieces[-1] == "wonderful"
    assert encoder("unigram").encode("a good").pieces()[:2] == ["", "a"]


def test_what_the_model_does_not_take_is_cut_off_and_counted(kind):
    before, behind = AROUND[kind]
    whole, short = encoder(kind).encode("good movie, not bad"), encoder(kind, longest=5)
    found = short.encode("good movie, not bad")
    assert len(found.ids) == 5
    assert found.truncated == len(whole.ids) - 5
    kept = 5 - before - behind
    assert found.ids[before : before + kept].equal(whole.ids[before : before + kept])
    assert found.ids[5 - behind :].equal(whole.ids[len(whole.ids) - behind :])
    assert whole.truncated == 0
    assert short.encode("a").truncated == 0


def test_a_token_in_front_is_special_and_comes_once():
    found = encoder("byte_bpe", first=0).encode("good")
    assert found.ids[0] == 0
    assert found.special.tolist() == [True] + [False] * (len(found.ids) - 1)
    assert found.spans[0] == (0, 0)
    assert encoder("unigram", first=1).encode("a").ids.equal(encoder("unigram").encode("a").ids)


def test_tokens_without_those_around_join_to_a_text():
    own = encoder("byte_bpe")
    joined = torch.cat([own.plain("the movie"), own.plain(" was good")])
    assert joined.equal(own.encode("the movie was good").ids)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("word_piece", ["mask", "pad", "unk", "mean"]),
        ("byte_bpe", ["mean"]),  # its <|endoftext|> is no word that is absent
        ("unigram", ["unk", "mean"]),
    ],
)
def test_rows_of_absent_tokens_are_those_that_the_tokenizer_has(kind, names):
    own, tokenizer = encoder(kind), KINDS[kind]()
    assert list(own.special_rows) == names
    v = len(tokenizer)
    assert own.special_rows["mean"].tolist() == [v - 1.0, float(v)]
    if "mask" in names:
        number = tokenizer.mask_token_id
        assert own.special_rows["mask"].tolist() == [2.0 * number, 2.0 * number + 1]


def test_embeddings_are_rows_of_the_table(kind):
    own: TextEncoder = encoder(kind)
    ids = own.encode("good").ids
    assert own.embed(ids)[:, 0].tolist() == [2.0 * i for i in ids.tolist()]
    assert (own.width, own.context) == (2, 0)


def test_the_tokenizer_of_the_user_stays_as_it_is():
    tokenizer = tokenizers_of.word_piece()
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(4)
    try:
        assert len(encoder("word_piece").encode("good movie, not bad").ids) > 4
        assert backend.truncation["max_length"] == 4
        assert backend.encode_special_tokens is False
    finally:
        backend.no_truncation()


def test_copies_in_other_processes_know_the_same(kind):
    own = encoder(kind)
    copied = pickle.loads(pickle.dumps(own))
    assert copied.encode("good [PAD] <s>").ids.equal(own.encode("good [PAD] <s>").ids)


def test_slow_tokenizers_and_other_tables_are_refused():
    with pytest.raises(InputError, match="does not say where its tokens stand"):
        hf_encoder.encoder(SimpleNamespace(is_fast=False), torch.zeros(2, 2))
    small = hf_encoder.encoder(tokenizers_of.word_piece(), torch.zeros(10, 2))
    with pytest.raises(InputError, match="the model has 10 embeddings"):
        small.encode("wonderful")


@pytest.mark.parametrize(
    ("limit", "positions", "padding", "expected"),
    [(10**30, 512, None, 512), (10**30, 514, 1, 512), (128, 512, None, 128), (None, None, 0, None)],
)
def test_the_longest_text(limit, positions, padding, expected):
    module = nn.Module()
    module.config = SimpleNamespace(max_position_embeddings=positions)
    module.position_embeddings = nn.Embedding(4, 2, padding_idx=padding)
    found = hf_encoder.longest(SimpleNamespace(model_max_length=limit), module)
    assert found == expected
