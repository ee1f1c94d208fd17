"""Mean ranks of methods over samples, and the second best mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from igbench.records import stats
from igbench.report import styles
from igbench.schema import MetricSpec, Run


def mean_ranks(
    scores: pd.DataFrame, spec: MetricSpec, methods: Sequence[str]
) -> tuple[pd.Series, int]:
    """Mean over samples of the rank of each method on a sample, 1 for the best.

    Equal values share the mean of their ranks.  Samples are those on which every method with a
    value has one; methods without any value have no rank.

    Args:
        scores: Rows of one model and one metric.
        spec: Definition of the metric, which has a direction.
        methods: The methods that are ranked among each other.

    Returns:
        Mean rank by method, and the number of samples.

    >>> frame = pd.DataFrame({"method": ["a", "b"] * 2, "sample_id": [1, 1, 2, 2],
    ...                       "value": [1.0, 2.0, 3.0, 3.0], "status": "ok"})
    >>> found, n = mean_ranks(frame, MetricSpec("", "higher", 0, 9, 1, ""), ["a", "b"])
    >>> found.to_dict(), n
    ({'a': 1.75, 'b': 1.25}, 2)
    """
    wide = stats.wide(scores[scores["method"].isin(methods)])
    wide = wide.loc[:, wide.notna().any()].dropna()
    ranks = wide.rank(axis=1, ascending=spec.direction == "lower")
    return ranks.mean(), len(wide)


def second_best(run: Run, lines: Sequence[Mapping[Any, Any]]) -> set[str]:
    """Methods of the best mean after the best ones; none without a direction.

    Oracles, controls and ceilings take no part, as in `igbench.records.stats.summarise`.

    Args:
        run: Definitions.
        lines: Lines of the summary of one model and metric, which say who is best.
    """
    rivals = {
        line["method"]: float(line["mean"])
        for line in lines
        if styles.role(run, line["method"]) == "method"
        and not line["best"]
        and not math.isnan(line["mean"])
    }
    if not rivals or not any(line["best"] for line in lines):
        return set()
    lower = run.metrics[lines[0]["metric"]].direction == "lower"
    top = (min if lower else max)(rivals.values())
    return {method for method, mean in rivals.items() if mean == top}
