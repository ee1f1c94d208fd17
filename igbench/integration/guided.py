"""Guided Integrated Gradients: integrate along a path that avoids large gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from igbench.core.score import Score
from igbench.errors import InputError, check_choice, check_positive, check_same_shape
from igbench.integration.integrate import gradients, take


def guided_integrated_gradients(
    score: Score,
    x: Tensor,
    baseline: Tensor,
    target: Tensor | None = None,
    *,
    fraction: float = 0.25,
    max_dist: float = 0.02,
    steps: int = 200,
    rule: str = "trapezoid",
) -> Tensor:
    """Guided Integrated Gradients (Kapishnikov et al. 2021), (N, *F) in the dtype of `x`.

    The integral of grad f(p) * dp on a path that adapts to f: in each step from p_k to p_k+1 the
    features with the smallest absolute gradients g_k = grad f(p_k) move first, until the distance
    to x (in L1) has shrunk by 1/steps of the whole.  No feature may be ahead of or behind
    the straight line by more than `max_dist` of its own way.  With max_dist = 0 it is the straight
    line of Integrated Gradients.

    The entries sum to f(x) - f(x') up to the error of the sum over steps.  Its terms are (g_k +
    g_k+1) / 2 * (p_k+1 - p_k) for rule "trapezoid", at one gradient more, and g_k * (p_k+1 - p_k)
    for rule "left", as published.  The left sum is biased, as features move where their gradient
    is small at the start of the step.

    Features move in groups: the lowest `fraction` of all absolute gradients first, then those left
    with the lowest, and so on.  Gradients that differ by no more than rounding are the same here,
    and those features move together.  All samples take their steps together, but no sample depends
    on another.

    Args:
        score: f.
        x: (N, *F).
        baseline: (N, *F), x'.
        target: (N,) class indices, or None.
        fraction: Share of the features in a group, in (0, 1].
        max_dist: Largest lead or lag, as a share of the way, in [0, 1].
        steps: Steps of the path, one after the other; each needs a gradient.
        rule: "trapezoid" or "left".

    Raises:
        InputError: Arguments out of range, shapes that differ, an output without gradient.
    """
    check_same_shape("the baseline", baseline, x)
    check_path(fraction, max_dist, steps, rule)
    start = baseline.flatten(1).double()
    way = x.flatten(1).double() - start
    mass = way.abs() / way.abs().sum(dim=1, keepdim=True).clamp_min(torch.finfo(way.dtype).tiny)
    t, total, step = torch.zeros_like(way), torch.zeros_like(way), torch.zeros_like(way)
    share = 0.5 if rule == "trapezoid" else 1.0
    for k in range(1, steps + 1):
        gradient = _gradients(score, (start + t * way).view(x.shape).to(x.dtype), target)
        total += (1 - share) * gradient * step
        behind, ahead = max(k / steps - max_dist, 0.0), min(k / steps + max_dist, 1.0)
        rank = _rank(gradient, torch.finfo(x.dtype).eps)
        moved = advance(t, mass, rank, k / steps, behind, ahead, fraction)
        step, t = (moved - t) * way, moved
        total += share * gradient * step
    if rule == "trapezoid":
        total += (1 - share) * _gradients(score, x, target) * step
    return total.view(x.shape).to(x.dtype)


def check_path(fraction: float, max_dist: float, steps: int, rule: str) -> None:
    """Raise unless these are settings of a guided path, see `guided_integrated_gradients`.

    Args:
        fraction: Share of the features that move together.
        max_dist: Largest lead or lag.
        steps: Steps of the path.
        rule: "trapezoid" or "left".

    Raises:
        InputError: Names the one that is not.
    """
    check_positive("steps", steps)
    check_choice("rule of guided_ig", rule, ("trapezoid", "left"))
    if not (0 < fraction <= 1 and 0 <= max_dist <= 1):
        raise InputError(
            f"fraction is {fraction} and max_dist {max_dist}; fraction must be in (0, 1] and "
            "max_dist in [0, 1]."
        )


def advance(
    t: Tensor,
    mass: Tensor,
    rank: Tensor,
    goal: float,
    behind: float,
    ahead: float,
    fraction: float,
) -> Tensor:
    """Positions after one step, (N, d), such that sum(mass * t) = goal.

    Args:
        t: (N, d) positions of the features on their ways, in [0, 1].
        mass: (N, d) length of each way; the sum over a sample is 1.
        rank: (N, d) features with smaller values move first, those with equal ones together.
        goal: Share of the whole length to be gone after the step.
        behind: Least position allowed.
        ahead: Greatest position allowed.
        fraction: Share of all features in a group.
    """
    t = t.clamp_min(behind)
    need = goal - (mass * t).sum(dim=1, keepdim=True)
    group = int(fraction * (t.shape[1] - 1)) + 1
    for _ in range(-(-t.shape[1] // group)):
        need = need.where(need > 1e-12, 0.0)  # what is less is rounding
        if not bool(need.any()):
            break
        free = (t < ahead) & (mass > 0)
        key = rank.where(free, torch.inf)
        chosen = free & (key <= key.kthvalue(group, dim=1, keepdim=True).values)
        reach = (mass * (ahead - t) * chosen).sum(dim=1, keepdim=True)
        part = (need / reach.clamp_min(torch.finfo(t.dtype).tiny)).clamp_max(1.0)
        # A whole part lands on `ahead` itself, so that the feature is no longer free.
        t = torch.where(chosen, torch.where(part == 1, ahead, t + part * (ahead - t)), t)
        need = need - part * reach
    return t


def _gradients(score: Score, points: Tensor, target: Tensor | None) -> Tensor:
    """Gradients (N, d) float64, in chunks."""
    chunks = gradients(score, len(points), lambda part: (points[part], take(target, part)))
    return torch.cat([gradient for *_, gradient in chunks]).flatten(1).double()


def _rank(gradient: Tensor, eps: float) -> Tensor:
    """Absolute gradients (N, d) on a grid that is coarser than rounding.

    Features that a network treats alike have gradients that differ by a few eps of the largest;
    which one is smaller would depend on the order of sums.  The grid has eps^0.75 of the largest:
    1.8e-12 in float64, 6e-6 in float32.
    """
    size = gradient.abs()
    grid = size.amax(dim=1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny) * eps**0.75
    return (size / grid).round()
