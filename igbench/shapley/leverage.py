"""Shapley values by regression on coalitions drawn by their leverage, in pairs (KernelSHAP)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.errors import NotDefinedError
from igbench.shapley.estimate import Estimate, Value, evaluate
from igbench.shapley.exact import exact_values

MANY = 10**18
"""Numbers of coalitions are exact up to here; from here on all of a size are never drawn."""
SINGULAR = 1e-10
"""Smallest eigenvalue of the normal equations, as a share of the largest, that counts."""


@dataclass(frozen=True)
class Sizes:
    """How many pairs of a coalition and its complement are drawn, by the size of the smaller one.

    Attributes:
        possible: Number of pairs of each size 1..n/2.
        expected: Expected number of pairs that are drawn, with as many coalitions of each size as
            of any other, up to all there are.
    """

    possible: tuple[int, ...]
    expected: tuple[float, ...]

    @property
    def inclusion(self) -> tuple[float, ...]:
        """Probability that a pair is drawn, by its size."""
        return tuple(e / p for e, p in zip(self.expected, self.possible, strict=True))


def leverage_regression(
    value: Value, players: int, evaluations: int, generator: torch.Generator
) -> Estimate:
    """The weighted regression whose solution over all coalitions is the Shapley values.

    Minimises sum of pi(s) / q (v(S) - v(none) - sum over S of phi)^2 over the coalitions that were
    drawn, with pi(s) = (n - 1) / (C(n, s) s (n - s)) and sum of phi = v(all) - v(none), which holds
    by construction.  Coalitions are drawn by leverage, so equally many of each size, with their
    complements, without replacement; q is the probability of being drawn.  Where a size has no more
    of them, all are taken.  Exact for games whose interactions are of pairs alone, and for all
    games once all coalitions fit into the budget; otherwise consistent, with a bias that is small
    against the standard error.  An odd budget leaves one evaluation unused.

    The standard error is that of the regression with pairs as clusters and the correction for the
    finite number of coalitions.

    Args:
        value: v.
        players: n.
        evaluations: Largest number of coalitions to evaluate, with the empty and the full one.
        generator: Source of the coalitions.

    Raises:
        NotDefinedError: The budget is less than 2 n, or the coalitions that were drawn do not
            determine the values.

    Source: Lundberg and Lee 2017, theorem 2 (regression); Covert and Lee 2021 (pairs, errors);
    Musco and Witter 2025 (leverage scores, without replacement).

    >>> g = torch.Generator().manual_seed(0)
    >>> v = lambda masks: (masks.double() @ torch.tensor([1.0, 2, 3, 4]).double()).square()
    >>> leverage_regression(v, 4, 12, g).values.round(decimals=9)  # 10 times the weight of each
    tensor([10., 20., 30., 40.], dtype=torch.float64)
    """
    if players <= 3 or 2**players <= evaluations:
        return exact_values(value, players)
    pairs = (evaluations - 2) // 2
    if pairs < players - 1:
        raise NotDefinedError(
            f"{evaluations} evaluations are too few for the regression of {players} players, which "
            f"needs {2 * players}: raise evaluations, or choose coarser features."
        )
    sizes = allocate(players, pairs)
    counts = systematic(sizes, generator)
    half = torch.cat(
        [draw(players, s, counts[s - 1], generator) for s in range(1, len(counts) + 1)]
    )
    size = torch.tensor([s for s, c in enumerate(counts, start=1) for _ in range(c)])
    kernel = torch.tensor(
        [
            (players - 1) / (s * (players - s) * e) * (0.5 if 2 * s == players else 1.0)
            for s, e in enumerate(sizes.expected, start=1)
        ],
        dtype=torch.float64,
    )
    drawn = torch.tensor(sizes.inclusion, dtype=torch.float64)
    ends = torch.tensor([[False], [True]]).expand(2, players)
    values = evaluate(value, torch.cat([ends, half, ~half]))
    total = values[1] - values[0]
    odd = values[2 : 2 + pairs] - values[2 + pairs :]
    found, error = solve(half, odd, total, kernel[size - 1], drawn[size - 1])
    return Estimate(found, error, 2 + 2 * pairs)


def solve(
    half: Tensor, odd: Tensor, total: Tensor, weights: Tensor, inclusion: Tensor
) -> tuple[Tensor, Tensor]:
    """Shapley values and standard errors from P pairs of coalitions, (n,) both.

    The last player is eliminated by the sum of all; a coalition and its complement have opposite
    rows then, so that a pair is one equation.

    Args:
        half: (P, n) one coalition of each pair.
        odd: (P,) its value minus that of its complement.
        total: v(all) - v(none).
        weights: (P,) weight of each pair.
        inclusion: (P,) probability that it was drawn.

    Raises:
        NotDefinedError: The rank of the equations is less than n - 1.
    """
    signed = half.double()
    rows = signed[:, :-1] - signed[:, -1:]
    right = odd - (2 * signed[:, -1] - 1) * total
    pairs, unknown = rows.shape
    normal = 2 * rows.T @ (weights[:, None] * rows)
    size, axes = torch.linalg.eigh(normal)
    rank = int((size > SINGULAR * size[-1]).sum())
    if rank < unknown:
        raise NotDefinedError(
            f"{pairs} pairs of coalitions do not determine the values of {unknown + 1} players "
            f"(rank {rank} of {unknown}); raise evaluations, or use estimator=permutations."
        )
    inverse = (axes / size) @ axes.T
    found = inverse @ (rows.T @ (weights * right))
    residual = weights * (right - 2 * rows @ found)
    moved = (inverse @ rows.T) * (residual * (1 - inclusion).clamp(min=0).sqrt())
    moved = torch.cat([moved, -moved.sum(dim=0, keepdim=True)])  # the last player, by the sum
    error = moved.square().sum(dim=1).sqrt()
    if bool((inclusion < 1).any()):  # otherwise nothing was drawn
        free = pairs - unknown
        error = error * math.sqrt(pairs / free) if free > 0 else torch.full_like(error, math.nan)
    return torch.cat([found, (total - found.sum())[None]]), error


def allocate(players: int, pairs: int) -> Sizes:
    """Share P pairs among the sizes: as many coalitions of each, or all where there are fewer.

    >>> allocate(5, 12).expected  # 5 pairs of sizes 1 and 4, 10 of 2 and 3
    (5.0, 7.0)
    >>> allocate(4, 5).expected  # one coalition of size 2 is half a pair
    (3.333..., 1.666...)
    """
    half = players // 2
    possible, number = [], 1
    for s in range(1, half + 1):
        number = number if number >= MANY else number * (players - s + 1) // s
        possible.append(number // 2 if 2 * s == players else number)
    shares = [0.5 if 2 * s == players else 1.0 for s in range(1, half + 1)]
    expected = [0.0] * half
    open_sizes = sorted(range(half), key=lambda k: possible[k] / shares[k])
    left = float(pairs)
    while open_sizes:
        level = left / sum(shares[k] for k in open_sizes)
        k = open_sizes[0]
        if level * shares[k] < possible[k]:
            break
        expected[k] = float(possible[k])
        left -= possible[k]
        open_sizes.pop(0)
    for k in open_sizes:
        expected[k] = level * shares[k]
    return Sizes(tuple(possible), tuple(expected))


def systematic(sizes: Sizes, generator: torch.Generator) -> list[int]:
    """Whole numbers of pairs by size, with the expectations of `sizes` and their exact total.

    >>> systematic(allocate(4, 5), torch.Generator().manual_seed(0))
    [4, 1]
    """
    start = float(torch.rand((), generator=generator, dtype=torch.float64))
    counts, cut, before = [], start, 0
    pairs = round(sum(sizes.expected))
    for possible, expected in zip(sizes.possible, sizes.expected, strict=True):
        if expected >= possible:
            counts.append(possible)
            continue
        cut += expected
        counts.append(min(math.floor(cut + 1e-9) - before, possible))
        before += counts[-1]
    return counts if sum(counts) == pairs else _correct(counts, sizes, pairs)


def _correct(counts: list[int], sizes: Sizes, pairs: int) -> list[int]:
    """Counts whose sum is off by the rounding of the last cut."""
    last = max(k for k, e in enumerate(sizes.expected) if e < sizes.possible[k])
    counts[last] += pairs - sum(counts)
    return counts


def draw(players: int, size: int, count: int, generator: torch.Generator) -> Tensor:
    """Different coalitions of one size, none the complement of another, (count, n).

    Args:
        players: n.
        size: Number of players in each, at most n / 2.
        count: Number of coalitions, at most all there are.
        generator: Source of the draws.
    """
    fixed = int(2 * size == players)  # of a half and its complement, the one with the first player
    there = math.comb(players - fixed, size - fixed) if players <= 64 else MANY
    if there <= 4 * count:
        chosen = torch.randperm(there, generator=generator)[:count].sort().values.tolist()
        wanted = set(chosen)
        combos = itertools.combinations(range(fixed, players), size - fixed)
        members = torch.tensor([c for k, c in enumerate(combos) if k in wanted]).long()
    else:
        members = _rejected(players, size, count, fixed, generator)
    masks = torch.zeros(count, players, dtype=torch.bool)
    if fixed:
        masks[:, 0] = True
    return masks.scatter_(1, members.view(count, size - fixed), True)


def _rejected(
    players: int, size: int, count: int, fixed: int, generator: torch.Generator
) -> Tensor:
    """Members of different coalitions, drawn one after another and kept where they are new."""
    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:
        order = torch.rand(count, players - fixed, generator=generator).argsort(dim=1)
        members = order[:, : size - fixed].sort(dim=1).values + fixed
        for one in members.tolist():
            if len(found) < count:
                found.setdefault(tuple(one))
    return torch.tensor(list(found))
