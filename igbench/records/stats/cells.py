"""The values of every method on one metric, sample by sample, from a table of scores."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from igbench.errors import InputError
from igbench.schema import MetricSpec


@dataclass(frozen=True)
class Cells:
    """The scores of all methods of one model on one metric.

    Attributes:
        model: Name of the model.
        metric: Name of the metric.
        rows: Method to the places of its rows in the table of scores, in the order of the table.
        samples: (S,) identifiers of samples, sorted.
        values: Method to its values, (S,), NaN where there is none.
    """

    model: str
    metric: str
    rows: dict[str, np.ndarray]
    samples: np.ndarray
    values: dict[str, np.ndarray]

    def pairs(self) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
        """Every pair of methods, with their values on the samples where both have one."""
        there = {name: ~np.isnan(values) for name, values in self.values.items()}
        for a, b in itertools.combinations(self.values, 2):
            both = there[a] & there[b]
            yield a, b, self.values[a][both], self.values[b][both]

    def complete(self) -> np.ndarray:
        """The values of all methods on the samples where all have one, (complete samples, k)."""
        matrix = np.column_stack([*self.values.values()])
        return np.asarray(matrix[~np.isnan(matrix).any(axis=1)])


def usable(scores: pd.DataFrame) -> pd.Series:
    """Mask of the rows with status "ok" and a value that is not NaN, (rows,) bool."""
    return (scores["status"] == "ok") & scores["value"].notna()


def cells(scores: pd.DataFrame) -> Iterator[Cells]:
    """The scores by model and metric, in the order of their first rows.

    Args:
        scores: Columns of `Row`, of one run.

    Raises:
        InputError: A sample occurs twice for one method.
    """
    models, model_names = pd.factorize(scores["model"])
    metrics, metric_names = pd.factorize(scores["metric"])
    methods, method_names = pd.factorize(scores["method"])
    samples, sample_names = pd.factorize(scores["sample_id"], sort=True)
    value = np.where(usable(scores), scores["value"].to_numpy(dtype=float), math.nan)
    blocks, firsts = pd.factorize(models * max(1, len(metric_names)) + metrics)
    for code, rows in enumerate(_split(blocks, len(firsts))):
        own = methods[rows]
        names, first = np.unique(own, return_index=True)
        grouped = _split(own, len(method_names))
        by_method = {str(method_names[c]): rows[grouped[c]] for c in names[np.argsort(first)]}
        there = np.unique(samples[rows])
        model, metric = divmod(int(firsts[code]), max(1, len(metric_names)))
        yield Cells(
            str(model_names[model]),
            str(metric_names[metric]),
            by_method,
            np.asarray(sample_names[there]),
            {
                method: _placed(samples[found], there, value[found], method, scores, found)
                for method, found in by_method.items()
            },
        )


def _split(codes: np.ndarray, n: int) -> list[np.ndarray]:
    """The places of each of the codes 0 to n - 1, in order."""
    small = codes.astype(np.int16) if n < 2**15 else codes  # sorted by radix
    order = np.argsort(small, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=n))
    return [order[start:end] for start, end in itertools.pairwise([0, *ends])]


def _placed(
    codes: np.ndarray,
    there: np.ndarray,
    values: np.ndarray,
    method: str,
    scores: pd.DataFrame,
    rows: np.ndarray,
) -> np.ndarray:
    """Values in the order of the samples, NaN where a sample has no row."""
    seen = pd.Series(codes).duplicated().to_numpy()
    if seen.any():
        twice = scores.iloc[rows[seen.argmax()]]
        raise InputError(
            f"sample {twice['sample_id']!r} occurs twice for {method}/{twice['metric']}; "
            "give the scores of one run at a time."
        )
    placed = np.full(len(there), math.nan)
    placed[np.searchsorted(there, codes)] = values
    return placed


def of_metric(scores: pd.DataFrame, metric: str) -> Iterator[Cells]:
    """The cells of one metric, one for each model.

    Raises:
        InputError: The metric has no rows, or a sample occurs twice for one method.
    """
    chosen = scores[scores["metric"] == metric]
    if chosen.empty:
        known = ", ".join(dict.fromkeys(scores["metric"]))
        raise InputError(f"no rows of metric {metric!r}; these records hold: {known}.")
    return cells(chosen)


def wide(scores: pd.DataFrame) -> pd.DataFrame:
    """Pivot the scores of one model and metric to samples x methods; NaN where there is no value.

    No scores give no rows and no columns.

    Raises:
        InputError: A sample occurs twice for one method.
    """
    if scores.empty:
        names = (pd.Index([], name=name, dtype=object) for name in ("sample_id", "method"))
        return pd.DataFrame(np.empty((0, 0)), *names)
    (found,) = cells(scores)
    index = pd.Index(found.samples, name="sample_id")
    return pd.DataFrame(found.values, index=index).rename_axis(columns="method")


def spec_of(specs: Mapping[str, MetricSpec], metric: str) -> MetricSpec:
    """The definition of a metric.

    Raises:
        InputError: It has none.
    """
    if metric not in specs:
        raise InputError(f"metric {metric!r} has no definition; known: {', '.join(specs)}.")
    return specs[metric]


def mean(values: np.ndarray) -> float:
    """Mean of values, NaN of none or of infinities of both signs."""
    with np.errstate(invalid="ignore"):
        return float(np.mean(values)) if len(values) else math.nan


def sample_sd(values: np.ndarray) -> float:
    """Standard deviation with n - 1; NaN of fewer than two values, or infinite ones."""
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    return float(values.std(ddof=1))
