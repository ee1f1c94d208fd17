"""Shares of the way from a floor to a ceiling, as ratios of paired means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from igbench.records.stats.cells import Cells, mean
from igbench.records.stats.intervals import (
    CONFIDENCE,
    LARGE,
    RESAMPLES,
    bca,
    expanded,
    interval,
    left_out_means,
    normal,
    resampled_means,
)
from igbench.schema import Direction, MethodSpec, MetricSpec

FLOOR = "random"
"""Method whose mean is the floor of metrics that rank."""


@dataclass(frozen=True)
class Share:
    """Share of the way from a floor to a ceiling, NaN where it is not defined.

    Attributes:
        share: (mean - floor) / (ceiling - floor), a ratio of means: 0 at the floor, 1 at the
            ceiling, outside where a method is worse than one or better than the other.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    share: float = math.nan
    low: float = math.nan
    high: float = math.nan


def share_of_way(
    values: np.ndarray,
    floor: np.ndarray,
    ceiling: np.ndarray,
    direction: Direction,
    *,
    resamples: int = RESAMPLES,
) -> Share:
    """Share of the way from the floor to the ceiling, with a paired 95 % bootstrap interval.

    Above 2000 samples, the interval is the normal one of the linearised ratio.

    Args:
        values: (n,) scores of a method.
        floor: (n,) scores at the floor, paired with them.
        ceiling: (n,) scores at the ceiling.
        direction: Which way is better.
        resamples: Number of bootstrap resamples.

    Returns:
        NaN with fewer than two samples, for infinite scores, and where the interval of the way from
        the floor to the ceiling does not lie on the better side of zero.

    >>> floor, ceiling = np.array([0.1, 0.0, 0.2]), np.array([0.8, 0.9, 0.9])
    >>> found = share_of_way((floor + ceiling) / 2, floor, ceiling, "higher")
    >>> round(found.share, 9), round(found.low, 9), round(found.high, 9)
    (0.5, 0.5, 0.5)
    """
    finite = all(np.isfinite(v).all() for v in (values, floor, ceiling))
    if len(values) < 2 or not finite or direction == "none":
        return Share()
    sign = 1.0 if direction == "higher" else -1.0
    gone, way = sign * (values - floor), sign * (ceiling - floor)
    if not interval(way, resamples=resamples)[0] > 0:
        return Share()
    share = mean(gone) / mean(way)
    rest = (gone - share * way) / mean(way)  # the linearised ratio, less its value
    if np.ptp(rest) <= 1e-12 * max(1.0, abs(share)):
        return Share(share, share, share)
    if len(values) > LARGE:
        low, high = normal(rest)
        return Share(share, share + low, share + high)
    return Share(share, *_ratio_interval(gone, way, resamples))


def _ratio_interval(gone: np.ndarray, way: np.ndarray, resamples: int) -> tuple[float, float]:
    """95 % expanded BCa interval of the ratio of the means of paired samples."""
    above, below = resampled_means([gone, way], resamples)
    left_out = left_out_means(gone) / left_out_means(way)
    level = expanded(CONFIDENCE, len(gone))
    return bca(above / below, gone.mean() / way.mean(), left_out, [level])[0]


def ends(
    lines: Sequence[Mapping[Any, Any]],
    methods: Mapping[str, MethodSpec] | None,
    spec: MetricSpec,
) -> tuple[str, str] | None:
    """The methods at the floor and at the ceiling of one model and metric, or None.

    Args:
        lines: Lines of `summarise` of that model and metric.
        methods: Definitions of the methods.
        spec: Definition of the metric.

    Returns:
        `FLOOR`, and the method of role "ceiling" with the best mean; None unless the metric ranks
        and both have a mean.
    """
    means = {line["method"]: line["mean"] for line in lines if math.isfinite(line["mean"])}
    top = [m for m in means if methods and m in methods and methods[m].role == "ceiling"]
    if not spec.ranks or spec.direction == "none" or FLOOR not in means or not top:
        return None
    return FLOOR, (max if spec.direction == "higher" else min)(top, key=lambda m: means[m])


NO_SHARE = {"share": math.nan, "share_low": math.nan, "share_high": math.nan}


def shares(
    found: Cells, between: tuple[str, str] | None, spec: MetricSpec, resamples: int
) -> dict[str, dict[str, float]]:
    """The columns of the share of every method; none without a floor and a ceiling.

    Args:
        found: Scores of one model and metric.
        between: The methods at both `ends`.
        spec: Definition of the metric.
        resamples: Number of bootstrap resamples.
    """
    lines = {}
    for method in found.values if between else ():
        columns = [found.values[name] for name in (method, *(between or ()))]
        paired = ~np.isnan(columns).any(axis=0)
        x, low, high = (column[paired] for column in columns)
        own = share_of_way(x, low, high, spec.direction, resamples=resamples)
        lines[method] = {"share": own.share, "share_low": own.low, "share_high": own.high}
    return lines
