"""Figures that compare the methods of a run: who wins, by which metric, on which samples."""

from __future__ import annotations

from matplotlib.figure import Figure

from igbench.records import stats
from igbench.report import diagrams, matrices, strips, styles
from igbench.report.model_statistics import ModelStatistics


@styles.style()
def figures(own: ModelStatistics, *, metric: str = "") -> dict[str, Figure | None]:
    """Draw all figures of comparison of one model, by file name; None where there is no data.

    Args:
        own: The model.
        metric: Metric of the critical-difference diagram and of the matrix of methods; by default
            the headline of the report.
    """
    run, values = own.run, own.values
    metric = metric or own.metric
    found: dict[str, Figure | None] = {}
    if metric in values:
        headline = metric == own.metric
        tested = own.pairs if headline else stats.pairwise(own.scores, run.metrics, metric)
        found["critical_difference"] = diagrams.critical_difference(
            run, metric, values[metric], tested
        )
        found["comparison_matrix"] = matrices.comparison_matrix(run, metric, values[metric], tested)
    found["rank_heatmap"] = matrices.rank_heatmap(run, values, metric)
    found["score_strips"] = strips.score_strips(run, values, own.lines)
    return found
