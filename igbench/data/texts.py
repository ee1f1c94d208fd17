"""Make `Data` of texts: one packed tensor for each, with its tokens or words as features."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.core.tokens import Encoded, TextEncoder, packed, replacements, word_numbers
from igbench.errors import InputError, SampleError, check_choice

log = logging.getLogger(__name__)

Unit = Literal["token", "word"]


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
    unit: Unit
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


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without the white space at its ends."""
    own = text[start:end]
    first = start + len(own) - len(own.lstrip())
    return first, first + len(own.strip())


def texts_data(
    name: str,
    model: Model,
    texts: Sequence[str],
    *,
    sample_ids: Sequence[str],
    labels: Sequence[int | None],
    source: str,
    unit: Unit = "word",
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
    return Data(
        name=name,
        kind="text",
        shape=(length, model.text.width + 1 + model.text.context),
        sample_ids=tuple(sample_ids),
        labels=tuple(labels),
        load=own.load,
        features=unit,
        display=None,
        black=(0.0,),
        reference=None,
        source=source,
        groups=own.groups,
        feature_names=own.names,
        feature_gaps=own.gaps,
        replacements=replacements(model.text),
    )
