"""Friedman's test: do any of the methods differ on a metric, before pairs are looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from igbench.records.settings import own_settings
from igbench.records.stats.cells import Cells, of_metric, spec_of
from igbench.schema import MetricSpec

FRIEDMAN_COLUMNS = (
    "model", "metric", "methods", "n", "n_left_out", "left_out", "statistic", "df", "p_value",
    "kendall_w",
)  # fmt: skip


@own_settings()
def friedman(scores: pd.DataFrame, specs: Mapping[str, MetricSpec], metric: str) -> pd.DataFrame:
    """Test whether the methods differ at all on a metric (Friedman 1937), one line for each model.

    Over the samples where every method has a value; methods without any value are left out.

    Args:
        scores: Columns of `Row`, of one run.
        specs: Metric definitions.
        metric: Name of the metric.

    Returns:
        Columns `FRIEDMAN_COLUMNS`: `methods` and `n` count what is tested, `n_left_out` the samples
        without a value of some method, `left_out` names the methods without any value;
        `statistic`, `df` and `p_value` are those of `friedman_test`, and `kendall_w` is Kendall's
        coefficient of concordance: 0 where samples order the methods at random, 1 where all order
        them alike.

    Raises:
        InputError: The metric has no rows or no definition.
    """
    spec_of(specs, metric)
    lines = [_line(block) for block in of_metric(scores, metric)]
    return pd.DataFrame(lines, columns=list(FRIEDMAN_COLUMNS))


def _line(block: Cells) -> dict[str, Any]:
    used = {name: v for name, v in block.values.items() if not np.isnan(v).all()}
    values = np.column_stack([*used.values()]) if used else np.empty((len(block.samples), 0))
    complete = values[~np.isnan(values).any(axis=1)] if used else values[:0]
    n, k = complete.shape
    statistic, p_value = friedman_test(complete)
    return {
        "model": block.model,
        "metric": block.metric,
        "methods": k,
        "n": n,
        "n_left_out": len(block.samples) - n,
        "left_out": ", ".join(name for name in block.values if name not in used),
        "statistic": statistic,
        "df": max(0, k - 1),
        "p_value": p_value,
        "kendall_w": statistic / (n * (k - 1)) if n and k > 1 else math.nan,
    }


def friedman_test(values: np.ndarray) -> tuple[float, float]:
    """Friedman's statistic with its correction for ties, and its p-value.

    (k - 1) sum_j (R_j - n (k + 1) / 2)^2 / sum_ij (r_ij - (k + 1) / 2)^2, with r_ij the rank of
    method j on sample i, ties averaged, and R_j its sum over samples (Conover 1999, 5.8); the
    p-value is that of the chi-squared distribution with k - 1 degrees of freedom.

    Args:
        values: (n, k) without NaN.

    Returns:
        (0, 1) where all values of every sample are equal; NaN for fewer than three methods, or no
        sample.

    >>> statistic, p = friedman_test(np.array([[1.0, 2, 3], [1, 2, 3], [1, 3, 2], [1, 2, 3]]))
    >>> round(statistic, 9), round(p, 4)
    (6.5, 0.0388)
    """
    n, k = values.shape
    if n == 0 or k < 3:
        return math.nan, math.nan
    ranks = pd.DataFrame(values).rank(axis=1).to_numpy() - (k + 1) / 2
    spread = float((ranks**2).sum())
    if spread == 0:
        return 0.0, 1.0
    statistic = (k - 1) * float((ranks.sum(axis=0) ** 2).sum()) / spread
    return statistic, float(special.chdtrc(k - 1, statistic))
