"""Paired comparisons of the methods of one model on one metric, and what may be said of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from igbench.report import styles
from igbench.schema import MetricSpec, Run

_TURNED = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Comparison:
    """Two methods on the samples where both have a value.

    Attributes:
        a: Name of a method.
        b: Name of the other.
        gain: How much better a is than b on average: positive where a is better.
        low: Lower end of its 95 % interval, not corrected.
        high: Upper end.
        effect: Matched-pairs rank-biserial correlation of the gains, in [-1, 1].
        p: Wilcoxon signed-rank test, after Holm's correction over all pairs of the metric.
        n: Number of samples.
        band: Largest difference that does not matter.
        verdict: That of `igbench.records.stats.pairwise` on a: "better", "worse", "equivalent" (a
            tie, and not just no difference) or "undecided".
        detectable: Smallest difference that so many samples detect with 90 % power.
    """

    a: str
    b: str
    gain: float
    low: float
    high: float
    effect: float
    p: float
    n: int
    band: float
    verdict: str
    detectable: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the gain."""
        return self.low, self.high

    @property
    def better(self) -> bool:
        """Whether a is significantly better, by more than the band."""
        return self.verdict == "better"

    @property
    def worse(self) -> bool:
        """Whether a is significantly worse, by more than the band."""
        return self.verdict == "worse"

    @property
    def equivalent(self) -> bool:
        """Whether a difference that matters is ruled out."""
        return self.verdict == "equivalent"


class Comparisons:
    """All pairs of methods of one model on one metric, from `igbench.records.stats.pairwise`.

    Args:
        pairs: Its lines of one model and metric.
        spec: Definition of the metric, which has a direction.
    """

    def __init__(self, pairs: pd.DataFrame, spec: MetricSpec) -> None:
        self._sign = -1.0 if spec.direction == "lower" else 1.0
        lines: list[dict[Any, Any]] = pairs.to_dict("records")
        self._lines = {(line["a"], line["b"]): line for line in lines}

    @property
    def size(self) -> int:
        """Number of pairs in the family of Holm's correction."""
        return sum(line["n"] > 0 for line in self._lines.values())

    def of(self, a: str, b: str) -> Comparison:
        """The comparison of a method with another."""
        turned = (a, b) not in self._lines
        line = self._lines[(b, a) if turned else (a, b)]
        sign = -self._sign if turned else self._sign
        low, high = sorted(sign * float(line[k]) for k in ("low", "high"))
        verdict = str(line["verdict"])
        return Comparison(
            a, b, sign * float(line["difference"]), low, high, sign * float(line["effect"]),
            float(line["p_holm"]), int(line["n"]), float(line["band"]),
            _TURNED.get(verdict, verdict) if turned else verdict, float(line["detectable"]),
        )  # fmt: skip

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
