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
from igbench.data.texts import PromptUnit, Texts
from igbench.errors import InputError, SampleError, check_choice


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
class _Prompts(Texts):
    """Prompts, their continuations behind them, in the tokens of one model.

    Attributes:
        items: One for each sample.
    """

    items: tuple[_Item, ...]

    @cached_property
    def parts(self) -> tuple[tuple[Encoded, Encoded], ...]:
        """The tokens of every prompt, and those of its continuation up to the last scored one."""
        encoder = cast(PromptEncoder, self.encoder)
        return tuple(
            (
                encoder.encode(i.prompt.text),
                _until(encoder.continuation(i.prompt.continuation), i.end),
            )
            for i in self.items
        )

    @cached_property
    def encoded(self) -> tuple[Encoded, ...]:
        """The tokens of every prompt with its continuation."""
        return tuple(_joined(own, after) for own, after in self.parts)

    def load(self, index: int) -> Tensor:
        """A packed prompt with its continuation, (length, E + 3).

        Raises:
            SampleError: The prompt has no feature, nothing is scored, it is too long, or the foil
                has another number of tokens.
        """
        item, (own, after), whole = self.items[index], self.parts[index], self.encoded[index]
        tokens = after.ids[item.start :]
        if max(self.numbers(index)) < 0:
            raise SampleError("the prompt has no token to explain")
        if not len(tokens):
            raise SampleError("the continuation has no token to score")
        longest = cast(PromptEncoder, self.encoder).longest
        if len(whole.ids) > (longest or len(whole.ids)):
            raise SampleError(
                f"prompt and continuation have {len(whole.ids)} tokens; the model takes {longest}"
            )
        context = scoring(
            len(whole.ids), len(own.ids) + item.start, tokens, self._foils(item, tokens)
        )
        return packed(self.encoder.embed(whole.ids).detach(), self.length, context)

    def _foils(self, item: _Item, tokens: Tensor) -> Tensor | None:
        if not item.prompt.foil:
            return None
        encoder = cast(PromptEncoder, self.encoder)
        foils = encoder.continuation(item.prompt.foil).ids[: item.end]
        count = item.start + len(tokens)
        if len(foils) != count:
            raise SampleError(
                f"the continuation has {count} tokens and the foil {len(foils)}; they are "
                "compared token by token: score the first alone, or choose a foil of equal length"
            )
        if bool((foils[item.start :] == tokens).all()):
            raise SampleError("the continuation and its foil do not differ where they are scored")
        return foils[item.start :]

    def numbers(self, index: int) -> list[int]:
        """The feature of each token of a sample; -1 for the first token and the continuation."""
        item, (own, after) = self.items[index], self.parts[index]
        special = own.special.tolist()
        if self.unit == "word":
            found = word_numbers(own.text, own.spans, own.special)
        elif self.unit == "segment":
            segments = item.prompt.segments
            pairs = zip(own.spans, special, strict=True)
            found = [-1 if left_out else _within(span, segments) for span, left_out in pairs]
        else:
            places = iter(range(len(special)))
            found = [-1 if left_out else next(places) for left_out in special]
        count = max(found, default=-1) + 1
        given = item.start if item.given else 0
        return [*found, *(count + t if t < given else -1 for t in range(len(after.ids)))]

    def gaps(self, index: int) -> tuple[str, ...]:
        """The texts before, between and after the features; what is scored comes last."""
        foil = self.items[index].prompt.foil
        found = super().gaps(index)
        return (*found[:-1], f"{found[-1]} [not{foil}]") if foil else found


def _until(own: Encoded, end: int | None) -> Encoded:
    """The first tokens of a text."""
    spans = own.spans[:end]
    text = own.text[: max((b for _, b in spans), default=0)]
    return Encoded(text, own.ids[:end], own.special[:end], spans)


def _joined(own: Encoded, after: Encoded) -> Encoded:
    """A prompt and what follows as one text, whose second part is no feature."""
    start = len(own.text)
    return Encoded(
        own.text + after.text,
        torch.cat([own.ids, after.ids]),
        torch.cat([own.special, torch.ones_like(after.special)]),
        (*own.spans, *((a + start, b + start) for a, b in after.spans)),
    )


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
    items: list[_Item] = []
    ids: list[str] = []
    for prompt, sample_id in zip(prompts, sample_ids, strict=True):
        if score == "each":
            count = len(encoder.continuation(prompt.continuation).ids)
            items += [_Item(prompt, t, t + 1, given) for t in range(count)]
            ids += [f"{sample_id}:{t}" for t in range(count)]
        else:
            items.append(_Item(prompt, 0, 1 if score == "first" else None, False))
            ids.append(sample_id)
    texts = tuple(item.prompt.text for item in items)
    length = max(len(e.ids) for e in _Prompts(texts, encoder, unit, 0, tuple(items)).encoded)
    own = _Prompts(texts, encoder, unit, length, tuple(items))
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
        feature_gaps=own.gaps,
        replacements=replacements(encoder),
    )
