"""Agreement of metrics on the order of methods: Kendall's tau-b with a bootstrap interval."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from igbench.records.settings import own_settings
from igbench.records.stats.cells import cells, spec_of
from igbench.records.stats.intervals import CONFIDENCE, resampled_counts
from igbench.schema import MetricSpec

AGREEMENT_COLUMNS = ("model", "a", "b", "methods", "n", "tau", "low", "high")
AGREEMENT_RESAMPLES = 999
"""Resamples of the interval of tau, whose ends are quantiles and need fewer than BCa."""
BATCH = 2**21
"""Floats in a batch of resamples, 16 MiB: all methods and metrics are read for each."""
LEAST = 3
"""Fewest methods with which two metrics are compared."""


@own_settings()
def agreement(
    scores: pd.DataFrame,
    specs: Mapping[str, MetricSpec],
    *,
    metrics: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    resamples: int = AGREEMENT_RESAMPLES,
) -> pd.DataFrame:
    """Compare the orders in which metrics put the methods, one line for each model and pair.

    Kendall's tau-b over the means of methods, better always up.  Its interval is that of the
    percentile bootstrap: samples are resampled, the same for all methods and metrics, and means and
    tau computed again.

    Args:
        scores: Columns of `Row`, of one run.
        specs: Metric definitions.
        metrics: Names of metrics; all that have a direction if None.
        methods: Names of methods; all if None.
        resamples: Number of bootstrap resamples.

    Returns:
        Columns `AGREEMENT_COLUMNS`: `methods` counts those with a mean of both metrics, `n` the
        samples; `tau`, `low` and `high` are NaN with fewer than three such methods, or where a
        metric puts all of them level.  `low` and `high` are NaN too with fewer than two samples,
        or infinite values.

    Raises:
        InputError: A metric has no definition, or a sample occurs twice.
    """
    named = metrics if metrics is not None else list(dict.fromkeys(scores["metric"]))
    chosen = [m for m in named if spec_of(specs, m).direction != "none"]
    rows = scores["metric"].isin(chosen)
    if methods is not None:
        rows &= scores["method"].isin(methods)
    lines: list[dict[str, Any]] = []
    for model, group in scores[rows].groupby("model", sort=False):
        lines += _of_model(str(model), group, chosen, specs, resamples)
    return pd.DataFrame(lines, columns=list(AGREEMENT_COLUMNS))


def _of_model(
    model: str,
    scores: pd.DataFrame,
    metrics: Sequence[str],
    specs: Mapping[str, MetricSpec],
    resamples: int,
) -> list[dict[str, Any]]:
    """The lines of one model."""
    found = {block.metric: block for block in cells(scores)}
    names = [m for m in metrics if m in found]
    samples = np.unique(np.concatenate([found[m].samples for m in names]))
    methods = list(dict.fromkeys(scores["method"]))
    values = np.full((len(samples), len(names), len(methods)), math.nan)
    means = np.full((len(names), len(methods)), math.nan)
    for i, metric in enumerate(names):
        sign = 1.0 if specs[metric].direction == "higher" else -1.0
        places = np.searchsorted(samples, found[metric].samples)
        for name, column in found[metric].values.items():
            j = methods.index(name)
            values[places, i, j] = sign * column
            there = column[~np.isnan(column)]
            means[i, j] = sign * there.mean() if len(there) else math.nan
    point = taus(means)
    draws = (
        _resampled(values, resamples) if len(samples) > 1 else np.full((1, *point.shape), math.nan)
    )
    low, high = _ends(draws)
    return [
        {
            "model": model, "a": names[i], "b": names[j],
            "methods": int((~np.isnan(means[i]) & ~np.isnan(means[j])).sum()), "n": len(samples),
            "tau": point[i, j],
            "low": math.nan if math.isnan(point[i, j]) else low[i, j],
            "high": math.nan if math.isnan(point[i, j]) else high[i, j],
        }
        for i, j in itertools.combinations(range(len(names)), 2)
    ]  # fmt: skip


def taus(means: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of every pair of rows, (R, M) to (R, R).

    Over the columns where both have a value; NaN with fewer than three of them, or where a row has
    the same value in all of them.

    >>> taus(np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]])).round(2).tolist()
    [[1.0, -0.33], [-0.33, 1.0]]
    """
    return _taus(_signs(means[None], 0.0))[0]


def _ends(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles over resamples, NaN where tau is not defined in one."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def _resampled(values: np.ndarray, resamples: int) -> np.ndarray:
    """Tau of every pair of metrics in every resample, (resamples, metrics, metrics)."""
    return np.concatenate([*_batches(values, resamples)])


def _batches(values: np.ndarray, resamples: int) -> Iterator[np.ndarray]:
    n, *shape = values.shape
    there = (~np.isnan(values)).reshape(n, -1)
    flat = np.where(there, values.reshape(n, -1), 0.0)
    weights = None if there.all() else there.astype(float)
    with np.errstate(invalid="ignore"):
        # Means that differ by rounding alone are level, as they are without resampling.
        slack = 1e-12 * np.abs(flat).reshape(n, *shape).max(axis=(0, 2))[:, None]
        for counts in resampled_counts(n, resamples, BATCH):
            sizes = float(n) if weights is None else counts @ weights
            means = np.where(np.equal(sizes, 0), math.nan, counts @ flat / sizes)
            yield _taus(_signs(means.reshape(-1, *shape), slack))


def _signs(means: np.ndarray, slack: np.ndarray | float) -> np.ndarray:
    """Sign of the difference of each pair of methods, (b, metrics, pairs); NaN without one."""
    first, second = np.triu_indices(means.shape[-1], 1)
    with np.errstate(invalid="ignore"):
        gap = np.where(
            means[..., first] == means[..., second], 0.0, means[..., first] - means[..., second]
        )
        return np.where(np.abs(gap) <= slack, 0.0, np.sign(gap))


def _taus(signs: np.ndarray) -> np.ndarray:
    """Tau-b of every pair of metrics, (b, metrics, metrics).

    sum s t / sqrt(sum s^2 sum t^2) over the pairs of methods that both metrics order, with s and t
    the signs of their differences (Kendall 1945).
    """
    known = (~np.isnan(signs)).astype(float)
    filled = np.where(known > 0, signs, 0.0)
    both = np.einsum("bip,bjp->bij", filled, filled)
    sizes = np.einsum("bip,bjp->bij", filled**2, known)
    pairs = np.einsum("bip,bjp->bij", known, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = both / np.sqrt(sizes * np.swapaxes(sizes, 1, 2))
    return np.where(pairs >= LEAST * (LEAST - 1) / 2, found, math.nan)
