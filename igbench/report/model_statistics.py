"""Statistics of one model that several parts of a report show, each computed once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from igbench.records import stats
from igbench.report import ranking, styles
from igbench.schema import Run


@dataclass(frozen=True)
class ModelStatistics:
    """One model of a run, with what its sentences, figures and tables have in common.

    Attributes:
        run: Definitions.
        lines: Lines of `igbench.records.stats.summarise` of the model.
        scores: Its rows, columns of `igbench.schema.Row`.
    """

    run: Run
    lines: pd.DataFrame
    scores: pd.DataFrame

    @cached_property
    def metric(self) -> str:
        """The headline metric; "" if no metric has a direction."""
        return styles.headline(self.run, self.lines)

    @cached_property
    def values(self) -> dict[str, pd.DataFrame]:
        """Scores by metric, samples x methods, see `igbench.report.ranking.tables`."""
        return ranking.tables(self.run, self.scores)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """All pairs of methods on the headline metric, see `igbench.records.stats.pairwise`."""
        if self.metric not in self.values:
            return pd.DataFrame(columns=list(stats.PAIR_COLUMNS))
        return stats.pairwise(self.scores, self.run.metrics, self.metric)

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """Kendall's tau of every pair of metrics, see `igbench.records.stats.agreement`.

        Over methods alone: all metrics agree on oracles, controls and ceilings.
        """
        methods = [m for m in styles.method_names(self.run) if self.run.methods[m].role == "method"]
        metrics = [m for m in styles.metric_names(self.run) if m in set(self.lines["metric"])]
        return stats.agreement(self.scores, self.run.metrics, metrics=metrics, methods=methods)


def by_model(run: Run, summary: pd.DataFrame, scores: pd.DataFrame) -> dict[str, ModelStatistics]:
    """The statistics of every model with a line in the summary, by its name, in that order.

    Args:
        run: Definitions.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
        scores: Columns of `igbench.schema.Row`, of the same run.
    """
    return dict(_split(run, summary, scores))


def _split(
    run: Run, summary: pd.DataFrame, scores: pd.DataFrame
) -> Iterator[tuple[str, ModelStatistics]]:
    models = list(dict.fromkeys(summary["model"]))
    alone = len(models) == 1 and scores["model"].nunique() == 1
    for model in models:
        own = scores if alone else scores[scores["model"] == model]
        yield str(model), ModelStatistics(run, summary[summary["model"] == model], own)
