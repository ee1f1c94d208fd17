"""The sentences of the package: their classes, their split, and references of real words."""

from __future__ import annotations

import pytest
import torch

from igbench.data.texts import POOL
from igbench.data.tweets import FILE, load_split, tweets
from igbench.errors import InputError
from tests.helpers import words

FIRST = ("tweet-1163", "tweet-2649", "tweet-1747")


def test_the_split_is_fixed_and_complete():
    """Changing it would change every number ever recorded on these sentences."""
    train, held_out = load_split()
    assert (len(train), len(held_out)) == (2746, 686)
    assert tuple(s.sample_id for s in held_out[:3]) == FIRST
    assert len({s.sample_id for s in [*train, *held_out]}) == 3432
    assert sum(s.label for s in [*train, *held_out]) == 2345


def test_sentences_are_as_they_were_written():
    by_name = {s.sample_id: s for part in load_split() for s in part}
    assert by_name["tweet-0004"].text == "LMAO, AMAZING!"
    assert by_name["tweet-0004"].label == 1
    assert by_name["tweet-0073"].text == "@anonymous :( That's terribly sad :("
    assert by_name["tweet-0073"].label == 0


def test_the_authors_are_credited():
    credit = (FILE.parent / "LICENSE.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2016 C.J. Hutto" in credit
    assert "WITHOUT WARRANTY OF ANY KIND" in credit


def test_any_model_of_texts_takes_them():
    data = tweets(words.bag(), limit=3)
    assert data.sample_ids == FIRST
    assert [data.labels[i] for i in range(3)] == [s.label for s in load_split()[1][:3]]
    assert data.kind == "text"


def test_references_are_full_of_tokens():
    data = words.data("good", "movie bad movie", references=["good good", "", "bad"])
    pool = data.reference()
    assert pool.shape == (POOL, *data.shape)
    good, bad = [2.0, 1.0, 0.0], [-1.0, -2.0, 0.0]
    assert pool[0].tolist() == [good, good, bad, good]
    assert pool[1].tolist() == [bad, good, good, bad]
    short = words.data("good", "bad movie", references=["good good", "", "bad"]).reference()
    assert torch.equal(short, pool[:, :3])


def test_rare_words_are_known_by_the_references():
    data = words.data("good Bad movie", references=["good bad good", "bad good not"])
    assert data.feature_rarity(0) == pytest.approx(torch.tensor([7 / 4, 7 / 3, 7]).log().tolist())
    assert data.only(0).feature_rarity(0) == data.feature_rarity(0)
    assert words.data("good").feature_rarity is None


def test_references_without_a_token_are_refused():
    with pytest.raises(InputError, match="have no token to explain"):
        words.data("good", references=["", " "])
