"""Activations of a layer, and the derivatives of the explained output by them, in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from igbench.core.layers import check_layer, top_layers
from igbench.core.score import Score, frozen
from igbench.errors import InputError, NotDefinedError

Positions = Literal["mean", "all"]
"""What becomes of the places of an image: averaged, or every one of them a feature."""


def find_layer(model: object, name: str) -> nn.Module:
    """The layer of a model with a name.

    Args:
        model: A torch module.
        name: Dotted name.

    Raises:
        InputError: The model has no layers, no name is given, or no layer has that name; the
            message names the nearest.

    >>> find_layer(nn.Sequential(nn.Flatten(), nn.Linear(2, 1)), "1")
    Linear(in_features=2, out_features=1, bias=True)
    """
    if not isinstance(model, nn.Module) or not any(True for _ in model.children()):
        raise NotDefinedError("concepts need a torch module with layers, which this model is not.")
    if not name:
        raise InputError(
            "the model names no layer of its own for concepts; set layer=NAME, for example one of "
            f"{top_layers(model)}."
        )
    return check_layer(model, name)


def activations(score: Score, layer: nn.Module, x: Tensor, positions: Positions) -> np.ndarray:
    """Activations of a layer, a row of D numbers for each input, (N, D) in float64.

    Cost: N forwards.

    Args:
        score: The explained output, whose model holds the layer.
        layer: From `find_layer`.
        x: (N, *F) inputs.
        positions: "mean" averages over the places of an image, so that D is the number of
            channels; "all" makes every number of the layer a feature.

    Raises:
        InputError: The layer returns no tensor with a row for each input, or takes part more than
            once or never.
    """

    def of(part: slice) -> np.ndarray:
        with torch.no_grad(), _caught(layer, len(x[part])) as caught:
            score.outputs(x[part])
        return _reduced(_only(caught), positions, mean=True)

    return np.concatenate(list(score.in_chunks(len(x), of)))


def derivatives(
    score: Score, layer: nn.Module, x: Tensor, target: Tensor | None, positions: Positions
) -> np.ndarray:
    """Derivatives of the explained output by the activations of a layer, (N, D) in float64.

    With positions="mean" they are summed over the places, which is the derivative for the same
    change at every place.  Cost: N forwards and N gradients.

    Args:
        score: The explained output, whose model holds the layer.
        layer: From `find_layer`.
        x: (N, *F) inputs.
        target: (N,) classes; None for a model with a single output.
        positions: As for `activations`.

    Raises:
        InputError: As for `activations`, or the output has no gradient by the layer.
    """

    def of(part: slice) -> np.ndarray:
        own = None if target is None else target[part].to(x.device)
        with torch.enable_grad(), frozen(score.model), _caught(layer, len(x[part])) as caught:
            total = score(x[part], own).sum()
            leaf = _only(caught)
            found = None
            if total.requires_grad:
                (found,) = torch.autograd.grad(total, leaf, allow_unused=True)
        if found is None:
            raise InputError(
                "the output has no gradient by this layer; set layer=NAME of another one."
            )
        return _reduced(found, positions, mean=False)

    return np.concatenate(list(score.in_chunks(len(x), of)))


@contextmanager
def _caught(layer: nn.Module, rows: int) -> Iterator[list[Tensor]]:
    """Outputs of a layer during the context, as leaves; what follows gets a copy of them."""
    caught: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.dim() < 2 or len(output) != rows:
            what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(
                f"the layer returns {what} for {rows} inputs, where concepts need a tensor with a "
                "row for each; set layer=NAME of another one."
            )
        leaf = output.detach().clone().requires_grad_(torch.is_grad_enabled())
        caught.append(leaf)
        return leaf.clone()  # which layers behind it may change in place

    handle = layer.register_forward_hook(hook)
    try:
        yield caught
    finally:
        handle.remove()


def _only(caught: list[Tensor]) -> Tensor:
    if len(caught) != 1:
        raise InputError(
            f"the layer takes part {len(caught)} times in one pass, where concepts need once; set "
            "layer=NAME of another one."
        )
    return caught[0]


def _reduced(value: Tensor, positions: Positions, *, mean: bool) -> np.ndarray:
    """(N, channels, ...) or (N, tokens, channels) as (N, D) in float64."""
    value = value.detach().cpu().double()
    if positions == "mean" and value.dim() > 2:
        axes = (1,) if value.dim() == 3 else tuple(range(2, value.dim()))
        value = value.mean(axes) if mean else value.sum(axes)
    return value.flatten(1).numpy()
