"""Completeness gap of Integrated Gradients by number of steps and quadrature rule."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from igbench.core.score import Score
from igbench.integration.integrate import path_integrals
from igbench.integration.paths import Line
from igbench.integration.quadrature import nodes_and_weights

AXES = (
    "number of gradients of each sample; `method` is the quadrature rule",
    "relative completeness gap of Integrated Gradients",
)
"""What x and y of the curve "convergence_gap" are."""


def gradients_for_curve(most: int = 64) -> int:
    """Gradients for each sample that `gap_by_steps` needs."""
    return most + 1 + sum(_steps(most))


def _steps(most: int) -> list[int]:
    return [2**k for k in range(2, int(math.log2(most)) + 1)]


def gap_by_steps(
    score: Score, x: Tensor, baseline: Tensor, target: Tensor | None, *, most: int = 64
) -> dict[str, tuple[list[int], Tensor]]:
    """Relative completeness gap for rising n_steps, by quadrature rule.

    |sum_i phi_i - (f(x) - f(x'))| / |f(x) - f(x')| for the attribution phi of each rule.  left,
    right, middle and trapezoid at every power of two up to `most` come from one set of `most` + 1
    gradients for each sample, as their nodes nest; Gauss-Legendre needs its own nodes for every n.

    Args:
        score: f.
        x: (N, *F).
        baseline: (N, *F).
        target: (N,) or None.
        most: Largest number of steps, a power of two of at least 4.

    Returns:
        Rule to (P numbers of gradients, (N, P) gaps); NaN where f(x) = f(x').
    """
    steps = _steps(most)
    change = (score.evaluate(x, target) - score.evaluate(baseline, target)).double()
    path, curves = Line(x, baseline), defaultdict[str, list[tuple[int, Tensor]]](list)
    nested = [(rule, cost, on_grid(rule, n, most)) for n in steps for rule, cost in _nested(n)]
    weights = np.stack([w for *_, w in nested])
    sums = path_integrals(score, path, target, np.arange(most + 1) / most, weights)
    for (rule, cost, _), attribution in zip(nested, sums, strict=True):
        curves[rule].append((cost, _gap(attribution, change)))
    for n in steps:
        nodes, own = nodes_and_weights("gauss_legendre", n)
        attribution = path_integrals(score, path, target, nodes, own[None])[0]
        curves["gauss_legendre"].append((n, _gap(attribution, change)))
    return {
        rule: ([n for n, _ in points], torch.stack([gap for _, gap in points], dim=1))
        for rule, points in curves.items()
    }


def _nested(n: int) -> list[tuple[str, int]]:
    """Rules on the grid with n intervals, and the gradients each of them needs."""
    return [("left", n), ("right", n), ("trapezoid", n + 1), ("middle", n // 2)]


def on_grid(rule: str, n: int, most: int) -> np.ndarray:
    """Weights (most + 1,) of a rule with n intervals on the uniform grid with `most` intervals.

    "middle" has n/2 intervals, whose midpoints are every second node of the grid with n.

    >>> on_grid("trapezoid", 2, 4).tolist(), on_grid("middle", 4, 4).tolist()
    ([0.25, 0.0, 0.5, 0.0, 0.25], [0.0, 0.5, 0.0, 0.5, 0.0])
    """
    weights = np.zeros(most + 1)
    stride = most // n
    if rule == "middle":
        weights[stride :: 2 * stride] = 2 / n
        return weights
    weights[::stride] = 1 / n
    if rule == "left":
        weights[-1] = 0
    elif rule == "right":
        weights[0] = 0
    else:
        weights[[0, -1]] /= 2
    return weights


def _gap(attribution: Tensor, change: Tensor) -> Tensor:
    return ((attribution.flatten(1).sum(dim=1) - change).abs() / change.abs()).where(
        change != 0, math.nan
    )
