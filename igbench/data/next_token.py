"""Held-out sentences whose next words a language model is asked for."""

from __future__ import annotations

import re
from typing import Literal

from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data.prompts import Prompt, prompts_data
from igbench.data.texts import PromptUnit
from igbench.data.tweets import load_split
from igbench.errors import InputError, check_positive

LEAST_WORDS = 4
"""Words of the shortest prompt."""


@checked
def next_token(
    model: Model,
    *,
    limit: int | None,
    unit: PromptUnit = "word",
    score: Literal["all", "first", "each"] = "all",
    given: bool = False,
    prompt_words: int = 10,
    next_words: int = 1,
) -> Data:
    """The first words of held-out sentences as prompts, and the words that follow.

    Sentences with fewer than four words before the continuation are left out.

    Args:
        model: A language model.
        limit: Number of sentences; None for all.
        unit: What one feature is: a "token" of the model, or a "word" with all of its tokens.
        score: Which tokens of the continuation are scored: "all" together, the "first" alone, or
            "each" as a sample of its own.
        given: With score="each", whether earlier tokens of the continuation are features too.
        prompt_words: Most words of a prompt.
        next_words: Words of a continuation.

    Raises:
        InputError: The model is no language model, or a number is not above zero.

    Source: Hutto and Gilbert 2014, "VADER: a parsimonious rule-based model for sentiment analysis
    of social media text" (ICWSM), for the sentences.
    """
    if limit is not None:
        check_positive("limit", limit)
    check_positive("data.next_words", next_words)
    if prompt_words < LEAST_WORDS:
        raise InputError(f"data.prompt_words is {prompt_words}; it must be at least {LEAST_WORDS}.")
    if unit == "segment":
        raise InputError("data.unit=segment needs prompts with segments; use token or word here.")
    _, held_out = load_split()
    found = [(s.sample_id, _cut(s.text, prompt_words, next_words)) for s in held_out]
    chosen = [(sample_id, prompt) for sample_id, prompt in found if prompt is not None][:limit]
    return prompts_data(
        "next_token",
        model,
        [prompt for _, prompt in chosen],
        sample_ids=[sample_id for sample_id, _ in chosen],
        source="first words of tweet-like sentences of vaderSentiment (MIT), held out",
        unit=unit,
        score=score,
        given=given,
    )


def _cut(text: str, most: int, after: int) -> Prompt | None:
    """A sentence cut behind a word; None where it is too short.

    >>> _cut("We were in Rome last year", most=4, after=1)
    Prompt(text='We were in Rome', continuation=' last', foil='', segments=())
    """
    words = [m.span() for m in re.finditer(r"\S+", text)]
    count = min(most, len(words) - after)
    if count < LEAST_WORDS:
        return None
    start, end = words[count - 1][1], words[count + after - 1][1]
    return Prompt(text[:start], text[start:end])
