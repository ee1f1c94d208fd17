"""Intervals of means and differences where samples cluster: by class, seed or model."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from igbench.errors import InputError
from igbench.records.settings import own_settings
from igbench.records.stats.cells import Cells, mean, of_metric, spec_of
from igbench.records.stats.intervals import RESAMPLES, interval
from igbench.records.stats.signed_rank import subtract
from igbench.schema import MetricSpec

CLUSTER_COLUMNS = (
    "model", "metric", "a", "b", "n", "clusters", "mean", "low", "high", "cluster_low",
    "cluster_high",
)  # fmt: skip


@own_settings()
def clustered(
    scores: pd.DataFrame,
    specs: Mapping[str, MetricSpec],
    metric: str,
    by: str | Mapping[str, Hashable],
    *,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Means and paired differences with both intervals: of samples, and of clusters of samples.

    Where the second is much wider, samples of one cluster resemble each other, and the first claims
    more than the data can tell of other clusters.

    Args:
        scores: Columns of `Row`; of several runs if `by` is a column.
        specs: Metric definitions.
        metric: Name of the metric.
        by: Sample identifier to its cluster, such as its class; or the name of a column, such as
            "model" or "run", whose values are the clusters: lines are then over all of them.
        resamples: Number of bootstrap resamples.

    Returns:
        Columns `CLUSTER_COLUMNS`: a line for each method, with an empty `b`, and for each pair,
        a - b; `low` and `high` are of `interval` of independent samples, `cluster_low` and
        `cluster_high` of `interval(..., clusters=...)`, NaN for a single cluster.

    Raises:
        InputError: The metric has no rows or no definition, a sample has no cluster, or there is no
            such column.
    """
    spec_of(specs, metric)
    if isinstance(by, str):
        scores, by = _by_column(scores[scores["metric"] == metric], by)
    lines = []
    for block in of_metric(scores, metric):
        lines += _lines(block, by, resamples)
    return pd.DataFrame(lines, columns=list(CLUSTER_COLUMNS))


def _by_column(scores: pd.DataFrame, column: str) -> tuple[pd.DataFrame, dict[str, Hashable]]:
    """The scores as of one model, with a sample for each value of a column, and their clusters."""
    if column not in scores:
        raise InputError(f"the scores have no column {column!r}; known: {', '.join(scores)}.")
    labels = scores[column].astype(str)
    samples = labels + "/" + scores["sample_id"].astype(str)
    models = " + ".join(dict.fromkeys(scores["model"].astype(str)))
    return scores.assign(sample_id=samples, model=models), dict(zip(samples, labels, strict=True))


def _lines(block: Cells, clusters: Mapping[str, Hashable], resamples: int) -> list[dict[str, Any]]:
    lost = [sample for sample in block.samples if sample not in clusters]
    if lost:
        raise InputError(
            f"{len(lost)} samples have no cluster, the first: {str(lost[0])!r}; give one for each."
        )
    labels = [clusters[sample] for sample in block.samples]
    codes, _ = pd.factorize(pd.Series(labels, dtype=object))
    columns = {(name, ""): values for name, values in block.values.items()}
    for a, b in itertools.combinations(block.values, 2):
        columns[a, b] = subtract(block.values[b], block.values[a])
    return [_line(block, a, b, values, codes, resamples) for (a, b), values in columns.items()]


def _line(
    block: Cells, a: str, b: str, values: np.ndarray, codes: np.ndarray, resamples: int
) -> dict[str, Any]:
    there = ~np.isnan(values)
    own, groups = values[there], codes[there]
    low, high = interval(own, resamples=resamples)
    cluster_low, cluster_high = interval(own, resamples=resamples, clusters=groups)
    return {
        "model": block.model, "metric": block.metric, "a": a, "b": b, "n": len(own),
        "clusters": len(np.unique(groups)), "mean": mean(own), "low": low, "high": high,
        "cluster_low": cluster_low, "cluster_high": cluster_high,
    }  # fmt: skip
