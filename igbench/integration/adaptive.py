"""Refine Integrated Gradients until each sample is within a tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from igbench.core.score import Score
from igbench.errors import InputError, check_positive
from igbench.integration.integrate import F64, Nodes, same_nodes, sweep, take
from igbench.integration.paths import Line, column
from igbench.integration.quadrature import log_warp, log_warp_slope

FIRST = 8
"""Intervals of the coarsest level."""

LARGEST_CHANGE = 0.5
"""Largest relative change of a weight for the sake of completeness."""


@dataclass(frozen=True)
class Adaptive:
    """Integrated Gradients with estimates of its error, for each of N samples.

    Attributes:
        attribution: (N, *F), the finest level reached.
        gap: (N,) |sum of the attribution - (f(x) - f(x'))| / |f(x) - f(x')|.
        raw_gap: (N,) the same before the weights were adjusted: what the rule itself misses.
        change: (N,) L1 distance to the level before, relative to the L1 norm: an estimate of the
            error of the level before, and a cautious one for this level.
        gradients: (N,) gradients spent.
        converged: (N,) whether gap and change are at most the tolerance.
    """

    attribution: Tensor
    gap: Tensor
    raw_gap: Tensor
    change: Tensor
    gradients: Tensor
    converged: Tensor


@dataclass
class _Sums:
    """Running sums over all nodes so far; their size does not depend on the number of nodes."""

    plain: Tensor
    steep: Tensor
    weight: float
    power: Tensor
    steepest: Tensor


def adaptive_integrated_gradients(
    score: Score,
    x: Tensor,
    baseline: Tensor,
    target: Tensor | None = None,
    *,
    tolerance: float = 0.05,
    max_steps: int = 513,
    constrain: bool = True,
) -> Adaptive:
    """Integrated Gradients to a tolerance, sample by sample.

    Levels: the trapezoid rule in u with a = a(u) crowded near the baseline (see `log_warp` in
    `igbench.integration.quadrature`), with 8, 16, 32, ... intervals.  Nodes nest, so no gradient is
    taken twice; weights are scaled to sum to 1, so linear models are exact at every level.

    A sample is done when its completeness gap *and* the change of its attribution since the last
    level are at most `tolerance`.  The gap alone is no sign of convergence: errors of entries
    cancel in it.

    With `constrain`, the weights w_k are moved by the least amount, in the sense of
    sum (dw_k / w_k)^2, that makes the attribution complete: dw_k = l w_k^2 s_k, with s_k the slope
    of f along the path at node k and l = missing / sum (w_k s_k)^2.  Every entry remains a
    weighted sum of its own gradients, so features that do not matter keep zero.  Where a weight
    would change by more than half, the nodes are too few for the change of f: the weights stay.

    Args:
        score: f.
        x: (N, *F).
        baseline: (N, *F).
        target: (N,) or None.
        tolerance: Bound on both relative errors.
        max_steps: Bound on the gradients of a sample; a level that would pass it is not begun.
        constrain: Adjust the weights to completeness.

    Raises:
        InputError: A tolerance or bound out of range, shapes that differ.
    """
    check_bounds(tolerance, max_steps)
    line, n, device = Line(x, baseline), len(x), x.device
    rise = (score.evaluate(x, target) - score.evaluate(baseline, target)).double()
    plain, steep, result = (torch.zeros(x.shape, dtype=F64, device=device) for _ in range(3))
    power, steepest = (torch.zeros(n, dtype=F64, device=device) for _ in range(2))
    sums = _Sums(plain, steep, 0.0, power, steepest)
    raw_gap, gap, change = torch.full((3, n), math.inf, dtype=F64, device=device)
    gradients = torch.zeros(n, dtype=torch.int64, device=device)
    active = torch.arange(n, device=device)
    intervals = FIRST
    while len(active) and intervals + 1 <= max_steps:
        u = _new_nodes(intervals)
        _add(sums, score, line, target, active, u)
        gradients[active] += len(u)
        before = result[active]
        plain = sums.plain[active] / sums.weight
        raw_gap[active] = _gap(plain, rise[active])
        now = _complete(plain, sums, active, rise[active]) if constrain else plain
        result[active] = now
        gap[active] = _gap(now, rise[active])
        if intervals > FIRST:
            change[active] = _relative(
                (now - before).flatten(1).abs().sum(dim=1), now.flatten(1).abs().sum(dim=1)
            )
        active = active[(gap[active] > tolerance) | (change[active] > tolerance)]
        intervals *= 2
    converged = (gap <= tolerance) & (change <= tolerance)
    return Adaptive(result.to(x.dtype), gap, raw_gap, change, gradients, converged)


def check_bounds(tolerance: float, max_steps: int) -> None:
    """Raise unless these can be the bounds of a refinement.

    Args:
        tolerance: Bound on the error.
        max_steps: Bound on the gradients.

    Raises:
        InputError: Names the one that cannot.
    """
    check_positive("tolerance", tolerance)
    if max_steps < 2 * FIRST + 1:
        raise InputError(
            f"max_steps is {max_steps}; at least {2 * FIRST + 1} are needed to see a change."
        )


def _new_nodes(intervals: int) -> np.ndarray:
    """Nodes u = k / intervals that coarser levels do not have."""
    k = np.arange(intervals + 1)
    return (k if intervals == FIRST else k[1::2]) / intervals


def _add(
    sums: _Sums, score: Score, line: Line, target: Tensor | None, active: Tensor, u: np.ndarray
) -> None:
    """Take the gradients at new nodes of the active samples, and add them to the sums."""
    weight = log_warp_slope(u)
    weight[(u == 0) | (u == 1)] /= 2
    part = Line(line.x[active], line.baseline[active])
    grid = same_nodes(len(active), log_warp(u), weight[None], part.x.device)
    nodes = Nodes(grid.sample, grid.a, grid.weights, grid.weights[0] ** 2)
    found = sweep(score, part, take(target, active), nodes)
    sums.plain[active] += found.integrals[0]
    sums.steep[active] += found.integrals[1]
    pull = (grid.weights[0] * found.slopes).view(len(active), len(u))
    sums.power[active] += (pull**2).sum(dim=1)
    sums.steepest[active] = torch.maximum(sums.steepest[active], pull.abs().amax(dim=1))
    # Samples that are done take no part any more, so the weight is that of the active ones.
    sums.weight += float(weight.sum())


def _complete(plain: Tensor, sums: _Sums, active: Tensor, rise: Tensor) -> Tensor:
    """The same nodes with weights moved by the least amount that makes the sum complete."""
    missing = rise - plain.flatten(1).sum(dim=1)
    power, steepest = sums.power[active], sums.steepest[active]
    factor = torch.where(power > 0, missing / power, 0.0)
    # dw_k / w_k = factor * (weight * slope)_k, times the scale of the weights.
    moved = (factor * steepest * sums.weight).abs()
    factor = torch.where(moved <= LARGEST_CHANGE, factor, 0.0)
    return plain + column(factor, plain) * sums.steep[active]


def _gap(attribution: Tensor, rise: Tensor) -> Tensor:
    return _relative((attribution.flatten(1).sum(dim=1) - rise).abs(), rise.abs())


def _relative(error: Tensor, size: Tensor) -> Tensor:
    """Error / size, with 0 / 0 = 0."""
    return torch.where(error == 0, 0.0, error / size)
