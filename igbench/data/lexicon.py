"""Ratings of words by people: the lexicon of VADER, 7,500 words and emoticons from -4 to 4."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from igbench.errors import InputError


@cache
def vader() -> Mapping[str, float]:
    """Mean rating of each entry by ten people, from -4 (negative) to 4 (positive).

    It is read from the package vaderSentiment (MIT licence), which is not imported.

    Source: Hutto and Gilbert 2014, VADER.

    Raises:
        InputError: The package is not installed, or has no lexicon.
    """
    spec = find_spec("vaderSentiment")
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent
    path = None if folder is None else folder / "vader_lexicon.txt"
    if path is None or not path.is_file():
        raise InputError(
            "the lexicon of VADER is not installed; install it with pip install vaderSentiment."
        )
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, rating, *_ = line.split("\t")
        found[word] = float(rating)
    return found


def ratings(words: Sequence[str]) -> Tensor:
    """Rating of each word, (G,) float64; NaN where the lexicon has none.

    A word counts as it is written, as emoticons are, otherwise in small letters.

    Args:
        words: G words.

    Raises:
        InputError: The lexicon is not installed.
    """
    known = vader()
    return torch.tensor(
        [known.get(w, known.get(w.lower(), math.nan)) for w in words], dtype=torch.float64
    )
