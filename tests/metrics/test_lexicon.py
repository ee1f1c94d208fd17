"""Agreement with ratings of words: signs, ranks, classes, and words without a rating."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest
import torch

from igbench import evaluate, metrics
from igbench.data import lexicon
from igbench.errors import InputError, NotDefinedError
from igbench.metrics import LexiconAgreement
from tests.helpers import words

needs_vader = pytest.mark.skipif(find_spec("vaderSentiment") is None, reason="an optional extra")
PEOPLE = [torch.tensor([1.9, -2.5, -0.4, math.nan])]


def f(x):
    return x.sum(dim=1)


def two(x):
    return torch.stack([-f(x), f(x)], dim=1)


def call(phi, **options) -> float:
    phi = torch.tensor([phi])
    return float(metrics.lexicon_agreement(f, torch.ones_like(phi), phi, **options))


def test_signs():
    assert call((2.0, -1.0, 0.5, 3.0), ratings=PEOPLE) == pytest.approx(2 / 3)
    assert call((2.0, -1.0, 0.0, 3.0), ratings=PEOPLE) == pytest.approx(2.5 / 3)
    assert call((-2.0, 1.0, 0.5, 3.0), ratings=PEOPLE) == 0
    none = torch.full((4,), math.nan)
    assert math.isnan(call((1.0, 2.0, 3.0, 4.0), ratings=[none]))


def test_ranks_take_unrated_words_as_neutral():
    # Ratings rank 4, 1, 2, 3; the map 4, 1, 3, 2: 1 - 6 * 2 / 60.
    found = call((2.0, -1.0, 0.5, 0.1), ratings=PEOPLE, statistic="rank")
    assert found == pytest.approx(0.8)
    assert math.isnan(call((1.0, 1.0, 1.0, 1.0), ratings=PEOPLE, statistic="rank"))


@pytest.mark.parametrize(("target", "expected"), [(1, 1.0), (0, 0.0)])
def test_ratings_turn_with_the_class(target, expected):
    phi = torch.tensor([[2.0, -1.0, -0.5, 1.0]])
    found = metrics.lexicon_agreement(two, phi, phi, target=target, ratings=PEOPLE)
    assert float(found) == expected
    other = LexiconAgreement(positive=2, negative=3, ratings=PEOPLE)
    assert math.isnan(float(other(two, phi, phi, target=target)))


@needs_vader
def test_ratings_of_vader():
    found = lexicon.ratings(["good", "BAD", "table", ":)"])
    assert found[:2].tolist() == [1.9, -2.5]
    assert found[2].isnan()
    assert found[3] == 2.0
    assert len(lexicon.vader()) > 7000


@needs_vader
def test_words_of_texts():
    found = evaluate(
        words.bag(), words.data("good movie bad", "movie"), methods=["ig"], baseline="mask",
        metrics={"sign": LexiconAgreement(data=words.data("good movie bad", "movie")),
                 "rank": LexiconAgreement("rank", data=words.data("good movie bad", "movie"))},
    ).frame  # fmt: skip
    sign, rank = (found[found.metric == name] for name in ("sign", "rank"))
    assert sign.value.iloc[0] == 1
    assert rank.value.iloc[0] == pytest.approx(1)
    assert sign.status.tolist() == ["ok", "undefined"]
    assert "no word is rated" in sign.reason.iloc[1]


def test_what_is_refused():
    with pytest.raises(InputError, match="both class 1"):
        LexiconAgreement(negative=1)
    with pytest.raises(NotDefinedError, match="looks up words"):
        call((1.0, 2.0))
    with pytest.raises(InputError, match=r"ratings of shape \(4,\), and 2 features"):
        call((1.0, 2.0), ratings=PEOPLE)
    with pytest.raises(InputError, match="ratings of 1 samples for 2"):
        metrics.lexicon_agreement(f, torch.ones(2, 4), torch.ones(2, 4), ratings=PEOPLE)
    found = evaluate(f, torch.ones(1, 3), methods=["ig"], metrics=["lexicon_agreement"]).frame
    (row,) = found[found.metric == "lexicon_agreement"].itertuples()
    assert row.status == "undefined"
    assert "looks up words" in row.reason


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(lexicon, "find_spec", lambda name: None)
    lexicon.vader.cache_clear()
    with pytest.raises(InputError, match="pip install vaderSentiment"):
        lexicon.ratings(["good"])
    lexicon.vader.cache_clear()
