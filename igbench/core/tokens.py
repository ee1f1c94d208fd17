"""Texts as tensors: the embeddings of the tokens, what is hidden, and what the model must know.

A text of L tokens is one tensor (L, E + 1 + C).  The first E columns are word embeddings.  The
next says of each token whether it is `PRESENT`, `HIDDEN` (the attention mask is 0, its position
stays) or `DELETED` (the text closes up; so is the padding of a data set).  The last C columns are
numbers that a model needs beside the embeddings, such as the tokens that a language model is asked
for; no method moves them.

So every convention of removal is a value in the place of a token, and methods and metrics see one
tensor.  A `TokenModel` never pads: rows with equally many tokens are evaluated together, so the
numbers of a text depend neither on its neighbours nor on the padding.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from igbench.errors import InputError

PRESENT, HIDDEN, DELETED = 0.0, 1000.0, 2000.0
"""Values of the column behind the embeddings; so far apart that no noise makes one of another."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A text in the tokens of a model.

    Attributes:
        text: The text.
        ids: (L,) numbers of the tokens, special tokens included.
        special: (L,) boolean, true where a token is no feature.
        spans: (start, end) of each token in the text; (0, 0) for special tokens.
        truncated: Tokens at the end that the model does not take and that were left out.
    """

    text: str
    ids: Tensor
    special: Tensor
    spans: tuple[tuple[int, int], ...]
    truncated: int = 0

    def pieces(self) -> list[str]:
        """What each token stands for in the text; "" for special tokens."""
        return [self.text[start:end] for start, end in self.spans]


class TextEncoder(Protocol):
    """From texts to tensors, for one model."""

    @property
    def width(self) -> int:
        """E."""
        ...

    @property
    def context(self) -> int:
        """C."""
        ...

    @property
    def special_rows(self) -> Mapping[str, Tensor]:
        """Embeddings (E,) of the tokens that may stand for an absent one, by name.

        "mask", "pad" and "unk" where the model has them, and "mean" of all rows.
        """
        ...

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, cut off at the longest text that the model takes."""
        ...

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings (L, E) of tokens (L,)."""
        ...


def packed(embeddings: Tensor, length: int, context: Tensor | None = None) -> Tensor:
    """A text as one tensor (length, E + 1 + C), with deleted tokens behind its own.

    Args:
        embeddings: (L, E).
        length: Tokens of the tensor, at least L.
        context: (L, C); none by default.

    >>> packed(torch.ones(2, 3), 3)[:, -1].tolist()
    [0.0, 0.0, 2000.0]
    """
    n, width = embeddings.shape
    columns = 0 if context is None else context.shape[1]
    found = embeddings.new_zeros(length, width + 1 + columns)
    found[:n, :width] = embeddings
    found[n:, width] = DELETED
    if context is not None:
        found[:n, width + 1 :] = context
    return found


def cut(pool: Tensor, x: Tensor) -> Tensor:
    """Reference texts (R, L, ...) as long as texts (N, l, ...), where these are shorter.

    >>> cut(torch.ones(4, 9, 3), torch.ones(1, 5, 3)).shape
    torch.Size([4, 5, 3])
    """
    return pool[:, : x.shape[1]] if pool.shape[2:] == x.shape[2:] else pool


def replaced(x: Tensor, row: Tensor) -> Tensor:
    """A text with one embedding (E,) in place of each, (L, E + 1 + C).

    >>> replaced(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([5.0, 6.0])).tolist()
    [[5.0, 6.0, 0.0]]
    """
    found = x.clone()
    found[:, : len(row)] = row.to(x)
    return found


def marked(x: Tensor, width: int, mark: float) -> Tensor:
    """A text whose tokens are all `HIDDEN` or `DELETED`; those that were deleted stay so.

    >>> marked(torch.tensor([[1.0, 2.0, 0.0]]), 2, HIDDEN).tolist()
    [[1.0, 2.0, 1000.0]]
    """
    found = x.clone()
    found[:, width] = found[:, width].clamp(min=mark)
    return found


@dataclass(frozen=True, eq=False)
class Replace:
    """Puts one embedding in the place of every token: a convention of removal.

    Attributes:
        row: (E,).
    """

    row: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """A text (L, E + 1 + C) without its tokens."""
        return replaced(x, self.row)


@dataclass(frozen=True)
class Mark:
    """Hides or deletes every token: a convention of removal.

    Attributes:
        width: E.
        mark: `HIDDEN` or `DELETED`.
    """

    width: int
    mark: float

    def __call__(self, x: Tensor) -> Tensor:
        """A text (L, E + 1 + C) without its tokens."""
        return marked(x, self.width, self.mark)


def replacements(encoder: TextEncoder) -> dict[str, Replace | Mark]:
    """What may stand in place of removed tokens, by name, for `Data.replacements`.

    "mask", "pad", "unk", "mean" and "zero" put an embedding there; "hide" sets the attention mask
    to 0 and keeps positions; "delete" closes the text up.
    """
    rows = dict(encoder.special_rows) | {"zero": torch.zeros(encoder.width)}
    found: dict[str, Replace | Mark] = {name: Replace(row) for name, row in rows.items()}
    found["hide"] = Mark(encoder.width, HIDDEN)
    found["delete"] = Mark(encoder.width, DELETED)
    return found


def is_kept(marks: Tensor) -> Tensor:
    """Which tokens a text has, of their marks: those that are not `DELETED`."""
    return marks < (HIDDEN + DELETED) / 2


def is_visible(marks: Tensor) -> Tensor:
    """Which tokens are attended to, of their marks: those that are `PRESENT`."""
    return marks < HIDDEN / 2


class TokenModel(nn.Module):
    """Base of models of texts: from packed texts (N, L, E + 1 + C) to outputs (N, K).

    Subclasses define `run`, which sees texts of one length without deleted tokens.

    Args:
        width: E.

    Attributes:
        readout: The tokens whose last states the output reads, for methods that follow attention:
            the "first", the "last" visible one or the "mean" of all visible ones; None for models
            without attention.
    """

    readout: Literal["first", "last", "mean"] | None = None

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @property
    def table(self) -> Tensor:
        """All word embeddings (V, E), for methods that move through real words.

        Raises:
            NotImplementedError: The model has none.
        """
        raise NotImplementedError

    def run(self, embeddings: Tensor, visible: Tensor, context: Tensor) -> Tensor:
        """Outputs (n, K) of texts of one length.

        Args:
            embeddings: (n, l, E).
            visible: (n, l) boolean, false where the attention mask is 0.
            context: (n, l, C).
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, K) of packed texts (N, L, E + 1 + C).

        Raises:
            InputError: The rows are no packed texts.
        """
        if x.dim() != 3 or x.shape[2] <= self.width:
            raise InputError(
                f"the rows have shape {tuple(x.shape[1:])}; expected tokens by {self.width} "
                "embeddings and the columns behind them, see igbench.core.tokens."
            )
        state = x[:, :, self.width].detach()
        kept = is_kept(state)
        lengths = kept.sum(dim=1)
        out: Tensor | None = None
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero()[:, 0]
            at = kept[rows].nonzero()[:, 1].view(len(rows), length)
            own = x[rows[:, None], at]
            visible = is_visible(state[rows[:, None], at])
            part = self.run(own[..., : self.width], visible, own[..., self.width + 1 :].detach())
            if len(rows) == len(x):
                return part
            out = part.new_zeros(len(x), *part.shape[1:]) if out is None else out
            out = out.index_copy(0, rows, part)
        return x.new_zeros(0, 1) if out is None else out


def word_numbers(text: str, spans: Sequence[tuple[int, int]], special: Tensor) -> list[int]:
    """The word that each token belongs to, 0..W-1 in the order of the text; -1 for special tokens.

    A word is what stands between white space; punctuation at its start and its end is a word each.
    Tokens are assigned by where they start, so a token that begins with a space (byte-level BPE)
    belongs to the word behind it, and so does one of white space alone; at the end of the text, to
    the last word.

    Args:
        text: The text.
        spans: (start, end) of each token.
        special: (L,) boolean, true where a token is no feature.

    >>> text = "(re-watched it, twice!)"
    >>> spans = [(0, 1), (1, 3), (3, 4), (4, 11), (11, 14), (14, 15), (15, 21), (21, 23)]
    >>> word_numbers(text, spans, torch.zeros(8, dtype=torch.bool))
    [0, 1, 1, 1, 2, 3, 4, 5]
    """
    owner = _owners(text)
    numbers: dict[int, int] = {}
    found: list[int] = []
    for (start, end), left_out in zip(spans, special.tolist(), strict=True):
        if left_out:
            found.append(-1)
            continue
        while start < end - 1 and text[start].isspace():
            start += 1
        behind = (word for word in owner[start:] if word >= 0)
        own = next(behind, max(owner, default=-1))
        found.append(numbers.setdefault(own, len(numbers)))
    return found


def _owners(text: str) -> list[int]:
    """The word of each character: runs without white space, their outer punctuation apart."""
    owner, word, start = [-1] * len(text), 0, 0
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        end = start
        while end < len(text) and not text[end].isspace():
            end += 1
        first, last = start, end
        while first < last and not _inner(text[first]):
            first += 1
        while last > first and not _inner(text[last - 1]):
            last -= 1
        for part in (*((i, i + 1) for i in range(start, first)), (first, last),
                     *((i, i + 1) for i in range(last, end))):  # fmt: skip
            if part[0] < part[1]:
                owner[part[0] : part[1]] = [word] * (part[1] - part[0])
                word += 1
        start = end
    return owner


def _inner(character: str) -> bool:
    """Whether a character belongs into a word: letters, digits, and signs that are no punctuation.

    Combining marks and symbols count, so that emojis stay whole.
    """
    return not unicodedata.category(character).startswith("P")
