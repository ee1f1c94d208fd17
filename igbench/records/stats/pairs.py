"""Comparison of every pair of methods on a metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from igbench.records.settings import own_settings
from igbench.records.stats.cells import mean, of_metric, spec_of
from igbench.records.stats.intervals import RESAMPLES
from igbench.records.stats.signed_rank import holm, paired_difference
from igbench.schema import MetricSpec

PAIR_COLUMNS = (
    "model", "metric", "a", "b", "n", "difference", "low", "high", "p_value", "p_holm", "effect",
    "share_better",
)  # fmt: skip


@own_settings()
def pairwise(
    scores: pd.DataFrame,
    specs: Mapping[str, MetricSpec],
    metric: str,
    *,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Compare every pair of methods on one metric, over the samples where both have a value.

    Differences are a - b.  The family of Holm's correction is all k (k - 1) / 2 pairs of one model
    and metric, controls included.

    Args:
        scores: Columns of `Row`, of one run.
        specs: Metric definitions.
        metric: Name of the metric.
        resamples: Number of bootstrap resamples.

    Returns:
        Columns `PAIR_COLUMNS`; `effect` is the matched-pairs rank-biserial correlation of a - b,
        `share_better` the share of samples where a is better (larger where the metric has no
        direction), ties counted half.

    Raises:
        InputError: The metric has no rows or no definition.
    """
    spec = spec_of(specs, metric)
    lines = []
    for block in of_metric(scores, metric):
        pairs = [
            {
                "model": block.model, "metric": metric, "a": a, "b": b,
                **_compare(x, y, spec, resamples),
            }
            for a, b, x, y in block.pairs()
        ]  # fmt: skip
        for line, p in zip(pairs, holm([line["p_value"] for line in pairs]), strict=True):
            lines.append({**line, "p_holm": float(p)})
    return pd.DataFrame(lines, columns=list(PAIR_COLUMNS))


def _compare(a: np.ndarray, b: np.ndarray, spec: MetricSpec, resamples: int) -> dict[str, Any]:
    found = paired_difference(b, a, resamples=resamples)
    gain = b - a if spec.direction == "lower" else a - b
    return {
        "n": found.n, "difference": found.mean, "low": found.low, "high": found.high,
        "p_value": found.p_value, "effect": found.effect,
        "share_better": mean((gain > 0) + 0.5 * (gain == 0)),
    }  # fmt: skip
