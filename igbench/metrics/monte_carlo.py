"""Monte Carlo standard errors: means over repeats, and the jackknife over draws.

A metric that draws has one of three: the spread of a mean over independent draws, the jackknife
over draws, or the spread over repeats of the whole measurement with other draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from igbench.core.batch import Batch, Measurement


def repeated(batch: Batch, repeats: int) -> list[Batch]:
    """The same batch R times, each with another `metric_seed`.

    What methods draw stays the same, so that maps differ only by what the metric does to them.

    Args:
        batch: The samples.
        repeats: R.
    """
    return [replace(batch, repeat=batch.repeat + r) for r in range(repeats)]


def averaged(
    values: Tensor, reason: str, curves: Mapping[str, tuple[Sequence[float], Tensor]] | None = None
) -> Measurement:
    """Mean over R repeats, with its standard error, sd / sqrt(R); none for a single one.

    Args:
        values: (R, N).
        reason: Why a value is NaN.
        curves: Name to (x (P,), y (R, N, P)).

    Example:
        >>> found = averaged(torch.tensor([[1.0], [3.0]]), "")
        >>> found.value.tolist(), found.std_error.tolist()
        ([2.0], [1.0])
    """
    count = len(values)
    return Measurement(
        values.mean(dim=0),
        values.std(dim=0) / math.sqrt(count) if count > 1 else None,
        reason,
        {name: (x, y.mean(dim=0)) for name, (x, y) in (curves or {}).items()},
    )


def mean_of(repeats: Sequence[Mapping[str, Measurement]]) -> dict[str, Measurement]:
    """Mean of R measurements of the same maps with other draws; see `averaged`.

    Args:
        repeats: R dicts from names of methods to measurements.
    """
    result = {}
    for name, first in repeats[0].items():
        own = [found[name] for found in repeats]
        curves = {
            curve: (x, torch.stack([m.curves[curve][1] for m in own]))
            for curve, (x, _) in first.curves.items()
        }
        result[name] = averaged(torch.stack([m.value for m in own]), first.reason, curves)
    return result


def jackknife(without_each: Tensor) -> Tensor:
    """Standard error of an estimate from its values without one of D draws, (..., D) to (...).

    sqrt((D - 1) / D sum (t_d - mean t)^2) (Efron and Stein 1981).

    Example:
        For the mean it is sd / sqrt(D), here of (1, 3).

        >>> jackknife(torch.tensor([3.0, 1.0])).tolist()
        1.0
    """
    return without_each.std(dim=-1, correction=0) * math.sqrt(without_each.shape[-1] - 1)


def maximum(values: Tensor) -> tuple[Tensor, Tensor | None]:
    """Largest of D draws and its standard error over other draws, (..., D) to (...) both.

    The error is the jackknife's, (1 - 1/D) times the distance to the second largest.  In the root
    mean square it is right to a seventh where the draws have the tails of a normal distribution,
    and up to 1.4 times too large where they pile up at a bound.  It is how far this maximum varies
    with the draws, and not how far it is below the supremum.  None for one draw.

    Example:
        >>> [float(v) for v in maximum(torch.tensor([1.0, 2.0, 4.0, 0.0]))]
        [4.0, 1.5]
    """
    if values.shape[-1] < 2:
        return values.amax(dim=-1), None
    return values.amax(dim=-1), jackknife(maxima_without_each(values))


def maxima_without_each(values: Tensor) -> Tensor:
    """Largest value with one of D draws left out, (..., D) to (..., D); D is at least 2.

    Example:
        >>> maxima_without_each(torch.tensor([1.0, 2.0, 4.0])).tolist()
        [4.0, 4.0, 2.0]
    """
    first, second = values.topk(2, dim=-1).values.split(1, dim=-1)
    index = values.argmax(dim=-1, keepdim=True)
    place = torch.arange(values.shape[-1], device=values.device)
    found = torch.where(place == index, second, first)
    return found.where(torch.isfinite(values).all(dim=-1, keepdim=True), math.nan)
