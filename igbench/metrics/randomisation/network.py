"""Copies of a network with randomised layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from igbench.core import callers, rng
from igbench.core.batch import Batch
from igbench.errors import NotDefinedError

Init = Literal["scale", "torch"]
Order = Literal["top_down", "bottom_up", "independent"]


@dataclass(frozen=True)
class Network:
    """Copy of a network with layers to randomise, beside the original.

    There is a single copy; its layers are randomised in place, and restored.  The user's network is
    read and never changed.

    Attributes:
        original: The user's network.
        copy: The network with some layers at random.
        layers: Dotted names of the layers with weights, in the order of the forward pass.
        seed: Seed of the weights.
        init: How weights are drawn, see `drawn`.
    """

    original: nn.Module
    copy: nn.Module
    layers: tuple[str, ...]
    seed: int
    init: Init

    def drawn_by(self, seed: int) -> Network:
        """The same two networks, with random weights of another seed."""
        return replace(self, seed=seed)

    @torch.no_grad()
    def randomise(self, layer: str) -> None:
        """Draw all parameters of a layer anew, by (seed, name of the layer and parameter).

        Args:
            layer: Dotted name.
        """
        module = self.copy.get_submodule(layer)
        learnt = dict(self.original.get_submodule(layer).named_parameters(recurse=False))
        fan_in = max(p[0].numel() for p in learnt.values() if p.dim() > 1)
        for name, parameter in module.named_parameters(recurse=False):
            g = rng.generator(self.seed, "mprt", f"{layer}.{name}")
            parameter.copy_(drawn(learnt[name], fan_in, self.init, g))

    @torch.no_grad()
    def restore(self) -> None:
        """Reset the copy to the weights of the original."""
        for mine, learnt in zip(self.copy.parameters(), self.original.parameters(), strict=True):
            mine.copy_(learnt)


def drawn(learnt: Tensor, fan_in: int, init: Init, g: torch.Generator) -> Tensor:
    """Random parameters of the shape and type of learnt ones.

    - "scale": independent normal numbers with the mean square of the learnt ones, so that the
      statistics that batch normalisation keeps still fit the size of the activations;
    - "torch": uniform in +-1/sqrt(fan_in), PyTorch's initialisation of linear and convolutional
      layers, weights and biases alike.

    Args:
        learnt: Any shape.
        fan_in: Inputs of one output of the layer.
        init: "scale" or "torch".
        g: Generator.
    """
    if init == "scale":
        size = learnt.double().square().mean().sqrt().cpu()
        values = size * torch.randn(learnt.shape, generator=g, dtype=torch.float64)
    else:
        unit = torch.rand(learnt.shape, generator=g, dtype=torch.float64)
        values = (2 * unit - 1) / math.sqrt(fan_in)
    return values.to(learnt)


def network(batch: Batch, init: Init) -> Network:
    """Copy of the network of a batch, with its layers in order.

    Args:
        batch: The samples; the first is passed through the model to order its layers.
        init: "scale" or "torch", see `drawn`.

    Raises:
        InputError: The model is not a torch module, or has no weights.
    """
    model = batch.score.model
    if not isinstance(model, nn.Module):
        raise NotDefinedError(
            "weights are made random layer by layer, so the model must be a torch module, not a "
            "function."
        )
    twin = callers.duplicate(model)
    layers = layers_in_order(twin, batch.score.inputs(batch.x[:1]))
    if not layers:
        raise NotDefinedError("the model has no layer with weights that could be made random.")
    return Network(model, twin, layers, batch.metric_seed, init)


def layers_in_order(model: nn.Module, x: Tensor) -> tuple[str, ...]:
    """Names of the modules with a weight of their own (of two axes or more), by first use at x.

    Layers that are not used at x are left out; so are norms, whose parameters have one axis.

    Args:
        model: The model.
        x: (1, *F) a sample.
    """
    weighted = {
        name: module
        for name, module in model.named_modules()
        if any(p.dim() > 1 for p in module.parameters(recurse=False))
    }
    met: dict[str, None] = {}

    def noting(name: str) -> object:
        return lambda module, args: met.setdefault(name)

    handles = [m.register_forward_pre_hook(noting(n)) for n, m in weighted.items()]
    try:
        # With gradients, as some attention layers skip their parts without them.
        with torch.enable_grad():
            model(x.detach().clone().requires_grad_().clone())  # the model may work in place
    finally:
        for handle in handles:
            handle.remove()
    return tuple(met)


def stages(
    layers: Sequence[str], order: Order, count: int | None
) -> Iterator[tuple[float, tuple[str, ...]]]:
    """Randomised layers of each stage: fractions in (0, 1], and names.

    Args:
        layers: L names from the input to the output.
        order: "top_down": from the output downwards, cascading, the fraction is that of random
            layers; "bottom_up": from the input upwards; "independent": one layer alone, the
            fraction is its place, counted from the output.
        count: Number of stages, at even distances; None, or more than L, for one for each layer.

    Example:
        >>> list(stages(("a", "b"), "top_down", None))
        [(0.5, ('b',)), (1.0, ('b', 'a'))]
    """
    ranked = list(layers) if order == "bottom_up" else list(layers)[::-1]
    total = len(ranked)
    steps = total if count is None else min(count, total)
    for k in range(1, steps + 1):
        many = math.ceil(k * total / steps)
        chosen = ranked[many - 1 : many] if order == "independent" else ranked[:many]
        yield many / total, tuple(chosen)
