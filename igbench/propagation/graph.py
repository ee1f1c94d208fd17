"""Find operations without a rule in the graph that a model has left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.autograd.graph import get_gradient_edge


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ROUTES = _words(
    """AccumulateGrad Alias AsStrided BroadcastTensors Cat Chunk Clone Concat ConstantPadNd
    Contiguous Copy CopyBackwards CopySlices Detach Diagonal Expand Flip Gather Index IndexSelect
    MaskedFill MaskedSelect Movedim Narrow Permute PixelShuffle PixelUnshuffle ReflectionPad1D
    ReflectionPad2D ReflectionPad3D Repeat ReplicationPad1D ReplicationPad2D ReplicationPad3D
    Replaced ReshapeAlias Roll Select Slice Split SplitWithSizes Squeeze Stack T Take ToCopy
    Transpose Tril Triu Unbind Unfold UnsafeSplit UnsafeView Unsqueeze View ViewAsReal"""
)
"""Nodes that move elements."""

SUMS = _words(
    """Add AdaptiveAvgPool1D AdaptiveAvgPool2D AdaptiveAvgPool3D AvgPool1D AvgPool2D AvgPool3D
    Col2Im Cumsum Im2Col Lerp MeanDim Mean MkldnnAdaptiveAvgPool2D Neg Rsub Sub Sum
    UpsampleBicubic2D UpsampleBilinear2D UpsampleLinear1D UpsampleNearest1D UpsampleNearest2D
    UpsampleNearest3D UpsampleNearestExact1D UpsampleNearestExact2D UpsampleTrilinear3D
    CudnnBatchNorm MiopenBatchNorm NativeBatchNorm"""
)
"""Nodes that are linear in their inputs, with constant weights; batch norm in evaluation mode."""

CHOICES = _words(
    """AdaptiveMaxPool2D AdaptiveMaxPool3D Amax Max MaxPool2DWithIndices MaxPool3DWithIndices
    Maximum"""
)
"""Nodes that pass on the largest of their inputs."""

PRODUCTS = _words(
    """Addbmm Addmm Addmv Addr Baddbmm Bmm CompositeConvolution Convolution ConvolutionOverrideable
    CudnnConvolution Dot Linear Matmul Mkldnn MkldnnConvolution MklLinear Mm Mv ThnnConv2D
    """
)
"""Nodes that are linear in an activation while the others are constant: the weights."""


def name_of(node: Any) -> str:
    """The operation of a node: "Relu" of ReluBackward0."""
    return re.sub(r"(?<=.)Backward\d*$", "", node.name().rpartition("::")[2])


def nodes(output: Tensor) -> Iterator[Any]:
    """Every node of the graph behind a tensor, once."""
    stack, seen = [output.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack += [parent for parent, _ in node.next_functions]


def without_rule(output: Tensor, x: Tensor, *, linear_layers: bool) -> str:
    """The first operation of a graph that no rule covers, "" where there is none.

    Sees what the mode does not: operations inside of scripted or compiled code, of functions of
    their own, and of library calls.  What does not lead to the input, as weights do, is left out.

    Args:
        output: What the model returned.
        x: The input, a leaf.
        linear_layers: Whether the plain gradient of a linear layer is its rule; where it is not,
            every linear layer has to be replaced.
    """
    behind = _leading_to(output, get_gradient_edge(x).node)
    for node in nodes(output):
        name = name_of(node)
        if node not in behind or name in ROUTES | SUMS | CHOICES:
            continue
        live = [parent in behind for parent, _ in node.next_functions]
        if sum(live) > 1 or (name == "Div" and live[-1]):
            return f"{name} of two activations"
        if name not in {"Mul", "Div"} and not (linear_layers and name in PRODUCTS):
            return name
    return ""


def _leading_to(output: Tensor, root: Any) -> set[Any]:
    """Nodes of a graph from which there is a way to one of them, which is a leaf."""
    children: dict[Any, list[Any]] = {}
    for node in nodes(output):
        for parent, _ in node.next_functions:
            children.setdefault(parent, []).append(node)
    found, stack = {root}, [root]
    while stack:
        for child in children.get(stack.pop(), ()):
            if child not in found:
                found.add(child)
                stack.append(child)
    return found
