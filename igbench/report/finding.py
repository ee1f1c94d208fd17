"""Sentences of a report with their evidence, and what they are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from igbench.report import front
from igbench.report.comparisons import Comparison, Comparisons, ranking
from igbench.report.model_statistics import ModelStatistics
from igbench.report.phrases import label
from igbench.report.table import decimals
from igbench.schema import MetricSpec, Run

IG = "ig"
INTERVAL = "95 % bootstrap interval"
COUNT = "count of all rows"


@dataclass(frozen=True)
class Evidence:
    """The test or the interval behind a sentence.

    Attributes:
        name: What it is, with the family of its correction.
        statistic: Rank-biserial correlation of a signed-rank test, estimate of an interval, number
            of a count.
        p: P-value after correction; NaN for intervals and counts.
        n: Number of samples or pairs, or of rows counted.
    """

    name: str
    statistic: float
    p: float
    n: int


@dataclass(frozen=True)
class Finding:
    """A sentence on a run.

    Attributes:
        text: Plain text, which is not escaped.
        anchor: Identifier on the page of what it stands on: "table-" or "figure-" and the name of
            the file, or a section.
        test: What supports it.
        model: Name of the model; "" for the whole run.
    """

    text: str
    anchor: str
    test: Evidence
    model: str = ""


@dataclass(frozen=True)
class View:
    """One model, seen by its headline metric.

    Attributes:
        run: Definitions.
        lines: Lines of the summary of the model.
        scores: Rows of the model.
        metric: The headline metric.
        ranked: Lines of the methods that compete on it, best first.
        pairs: Comparisons of all methods on it.
        agreement: Agreement of the metrics, from `igbench.records.stats.agreement`.
        digits: Decimals of its means.
    """

    run: Run
    lines: pd.DataFrame
    scores: pd.DataFrame
    metric: str
    ranked: pd.DataFrame
    pairs: Comparisons
    agreement: pd.DataFrame
    digits: int

    @classmethod
    def of(cls, own: ModelStatistics) -> View | None:
        """See a model by its headline metric; None if no metric has a direction."""
        if not own.metric:
            return None
        ranked = ranking(own.run, own.lines, own.metric)
        pairs = Comparisons(own.pairs, own.run.metrics[own.metric])
        return cls(
            own.run, own.lines, own.scores, own.metric, ranked, pairs, own.agreement,
            decimals(ranked),
        )  # fmt: skip

    @property
    def spec(self) -> MetricSpec:
        """Definition of the metric."""
        return self.run.metrics[self.metric]

    @property
    def title(self) -> str:
        """Display name of the metric."""
        return label(self.metric)

    @property
    def names(self) -> list[str]:
        """Methods that compete and have a mean, best first."""
        return [str(name) for name in self.ranked["method"]]

    @property
    def size(self) -> int:
        """Number of samples that were scored."""
        own = self.lines[self.lines["metric"] == self.metric]
        return int(own[["n", "n_undefined", "n_failed"]].sum(axis=1).max())

    @property
    def ig(self) -> str:
        """The best budget of Integrated Gradients; "" without one."""
        return next((m for m in self.names if front.base_of(m) == IG), "")

    def line(self, method: str, metric: str = "") -> pd.Series | None:
        """A line of the summary, or None if it has no mean."""
        of_metric = self.lines["metric"] == (metric or self.metric)
        found = self.lines[of_metric & (self.lines["method"] == method)]
        return None if found.empty or math.isnan(found["mean"].iloc[0]) else found.iloc[0]

    def test(self, one: Comparison) -> Evidence:
        """The test of a comparison."""
        family = f"{self.pairs.size} pair{'s' * (self.pairs.size != 1)}"
        name = f"paired Wilcoxon signed-rank test, Holm over {family}"
        return Evidence(name, one.effect, one.p, one.n)
