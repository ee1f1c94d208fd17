"""Prompts of language models: tokens in context columns, and from texts to such tensors.

The last `CONTEXT` columns of a packed prompt hold, for every token, its number + 1 if the model is
asked for it, else 0, and the number + 1 of the foil that it is compared with, else 0.  Numbers up
to 2^24 are exact in float32.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from igbench.core.tokens import Encoded, TextEncoder

CONTEXT = 2
"""Columns: the scored token, and its foil."""


class PromptEncoder(TextEncoder, Protocol):
    """From prompts and their continuations to tensors, for one decoder."""

    @property
    def longest(self) -> int | None:
        """Tokens that the model takes, those of the continuation included; None for any number."""
        ...

    def continuation(self, text: str) -> Encoded:
        """The tokens of a text that follows a prompt, without special tokens.

        They are joined to those of the prompt as they are: the seam is not tokenised again.
        """
        ...


def scoring(length: int, first: int, tokens: Tensor, foils: Tensor | None = None) -> Tensor:
    """Context columns (length, 2) of a text whose tokens from `first` on are scored.

    Args:
        length: Tokens of the whole text.
        first: Position of the first scored token.
        tokens: (T,) numbers of the scored tokens.
        foils: (T,) numbers of what they are compared with; None for probabilities.

    >>> scoring(3, 2, torch.tensor([7]), torch.tensor([9])).tolist()
    [[0.0, 0.0], [0.0, 0.0], [8.0, 10.0]]
    """
    found = torch.zeros(length, CONTEXT)
    found[first : first + len(tokens), 0] = tokens.float() + 1
    if foils is not None:
        found[first : first + len(tokens), 1] = foils.float() + 1
    return found
