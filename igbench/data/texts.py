"""Make `Data` of texts: one packed tensor for each, with its tokens or words as features."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor

from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.core.tokens import Encoded, TextEncoder, packed, replacements, word_numbers
from igbench.errors import InputError, SampleError, check_choice

log = logging.getLogger(__name__)

Unit = Literal["token", "word"]
PromptUnit = Literal["token", "word", "segment"]

POOL = 64
"""References that are made of texts that are never explained."""


@dataclass(frozen=True)
class Texts:
    """Texts in the tokens of one model.

    Attributes:
        texts: S texts.
        encoder: Of the model.
        unit: What one feature is.
        length: Tokens of every packed text.
    """

    texts: tuple[str, ...]
    encoder: TextEncoder
    unit: PromptUnit
    length: int

    @cached_property
    def encoded(self) -> tuple[Encoded, ...]:
        """The tokens of every text."""
        return tuple(self.encoder.encode(text) for text in self.texts)

    def load(self, index: int) -> Tensor:
        """A packed text, (length, E + 1 + C).

        Raises:
            SampleError: No token of the text is a feature.
        """
        own = self.encoded[index]
        if bool(own.special.all()):
            raise SampleError("the text has no token to explain")
        return packed(self.encoder.embed(own.ids).detach(), self.length, self._context(own))

    def _context(self, own: Encoded) -> Tensor | None:
        return torch.zeros(len(own.ids), self.encoder.context) if self.encoder.context else None

    def numbers(self, index: int) -> list[int]:
        """The feature of each token of a text; -1 for special tokens."""
        own = self.encoded[index]
        if self.unit == "word":
            return word_numbers(own.text, own.spans, own.special)
        places = iter(range(len(own.ids)))
        return [-1 if special else next(places) for special in own.special.tolist()]

    def groups(self, index: int) -> Tensor:
        """Feature number of every element, (length, E + 1 + C); -1 where it takes no part.

        The column that hides and deletes belongs to the feature of its token.
        """
        numbers = self.numbers(index)
        width = self.encoder.width + 1
        found = torch.full((self.length, width + self.encoder.context), -1)
        found[: len(numbers), :width] = torch.tensor(numbers)[:, None]
        return found

    def places(self, index: int) -> list[tuple[int, int]]:
        """Start and end of each feature in its text, without white space around it."""
        own, numbers = self.encoded[index], self.numbers(index)
        found: dict[int, tuple[int, int]] = {}
        for number, (start, end) in zip(numbers, own.spans, strict=True):
            if number >= 0:
                first, last = found.get(number, (start, end))
                found[number] = (min(first, start), max(last, end))
        return [_stripped(own.text, *span) for _, span in sorted(found.items())]

    def names(self, index: int) -> tuple[str, ...]:
        """The text of each feature."""
        return tuple(self.encoded[index].text[a:b] for a, b in self.places(index))

    def gaps(self, index: int) -> tuple[str, ...]:
        """The texts before, between and after the features."""
        text, places = self.encoded[index].text, self.places(index)
        starts, ends = [a for a, _ in places] + [len(text)], [0] + [b for _, b in places]
        return tuple(text[a:b] for a, b in zip(ends, starts, strict=True))

    def references(self, length: int) -> Tensor:
        """Samples full of tokens, (R, length, E + 1 + C): each of the texts and those behind it.

        Every place holds a token of a text, so that the line from such a sample to a text of any
        length passes through word embeddings alone; and longer samples begin as shorter ones.

        Args:
            length: Tokens of a sample.
        """
        texts = [own.ids[~own.special] for own in self.encoded if not bool(own.special.all())]
        rows = []
        for first in range(POOL):
            ids, number = texts[first % len(texts)], first
            while len(ids) < length:  # texts are taken anew where they do not suffice
                number += 1
                ids = torch.cat([ids, texts[number % len(texts)]])
            rows.append(ids[:length])
        context = torch.zeros(length, self.encoder.context)
        return torch.stack([packed(self.encoder.embed(r).detach(), length, context) for r in rows])


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without the white space at its ends."""
    own = text[start:end]
    first = start + len(own) - len(own.lstrip())
    return first, first + len(own.strip())


@dataclass(frozen=True)
class Rarity:
    """How rare the features of samples are among some texts, in capitals or not.

    Attributes:
        texts: The texts.
        names: Index to the features of a sample.
    """

    texts: Texts
    names: Callable[[int], Sequence[str]]

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each feature occurs."""
        every = range(len(self.texts.texts))
        return Counter(name.lower() for i in every for name in self.texts.names(i))

    def __call__(self, index: int) -> list[float]:
        """-ln((n + 1) / (N + 1)) for each feature, which is n of the N in the texts."""
        total = self.counts.total() + 1
        found = [self.counts[name.lower()] for name in self.names(index)]
        return [-math.log((n + 1) / total) for n in found]


def texts_data(
    name: str,
    model: Model,
    texts: Sequence[str],
    *,
    sample_ids: Sequence[str],
    labels: Sequence[int | None],
    source: str,
    unit: Unit = "word",
    references: Sequence[str] = (),
) -> Data:
    """Data of texts for a model of texts.

    Args:
        name: Name in every table.
        model: The model, which brings its tokens along.
        texts: S texts.
        sample_ids: S identifiers.
        labels: S true classes, None where unknown.
        source: Where the texts come from, in words; those that are cut off are counted behind it.
        unit: What one feature is: a "token" of the model, or a "word" with all of its tokens.
        references: Texts that are never explained.  Methods that need reference samples get samples
            full of their words, and the control `rare` how often a word occurs in them.

    Raises:
        InputError: The model takes no texts, or there are none.
    """
    check_choice("unit", unit, ("token", "word"))
    if model.text is None:
        raise InputError(
            f"model {model.name!r} takes no texts; choose model=text_sentiment or model=hf_text, "
            "or other data."
        )
    if not texts:
        raise InputError(f"the data {name!r} have no texts.")
    own = Texts(tuple(texts), model.text, unit, 0)
    length = max(len(encoded.ids) for encoded in own.encoded)
    own = Texts(own.texts, model.text, unit, length)
    cut = sum(encoded.truncated > 0 for encoded in own.encoded)
    if cut:
        source += f"; {cut} of {len(texts)} texts cut off, since the model takes {length} tokens"
        log.warning(
            "%d of %d texts are cut off: the model takes %d tokens", cut, len(texts), length
        )
    others = Texts(tuple(references), model.text, unit, length)
    if references and all(bool(model.text.encode(text).special.all()) for text in references):
        raise InputError(f"the references of the data {name!r} have no token to explain.")
    columns = model.text.width + 1 + model.text.context
    return Data(
        name=name,
        kind="text",
        shape=(length, columns),
        sample_ids=tuple(sample_ids),
        labels=tuple(labels),
        load=own.load,
        features=unit,
        display=None,
        black=(0.0,),
        reference=partial(others.references, length) if references else None,
        source=source,
        groups=own.groups,
        feature_names=own.names,
        feature_gaps=own.gaps,
        feature_rarity=Rarity(others, own.names) if references else None,
        replacements=replacements(model.text),
        still=torch.zeros(length, columns, dtype=torch.bool).index_fill_(
            1, torch.tensor([model.text.width]), True
        ),
    )
