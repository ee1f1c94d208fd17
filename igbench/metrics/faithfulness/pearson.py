"""Pearson correlations of sums of contributions with changes of outputs, and their errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from igbench.metrics.monte_carlo import jackknife


def changes_of(clean: Tensor, outputs: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Changes of the output of one sample, for each n (D,), equal where rounding tells them apart.

    Args:
        clean: Output of the sample, float64.
        outputs: Outputs without some features, for each n (D,) float64.
        dtype: Precision of the model.
    """
    largest = torch.cat(list(outputs)).abs().amax()
    rounding = 8 * torch.finfo(dtype).eps * (clean.abs() + largest)
    return [level(clean - out, rounding) for out in outputs]


def error_of(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Standard errors of the mean correlation over n, by the jackknife over draws, (M,).

    Args:
        pairs: For each n, sums (M, D) and changes (D,).
    """
    return jackknife(torch.stack([without_each(a, b) for a, b in pairs]).mean(dim=0))


def flat(maps: Tensor) -> Tensor:
    """Whether maps (M, G) are equal everywhere to rounding or not finite, (M,) boolean."""
    small = 64 * torch.finfo(maps.dtype).eps * maps.abs().amax(dim=1)
    return ~(maps.amax(dim=1) - maps.amin(dim=1) > small)


def level(change: Tensor, rounding: Tensor) -> Tensor:
    """Changes of outputs (D,), made equal where they differ by no more than `rounding`."""
    middle = change.mean()
    return change.where((change - middle).abs().amax() > rounding, middle)


def without_each(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlations with one draw left out, (M, D) and (D,) to (M, D).

    0 where a single draw has all the variance, as the rest then defines no correlation.

    Args:
        a: (M, D) float64 sums of M maps.
        b: (D,) float64 changes of outputs.
    """
    da, db = a - a.mean(dim=-1, keepdim=True), b - b.mean()
    further = len(b) / (len(b) - 1)  # leaving a draw out moves the mean too
    aa, bb, ab = ((p.sum(dim=-1, keepdim=True) - further * p) for p in (da * da, db * db, da * db))
    scale = (da * da).sum(dim=-1, keepdim=True) * (db * db).sum()
    known = aa.clamp(min=0) * bb.clamp(min=0) > 1e-12 * scale
    return (ab / (aa * bb).sqrt()).clamp(-1, 1).where(known, 0.0)


def pearson(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """Pearson correlation over the last axis; NaN where either side is constant to rounding.

    Args:
        a: (..., D) float64 sums.
        b: (D,) float64 changes of outputs that were computed in `dtype`.
        dtype: Precision of the model.
    """
    da, db = a - a.mean(dim=-1, keepdim=True), b - b.mean()
    small_a = 64 * torch.finfo(a.dtype).eps * a.abs().amax(dim=-1)
    small_b = 4 * torch.finfo(dtype).eps * b.abs().amax()
    defined = (da.abs().amax(dim=-1) > small_a) & (db.abs().amax() > small_b)
    r = (da * db).sum(dim=-1) / (da.norm(dim=-1) * db.norm())
    return r.clamp(-1, 1).where(defined, math.nan)
