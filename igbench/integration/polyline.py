"""Integrate the gradient along a path of straight pieces, and draw such paths through real words.

The corners of a path for a text are embeddings of words, moved where that takes to keep every
dimension monotone from the text to the baseline.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from igbench.core.score import Score
from igbench.errors import check_choice
from igbench.integration.integrate import draws_of_one

F64 = torch.float64
Rule = Literal["midpoint", "trapezoid"]
Strategy = Literal["greedy", "maxcount"]

TOKENS_AT_ONCE = 8
"""Bounds the memory of the neighbours of words."""


def polyline_gradients(
    score: Score, corners: Tensor, target: Tensor | None, rule: Rule = "midpoint"
) -> Tensor:
    """Integral of the gradient along straight pieces for one sample, (*F) in float64.

    sum over k of g_k (p_{k+1} - p_k), elementwise, where g_k is the gradient in the middle of a
    piece, or the mean of those at its ends.  The entries sum to f(p_K) - f(p_0) up to the error of
    the rule, which is none for quadratic f; a rule of one end alone misses half of the curvature.

    Args:
        score: f.
        corners: (K + 1, *F), p_0 to p_K.
        target: (1,) class index, or None.
        rule: "midpoint" (K gradients) or "trapezoid" (K + 1).

    >>> f = Score(lambda x: x[:, 0] * x[:, 1])
    >>> corners = torch.tensor([[0.0, 0.0], [1.5, 0.5], [2.0, 3.0]])
    >>> polyline_gradients(f, corners, None).tolist()
    [1.25, 4.75]
    """
    check_choice("rule", rule, ("midpoint", "trapezoid"))
    steps = (corners[1:] - corners[:-1]).double()
    if rule == "midpoint":
        points, weights = (corners[1:] + corners[:-1]) / 2, steps
    else:
        nothing = torch.zeros_like(steps[:1])
        points, weights = corners, (torch.cat([steps, nothing]) + torch.cat([nothing, steps])) / 2
    found = torch.zeros(corners.shape[1:], dtype=F64, device=corners.device)
    where = draws_of_one(score, len(points), target, lambda draw: points[draw], corners.device)
    for part, _, gradient in where:
        found += (gradient.double() * weights[part]).sum(dim=0)
    return found


def through_words(
    table: Tensor,
    start: Tensor,
    baseline: Tensor,
    *,
    anchors: int,
    neighbours: int,
    strategy: Strategy,
) -> Tensor:
    """Corners of the paths of T tokens from their embeddings to a baseline, (anchors + 2, T, E).

    From word to word: each anchor is one of the nearest words of the one before it, neither the
    baseline nor taken before.  Where it does not lie between the last corner and the baseline in
    some dimension, the corner takes a step of 1 / anchors of the way in that dimension instead.

    Args:
        table: (V, E) embeddings of all words.
        start: (T, E), rows of the table.
        baseline: (T, E).
        anchors: Words on the way.
        neighbours: Nearest words among which the next anchor is chosen.
        strategy: Choose the word that is nearest to its corner ("greedy"), or the one with the most
            dimensions that stay as they are ("maxcount").

    Source: Sanyal and Ren 2021, "Discretized Integrated Gradients for Explaining Language Models"
    (EMNLP), section 3.
    """
    parts = zip(start.split(TOKENS_AT_ONCE), baseline.split(TOKENS_AT_ONCE), strict=True)
    own, size = table.double(), min(neighbours, len(table))
    paths = [_paths(own, a.double(), b.double(), anchors, size, strategy) for a, b in parts]
    return torch.cat(paths, dim=1).to(start)


def _paths(
    table: Tensor, start: Tensor, end: Tensor, anchors: int, neighbours: int, strategy: Strategy
) -> Tensor:
    """Corners for some tokens, (anchors + 2, T, E)."""
    rows = torch.arange(len(start), device=start.device)
    taken = _distances(table, end) == 0
    word = _distances(table, start).argmin(dim=1)
    corners = [start]
    for _ in range(anchors):
        taken[rows, word] = True
        near = _distances(table, table[word]).topk(neighbours, dim=1, largest=False).indices
        corner = corners[-1]
        moved, cost = _monotone(table[near], corner, end, anchors, strategy)
        cost = cost.masked_fill(taken.gather(1, near), torch.inf)
        best = cost.argmin(dim=1)
        word = near[rows, best]
        lost = torch.isinf(cost[rows, best])[:, None]  # no word is left: straight to the baseline
        corners.append(torch.where(lost, end, moved[rows, best]))
    return torch.stack([*corners, end])


def _monotone(
    words: Tensor, corner: Tensor, end: Tensor, anchors: int, strategy: Strategy
) -> tuple[Tensor, Tensor]:
    """Corners for the words (T, n, E), and the cost of each, (T, n)."""
    last, end = corner[:, None], end[:, None]
    between = (words - last) * (end - words) >= 0
    moved = torch.where(between, words, last + (end - last) / anchors)
    if strategy == "maxcount":
        return moved, (~between).sum(dim=2).double()
    return moved, (moved - words).square().sum(dim=2)


def _distances(table: Tensor, points: Tensor) -> Tensor:
    """Euclidean distances of points (T, E) from all words, (T, V); exactly 0 between equals."""
    return torch.cdist(points, table, compute_mode="donot_use_mm_for_euclid_dist")
