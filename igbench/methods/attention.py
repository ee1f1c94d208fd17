"""Attention of transformers: rollout, Chefer's relevance, conservative propagation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core.attention import Conservative, attentions
from igbench.core.batch import Batch
from igbench.core.token_attention import TokenAttentions, is_text, token_attentions
from igbench.core.tokens import TokenModel
from igbench.errors import InputError, NotDefinedError
from igbench.methods.base import BaseMethod
from igbench.methods.cam import enlarged


@dataclass(frozen=True)
class AttentionRollout(BaseMethod):
    """Attention rollout: the product of the attention of all layers.

    With A_l the attention of layer l averaged over heads and r the share of the residual, the
    product over layers of r I + (1 - r) A_l, the last layer leftmost, says how much each token of
    the input reaches each token of the output.  The map is the row of the class token, without the
    columns of prefix tokens, or the mean of the rows of the patches where the head averages them;
    a patch's value is shared out over its elements, so that entries sum to the share of the
    patches, below 1.  Of texts it is what the output reads: the row of the first token, of the last
    visible one for decoders, or the mean of those of all visible ones.  Magnitudes, the same for
    all classes.  Cost: one forward for each sample.

    Args:
        residual: r, above 0 and below 1.

    Raises:
        InputError: A residual out of range.

    Source: Abnar and Zuidema 2020, "Quantifying attention flow in transformers" (ACL), section 3.
    """

    residual: float = 0.5

    label = "Attention rollout (residual {residual:g})"
    reference = "Abnar, Zuidema 2020, section 3"
    kind = "local"
    signed = False
    looks_inside = True
    needs_gradient = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.residual < 1:
            raise InputError(f"residual is {self.residual}; it must be above 0 and below 1.")

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` for all but transformers."""
        if is_text(batch.score):
            return by_text(batch, self._of_text)

        def of(part: slice) -> Tensor:
            one = batch.select(part)
            with torch.no_grad():
                found = attentions(one.score, one.x, one.target, "attention rollout")
            product = rollout([a.double().mean(dim=1) for a in found.layers], self.residual)
            return enlarged(found.read(product), one.x, "nearest").to(one.x.dtype)

        return torch.cat(list(batch.score.in_chunks(len(batch), of)))

    def _of_text(self, one: Batch) -> tuple[TokenAttentions, Tensor]:
        with torch.no_grad():
            found = token_attentions(one.score, one.x, one.target, "attention rollout")
        return found, rollout([a.double().mean(dim=1) for a in found.layers], self.residual)


@dataclass(frozen=True)
class Chefer(BaseMethod):
    """Chefer's relevance: attention times its gradient, added up over the layers.

    R = I, and for each layer R <- R + E_h[(grad A * A)^+] R, with A its attention, the gradient
    that of f, the positive part before the mean over heads.  The map is the row of the class token,
    without the columns of prefix tokens, or the mean of the rows of the patches where the head
    averages them, shared out over the elements of each patch; of texts the rows that the output
    reads, as for rollout.  Magnitudes, specific to the class; entries sum to nothing in particular.
    Cost: one gradient for each sample.

    Source: Chefer, Gur and Wolf 2021, "Generic attention-model explainability for interpreting
    bi-modal and encoder-decoder transformers" (ICCV), eq. 5 and 6.
    """

    label = "Chefer's attention relevance"
    reference = "Chefer, Gur, Wolf 2021 (ICCV), eq. 5 and 6"
    kind = "local"
    signed = False
    looks_inside = True

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` for all but transformers."""
        if is_text(batch.score):
            return by_text(batch, self._of_text)

        def of(part: slice) -> Tensor:
            one = batch.select(part)
            with torch.enable_grad():
                found = attentions(one.score, one.x, one.target, "Chefer's relevance")
                layers = weighted(found.score, found.layers)
            return enlarged(found.read(relevance(layers)), one.x, "nearest").to(one.x.dtype)

        return torch.cat(list(batch.score.in_chunks(len(batch), of)))

    def _of_text(self, one: Batch) -> tuple[TokenAttentions, Tensor]:
        with torch.enable_grad():
            found = token_attentions(one.score, one.x, one.target, "Chefer's relevance")
            return found, relevance(weighted(found.score, found.layers))


@dataclass(frozen=True)
class CpLrp(BaseMethod):
    """Conservative propagation (CP-LRP): input times gradient of a transformer made linear.

    Attention and the standard deviations of layer norms are constants, and an activation y(x) is x
    times the constant y / x.  The entries sum to f(x) without what biases, the class token and the
    position embeddings contribute; products of two activations, as in gated layers, count twice.
    The batch's baseline takes no part.  Explains logits.  Cost: one gradient for each sample.

    Source: Ali et al. 2022, "XAI for transformers: better explanations through conservative
    propagation" (ICML), section 4.
    """

    label = "CP-LRP"
    reference = "Ali et al. 2022, section 4"
    looks_inside = True

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` for all but vision transformers."""
        if batch.score.output != "logit":
            raise NotDefinedError(
                f"CP-LRP explains logits, not {batch.score.output}; set output=logit."
            )

        def of(part: slice) -> Tensor:
            one = batch.select(part)
            x = one.x.detach().requires_grad_()
            with torch.enable_grad():
                found = attentions(one.score, x, one.target, "CP-LRP", Conservative())
                (gradient,) = torch.autograd.grad(found.score.sum(), x)
            return gradient * one.x

        return torch.cat(list(batch.score.in_chunks(len(batch), of)))


def by_text(batch: Batch, of: Callable[[Batch], tuple[TokenAttentions, Tensor]]) -> Tensor:
    """Maps (N, *F) of texts, one by one, since they have different numbers of tokens.

    Args:
        batch: Texts.
        of: Maps a batch of one text to its attention and the matrix (1, T, T) that is read.
    """
    model = batch.score.model
    assert isinstance(model, TokenModel)
    width = model.width

    def one_by_one(part: slice) -> Tensor:
        maps = []
        for i in range(part.start, part.stop):
            one = batch.select(slice(i, i + 1))
            found, matrix = of(one)
            maps.append(found.spread(found.read(matrix), one.x, width))
        return torch.cat(maps)

    return torch.cat(list(batch.score.in_chunks(len(batch), one_by_one)))


def weighted(score: Tensor, layers: Sequence[Tensor]) -> list[Tensor]:
    """Positive part of attention times its gradient, averaged over heads, (N, T, T) each.

    Args:
        score: f, (N,).
        layers: Attention (N, heads, T, T) of each layer, on which f depends.
    """
    gradients = torch.autograd.grad(score.sum(), layers, materialize_grads=True)
    pairs = zip(layers, gradients, strict=True)
    return [(a.detach() * g).double().relu().mean(dim=1) for a, g in pairs]


def rollout(layers: Sequence[Tensor], residual: float = 0.5) -> Tensor:
    """The product of r I + (1 - r) A over layers, the last one leftmost, (N, T, T).

    Args:
        layers: Attention (N, T, T) of each layer, the first one first; rows sum to 1, and so do
            those of the product.
        residual: r.

    >>> first = torch.tensor([[[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]]])
    >>> last = torch.tensor([[[0.4, 0.6, 0.0], [0.3, 0.3, 0.4], [0.0, 0.5, 0.5]]])
    >>> rollout([first, last])[0, 0].numpy().astype(float).round(4).tolist()
    [0.555, 0.3275, 0.1175]
    """
    one = torch.eye(layers[0].shape[-1]).to(layers[0])
    found = one.expand_as(layers[0])
    for attention in layers:
        found = (residual * one + (1 - residual) * attention) @ found
    return found


def relevance(layers: Sequence[Tensor]) -> Tensor:
    """R after all layers, from I by R <- R + A R, (N, T, T).

    Args:
        layers: Weighted attention A (N, T, T) of each layer, the first one first.

    >>> relevance([torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])]).tolist()
    [[[1.0, 1.0], [0.0, 1.0]]]
    """
    found = torch.eye(layers[0].shape[-1]).to(layers[0]).expand_as(layers[0])
    for attention in layers:
        found = found + attention @ found
    return found
