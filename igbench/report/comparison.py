"""Figures that compare the methods of a run: who wins, by which metric, on which samples."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from igbench.records import stats
from igbench.report import diagrams, matrices, strips, styles
from igbench.report.model_statistics import ModelStatistics
from igbench.report.styles import Maker


@styles.style()
def figures(own: ModelStatistics, *, metric: str = "") -> dict[str, Figure | None]:
    """Draw all figures of comparison of one model, by file name; None where there is no data.

    Args:
        own: The model.
        metric: Metric of the critical-difference diagram and of the matrix of methods; by default
            the headline of the report.
    """
    return {name: make() for name, make in makers(own, metric=metric).items()}


def makers(own: ModelStatistics, *, metric: str = "") -> dict[str, Maker]:
    """What draws each figure of `figures`, by file name; statistics are computed here.

    Args:
        own: The model.
        metric: See `figures`.
    """
    run, values = own.run, own.values
    metric = metric or own.metric
    found: dict[str, Maker] = {}
    if metric in values:
        of_metric = (run, metric, values[metric], _tested(own, metric))
        found["critical_difference"] = partial(diagrams.critical_difference, *of_metric)
        found["comparison_matrix"] = partial(matrices.comparison_matrix, *of_metric)
    found["rank_heatmap"] = partial(matrices.rank_heatmap, run, values, metric)
    found["score_strips"] = partial(strips.score_strips, run, values, own.lines)
    return found


def _tested(own: ModelStatistics, metric: str) -> pd.DataFrame:
    """Tests of all pairs of methods on a metric."""
    if metric == own.metric:
        return own.pairs
    return stats.pairwise(own.scores, own.run.metrics, metric)
