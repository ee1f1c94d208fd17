"""Noise for tables: numbers move a little, categories now and then become another one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from igbench.core.features import Features


def noisy(
    x: Tensor,
    features: Features,
    scale: float,
    draws: int,
    g: torch.Generator,
    still: Tensor | None = None,
) -> Tensor:
    """Versions of one sample with noise everywhere, (D, *F).

    Every number gets normal noise N(0, scale^2).  A category, a numbered feature of several
    elements that are one-hot in the sample, becomes another one with probability scale sqrt(2/pi)
    (at most 1), the expected size of that noise; all others are equally likely.

    Args:
        x: (*F) the sample.
        features: What its elements belong to.
        scale: Standard deviation of the noise, in units of the model's input.
        draws: D.
        g: Generator; what it draws depends on the shape and the number of features alone.
        still: (*F) boolean, true where noise leaves an element alone, see `Batch.still`.

    >>> from igbench.core.features import resolve
    >>> x, unit = torch.tensor([0.5, 0.0, 1.0]), resolve(torch.tensor([0, 1, 1]), (3,))
    >>> found = noisy(x, unit, 9.0, 2, torch.Generator().manual_seed(0))
    >>> found[:, 1:].tolist(), bool((found[:, 0] == 0.5).any())
    ([[1.0, 0.0], [1.0, 0.0]], False)
    """
    shape = (draws, *x.shape)
    normal = torch.randn(shape, generator=g, dtype=torch.float64)
    if still is not None:
        normal = normal.masked_fill(still.cpu(), 0)
    moves = torch.rand(draws, features.count, generator=g, dtype=torch.float64)
    choices = torch.rand(draws, features.count, generator=g, dtype=torch.float64)
    found = (x.detach().cpu().double() + scale * normal).flatten(1)
    clean = x.detach().cpu().double().flatten()
    for group, own in categories(clean, features):
        if still is not None and bool(still.cpu().flatten()[own].any()):
            continue  # a word whose numbers look like a category
        size, now = len(own), int(clean[own].argmax())
        other = (choices[:, group] * (size - 1)).long()
        other = other + (other >= now)
        moved = moves[:, group] < scale * math.sqrt(2 / math.pi)
        place = torch.where(moved, other, now)
        found[:, own] = torch.eye(size, dtype=torch.float64)[place]
    return found.view(shape).to(x)


def categories(x: Tensor, features: Features) -> list[tuple[int, Tensor]]:
    """Numbers of the features that are categories in a sample, and positions of their elements.

    Args:
        x: (E,) the elements of the sample on the CPU.
        features: What they belong to; those that have a name, such as pixels, are no categories.
    """
    if not features.name.startswith("custom"):
        return []
    numbers = features.index.flatten().cpu()
    found = []
    for group in range(features.count):
        own = (numbers == group).nonzero()[:, 0]
        part = x[own]
        if len(own) > 1 and bool(((part == 0) | (part == 1)).all()) and float(part.sum()) == 1:
            found.append((group, own))
    return found
