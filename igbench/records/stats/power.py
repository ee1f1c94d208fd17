"""Power of the paired test: detectable differences, and numbers of samples."""

from __future__ import annotations

import math

from scipy import stats as scipy_stats

LEVEL = 0.05
"""Level of the tests: the probability of a false alarm in a family."""
POWER = 0.9
"""Probability with which a difference is to be seen."""


def detectable(n: int, sd: float, *, alpha: float = LEVEL, power: float = POWER) -> float:
    """Smallest mean difference that n pairs detect with a given power at a two-sided level.

    (z[1 - alpha / 2] + z[power]) sd / sqrt(n 3 / pi): the normal approximation with the
    asymptotic efficiency 3 / pi of the signed-rank test.  Infinite if n pairs can never reach the
    level, because 2 / 2**n > alpha.

    >>> round(detectable(100, 1.0), 3), detectable(5, 1.0)
    (0.332, inf)

    Args:
        n: Number of pairs.
        sd: Standard deviation of the paired differences, in the unit of the metric.
        alpha: Level; divide it by the number of tests for a bound under Holm's correction.
        power: Probability of a rejection.
    """
    if n < 1 or 2.0 ** (1 - n) > alpha:
        return math.inf
    return float(_quantiles(alpha, power) * sd / math.sqrt(n * 3 / math.pi))


def samples_needed(
    difference: float, sd: float, *, alpha: float = LEVEL, power: float = POWER
) -> float:
    """Smallest number of pairs with which `detectable` is at most a difference.

    Args:
        difference: Mean difference to be seen, in the unit of the metric; its sign is ignored.
        sd: Standard deviation of the paired differences.
        alpha: Level; divide it by the number of tests for a bound under Holm's correction.
        power: Probability of a rejection.

    Returns:
        A whole number; NaN where `sd` is not finite, infinite where `difference` is 0 and `sd` is
        not.

    >>> samples_needed(0.01, 0.05), samples_needed(0.01, 0.1), samples_needed(0.01, 0.0)
    (276, 1101, 6)
    """
    if not math.isfinite(sd):
        return math.nan
    least = math.ceil(1 - math.log2(alpha))  # the smallest n with 2 / 2**n <= alpha
    if sd == 0:
        return least
    if difference == 0:
        return math.inf
    whole = (_quantiles(alpha, power) * sd / difference) ** 2 * math.pi / 3
    return max(least, math.ceil(whole))


def _quantiles(alpha: float, power: float) -> float:
    return float(scipy_stats.norm.ppf(1 - alpha / 2) + scipy_stats.norm.ppf(power))
