"""Parts of recipes that train small models to the same bits on every machine.

Training uses float64 and its own generators, and rounds every gradient and every weight to a coarse
grid at once: this removes the last digits, in which processors and thread counts differ, before the
next step can amplify them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from igbench.core import rng


@torch.no_grad()
def on_grid(tensors: Iterable[Tensor | None], grid: float) -> None:
    """Move every real number to the nearest multiple of `grid`, in place.

    >>> x = torch.tensor([0.3, 0.6])
    >>> on_grid([x], 0.5)
    >>> x.tolist()
    [0.5, 0.5]
    """
    for tensor in tensors:
        if tensor is not None and tensor.is_floating_point():
            tensor.div_(grid).round_().mul_(grid)


def one_cycle(t: float) -> float:
    """Share of the peak rate at time t in [0, 1): linear warm-up, then a falling cosine.

    >>> one_cycle(0.1), one_cycle(0.2), one_cycle(0.6)
    (0.5, 1.0, 0.5)
    """
    return t / 0.2 if t < 0.2 else 0.5 + 0.5 * math.cos(math.pi * (t - 0.2) / 0.8)


@torch.no_grad()
def draw_weights(module: nn.Module, seed: int, name: str, grid: float) -> None:
    """Fill weights, uniform with variance 2 / fan-in, drawn in float64 for the sake of equal bits.

    Parameters of one axis (biases, scales) stay as they are.

    Args:
        module: In float64.
        seed: Of the recipe.
        name: Of the model.
        grid: What all parameters are rounded to.
    """
    draws = rng.generator(seed, "initial weights", name)
    for tensor in module.parameters():
        if tensor.dim() > 1:
            bound = math.sqrt(6 / tensor[0].numel())
            unit = torch.rand(tensor.shape, generator=draws, dtype=torch.float64)
            tensor.copy_(bound * (2 * unit - 1))
    on_grid(module.parameters(), grid)
