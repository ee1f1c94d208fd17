"""Tweet-like sentences with the sentiment that people gave them, and a fixed split."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path

from igbench.core import rng
from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data.texts import Unit, texts_data
from igbench.errors import check_positive

FILE = Path(__file__).parent / "sentences" / "tweets.tsv.gz"
"""The sentences; their licence (MIT) and their authors are in `LICENSE.txt` beside it."""

CLASSES = ("negative", "positive")
LEAST_RATING = 0.5
"""Sentences whose mean rating is nearer to zero are left out: people do not agree on them."""

SPLIT_SEED = 0
HELD_OUT = 0.2
"""Share of the sentences that is never trained on."""


@dataclass(frozen=True)
class Sentence:
    """A sentence with its class.

    Attributes:
        sample_id: "tweet-0001" to "tweet-4200".
        text: As it was written.
        label: 0 for a mean rating below zero, 1 for one above.
    """

    sample_id: str
    text: str
    label: int


def load_split() -> tuple[list[Sentence], list[Sentence]]:
    """The sentences to train on, and those that are held out.

    Both parts are in a fixed random order, so that their first n are a fair sample for every n.
    """
    text = gzip.decompress(FILE.read_bytes()).decode("utf-8")
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    sentences = [
        Sentence(f"tweet-{int(row['id']):04d}", row["text"], int(float(row["rating"]) > 0))
        for row in rows
        if abs(float(row["rating"])) >= LEAST_RATING
    ]
    sentences.sort(key=lambda s: rng.key(SPLIT_SEED, "tweets split", s.sample_id))
    cut = round(HELD_OUT * len(sentences))
    return sentences[cut:], sentences[:cut]


@checked
def tweets(model: Model, *, limit: int | None, unit: Unit = "word") -> Data:
    """The held-out sentences, in the tokens of any model of texts.

    References are sentences of the training part, one behind the other: real words at every place,
    whatever the length of a text.

    Args:
        model: Must take texts.
        limit: Number of samples; None for all.
        unit: What one feature is: a "token" of the model, or a "word" with all of its tokens.

    Raises:
        InputError: The model takes no texts, or the limit is not above zero.

    Source: Hutto and Gilbert 2014, "VADER: a parsimonious rule-based model for sentiment analysis
    of social media text" (ICWSM).
    """
    if limit is not None:
        check_positive("limit", limit)
    train, held_out = load_split()
    chosen = held_out[:limit]
    return texts_data(
        "tweets",
        model,
        [s.text for s in chosen],
        sample_ids=[s.sample_id for s in chosen],
        labels=[s.label for s in chosen],
        source="tweet-like sentences of vaderSentiment (MIT), held out",
        unit=unit,
        references=[s.text for s in train],
    )
