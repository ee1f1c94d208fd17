"""Power of the paired test: detectable differences, and numbers of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from scipy import special

from igbench.errors import InputError, suggestion
from igbench.records.settings import own_settings
from igbench.records.stats.cells import Cells, mean, of_metric, sample_sd, spec_of
from igbench.records.stats.signed_rank import subtract
from igbench.schema import MetricSpec

POWER_COLUMNS = (
    "model", "metric", "a", "b", "n", "observed", "sd", "tests", "detectable", "needed",
)  # fmt: skip

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


@own_settings()
def pair_power(
    scores: pd.DataFrame,
    specs: Mapping[str, MetricSpec],
    metric: str,
    difference: float,
    *,
    method: str | None = None,
    power: float = POWER,
) -> pd.DataFrame:
    """How many samples each pair of methods needs to show a difference of means.

    Args:
        scores: Columns of `Row`, of one run.
        specs: Metric definitions.
        metric: Name of the metric.
        difference: Difference of means to be seen, above 0, in the unit of the metric.
        method: Only pairs with this method.
        power: Probability with which it is to be seen.

    Returns:
        Columns `POWER_COLUMNS`: `n` pairs of samples with the mean difference `observed` and the
        standard deviation `sd`; `detectable` as in `pairwise`, the smallest difference that these
        samples show; `needed`, the number that shows `difference` (`samples_needed`), both at
        5 % / `tests`, the number of pairs of all methods of the model.

    Raises:
        InputError: The metric has no rows or no definition, the method has no scores of it, or
            `difference` or `power` is out of range.
    """
    spec_of(specs, metric)
    if not 0 < difference < math.inf:
        raise InputError(f"difference={difference} must be above 0, in the unit of {metric}.")
    if not 0 < power < 1:
        raise InputError(f"power={power} is a probability; give a number between 0 and 1.")
    lines: list[dict[str, Any]] = []
    for block in of_metric(scores, metric):
        if method is not None and method not in block.values:
            known = list(block.values)
            raise InputError(
                f"no scores of {method!r} on {metric}; methods: {', '.join(known)}."
                f"{suggestion(method, known)}"
            )
        lines += _pair_lines(block, difference, method, power)
    return pd.DataFrame(lines, columns=list(POWER_COLUMNS))


def _pair_lines(
    block: Cells, difference: float, method: str | None, power: float
) -> list[dict[str, Any]]:
    pairs = [(a, b, subtract(y, x)) for a, b, x, y in block.pairs()]
    tests = sum(len(found) > 0 for *_, found in pairs)
    alpha = LEVEL / max(1, tests)
    lines = []
    for a, b, found in pairs:
        if method is None or method in (a, b):
            sd = sample_sd(found)
            lines.append({
                "model": block.model, "metric": block.metric, "a": a, "b": b, "n": len(found),
                "observed": mean(found), "sd": sd, "tests": tests,
                "detectable": detectable(len(found), sd, alpha=alpha, power=power),
                "needed": samples_needed(difference, sd, alpha=alpha, power=power),
            })  # fmt: skip
    return lines


def _quantiles(alpha: float, power: float) -> float:
    return float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
