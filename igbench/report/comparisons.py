"""Paired comparisons of the methods of one model on one metric, and what may be said of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from igbench.records import stats
from igbench.report import styles
from igbench.schema import MetricSpec, Run

LEVEL = 0.05
"""Level of the tests after Holm's correction."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two methods on the samples where both have a value.

    Attributes:
        a: Name of a method.
        b: Name of the other.
        gains: How much better a is than b, (n,): positive where a is better.
        p: Wilcoxon signed-rank test, after Holm's correction over all pairs of the metric.
        margin: Largest difference that does not matter, `MetricSpec.min_effect`.
    """

    a: str
    b: str
    gains: np.ndarray = field(repr=False)
    p: float
    margin: float

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.gains)

    @property
    def gain(self) -> float:
        """Mean of the gains."""
        return float(np.mean(self.gains)) if self.n else math.nan

    @property
    def sd(self) -> float:
        """Standard deviation of the gains; NaN for fewer than two."""
        return float(self.gains.std(ddof=1)) if self.n > 1 else math.nan

    @property
    def effect(self) -> float:
        """Matched-pairs rank-biserial correlation of the gains, in [-1, 1]."""
        return stats.rank_biserial(self.gains)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the gain, not corrected."""
        return stats.interval(self.gains)

    @property
    def differ(self) -> bool:
        """Whether the test tells the two apart."""
        return self.p <= LEVEL

    @property
    def better(self) -> bool:
        """Whether a is significantly better."""
        return self.differ and self.gain > 0

    @property
    def worse(self) -> bool:
        """Whether a is significantly worse."""
        return self.differ and self.gain < 0

    @property
    def equivalent(self) -> bool:
        """Whether the whole interval lies within the margin: a tie, and not just no difference."""
        if self.differ:
            return False
        low, high = self.interval
        return -self.margin <= low and high <= self.margin


class Comparisons:
    """All pairs of methods of one model on one metric, as in `igbench.records.stats.pairwise`.

    Intervals are computed for the pairs that are asked for, because many methods have very many.

    Args:
        scores: Columns of `Row`, of one model and metric.
        spec: Definition of the metric, which has a direction.
    """

    def __init__(self, scores: pd.DataFrame, spec: MetricSpec) -> None:
        self._spec = spec
        table = stats.wide(scores)
        self._values = {str(m): table[m].to_numpy(dtype=float) for m in table}
        pairs = list(itertools.combinations(self._values, 2))
        tests = stats.holm([stats.signed_rank_p(self._gains(a, b)) for a, b in pairs])
        self._p = {frozenset(pair): float(p) for pair, p in zip(pairs, tests, strict=True)}
        self._made: dict[tuple[str, str], Comparison] = {}

    @property
    def size(self) -> int:
        """Number of pairs in the family of Holm's correction."""
        return sum(not math.isnan(p) for p in self._p.values())

    def _gains(self, a: str, b: str) -> np.ndarray:
        x, y = self._values[a], self._values[b]
        both = ~(np.isnan(x) | np.isnan(y))
        x, y = x[both], y[both]
        return stats.subtract(x, y) if self._spec.direction == "lower" else stats.subtract(y, x)

    def of(self, a: str, b: str) -> Comparison:
        """The comparison of a method with another."""
        if (a, b) not in self._made:
            p = self._p[frozenset((a, b))]
            self._made[a, b] = Comparison(a, b, self._gains(a, b), p, self._spec.min_effect)
        return self._made[a, b]

    def against(self, a: str, others: Iterable[str]) -> list[Comparison]:
        """The comparisons of a method with others that have a common sample, in their order."""
        return [found for b in others if b != a and (found := self.of(a, b)).n]


def ranking(run: Run, lines: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Lines of one metric, best mean first, without oracles, controls and ceilings.

    Args:
        run: Definitions.
        lines: Lines of `igbench.records.stats.summarise` of one model.
        metric: Name of the metric.
    """
    of_metric = lines[(lines["metric"] == metric) & lines["mean"].notna()]
    proper = [m for m in run.methods if styles.role(run, m) == "method"]
    rivals = of_metric[of_metric["method"].isin(proper)]
    lower = run.metrics[metric].direction == "lower"
    return rivals.sort_values("mean", ascending=lower, kind="stable").reset_index(drop=True)
