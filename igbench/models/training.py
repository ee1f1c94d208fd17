"""Parts of recipes that train small models to the same bits on every machine, and their cache.

Training uses float64 and its own generators, and rounds every gradient and every weight to a coarse
grid at once: this removes the last digits, in which processors and thread counts differ, before the
next step can amplify them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.errors import InputError
from igbench.models import weights

logger = logging.getLogger(__name__)
M = TypeVar("M", bound=nn.Module)


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


def one_cycle(t: float, warm_up: float = 0.2) -> float:
    """Share of the peak rate at time t in [0, 1): linear warm-up, then a falling cosine.

    Args:
        t: Share of all steps that are done.
        warm_up: Share of the steps in which the rate rises.

    >>> one_cycle(0.1), one_cycle(0.2), one_cycle(0.6)
    (0.5, 1.0, 0.5)
    """
    if t < warm_up:
        return t / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (t - warm_up) / (1 - warm_up))


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


def cached(path: Path, build: Callable[[], M], name: str, fits: Callable[[M], bool]) -> M | None:
    """A module with its cached weights, or None; a file that does not fit is reported.

    Args:
        path: The file.
        build: Makes the module, in the dtype of its weights; the global generators stay.
        name: Of the model.
        fits: Whether the weights are the trained ones.
    """
    if not path.is_file():
        return None
    with weights.untouched_rng():
        module = build().eval()
    try:
        weights.fit_state(module, weights.load_state(path), repr(str(path)))
    except InputError as error:
        logger.warning("training %s again: %s", name, error)
        return None
    if not fits(module):
        logger.warning("training %s again: %r holds other weights", name, str(path))
        return None
    return module


def keep(module: nn.Module, path: Path, name: str) -> None:
    """Cache weights; where that fails, say so and go on.

    Args:
        module: The module.
        path: The file.
        name: Of the model.
    """
    try:
        weights.save_state(module, path)
    except OSError as error:
        logger.warning("%s is not cached, it will be trained again: %s", name, error)
