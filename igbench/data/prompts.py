"""Make `Data` of prompts and their continuations, for language models.

A prompt and its continuation are one packed text; its first special token and the continuation are
no features.  They are tokenised apart, and their tokens are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import torch
from torch import Tensor

from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.core.prompts import CONTEXT, PromptEncoder, scoring
from igbench.core.tokens import Encoded, packed, replacements, word_numbers
from igbench.errors import InputError, SampleError, check_choice

PromptUnit = Literal["token", "word", "segment"]


@dataclass(frozen=True)
class Prompt:
    """A prompt, and what is scored behind it.

    Attributes:
        text: The prompt.
        continuation: What follows, with its leading space.
        foil: Another continuation; then the contrast of both is scored, token by token, so that
            both have equally many tokens.  Only the first token of each is compared with
            `first_token`.
        segments: (start, end) of each feature in the prompt, for features of several words; what
            stands between them is no feature.
    """

    text: str
    continuation: str
    foil: str = ""
    segments: tuple[tuple[int, int], ...] = ()


def from_template(
    template: str, values: Sequence[str], continuation: str, foil: str = ""
) -> Prompt:
    """A prompt of a template whose gaps {} are its segments.

    Args:
        template: Text with a {} for each segment.
        values: What the gaps are filled with.
        continuation: What follows.
        foil: Another continuation.

    Raises:
        InputError: There are not as many values as gaps.

    >>> from_template("{} is in {} and", ["Rome", "Italy"], " not").segments
    ((0, 4), (11, 16))
    """
    parts = template.split("{}")
    if len(parts) != len(values) + 1:
        raise InputError(
            f"the template has {len(parts) - 1} gaps {{}} for {len(values)} values: {template!r}."
        )
    text, segments = parts[0], []
    for value, part in zip(values, parts[1:], strict=True):
        segments.append((len(text), len(text) + len(value)))
        text += value + part
    return Prompt(text, continuation, foil, tuple(segments))


@dataclass(frozen=True)
class _Item:
    """A prompt of which some tokens of the continuation are scored.

    Attributes:
        prompt: The prompt.
        start: First scored token of the continuation.
        end: Behind the last one; later tokens are left out.
        given: Whether the tokens before `start` are features.
    """

    prompt: Prompt
    start: int
    end: int | None
    given: bool


@dataclass(frozen=True)
class _Prompts:
    """Prompts in the tokens of one model.

    Attributes:
        items: One for each sample.
        encoder: Of the model.
        unit: What one feature is.
        length: Tokens of every packed text.
    """

    items: tuple[_Item, ...]
    encoder: PromptEncoder
    unit: PromptUnit
    length: int

    @cached_property
    def encoded(self) -> tuple[tuple[Encoded, Encoded], ...]:
        """The tokens of every prompt, and those of its continuation."""
        return tuple(
            (self.encoder.encode(i.prompt.text), self.encoder.continuation(i.prompt.continuation))
            for i in self.items
        )

    def size(self, index: int) -> int:
        """Tokens of one sample."""
        own, after = self.encoded[index]
        return len(own.ids) + len(after.ids[: self.items[index].end])

    def load(self, index: int) -> Tensor:
        """A packed prompt with its continuation, (length, E + 3).

        Raises:
            SampleError: The prompt has no feature, nothing is scored, it is too long, or the foil
                has another number of tokens.
        """
        item, (own, after) = self.items[index], self.encoded[index]
        tokens = after.ids[item.start : item.end]
        if max(self.numbers(index)) < 0:
            raise SampleError("the prompt has no token to explain")
        if not len(tokens):
            raise SampleError("the continuation has no token to score")
        if own.truncated or self.size(index) > (self.encoder.longest or self.size(index)):
            raise SampleError(
                f"prompt and continuation have {self.size(index) + own.truncated} tokens; the "
                f"model takes {self.encoder.longest}"
            )
        ids = torch.cat([own.ids, after.ids[: item.end]])
        context = scoring(len(ids), len(own.ids) + item.start, tokens, self._foils(index))
        return packed(self.encoder.embed(ids).detach(), self.length, context)

    def _foils(self, index: int) -> Tensor | None:
        item = self.items[index]
        if not item.prompt.foil:
            return None
        tokens = self.encoded[index][1].ids
        foils = self.encoder.continuation(item.prompt.foil).ids
        only_first = item.start == 0 and item.end == 1
        if (not len(foils)) or (len(foils) != len(tokens) and not only_first):
            raise SampleError(
                f"the continuation has {len(tokens)} tokens and the foil {len(foils)}; they are "
                "compared token by token: score the first alone, or choose a foil of equal length"
            )
        found = foils[item.start : item.end]
        if bool((found == tokens[item.start : item.end]).all()):
            raise SampleError("the continuation and its foil do not differ where they are scored")
        return found

    def numbers(self, index: int) -> list[int]:
        """The feature of each token of a sample; -1 for the first token and the continuation."""
        item, (own, after) = self.items[index], self.encoded[index]
        if self.unit == "word":
            found = word_numbers(own.text, own.spans, own.special)
        elif self.unit == "segment":
            found = [
                -1 if special else _within(span, item.prompt.segments)
                for span, special in zip(own.spans, own.special.tolist(), strict=True)
            ]
        else:
            places = iter(range(len(own.ids)))
            found = [-1 if special else next(places) for special in own.special.tolist()]
        count = max(found, default=-1) + 1
        for place in range(len(after.ids[: item.end])):
            found.append(count + place if item.given and place < item.start else -1)
        return found

    def groups(self, index: int) -> Tensor:
        """Feature number of every element, (length, E + 3); -1 where it takes no part."""
        numbers, width = self.numbers(index), self.encoder.width + 1
        found = torch.full((self.length, width + CONTEXT), -1)
        found[: len(numbers), :width] = torch.tensor(numbers)[:, None]
        return found

    def names(self, index: int) -> tuple[str, ...]:
        """The text of each feature."""
        own, after = self.encoded[index]
        numbers = self.numbers(index)
        found: dict[int, tuple[int, int]] = {}
        for number, (start, end) in zip(numbers, own.spans, strict=False):
            if number >= 0:
                first, last = found.get(number, (start, end))
                found[number] = (min(first, start), max(last, end))
        names = [own.text[a:b].strip() for _, (a, b) in sorted(found.items())]
        given = [n >= 0 for n in numbers[len(own.ids) :]]
        return (*names, *(p.strip() for p, g in zip(after.pieces(), given, strict=False) if g))


def _within(span: tuple[int, int], segments: Sequence[tuple[int, int]]) -> int:
    """The segment in which a token starts; -1 where there is none."""
    return next((i for i, (a, b) in enumerate(segments) if a <= span[0] < b), -1)


def prompts_data(
    name: str,
    model: Model,
    prompts: Sequence[Prompt],
    *,
    sample_ids: Sequence[str],
    source: str,
    unit: PromptUnit = "word",
    score: Literal["all", "first", "each"] = "all",
    given: bool = False,
) -> Data:
    """Data of prompts for a language model.

    Args:
        name: Name in every table.
        model: The language model, which brings its tokens along.
        prompts: S prompts.
        sample_ids: S identifiers.
        source: Where the prompts come from, in words.
        unit: What one feature is: a "token" of the model, a "word" with all of its tokens, or a
            "segment" of the prompt.
        score: Which tokens of the continuation are scored: "all" together, the "first" alone, or
            "each" by itself, as a sample of its own with the identifier "ID:t".
        given: With score="each", whether the tokens of the continuation before the scored one are
            features too; otherwise they are part of the context.

    Raises:
        InputError: The model is no language model, or there are no prompts.
    """
    check_choice("unit", unit, ("token", "word", "segment"))
    check_choice("score", score, ("all", "first", "each"))
    if model.text is None or model.text.context != CONTEXT:
        raise InputError(
            f"model {model.name!r} is no language model; choose model=text_gpt, model=hf_causal or "
            "model=smollm2, or other data."
        )
    if not prompts:
        raise InputError(f"the data {name!r} have no prompts.")
    if given and score != "each":
        raise InputError("given=true needs score=each: other scores have no earlier tokens.")
    encoder = cast(PromptEncoder, model.text)
    items, ids = [], []
    for prompt, sample_id in zip(prompts, sample_ids, strict=True):
        if score == "each":
            count = len(encoder.continuation(prompt.continuation).ids)
            items += [_Item(prompt, t, t + 1, given) for t in range(count)]
            ids += [f"{sample_id}:{t}" for t in range(count)]
        else:
            items.append(_Item(prompt, 0, 1 if score == "first" else None, False))
            ids.append(sample_id)
    own = _Prompts(tuple(items), encoder, unit, 0)
    own = _Prompts(own.items, encoder, unit, max(own.size(i) for i in range(len(items))))
    return Data(
        name=name,
        kind="text",
        shape=(own.length, encoder.width + 1 + CONTEXT),
        sample_ids=tuple(ids),
        labels=(None,) * len(ids),
        load=own.load,
        features=unit,
        display=None,
        black=(0.0,),
        reference=None,
        source=source,
        groups=own.groups,
        feature_names=own.names,
        replacements=replacements(encoder),
    )
