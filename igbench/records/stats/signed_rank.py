"""The paired test, its effect size and its correction: signed ranks and Holm's step-down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from igbench.errors import InputError
from igbench.records.stats.cells import mean
from igbench.records.stats.intervals import RESAMPLES, interval

EXACT = 50
"""Largest number of non-zero differences for the exact p-value."""


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two paired samples, new minus base.

    Attributes:
        mean: Mean difference; NaN without pairs.
        low: Lower end of its 95 % interval; NaN with fewer than two pairs.
        high: Upper end.
        p_value: Wilcoxon signed-rank test, two-sided, not corrected for multiplicity.
        effect: Matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), in [-1, 1].
        n: Number of pairs.
    """

    mean: float
    low: float
    high: float
    p_value: float
    effect: float
    n: int


@dataclass(frozen=True)
class SignedRanks:
    """Sums of the signed ranks of differences, zeros ranked and dropped (Pratt 1959).

    Attributes:
        plus: Sum W+ of the ranks of the positive differences.
        total: Sum W+ + W- of the ranks of the differences that are not zero.
        n: Number of differences.
        zeros: How many of them are zero.
        ranks: Average rank of each group of equal absolute values that are not zero.
        sizes: Number of differences in each group.
    """

    plus: float
    total: float
    n: int
    zeros: int
    ranks: np.ndarray
    sizes: np.ndarray

    @property
    def p_value(self) -> float:
        """Two-sided p-value, see `signed_rank_p`."""
        if self.n == 0:
            return math.nan
        if self.n == self.zeros:
            return 1.0
        return self._exact() if self.n - self.zeros <= EXACT else self._approximate()

    @property
    def effect(self) -> float:
        """Matched-pairs rank-biserial correlation, see `rank_biserial`."""
        if self.n == 0:
            return math.nan
        return (2 * self.plus - self.total) / self.total if self.n > self.zeros else 0.0

    def _exact(self) -> float:
        """From the distribution of W+ over all signs."""
        steps = np.rint(2 * np.repeat(self.ranks, self.sizes)).astype(int)  # whole numbers
        ways = np.zeros(int(steps.sum()) + 1)
        ways[0] = 1.0
        for step in steps:
            ways[step:] = ways[step:] + ways[:-step]
        plus = round(2 * self.plus)
        tail = min(ways[: plus + 1].sum(), ways[plus:].sum())
        return float(min(1.0, 2.0 * tail / ways.sum()))

    def _approximate(self) -> float:
        """From the normal distribution with the mean and variance of W+ (Cureton 1967)."""
        n, zeros = float(self.n), float(self.zeros)
        centre = n * (n + 1) / 4 - zeros * (zeros + 1) / 4
        squares = n * (n + 1) * (2 * n + 1) - zeros * (zeros + 1) * (2 * zeros + 1)
        sizes = self.sizes.astype(float)
        spread = math.sqrt((squares - float((sizes * sizes * sizes - sizes).sum()) / 2) / 24)
        return float(2 * special.ndtr(-abs((self.plus - centre) / spread)))


def signed_ranks(difference: np.ndarray) -> SignedRanks:
    """Rank the absolute differences once, for the test and the effect size.

    Args:
        difference: (n,) paired differences; none are ranked if one is NaN.
    """
    if len(difference) == 0 or np.isnan(difference).any():
        return SignedRanks(0.0, 0.0, 0, 0, np.empty(0), np.empty(0))
    size = np.abs(difference)
    order = np.argsort(size)
    ordered = size[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(starts, append=len(size))
    positive = np.add.reduceat((difference[order] > 0).astype(np.int64), starts)
    ranks = starts + (sizes + 1) / 2
    zeros = int(sizes[0]) if ordered[0] == 0 else 0
    ranks, sizes, positive = (part[1 if zeros else 0 :] for part in (ranks, sizes, positive))
    plus, total = float((ranks * positive).sum()), float((ranks * sizes).sum())
    return SignedRanks(plus, total, len(size), zeros, ranks, sizes)


def signed_rank_p(difference: np.ndarray) -> float:
    """Two-sided p-value of the Wilcoxon signed-rank test, zeros ranked and dropped (Pratt 1959).

    Exact for up to 50 non-zero differences, with ties and zeros: the permutation distribution of
    the signs given the ranks.  Otherwise the normal approximation with tie correction, that of
    `scipy.stats.wilcoxon(zero_method="pratt")`.

    Args:
        difference: (n,) paired differences.

    Returns:
        In (0, 1]; 1 if all are zero, NaN if there are none.

    >>> signed_rank_p(np.ones(6))  # 2 / 2**6
    0.03125
    """
    return signed_ranks(difference).p_value


def rank_biserial(difference: np.ndarray) -> float:
    """Matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), in [-1, 1] (Kerby 2014).

    0 if all differences are zero; NaN if there are none.

    >>> rank_biserial(np.array([3.0, -1.0, 2.0]))  # (2 + 3 - 1) / (1 + 2 + 3)
    0.6666666666666666
    """
    return signed_ranks(difference).effect


def paired_difference(
    base: np.ndarray, new: np.ndarray, *, resamples: int = RESAMPLES
) -> PairedDifference:
    """Mean of new - base with its interval, test and effect size.

    Args:
        base: (n,).
        new: (n,), paired with `base`.
        resamples: Number of bootstrap resamples.

    Raises:
        InputError: The two have different lengths.
    """
    difference = subtract(base, new)
    low, high = interval(difference, resamples=resamples)
    ranks = signed_ranks(difference)
    return PairedDifference(
        mean=mean(difference), low=low, high=high, p_value=ranks.p_value, effect=ranks.effect,
        n=len(difference),
    )  # fmt: skip


def subtract(base: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The differences new - base, (n,); equal infinities give 0.

    Raises:
        InputError: The two have different lengths.
    """
    if base.shape != new.shape or base.ndim != 1:
        raise InputError(
            f"paired values have shapes {base.shape} and {new.shape}; they must be one-dimensional "
            "and of equal length, one pair for each sample."
        )
    with np.errstate(invalid="ignore"):
        return np.where(base == new, 0.0, new - base)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P-values after Holm's step-down adjustment (1979), same shape; NaN is not counted.

    The i-th smallest of m values becomes the largest of (m - j + 1) p_(j) over j <= i, at most 1.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(p.shape, math.nan)
    order = np.argsort(p, axis=None)[: np.count_nonzero(~np.isnan(p))]  # NaN is sorted last
    weights = np.arange(len(order), 0, -1)
    adjusted.flat[order] = np.minimum(np.maximum.accumulate(weights * p.flat[order]), 1.0)
    return adjusted
