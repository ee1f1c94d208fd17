"""How far would a score be with other draws?  Monte Carlo standard errors, all in one place.

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
    """The same batch R times, with other numbers for what metrics draw.

    What methods draw stays, so that maps differ by what the metric does to them alone.
    """
    return [replace(batch, repeat=batch.repeat + r) for r in range(repeats)]


def averaged(
    values: Tensor, reason: str, curves: Mapping[str, tuple[Sequence[float], Tensor]] | None = None
) -> Measurement:
    """The mean over R repeats, with its standard error, sd / sqrt(R); none for a single one.

    Args:
        values: (R, N).
        reason: Why a value is NaN.
        curves: Name to (x (P,), y (R, N, P)).
    """
    count = len(values)
    return Measurement(
        values.mean(dim=0),
        values.std(dim=0) / math.sqrt(count) if count > 1 else None,
        reason,
        {name: (x, y.mean(dim=0)) for name, (x, y) in (curves or {}).items()},
    )


def mean_of(repeats: Sequence[Mapping[str, Measurement]]) -> dict[str, Measurement]:
    """The mean of R measurements of the same maps, which differ in their draws; see `averaged`."""
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
    """Standard error of an estimate from its values with one of D draws left out, (..., D).

    sqrt((D - 1) / D sum (t_d - mean t)^2) (Efron and Stein 1981).
    """
    return without_each.std(dim=-1, correction=0) * math.sqrt(without_each.shape[-1] - 1)


def maximum(values: Tensor) -> tuple[Tensor, Tensor | None]:
    """Largest of D draws and its standard error over other draws, (..., D) to (...) both.

    The error is the jackknife's, (1 - 1/D) times the distance to the second largest.  In the root
    of its mean square it is right to a seventh where the draws have the tails of a normal
    distribution, and up to 1.4 times too large where they pile up at a bound.  It says how far this
    maximum moves with the draws, and not how far it is below the supremum.  None for one draw.
    """
    if values.shape[-1] < 2:
        return values.amax(dim=-1), None
    return values.amax(dim=-1), jackknife(maxima_without_each(values))


def maxima_without_each(values: Tensor) -> Tensor:
    """Largest value with one of D draws left out, (..., D) to (..., D); D is at least 2."""
    first, second = values.topk(2, dim=-1).values.split(1, dim=-1)
    index = values.argmax(dim=-1, keepdim=True)
    place = torch.arange(values.shape[-1], device=values.device)
    found = torch.where(place == index, second, first)
    return found.where(torch.isfinite(values).all(dim=-1, keepdim=True), math.nan)
