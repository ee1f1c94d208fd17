"""Attention maps of a forward pass of any transformer, fused or not.

A mode of torch sees the functions that a model calls, so that nothing is changed or left on it:
attention by `softmax` as it is, fused attention and `nn.MultiheadAttention` in their plain formula.
Scripted and compiled code is not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf
from torch.overrides import TorchFunctionMode

from igbench.core.layers import MOST_PREFIX, prefix_counts, token_grid
from igbench.core.score import Score
from igbench.errors import NotDefinedError, check_images

SOFTMAXES = (torch.softmax, Tensor.softmax, nnf.softmax)

WITHOUT_RULE = (
    torch.tanh,
    Tensor.tanh,
    torch.sigmoid,
    Tensor.sigmoid,
    nnf.elu,
    nnf.celu,
    nnf.selu,
    nnf.softplus,
    nnf.rms_norm,
    nnf.group_norm,
)
"""Functions that conservative propagation does not make linear."""


class AttentionMode(TorchFunctionMode):
    """Keeps the attention of every layer, (..., queries, keys), as it enters the rest of the model.

    Attributes:
        maps: Attention by layer, in the order of the calls.
        tokens: Lengths T of the sequences (N, T, channels) that linear layers got.
    """

    constant = False
    """Whether attention enters as a constant, so that no gradient passes through it."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []
        self.tokens: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        own = kwargs or {}
        if func is nnf.scaled_dot_product_attention:
            return self._fused(*args, **own)
        if func is nnf.multi_head_attention_forward:
            return self._multi_head(*args, **own)
        found = func(*args, **own)
        if func in SOFTMAXES and found.dim() > 2 and found.shape[-1] == found.shape[-2]:
            if own.get("dim", *args[1:2]) in (-1, found.dim() - 1):
                return self._entered(found)
        elif func is nnf.linear and found.dim() == 3:
            self.tokens |= set(found.shape[:2])  # either axis may be that of the samples
        return found

    def _entered(self, attention: Tensor) -> Tensor:
        self.maps.append(attention.detach() if self.constant else attention)
        return self.maps[-1]

    def _fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Scaled dot-product attention by its formula."""
        if is_causal or enable_gqa or dropout_p:
            raise NotDefinedError(
                "the model's fused attention is causal, grouped or with dropout, which has no map; "
                "load it with attn_implementation='eager', or choose a method that takes any "
                "model, such as ig."
            )
        logits = query @ key.transpose(-2, -1) * (scale or 1 / math.sqrt(query.shape[-1]))
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            logits = logits.masked_fill(~attn_mask, -math.inf) if hidden else logits + attn_mask
        return self._entered(logits.softmax(dim=-1)) @ value

    def _multi_head(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        _channels: int,
        heads: int,
        in_weight: Tensor | None,
        in_bias: Tensor | None,
        bias_k: Tensor | None,
        bias_v: Tensor | None,
        add_zero: bool,
        _dropout: float,
        out_weight: Tensor,
        out_bias: Tensor | None,
        **own: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Self-attention of `nn.MultiheadAttention` on (T, N, channels), by its formula."""
        masks = own.get("attn_mask"), own.get("key_padding_mask")
        plain = all(v is None for v in (bias_k, bias_v, *masks)) and not add_zero
        if in_weight is None or not plain or key is not query or value is not query:
            raise NotDefinedError(
                "the model has cross-attention, masks or added keys, which attention maps of "
                "images do not cover; choose a method that takes any model, such as ig."
            )
        t, n, channels = query.shape
        packed = nnf.linear(query, in_weight, in_bias).view(t, n, 3, heads, channels // heads)
        mixed = self._fused(*packed.permute(2, 1, 3, 0, 4))
        out = nnf.linear(mixed.permute(2, 0, 1, 3).reshape(t, n, channels), out_weight, out_bias)
        if not own.get("need_weights", True):
            return out, None
        average = own.get("average_attn_weights", True)
        return out, self.maps[-1].mean(dim=1) if average else self.maps[-1]


class Conservative(AttentionMode):
    """Makes a transformer linear in its tokens, so that gradient times input keeps the output.

    Attention and the standard deviations of layer norms are constants, and an activation y(x) is x
    times the constant y / x.

    Source: Ali et al. 2022, "XAI for transformers: better explanations through conservative
    propagation" (ICML), section 4; the activations as in Achtibat et al. 2024, "AttnLRP" (ICML).
    """

    constant = True

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        own = kwargs or {}
        if func is nnf.layer_norm:
            return _centred(*args, **own)
        if func in (nnf.gelu, nnf.silu, nnf.hardswish, nnf.mish):
            x = args[0]
            y = func(x.detach(), *args[1:], **{k: v for k, v in own.items() if k != "inplace"})
            slope = torch.where(x == 0, 0.5, y / x.detach())  # that of all four at 0
            return x * slope
        if func in WITHOUT_RULE:
            raise NotDefinedError(
                f"CP-LRP has no rule for {func.__name__}; it is defined for transformers with "
                "GELU, SiLU or ReLU."
            )
        return super().__torch_function__(func, types, args, kwargs)


def _centred(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """A layer norm whose standard deviation is a constant."""
    axes = tuple(range(-len(shape), 0))
    off = x - x.mean(dim=axes, keepdim=True)
    scale = (off.detach().square().mean(dim=axes, keepdim=True) + eps).sqrt()
    found = off / scale if weight is None else off / scale * weight
    return found if bias is None else found + bias


@dataclass(frozen=True)
class Attentions:
    """The attention of every layer in one forward pass.

    Attributes:
        score: f, (N,).
        layers: Attention (N, heads, T, T) of each layer, from queries to keys, as tensors that f
            depends on; rows sum to 1.
        grid: Rows and columns of the patches, and the number of tokens before them.
        by_class: Whether the head reads the first token; else it reads the patches.
    """

    score: Tensor
    layers: tuple[Tensor, ...]
    grid: tuple[int, int, int]
    by_class: bool

    def read(self, matrix: Tensor) -> Tensor:
        """What the head reads of a matrix (N, T, T), for each patch, (N, h, w).

        The row of the class token, or the mean of the rows of the patches.
        """
        h, w, prefix = self.grid
        rows = matrix[:, 0] if self.by_class else matrix[:, prefix:].mean(dim=1)
        return rows[:, prefix:].unflatten(1, (h, w))


def attentions(
    score: Score, x: Tensor, target: Tensor | None, what: str, mode: AttentionMode | None = None
) -> Attentions:
    """Attention maps of a forward pass, differentiable where gradients are on.

    Args:
        score: f.
        x: (N, C, H, W).
        target: (N,) classes, or None.
        what: Name of the method, for messages.
        mode: What sees, and may change, the functions that the model calls.

    Raises:
        NotDefinedError: The samples are no images, or the model has no attention among all tokens.
    """
    check_images(what, x)
    seen = mode or AttentionMode()
    own = x if x.requires_grad else x.detach().requires_grad_(torch.is_grad_enabled())
    with seen:
        out = score(own, target)
    if not seen.maps:
        raise NotDefinedError(
            f"{what} needs a vision transformer, and the model calls no attention that can be "
            "seen (scripted and compiled code cannot); choose a method that takes any model, such "
            "as ig."
        )
    by_head = [heads_of(a, len(x)) for a in seen.maps]
    layers = tuple(a for a in by_head if a is not None)
    lengths = {tuple(a.shape[2:]) for a in layers}
    t, same = next(iter(lengths), (0, 0))
    whole = len(layers) == len(by_head) and len(lengths) == 1 and t == same and t in seen.tokens
    model = score.model if isinstance(score.model, nn.Module) else nn.Module()
    counts = prefix_counts(model) or range(MOST_PREFIX + 1)
    grid = token_grid(counts, t, tuple(x.shape[2:])) if whole else None
    if grid is None:
        shapes = ", ".join(list(dict.fromkeys(str(tuple(a.shape)) for a in seen.maps))[:3])
        raise NotDefinedError(
            f"{what} needs attention among all patches of the image in every layer; that of this "
            f"model has the shapes {shapes} (windows, pooled or cross-attention); choose a method "
            "that takes any model, such as ig."
        )
    return Attentions(out, layers, grid, grid[2] > 0 and _by_class(model))


def heads_of(attention: Tensor, n: int) -> Tensor | None:
    """Attention as (N, heads, T, T); None where the first axis is not that of the samples.

    >>> heads_of(torch.zeros(4, 5, 5), 2).shape
    torch.Size([2, 2, 5, 5])
    """
    if attention.dim() == 4:
        return attention if len(attention) == n else None
    if attention.dim() == 3 and len(attention) % n == 0:
        return attention.unflatten(0, (n, -1))
    return None


def _by_class(model: nn.Module) -> bool:
    """Whether a transformer with a class token reads it, and does not average its patches."""
    if getattr(getattr(model, "config", None), "use_mean_pooling", False):
        return False
    for module in model.modules():
        pool = getattr(module, "global_pool", None)
        if isinstance(pool, str):
            return pool in ("", "token")
    return True
