"""Language models as models of packed prompts: one number for a continuation, by one forward.

A decoder computes the logits of the next token from the embeddings of the tokens so far.
`CausalModel` makes a `TokenModel` of any of them: the prompt and its continuation are one packed
text, and the context columns say which tokens are scored (`igbench.core.prompts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from igbench.core.prompts import CONTEXT
from igbench.core.tokens import Encoded, TokenModel
from igbench.errors import InputError
from igbench.models.hf_encoder import HuggingFaceEncoder, spans_of


class Decoder(Protocol):
    """A module that predicts the next token."""

    @property
    def table(self) -> Tensor:
        """Word embeddings, (V, E)."""
        ...

    def __call__(self, embeddings: Tensor, visible: Tensor, keep: Tensor) -> Tensor:
        """Logits of the next token, (n, k, V).

        Args:
            embeddings: (n, l, E) word embeddings; positions are 0..l-1.
            visible: (n, l) boolean, false where nobody attends to a token.
            keep: (k,) positions, rising, whose logits are wanted.
        """
        ...


class CausalModel(TokenModel):
    """The log-odds of a continuation given its prompt, (N, 1), under teacher forcing.

    With p = prod_t p(y_t | prompt, y_<t) over the scored tokens, the output is ln p - ln(1 - p).
    Hence output="log_probability" explains ln p, and output="probability" p itself, as for every
    model with a single output.  Where the scored tokens have foils, it is the contrast
    sum_t (z_{y_t} - z_{foil_t}) of logits: for one token the log-odds of y against its foil.

    A token is predicted at the last visible token before it, so a hidden token has no influence
    at all, even where it is the last of the prompt.

    Args:
        decoder: Computes logits, see `Decoder`.
        mean: Take the geometric mean of the probabilities, and the mean of the contrasts, instead
            of product and sum.

    Source: Yin and Neubig 2022, "Interpreting Language Models with Contrastive Explanations"
    (EMNLP, arXiv 2202.10419), for the contrast.
    """

    def __init__(self, decoder: nn.Module, *, mean: bool = False) -> None:
        own: Any = decoder
        super().__init__(own.table.shape[1])
        self.decoder, self.mean = own, mean

    @property
    def table(self) -> Tensor:
        """All word embeddings, (V, E)."""
        found: Any = self.decoder.table
        return found.detach()

    def run(self, embeddings: Tensor, visible: Tensor, context: Tensor) -> Tensor:
        """Log-odds or contrasts (n, 1) of prompts of one length.

        Raises:
            InputError: No token of a text is scored, or no visible token stands before it.
        """
        tokens, foils = (context[..., i].round().long() - 1 for i in range(CONTEXT))
        row, at = (tokens >= 0).nonzero(as_tuple=True)
        source = _before(visible)[row, at]
        if len(row.unique()) < len(tokens) or bool((source < 0).any()):
            raise InputError(
                "a language model was asked for no token of a text, or for one with no visible "
                "token before it; see igbench.data.prompts."
            )
        keep, place = source.unique(return_inverse=True)
        end = int(keep[-1]) + 1  # what follows has no influence
        logits = self.decoder(embeddings[:, :end], visible[:, :end], keep)[row, place]
        odds = _odds(logits, tokens[row, at], foils[row, at])
        contrasted = foils[row, at] >= 0
        terms = torch.where(contrasted, odds, nn.functional.logsigmoid(odds))
        total = terms.new_zeros(tokens.shape).index_put((row, at), terms).sum(dim=1)
        if self.mean:
            total = total / (tokens >= 0).sum(dim=1)
        plain = (foils < 0).all(dim=1)
        below = torch.where(plain, total, -1.0)  # keeps the gradients of contrasts finite
        return torch.where(plain, below - (-torch.expm1(below)).log(), total)[:, None]


def _before(visible: Tensor) -> Tensor:
    """Position of the last visible token before each, (n, l); -1 where there is none.

    >>> _before(torch.tensor([[True, False, True, True]])).tolist()
    [[-1, 0, 0, 2]]
    """
    places = torch.arange(visible.shape[1], device=visible.device)
    last = torch.where(visible, places, -1).cummax(dim=1).values
    return nn.functional.pad(last, (1, -1), value=-1)


def _odds(logits: Tensor, tokens: Tensor, foils: Tensor) -> Tensor:
    """Log-odds ln p - ln(1 - p) of each token, or z_y - z_foil where it has a foil, (m,).

    The sum over all other tokens is taken as it is, for 1 - p has no digits left where p is near 1.

    Args:
        logits: (m, V).
        tokens: (m,).
        foils: (m,), -1 where there is none.
    """
    own = logits.gather(1, tokens[:, None])[:, 0]
    others = logits.scatter(1, tokens[:, None], float("-inf")).logsumexp(dim=1)
    foil = logits.gather(1, foils.clamp(min=0)[:, None])[:, 0]
    return own - torch.where(foils >= 0, foil, others)


@dataclass(frozen=True, eq=False)
class CausalEncoder(HuggingFaceEncoder):
    """From prompts to the tensors of a `CausalModel`.

    Every prompt begins with one special token, which draws most of the attention of a decoder
    (the attention sink) and is no feature: it never moves and is never removed.
    """

    def encode(self, text: str) -> Encoded:
        """The tokens of a prompt, with the first special token in front."""
        return behind(self.first, self.continuation(text))

    def continuation(self, text: str) -> Encoded:
        """The tokens of a text that follows a prompt, see `igbench.core.prompts`."""
        ids = self.plain(text)
        spans = tuple(spans_of(text, self._tokens(text, around=False)))
        return Encoded(text, ids, torch.zeros(len(ids), dtype=torch.bool), spans)


def behind(first: int | None, own: Encoded) -> Encoded:
    """Tokens with a special token in front, where there is one."""
    if first is None:
        return own
    return Encoded(
        own.text,
        torch.cat([torch.tensor([first]), own.ids]),
        torch.cat([torch.tensor([True]), own.special]),
        ((0, 0), *own.spans),
    )
