"""Intervals of means: expanded BCa bootstrap, the same resamples for samples of equal size."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import special

from igbench.errors import InputError

RESAMPLES = 9999
CONFIDENCE = 0.95
LARGE = 2000
"""Above this many samples, intervals use the normal approximation, which agrees with BCa there."""
SEED = 20170304
"""Seed of the resamples, the same for every method, metric and run."""
WHOLE = 1 - 1e-12
"""Largest level, at which an interval is the range of the resamples."""

Ends = tuple[float, float]
UNKNOWN: Ends = (math.nan, math.nan)


def interval(
    values: np.ndarray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    clusters: Sequence[Hashable] | np.ndarray | None = None,
) -> Ends:
    """Expanded BCa bootstrap interval of the mean, of 95 % by default.

    BCa (Efron 1987) at the level `expanded`, which makes up for the narrowness of bootstrap
    intervals of few samples (Hesterberg 2015).  Samples of equal size are resampled with the same
    indices.  Equal values give that value twice; fewer than two values, or infinite values, give
    NaN.  Above 2000 values, the normal approximation.

    Args:
        values: (n,).
        confidence: Probability with which the interval covers the mean.
        resamples: Number of bootstrap resamples; BCa needs about a hundred or more.
        clusters: (n,) cluster of each value, such as its class, for values that are not
            independent: clusters are resampled, and values within each, see `clustered_interval`.

    Raises:
        InputError: There is not one cluster for each value.

    >>> interval(np.array([2.0, 2.0, 2.0]))
    (2.0, 2.0)
    """
    if clusters is not None:
        return clustered_interval(values, clusters, confidence=confidence, resamples=resamples)
    return intervals([values], confidence, resamples=resamples)[0]


def intervals(
    columns: Sequence[np.ndarray],
    confidence: float = CONFIDENCE,
    *,
    resamples: int = RESAMPLES,
) -> list[Ends]:
    """The `interval` of each of several samples, which draws the resamples of a size once.

    Args:
        columns: (n,) each; n may differ.
        confidence: As of `interval`.
        resamples: Number of bootstrap resamples.

    >>> intervals([np.zeros(3), np.ones(2)])
    [(0.0, 0.0), (1.0, 1.0)]
    """
    return [one[0] for one in nested_intervals(columns, (confidence,), resamples=resamples)]


def nested_intervals(
    columns: Sequence[np.ndarray], confidences: Sequence[float], *, resamples: int = RESAMPLES
) -> list[list[Ends]]:
    """The intervals of each of several samples at several levels, from the same resamples.

    Args:
        columns: (n,) each; n may differ.
        confidences: Levels.
        resamples: Number of bootstrap resamples.

    Returns:
        For each sample, an interval of each level.
    """
    found = [_without_resamples(values, confidences) for values in columns]
    hard = [i for i, ends in enumerate(found) if ends is None]
    scaled = [_to_unit(columns[i]) for i in hard]
    for i, (unit, origin, spread), means in zip(
        hard, scaled, resampled_means([unit for unit, *_ in scaled], resamples), strict=True
    ):
        levels = [expanded(c, len(unit)) for c in confidences]
        ends = bca(means, unit.mean(), left_out_means(unit), levels)
        found[i] = [(origin + spread * low, origin + spread * high) for low, high in ends]
    return [ends or [] for ends in found]


def expanded(confidence: float, n: int) -> float:
    """Level at which a bootstrap interval of n samples covers as it should (Hesterberg 2015).

    2 Phi(t sqrt(n / (n - 1))) - 1, with t the quantile of Student's distribution of n - 1 degrees
    of freedom at (1 + confidence) / 2: the bootstrap takes the variance of n samples, which is too
    small by (n - 1) / n, for known.

    >>> round(expanded(0.95, 16), 4), round(expanded(0.95, 1000), 4)
    (0.9723, 0.9504)
    """
    t = special.stdtrit(n - 1, (1 + confidence) / 2)
    level = float(2 * special.ndtr(t * math.sqrt(n / (n - 1))) - 1)
    return min(level, WHOLE)


def _without_resamples(values: np.ndarray, confidences: Sequence[float]) -> list[Ends] | None:
    """Intervals that need no resamples; None where they are needed."""
    if len(values) < 2 or not np.isfinite(values).all():
        return [UNKNOWN] * len(confidences)
    if np.ptp(values) == 0:
        return [(float(values[0]), float(values[0]))] * len(confidences)
    return [normal(values, c) for c in confidences] if len(values) > LARGE else None


def _to_unit(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Values in units of their spread from the first one, which keeps tiny spreads well-posed."""
    origin, spread = float(values[0]), float(np.ptp(values))
    return (values - origin) / spread, origin, spread


def normal(values: np.ndarray, confidence: float = CONFIDENCE) -> Ends:
    """Interval of the mean by the normal approximation.

    Args:
        values: (n,), at least two.
        confidence: Probability with which the interval covers the mean.
    """
    half = special.ndtri((1 + confidence) / 2) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def resampled_means(columns: Sequence[np.ndarray], resamples: int) -> list[np.ndarray]:
    """Means over resamples of each of several samples, (resamples,) each.

    Samples of equal size share their resamples, so that the means of differences are differences
    of means.

    >>> a, b = np.array([1.0, 2.0, 4.0]), np.array([0.0, 5.0, 1.0])
    >>> first, second, both = resampled_means([a, b, a + b], 99)
    >>> bool(np.allclose(first + second, both))
    True
    """
    found = [np.empty(resamples) for _ in columns]
    for n in dict.fromkeys(len(values) for values in columns):
        start = 0
        for counts in resampled_counts(n, resamples):
            stop = start + len(counts)
            for values, means in zip(columns, found, strict=True):
                if len(values) == n:  # one by one: the sums do not depend on what else is summed
                    np.einsum("bn,n->b", counts, values, out=means[start:stop])
                    means[start:stop] /= n
            start = stop
    return found


def resampled_counts(n: int, resamples: int, most: int = 2**18) -> Iterator[np.ndarray]:
    """How often each of n samples is drawn by each resample, in batches of (b, n) floats.

    Args:
        n: Number of samples.
        resamples: Number of resamples.
        most: Floats in a batch; the draws do not depend on it.
    """
    rng = np.random.default_rng(SEED)
    batch = max(1, most // n)
    for start in range(0, resamples, batch):
        rows = min(batch, resamples - start)
        drawn = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)


def left_out_means(values: np.ndarray) -> np.ndarray:
    """Means without each of the values in turn, (n,)."""
    return np.asarray((values.sum() - values) / (len(values) - 1))


def bca(
    found: np.ndarray, value: float, left_out: np.ndarray, confidences: Sequence[float]
) -> list[Ends]:
    """Bias-corrected and accelerated intervals (Efron 1987) of a statistic, one for each level.

    The ends are the quantiles Phi(z0 + (z0 ± z) / (1 - a (z0 ± z))) of the statistic over
    resamples, with z0 = Phi^-1(share of resamples below the statistic, ties counted half), the
    acceleration a = sum u^3 / (6 (sum u^2)^1.5), u the mean of `left_out` less `left_out`.

    Args:
        found: (resamples,) statistic of each resample.
        value: The statistic of the sample.
        left_out: (n,) statistic without each sample in turn.
        confidences: Levels.
    """
    shift = left_out.mean() - left_out
    size = float((shift**2).sum())
    speed = float((shift**3).sum()) / (6 * size**1.5) if size > 0 else 0.0
    equal = np.abs(found - value) <= 1e-13 * max(1.0, abs(value))
    below = (np.count_nonzero((found < value) & ~equal) + np.count_nonzero(equal) / 2) / len(found)
    bias = special.ndtri(below)
    tails = np.array([[(1 - c) / 2, (1 + c) / 2] for c in confidences])
    z = bias + special.ndtri(tails)
    places = special.ndtr(bias + z / (1 - speed * z))
    if np.isnan(places).any():
        return [UNKNOWN] * len(confidences)
    return [(float(low), float(high)) for low, high in np.quantile(found, places)]


def clustered_interval(
    values: np.ndarray,
    clusters: Sequence[Hashable] | np.ndarray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Ends:
    """Interval of the mean of values that come in clusters, by the hierarchical bootstrap.

    Each resample draws as many clusters as there are, with replacement, and from each as many
    values as it has, with replacement; its mean is over all values drawn.  Drawing twice errs on
    the wide side, most for clusters of two or three that do not differ.  BCa at the level
    `expanded` for the number of clusters, with the acceleration of leaving out whole clusters.
    Above 2000 values, Student's interval with the standard error of cluster sums and one degree of
    freedom fewer than clusters.

    Args:
        values: (n,).
        clusters: (n,) cluster of each value.
        confidence: Probability with which the interval covers the mean.
        resamples: Number of bootstrap resamples.

    Returns:
        NaN for fewer than two clusters, or infinite values.

    Raises:
        InputError: There is not one cluster for each value.
    """
    if len(clusters) != len(values):
        raise InputError(
            f"{len(clusters)} clusters are given for {len(values)} values; give one for each value."
        )
    codes, names = pd.factorize(pd.Series(clusters, dtype=object))
    if len(names) < 2 or not np.isfinite(values).all():
        return UNKNOWN
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    if len(values) > LARGE:
        return _clustered_normal(values, codes, confidence)
    unit, origin, spread = _to_unit(values)
    sums, sizes = np.bincount(codes, unit), np.bincount(codes)
    left_out = (unit.sum() - sums) / (len(unit) - sizes)
    level = expanded(confidence, len(names))
    means = _clustered_means(unit, codes, resamples)
    low, high = bca(means, unit.mean(), left_out, [level])[0]
    return origin + spread * low, origin + spread * high


def _clustered_normal(values: np.ndarray, codes: np.ndarray, confidence: float) -> Ends:
    """Interval of the mean from the variance of cluster sums (Liang and Zeger 1986)."""
    sums = np.bincount(codes, values - values.mean())
    k = len(sums)
    error = math.sqrt(k / (k - 1) * float((sums**2).sum())) / len(values)
    half = special.stdtrit(k - 1, (1 + confidence) / 2) * error
    return float(values.mean() - half), float(values.mean() + half)


def _clustered_means(values: np.ndarray, codes: np.ndarray, resamples: int) -> np.ndarray:
    """Means over resamples of clusters, and of values within each."""
    ordered, sizes = values[np.argsort(codes, kind="stable")], np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(SEED)
    batch = max(1, 2**18 // len(values))
    parts = []
    for start in range(0, resamples, batch):
        rows = min(batch, resamples - start)
        drawn = rng.integers(0, len(sizes), (rows, len(sizes))).ravel()
        times = sizes[drawn]
        places = (rng.random(int(times.sum())) * np.repeat(times, times)).astype(np.int64)
        found = ordered[np.repeat(starts[drawn], times) + places]
        row = np.repeat(np.repeat(np.arange(rows), len(sizes)), times)
        parts.append(np.bincount(row, found, rows) / np.bincount(row, minlength=rows))
    return np.concatenate(parts)
