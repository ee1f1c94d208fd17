"""Attention maps of a model of texts, and what its output reads of them, for each token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core.attention import AttentionMode, heads_of
from igbench.core.score import Score
from igbench.core.tokens import TokenModel, is_kept, is_visible
from igbench.errors import NotDefinedError


@dataclass(frozen=True)
class TokenAttentions:
    """The attention of every layer in one forward pass over one text.

    Attributes:
        score: f, (1,).
        layers: Attention (1, heads, T, T) of each layer, from queries to keys, as tensors that f
            depends on; rows sum to 1.
        kept: (T,) positions of the tokens in the packed text.
        rows: (T,) weights of the rows that the output reads; they sum to 1.
    """

    score: Tensor
    layers: tuple[Tensor, ...]
    kept: Tensor
    rows: Tensor

    def read(self, matrix: Tensor) -> Tensor:
        """What the output reads of a matrix (1, T, T), for each token, (T,)."""
        return self.rows.to(matrix) @ matrix[0]

    def spread(self, values: Tensor, x: Tensor, width: int) -> Tensor:
        """Values (T,) of tokens, shared out over the E embedding columns of a text (1, L, ...)."""
        found = torch.zeros_like(x)
        found[0, self.kept, :width] = (values / width).to(x)[:, None]
        return found


def is_text(score: Score) -> bool:
    """Whether f is that of a model of texts."""
    return isinstance(score.model, TokenModel)


def token_attentions(score: Score, x: Tensor, target: Tensor | None, what: str) -> TokenAttentions:
    """Attention maps of a forward pass over one text, differentiable where gradients are on.

    Args:
        score: f of a `TokenModel`.
        x: (1, L, E + 1 + C).
        target: (1,) class, or None.
        what: Name of the method, for messages.

    Raises:
        NotDefinedError: The model has no attention among all tokens, or does not say which of them
            its output reads.
    """
    model = score.model
    assert isinstance(model, TokenModel)
    if model.readout is None:
        raise NotDefinedError(
            f"{what} needs a transformer that says which token its output reads, and "
            f"{type(model).__name__} does not; choose a method that takes any model, such as ig."
        )
    state = x[0, :, model.width].detach()
    kept = is_kept(state).nonzero()[:, 0]
    seen = AttentionMode()
    own = x if x.requires_grad else x.detach().requires_grad_(torch.is_grad_enabled())
    with seen:
        out = score(own, target)
    layers = tuple(a for a in (heads_of(a, 1) for a in seen.maps) if a is not None)
    if not layers or {tuple(a.shape[2:]) for a in layers} != {(len(kept), len(kept))}:
        shapes = ", ".join(list(dict.fromkeys(str(tuple(a.shape)) for a in seen.maps))[:3])
        raise NotDefinedError(
            f"{what} needs attention among all {len(kept)} tokens in every layer that can be seen; "
            f"that of this model has {f'the shapes {shapes}' if shapes else 'none'}; choose a "
            "method that takes any model, such as ig."
        )
    return TokenAttentions(out, layers, kept, _rows(model.readout, is_visible(state[kept])))


def _rows(readout: str, visible: Tensor) -> Tensor:
    """Weights of the rows that the output reads, (T,)."""
    seen = visible.double()
    if readout == "mean":
        return seen / seen.sum()
    place = 0 if readout == "first" else int((torch.arange(len(seen)).to(seen) * seen).argmax())
    return torch.zeros_like(seen).index_fill(0, torch.tensor([place], device=seen.device), 1.0)
