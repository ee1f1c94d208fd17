"""Tokens of Hugging Face: a fast tokenizer and a table of embeddings as a `TextEncoder`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from igbench.core.tokens import Encoded
from igbench.errors import InputError

SPACES = ("▁", "Ġ")
"""How tokenizers write a space; a token of it alone may stand for one that the text lacks."""

UNLIMITED = 10**9
"""Longest text of a tokenizer that has no limit, or more."""


@dataclass(frozen=True, eq=False)
class HuggingFaceEncoder:
    """Texts in the tokens of a fast tokenizer, and the rows of a table of embeddings for them.

    A text is never padded.  Special are the tokens that the tokenizer puts around a text, and
    `first`; what a text spells out, such as "[PAD]", is text.  Spans begin behind the spaces that
    some tokenizers count to a token.

    Attributes:
        backend: A `tokenizers.Tokenizer` that nobody else uses.
        table: (V, E), a row for each token.
        special_rows: See `igbench.core.tokens.TextEncoder`.
        reserved: Numbers of special tokens.
        unknown: Number of the token of unknown words; None where there is none.
        longest: Most tokens that the model takes, special ones included; None for any number.
        first: A token in front of every text, a special one, where the tokenizer puts none there.
        context: C.
    """

    backend: Any
    table: Tensor
    special_rows: Mapping[str, Tensor]
    reserved: frozenset[int] = frozenset()
    unknown: int | None = None
    longest: int | None = None
    first: int | None = None
    context: int = 0

    @property
    def width(self) -> int:
        """E."""
        return self.table.shape[1]

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, without those at its end that the model does not take.

        Raises:
            InputError: The tokenizer has more tokens than the model.
        """
        found = self._tokens(text, around=True)
        special, spans = list(found.special_tokens_mask), spans_of(text, found)
        ids = self._spelled_out(found.ids, special)
        if self.first is not None and ids[:1] != [self.first]:
            ids, special, spans = [self.first, *ids], [1, *special], [(0, 0), *spans]
        over = max(0, len(ids) - (self.longest or len(ids)))
        gone = [i for i, mark in enumerate(special) if not mark][-over:] if over else []
        kept = sorted(set(range(len(ids))) - set(gone))
        return Encoded(
            text=text,
            ids=self._checked([ids[i] for i in kept]),
            special=torch.tensor([bool(special[i]) for i in kept], dtype=torch.bool),
            spans=tuple((0, 0) if special[i] else spans[i] for i in kept),
            truncated=len(gone),
        )

    def plain(self, text: str) -> Tensor:
        """Numbers (L,) of the tokens of a text, without any around it and without a limit."""
        ids = self._tokens(text, around=False).ids
        return self._checked(self._spelled_out(ids, [0] * len(ids)))

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings (L, E) of tokens (L,)."""
        return self.table.detach()[ids.to(self.table.device)]

    def _tokens(self, text: str, around: bool) -> Any:
        self.backend.encode_special_tokens = True  # no part of its state: a copy would forget it
        return self.backend.encode(text, add_special_tokens=around)

    def _spelled_out(self, ids: Sequence[int], special: Sequence[int]) -> list[int]:
        """Tokens in which a special one that the text spells out is an unknown word.

        Tokenizers split it into its characters, except for Unigram, which finds it as a whole.
        """
        own = self.reserved if self.unknown is not None else frozenset()
        pairs = zip(ids, special, strict=True)
        return [self.unknown if i in own and not mark else i for i, mark in pairs]  # type: ignore[misc]

    def _checked(self, ids: list[int]) -> Tensor:
        largest, rows = max(ids, default=0), len(self.table)
        if largest >= rows:
            raise InputError(
                f"the tokenizer knows a token {largest}, but the model has {rows} embeddings; they "
                "do not belong together: save both of one model again."
            )
        return torch.tensor(ids, dtype=torch.int64)


def encoder(
    tokenizer: Any,
    table: Tensor,
    *,
    longest: int | None = None,
    first: int | None = None,
    context: int = 0,
) -> HuggingFaceEncoder:
    """An encoder of a tokenizer of transformers, which stays as it is.

    Args:
        tokenizer: A fast one.
        table: (V, E) embeddings of a model.
        longest: Most tokens that the model takes, special ones included.
        first: A token in front of every text, where the tokenizer puts none there.
        context: Columns behind the embeddings that the model needs.

    Raises:
        InputError: The tokenizer is none of the fast ones, which know where tokens stand.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{type(tokenizer).__name__} does not say where its tokens stand in the text; save a "
            "fast tokenizer (tokenizer.json) beside the model."
        )
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.no_truncation()
    backend.no_padding()
    return HuggingFaceEncoder(
        backend=backend,
        table=table.detach(),
        special_rows=special_rows(tokenizer, table.detach()),
        reserved=frozenset(tokenizer.all_special_ids),
        unknown=tokenizer.unk_token_id,
        longest=longest,
        first=first,
        context=context,
    )


def special_rows(tokenizer: Any, table: Tensor) -> dict[str, Tensor]:
    """Embeddings (E,) that may stand for an absent token: "mask", "pad", "unk" and "mean".

    A token that also begins or ends texts stands for no absent one: it is left out, as the "unk"
    of GPT-2 is, and a "pad" that was set to the end of texts.

    Args:
        tokenizer: Says which tokens there are.
        table: (V, E).
    """
    others = {tokenizer.bos_token_id, tokenizer.eos_token_id} - {None}
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("mask", "pad", "unk")}
    found = {
        name: table[number].clone()
        for name, number in ids.items()
        if number is not None and number not in others and number < len(table)
    }
    return found | {"mean": table.double().mean(dim=0).to(table.dtype)}


def longest(tokenizer: Any, module: nn.Module) -> int | None:
    """Most tokens of a text that a tokenizer and a model agree on; None where neither says.

    Args:
        tokenizer: Its `model_max_length` counts.
        module: A model of transformers: its `config.max_position_embeddings`, without the places
            that the models of the RoBERTa family leave free in front.
    """
    positions = getattr(getattr(module, "config", None), "max_position_embeddings", None)
    known = [getattr(tokenizer, "model_max_length", None)]
    known.append(positions - first_position(module) if positions else None)
    limits = [limit for limit in known if limit and 0 < limit < UNLIMITED]
    return min(limits, default=None)


def first_position(module: nn.Module) -> int:
    """Number of the position of the first token: behind that of PAD in the RoBERTa family, else 0.

    >>> first_position(nn.Linear(2, 1))
    0
    """
    for name, part in module.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            return int(part.padding_idx) + 1
    return 0


def spans_of(text: str, found: Any) -> list[tuple[int, int]]:
    """Where tokens stand in a text, without the spaces before them.

    Args:
        text: The text.
        found: Its encoding by the library tokenizers.
    """
    spans = []
    for (start, end), token in zip(found.offsets, found.tokens, strict=True):
        if token in SPACES and not text[start:end].isspace():
            end = start  # the tokenizer begins texts with a space of its own
        while start < end - 1 and text[start].isspace():
            start += 1
        spans.append((start, end))
    return spans
