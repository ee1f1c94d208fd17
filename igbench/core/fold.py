"""A copy of a model whose batch norms are folded into the convolutions before them.

In evaluation a batch norm is a scale and a shift of each channel, which a convolution can do by its
own weights: one operation less, and one tensor less to write and to read.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger(__name__)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
LAYERS = (*CONVOLUTIONS, *NORMS)

Pair = tuple[str, str]
"""Dotted names of a convolution, and of the batch norm that alone reads its output."""


@dataclass(frozen=True)
class Folding:
    """A folded copy of a model, and how far it is from the model.

    Attributes:
        module: The copy; None where it is not used.
        norms: Number of batch norms that are folded.
        largest: Largest relative error, see `igbench.evaluation.precision.report`.
        mean: Its mean.
        inputs: Number of inputs that both are from.
    """

    module: nn.Module | None
    norms: int
    largest: float
    mean: float
    inputs: int

    @property
    def used(self) -> int:
        """Number of batch norms that are folded in the run."""
        return 0 if self.module is None else self.norms


class _Tracer(fx.Tracer):
    """Follows modules down to those of torch, and to such layers of whatever library."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LAYERS) or super().is_leaf_module(m, module_qualified_name)


def folded(model: nn.Module) -> tuple[nn.Module, int]:
    """A copy of a model with batch norms folded into convolutions, and how many of them.

    With gamma, beta, mean and variance of a channel, s = gamma / sqrt(variance + eps), the weights
    become s W and the bias s (b - mean) + beta, computed in float64.  A batch norm is folded if it
    is in evaluation mode with running statistics, alone reads what a convolution returns, and
    neither of them has hooks or is called twice.  Where the whole model cannot be traced by
    `torch.fx`, its parts are; what cannot be traced stays as it is.  The copy shares all other
    parameters with the model, which is not touched.

    Args:
        model: In evaluation mode.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    >>> copied, count = folded(net)
    >>> count, copied[1], type(net[1]).__name__
    (1, Identity(), 'BatchNorm2d')
    """
    try:
        own = copy.deepcopy(model, {id(p): p for p in model.parameters()})
        pairs = list(_pairs(own, ""))
    except Exception as error:  # a module may do anything while it is copied or traced
        log.debug("%s is not folded: %s", type(model).__name__, error)
        return model, 0
    for convolution, norm in pairs:
        layer, after = own.get_submodule(convolution), own.get_submodule(norm)
        assert isinstance(layer, CONVOLUTIONS)
        assert isinstance(after, NORMS)
        _replace(own, convolution, _fused(layer, after))
        _replace(own, norm, _what_is_left(after))
    return own, len(pairs)


def _pairs(root: nn.Module, prefix: str) -> Iterator[Pair]:
    """Pairs of a module that can be traced, otherwise those of its parts."""
    try:
        graph = _Tracer().trace(root)
    except Exception:  # control flow by values, and whatever else the code of a model may do
        for name, child in root.named_children():
            yield from _pairs(child, f"{prefix}{name}.")
        return
    for convolution, norm in _pairs_of(root, graph):
        yield prefix + convolution, prefix + norm


def _pairs_of(root: nn.Module, graph: fx.Graph) -> Iterator[Pair]:
    """Pairs in the graph of a module."""
    modules = dict(root.named_modules(remove_duplicate=False))
    nodes = [node for node in graph.nodes if node.op == "call_module"]
    calls = Counter(id(modules[str(node.target)]) for node in nodes)
    for node in nodes:
        before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        layer, norm = modules[str(before.target)], modules[str(node.target)]
        once = calls[id(layer)] == calls[id(norm)] == 1
        if once and _foldable(layer, norm):
            yield str(before.target), str(node.target)


def _foldable(layer: nn.Module, norm: nn.Module) -> bool:
    return (
        (type(layer) in CONVOLUTIONS or _pads(layer))
        and isinstance(norm, NORMS)
        and (type(norm) in NORMS or _acts(norm))
        and not norm.training
        and norm.running_mean is not None
        and not _hooked(layer)
        and not _hooked(norm)
    )


def _pads(layer: nn.Module) -> bool:
    """Whether a layer is timm's convolution that pads by the size of its input."""
    return isinstance(layer, nn.Conv2d) and type(layer).__name__ == "Conv2dSame"


def _acts(norm: nn.Module) -> bool:
    """Whether a batch norm is timm's, which ends in an activation."""
    return type(norm).__name__ == "BatchNormAct2d" and isinstance(
        getattr(norm, "act", None), nn.Module
    )


def _hooked(module: nn.Module) -> bool:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name) for name in names) or hasattr(module, "parametrizations")


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """A convolution that does the batch norm too, with parameters of its own."""
    wide: list[Any] = [copy.deepcopy(m).double() for m in (layer, norm)]
    fused: Any = fuse_conv_bn_eval(wide[0], wide[1])
    like: Tensor = next(layer.parameters())
    fused.to(like.dtype)
    if like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last):
        fused.to(memory_format=torch.channels_last)
    found: nn.Module = fused.requires_grad_(False).eval()
    return found


def _what_is_left(norm: nn.Module) -> nn.Module:
    """What a batch norm does besides: nothing, or timm's activation."""
    return norm.get_submodule("act") if _acts(norm) else nn.Identity()


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(root.get_submodule(parent), last, module)
