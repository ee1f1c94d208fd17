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

from igbench.core.same_padding import SameConv2d

log = logging.getLogger(__name__)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
LAYERS = (*CONVOLUTIONS, *NORMS)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardtanh)
"""Activations that may write over what they read, whose gradient their result tells."""


@dataclass(frozen=True)
class Chain:
    """Layers of which each alone reads the output of the one before, by their dotted names.

    Attributes:
        convolution: The first.
        norm: The batch norm behind it.
        activation: What comes next, if it may write over what it reads.
    """

    convolution: str
    norm: str
    activation: str | None = None

    def within(self, prefix: str) -> Chain:
        """The chain of a part, as one of the whole."""
        activation = None if self.activation is None else prefix + self.activation
        return Chain(prefix + self.convolution, prefix + self.norm, activation)


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
    `torch.fx`, its parts are; what cannot be traced stays as it is.  An activation that alone reads
    what is folded (ReLU, ReLU6, Hardtanh) writes over it: one tensor less in memory, and the same
    bits.  timm's convolutions that pad by the size of their input do so without a copy of it.  The
    copy shares all other parameters with the model, which is not touched.

    Args:
        model: In evaluation mode.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    >>> copied, count = folded(net)
    >>> count, copied[1], type(net[1]).__name__
    (1, Identity(), 'BatchNorm2d')
    """
    try:
        own = copy.deepcopy(model, {id(p): p for p in model.parameters()})
        chains = list(_chains(own, ""))
    except Exception as error:  # a module may do anything while it is copied or traced
        log.debug("%s is not folded: %s", type(model).__name__, error)
        return model, 0
    for chain in chains:
        layer, after = own.get_submodule(chain.convolution), own.get_submodule(chain.norm)
        assert isinstance(layer, CONVOLUTIONS)
        assert isinstance(after, NORMS)
        _replace(own, chain.convolution, _fused(layer, after))
        _replace(own, chain.norm, _what_is_left(after))
        if chain.activation is not None:
            _replace(own, chain.activation, _in_place(own.get_submodule(chain.activation)))
    return own, len(chains)


def _chains(root: nn.Module, prefix: str) -> Iterator[Chain]:
    """Chains of a module that can be traced, otherwise those of its parts."""
    try:
        graph = _Tracer().trace(root)
    except Exception:  # control flow by values, and whatever else the code of a model may do
        for name, child in root.named_children():
            yield from _chains(child, f"{prefix}{name}.")
        return
    for chain in _chains_of(root, graph):
        yield chain.within(prefix)


def _chains_of(root: nn.Module, graph: fx.Graph) -> Iterator[Chain]:
    """Chains in the graph of a module."""
    modules = dict(root.named_modules(remove_duplicate=False))
    nodes = [node for node in graph.nodes if node.op == "call_module"]
    calls = Counter(id(modules[str(node.target)]) for node in nodes)

    def called(node: fx.Node | None) -> str | None:
        """The name of a module that is called here and nowhere else."""
        if node is None or node.op != "call_module":
            return None
        name = str(node.target)
        return name if calls[id(modules[name])] == 1 else None

    for node in nodes:
        before, norm, after = called(_read_by(node)), called(node), called(_reader_of(node))
        if before and norm and _foldable(modules[before], modules[norm]):
            writes = after is not None and _overwrites(modules[after])
            yield Chain(before, norm, after if writes else None)


def _read_by(node: fx.Node) -> fx.Node | None:
    """What a node reads, if it reads nothing else and nothing else reads that."""
    before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
    return before if isinstance(before, fx.Node) and len(before.users) == 1 else None


def _reader_of(node: fx.Node) -> fx.Node | None:
    """What alone reads the output of a node."""
    return next(iter(node.users)) if len(node.users) == 1 else None


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
    return SameConv2d.like(fused) if _pads(layer) else found


def _what_is_left(norm: nn.Module) -> nn.Module:
    """What a batch norm does besides: nothing, or timm's activation."""
    return _in_place(norm.get_submodule("act")) if _acts(norm) else nn.Identity()


def _overwrites(module: nn.Module) -> bool:
    """Whether a module may write over what it reads."""
    return type(module) in ACTIVATIONS and not _hooked(module)


def _in_place(module: nn.Module) -> nn.Module:
    """An activation that writes over what it reads; another module as it is."""
    if not _overwrites(module):
        return module
    own: Any = copy.copy(module)
    own.inplace = True
    found: nn.Module = own
    return found


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(root.get_submodule(parent), last, module)
