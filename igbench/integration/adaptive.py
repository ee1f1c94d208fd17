"""Refine Integrated Gradients until each sample is within a tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from igbench.core.score import Score
from igbench.errors import InputError, check_positive
from igbench.integration.integrate import F64, Nodes, same_nodes, sweep, take
from igbench.integration.paths import Line, column
from igbench.integration.quadrature import log_warp, log_warp_slope

PANELS = 4
"""Parts of the path, equal in the warped position u, that are refined one by one."""

FIRST = 4
"""Intervals of a panel at first; the halves and the quarter of them give the first estimate."""

SAFETY = 0.7
"""Error over the difference of the last two levels, at most.

Of a network of ReLUs with many kinks at random places, Simpson's rule errs by 0.45 times its
difference from the level before, and of smooth functions by a fifteenth of it.
"""

LARGEST_CHANGE = 0.5
"""Largest relative change of a weight for the sake of completeness."""


@dataclass(frozen=True)
class Adaptive:
    """Integrated Gradients with estimates of its error, for each of N samples.

    Attributes:
        attribution: (N, *F).
        gap: (N,) |sum of the attribution - (f(x) - f(x'))| / |f(x) - f(x')|.
        raw_gap: (N,) the same before the weights were adjusted: what the rule itself misses.
        error: (N,) estimate of the L1 error of the attribution, relative to its L1 norm.
        gradients: (N,) gradients spent.
        converged: (N,) whether gap and error are at most the tolerance.
    """

    attribution: Tensor
    gap: Tensor
    raw_gap: Tensor
    error: Tensor
    gradients: Tensor
    converged: Tensor


@dataclass
class _Panels:
    """Running sums over the nodes of P panels; their size does not depend on the number of nodes.

    Attributes:
        intervals: (N, P), of which each panel has n.
        trapezoid: (N, P, *F), the trapezoid rule in u.
        simpson: (N, P, *F), Simpson's rule, made of the last two of them.
        difference: (N, P, *F), Simpson's rule with n / 2 intervals minus that.
        size: (N, P), L1 norm of the difference.
        steep: (N, P, *F), sum of w_k^2 s_k g_k with the weights of the trapezoid rule.
        power: (N, P), sum of (w_k s_k)^2.
        steepest: (N, P), largest |w_k s_k|.
        ends: (N, P + 1), f where panels begin and end.
    """

    intervals: Tensor
    trapezoid: Tensor
    simpson: Tensor
    difference: Tensor
    size: Tensor
    steep: Tensor
    power: Tensor
    steepest: Tensor
    ends: Tensor


def adaptive_integrated_gradients(
    score: Score,
    x: Tensor,
    baseline: Tensor,
    target: Tensor | None = None,
    *,
    tolerance: float = 0.05,
    max_steps: int = 513,
    constrain: bool = True,
    features: Tensor | None = None,
) -> Adaptive:
    """Integrated Gradients to a tolerance, sample by sample.

    The path is cut into 4 panels in u, with a = a(u) crowded near the baseline (see `log_warp` in
    `igbench.integration.quadrature`).  A panel has Simpson's rule with 4, 8, 16, ... intervals.
    Nodes nest, so no gradient is taken twice; weights are scaled to sum to the width of the panel,
    so linear models are exact at every level.  Each time, the panel is refined that promises most
    for a gradient: with the largest d_p^2 / n_p, where d_p is the L1 norm of the difference D_p of
    its last two levels and n_p the number of its intervals.

    The L1 error is estimated by

        max(0.7 |sum_p D_p|, 0.7 sqrt(sum_p d_p^2), sum_p |r_p|)

    over the L1 norm of the attribution.  r_p is what the panel misses of the rise of f over it.
    The first term is the difference of two levels of the map; errors of panels may cancel in it by
    chance, but not in the second; the third is free, and shows a rise of f between all nodes.  A
    sample is done when this *and* the completeness gap are at most `tolerance`.  The gap alone is
    no sign of convergence: errors of entries cancel in it.

    With `constrain`, the weights are moved to make the attribution complete, by
    dw_k = l w_k^2 s_k, with s_k the slope of f along the path at node k, w_k the weights of the
    trapezoid rule, and l = missing / sum (w_k s_k)^2.  Every entry remains a weighted sum of its
    own gradients, so features that do not matter keep zero.  Where a weight would change by more
    than half, the nodes are too few for the change of f: the weights stay.

    Args:
        score: f.
        x: (N, *F).
        baseline: (N, *F).
        target: (N,) or None.
        tolerance: Bound on both relative errors.
        max_steps: Bound on the gradients of a sample; a refinement that would pass it is not begun.
        constrain: Adjust the weights to completeness.
        features: (*F) or (N, *F) numbers of features, -1 for none: norms and errors are those of
            the sums per feature.  None for those of the elements.

    Raises:
        InputError: A tolerance or bound out of range, shapes that differ.
    """
    check_bounds(tolerance, max_steps)
    line, n, device = Line(x, baseline), len(x), x.device
    rise = (score.evaluate(x, target) - score.evaluate(baseline, target)).double()
    groups = None if features is None else _groups(features, x)
    raw_gap, gap, error = torch.full((3, n), math.inf, dtype=F64, device=device)
    result = torch.zeros_like(x)
    gradients = torch.full((n,), PANELS * FIRST + 1, dtype=torch.int64, device=device)
    panels = _first(score, line, target, groups)
    active = torch.arange(n, device=device)
    while len(active):
        whole = panels.simpson[active].sum(dim=1)
        raw_gap[active] = _gap(whole, rise[active])
        error[active] = _error(panels, active, whole, groups)
        if constrain:
            whole = _complete(whole, panels, active, rise[active])
        gap[active] = _gap(whole, rise[active])
        result[active] = whole.to(x.dtype)
        active = active[~((gap[active] <= tolerance) & (error[active] <= tolerance))]
        worth = panels.size[active] ** 2 / panels.intervals[active]
        panel = worth.argmax(dim=1)
        more = panels.intervals[active, panel]
        fits = gradients[active] + more <= max_steps
        active, panel = active[fits], panel[fits]
        gradients[active] += more[fits]
        if len(active):
            _refine(panels, score, line, target, active, panel, groups)
    converged = (gap <= tolerance) & (error <= tolerance)
    return Adaptive(result, gap, raw_gap, error, gradients, converged)


def check_bounds(tolerance: float, max_steps: int) -> None:
    """Raise unless these can be the bounds of a refinement.

    Args:
        tolerance: Bound on the error.
        max_steps: Bound on the gradients.

    Raises:
        InputError: Names the one that cannot.
    """
    check_positive("tolerance", tolerance)
    if max_steps < PANELS * FIRST + 1:
        raise InputError(
            f"max_steps is {max_steps}; at least {PANELS * FIRST + 1} are needed to see an error."
        )


def _first(score: Score, line: Line, target: Tensor | None, groups: Tensor | None) -> _Panels:
    """All panels with 4 intervals, from 17 gradients of each sample."""
    n, device = len(line.x), line.x.device
    u = np.arange(PANELS * FIRST + 1) / (PANELS * FIRST)
    weights = np.stack(
        [_on_all(p, k) for k in (FIRST // 4, FIRST // 2, FIRST) for p in range(PANELS)]
    ) * log_warp_slope(u)
    squares = torch.from_numpy(weights[-PANELS:] ** 2).to(device).repeat(1, n)
    grid = same_nodes(n, log_warp(u), weights, device)
    found = sweep(score, line, target, Nodes(grid.sample, grid.a, grid.weights, squares))
    quarter, half, full, steep = (
        part.transpose(0, 1).contiguous() for part in found.integrals.split(PANELS)
    )
    pull = torch.from_numpy(weights[-PANELS:]).to(device) * found.slopes.view(n, 1, len(u))
    numbers = torch.arange(PANELS, device=device).expand(n, -1)
    intervals = torch.full_like(numbers, FIRST)
    simpson = _simpson(full, half, numbers, intervals)
    difference = _simpson(half, quarter, numbers, intervals // 2) - simpson
    size = _size(difference.flatten(0, 1), _repeat(groups, PANELS)).view(n, PANELS)
    power, steepest = (pull**2).sum(dim=2), pull.abs().amax(dim=2)
    ends = found.values.view(n, len(u))[:, ::FIRST]
    return _Panels(intervals, full, simpson, difference, size, steep, power, steepest, ends)


def _refine(
    panels: _Panels,
    score: Score,
    line: Line,
    target: Tensor | None,
    active: Tensor,
    panel: Tensor,
    groups: Tensor | None,
) -> None:
    """Double the intervals of one panel of each active sample."""
    here = (active, panel)
    intervals, part = panels.intervals[here], Line(line.x[active], line.baseline[active])
    cells = [_between(p, k) for p, k in zip(panel.tolist(), intervals.tolist(), strict=True)]
    u = np.concatenate([nodes for nodes, _ in cells])
    weights = torch.from_numpy(np.concatenate([own for _, own in cells])).to(panel.device)
    sample = torch.arange(len(active), device=panel.device).repeat_interleave(intervals)
    nodes = Nodes(
        sample, torch.from_numpy(log_warp(u)).to(panel.device), weights[None], weights[None] ** 2
    )
    found = sweep(score, part, take(target, active), nodes)
    pull = (weights * found.slopes).abs()
    before, old = panels.trapezoid[here], panels.simpson[here]
    full = before / 2 + found.integrals[0]
    simpson = _simpson(full, before, panel, 2 * intervals)
    panels.intervals[here] = 2 * intervals
    panels.trapezoid[here] = full
    panels.simpson[here] = simpson
    panels.difference[here] = old - simpson
    panels.size[here] = _size(old - simpson, None if groups is None else groups[active])
    panels.steep[here] = panels.steep[here] / 4 + found.integrals[1]
    power = torch.zeros_like(panels.power[here]).index_add_(0, sample, pull**2)
    panels.power[here] = panels.power[here] / 4 + power
    halved = panels.steepest[here] / 2
    panels.steepest[here] = halved.scatter_reduce(0, sample, pull, "amax")


def _on_all(panel: int, intervals: int) -> np.ndarray:
    """Weights of the trapezoid rule in u on one panel, on the nodes of all panels at first."""
    weights = np.zeros(PANELS * FIRST + 1)
    stride = FIRST // intervals
    own = weights[panel * FIRST : (panel + 1) * FIRST + 1]
    own[::stride] = 1 / (PANELS * intervals)
    own[[0, -1]] /= 2
    return weights


def _between(panel: int, intervals: int) -> tuple[np.ndarray, np.ndarray]:
    """Middles u of the intervals of a panel, and their weights once there are twice as many."""
    u = (panel + (np.arange(intervals) + 0.5) / intervals) / PANELS
    return u, log_warp_slope(u) / (2 * PANELS * intervals)


def _simpson(fine: Tensor, coarse: Tensor, panel: Tensor, intervals: Tensor) -> Tensor:
    """Simpson's rule from the trapezoid rule with n and n / 2 intervals, with weights scaled."""
    scales = [
        _scale(p, k)
        for p, k in zip(panel.flatten().tolist(), intervals.flatten().tolist(), strict=True)
    ]
    scale = torch.tensor(scales, dtype=F64, device=fine.device).view(panel.shape)
    scale = scale.view(*scale.shape, *[1] * (fine.dim() - scale.dim()))
    return (4 * fine - coarse) * scale


@lru_cache(maxsize=1024)
def _scale(panel: int, intervals: int) -> float:
    """Width of a panel in a over the weights of Simpson's rule with n intervals, times three."""
    begin, end = panel / PANELS, (panel + 1) / PANELS
    slopes = log_warp_slope(np.linspace(begin, end, intervals + 1))

    def total(values: np.ndarray) -> float:
        return float((values.sum() - (values[0] + values[-1]) / 2) / (len(values) - 1)) / PANELS

    width = float(np.diff(log_warp(np.array([begin, end])))[0])
    return width / (4 * total(slopes) - total(slopes[::2]))


def _error(panels: _Panels, active: Tensor, whole: Tensor, groups: Tensor | None) -> Tensor:
    """Estimate of the relative L1 error, see `adaptive_integrated_gradients`."""
    own = None if groups is None else groups[active]
    together = _size(panels.difference[active].sum(dim=1), own)
    apart = panels.size[active].square().sum(dim=1).sqrt()
    missed = panels.simpson[active].flatten(2).sum(dim=2) - panels.ends[active].diff(dim=1)
    error = torch.maximum(SAFETY * torch.maximum(together, apart), missed.abs().sum(dim=1))
    return _relative(error, _size(whole, own))


def _complete(whole: Tensor, panels: _Panels, active: Tensor, rise: Tensor) -> Tensor:
    """The same nodes with weights moved a little to make the sum complete."""
    missing = rise - whole.flatten(1).sum(dim=1)
    power = panels.power[active].sum(dim=1)
    factor = torch.where(power > 0, missing / power, 0.0)
    # A weight of Simpson's rule is at least two thirds of the one of the trapezoid rule.
    moved = (1.5 * factor * panels.steepest[active].amax(dim=1)).abs()
    factor = torch.where(moved <= LARGEST_CHANGE, factor, 0.0)
    return whole + column(factor, whole) * panels.steep[active].sum(dim=1)


def _groups(features: Tensor, x: Tensor) -> Tensor:
    """Numbers of features from 1, 0 for none, (N, elements)."""
    wide = features.to(x.device).expand(x.shape) if features.shape != x.shape else features
    return wide.flatten(1).to(x.device, torch.int64) + 1


def _repeat(groups: Tensor | None, times: int) -> Tensor | None:
    return None if groups is None else groups.repeat_interleave(times, dim=0)


def _size(values: Tensor, groups: Tensor | None) -> Tensor:
    """L1 norm (N,) of the elements (N, *F), or of their sums per feature."""
    flat = values.flatten(1)
    if groups is not None:
        sums = torch.zeros(len(flat), int(groups.max()) + 1, dtype=F64, device=flat.device)
        flat = sums.scatter_add_(1, groups, flat)
    return flat.abs().sum(dim=1)


def _gap(attribution: Tensor, rise: Tensor) -> Tensor:
    return _relative((attribution.flatten(1).sum(dim=1) - rise).abs(), rise.abs())


def _relative(error: Tensor, size: Tensor) -> Tensor:
    """Error / size, with 0 / 0 = 0."""
    return torch.where(error == 0, 0.0, error / size)
