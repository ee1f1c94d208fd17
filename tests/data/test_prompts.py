"""Prompts: features, scored tokens, and what cannot be scored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from igbench.data.prompts import Prompt, from_template
from igbench.errors import InputError, SampleError
from tests.helpers import words
from tests.helpers.prompts import data

PROMPT = Prompt("the cats", " are here")


def test_segments_are_features_and_what_stands_between_is_none():
    prompt = from_template("{} not {}", ["the cat", "here"], " is")
    found = data(prompt, unit="segment")
    assert found.groups(0)[:, 0].tolist() == [-1, 0, 0, -1, 1, -1]
    assert found.feature_names(0) == ("the cat", "here")


def test_earlier_tokens_are_context_or_features():
    context = data(PROMPT, score="each")
    features = data(PROMPT, score="each", given=True)
    assert context.feature_names(1) == ("the", "cats")
    assert features.feature_names(1) == ("the", "cats", "are")
    assert features.groups(1)[:, 0].tolist() == [-1, 0, 1, 2, -1]
    assert features.groups(0)[:, 0].tolist() == [-1, 0, 1, -1, -1]
    assert (features.load(0) == context.load(0)).all()


def test_scored_tokens_are_exact_numbers_behind_the_prompt():
    own = data(replace(PROMPT, foil=" is not"), PROMPT)
    assert own.load(0)[:, 3:].tolist() == [[0, 0]] * 3 + [[6, 5], [7, 8]]
    assert own.load(1)[:, 3:].tolist() == [[0, 0]] * 3 + [[6, 0], [7, 0]]
    first = data(replace(PROMPT, foil=" is"), score="first")
    assert first.load(0)[:, 3:].tolist() == [[0, 0]] * 3 + [[6, 5]]


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        (Prompt("", " is"), "no token to explain"),
        (Prompt("the cat", ""), "no token to score"),
        (Prompt("the cat is not here is not", " is"), "have 9 tokens; the model takes 8"),
        (Prompt("the cat", " is here", foil=" are"), "2 tokens and the foil 1"),
        (Prompt("the cat", " is", foil=" is"), "do not differ"),
    ],
)
def test_prompts_that_cannot_be_scored_fail_with_the_reason(prompt, why):
    with pytest.raises(SampleError, match=why):
        data(prompt).load(0)


def test_other_models_and_settings_are_refused():
    with pytest.raises(InputError, match="'bag' is no language model"):
        data(PROMPT, model=words.bag())
    with pytest.raises(InputError, match="given=true needs score=each"):
        data(PROMPT, given=True)
    with pytest.raises(InputError, match="have no prompts"):
        data()
    with pytest.raises(InputError, match=r"1 gaps \{\} for 2 values"):
        from_template("{} is", ["a", "b"], " b")
