"""Figures that compare the methods of a run: who wins, by which metric, on which samples."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from igbench.records import stats
from igbench.report import diagrams, matrices, ranking, strips, styles
from igbench.schema import Run


@styles.style()
def figures(
    run: Run, lines: pd.DataFrame, scores: pd.DataFrame, *, metric: str = ""
) -> dict[str, Figure | None]:
    """Draw all figures of comparison of one model, by file name; None where there is no data.

    Args:
        run: Definitions.
        lines: Lines of `igbench.records.stats.summarise` of the model.
        scores: Its scores, columns of `igbench.schema.Row`.
        metric: Metric of the critical-difference diagram and of the matrix of methods; by default
            the headline of the report.
    """
    values = ranking.tables(run, scores)
    metric = metric or styles.headline(run, lines)
    found: dict[str, Figure | None] = {}
    if metric in values:
        tested = stats.pairwise(scores, run.metrics, metric)
        found["critical_difference"] = diagrams.critical_difference(
            run, metric, values[metric], tested
        )
        found["comparison_matrix"] = matrices.comparison_matrix(run, metric, values[metric], tested)
    found["rank_heatmap"] = matrices.rank_heatmap(run, values, metric)
    found["score_strips"] = strips.score_strips(run, values, lines)
    return found
