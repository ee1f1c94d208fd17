"""Ranks of methods by sample, groups of methods that do not differ, and the second best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from igbench.records import stats
from igbench.report import styles
from igbench.schema import MetricSpec, Run

LEAST = 0.5
"""Share of the samples on which a method needs a value to be ranked."""

Values = Mapping[str, pd.DataFrame]
"""Samples x methods by metric, NaN where there is no value, from `tables`."""


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of the methods by one metric; 1 is best, and ties share the mean of their ranks.

    Attributes:
        mean: By method, best first; empty where no sample has a value of all of them.
        n: Samples in the means: those with a value of every ranked method.
        of: All samples.
        left_out: Methods with a value on fewer than half of the samples, which are not ranked.
        friedman: P-value of the Friedman test that no method differs; NaN for fewer than three
            methods or two samples.
    """

    mean: pd.Series
    n: int
    of: int
    left_out: tuple[str, ...]
    friedman: float


def tables(run: Run, scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Scores of one model by metric, samples x methods in display order, without costs.

    Args:
        run: Definitions of the metrics.
        scores: Columns of `igbench.schema.Row`, of one model.
    """
    found = {block.metric: block.values for block in stats.cells(scores)}
    methods = styles.method_names(run, pd.Series(scores["method"].unique()))
    return {
        metric: pd.DataFrame({m: found[metric][m] for m in methods if m in found[metric]})
        for metric in styles.metric_names(run)
        if metric in found
    }


def mean_ranks(values: pd.DataFrame, spec: MetricSpec) -> Ranks:
    """Mean ranks over the samples on which every ranked method has a value.

    Ranks of samples, and not of means, so that a sample with large scores counts as any other.
    They depend on which methods are in the run, so that they tell nothing of a pair: its test does
    (Benavoli, Corani and Mangili 2016).

    Args:
        values: Samples x methods.
        spec: Definition of the metric, which has a direction.

    >>> two = pd.DataFrame({"a": [3.0, 1.0], "b": [2.0, 2.0], "c": [1.0, 1.0]})
    >>> spec = MetricSpec("", "higher", 0, 9, 1, "")
    >>> mean_ranks(two, spec).mean.to_dict()
    {'b': 1.5, 'a': 1.75, 'c': 2.75}
    """
    share = values.notna().mean()
    kept = [m for m in values if share[m] > 0 and share[m] >= LEAST]
    complete = values[kept].dropna().to_numpy(dtype=float)
    left_out = tuple(str(m) for m in values if m not in kept)
    if not complete.size:
        return Ranks(pd.Series(dtype=float), 0, len(values), left_out, math.nan)
    oriented = pd.DataFrame(-complete if spec.direction == "higher" else complete)
    ranks = oriented.rank(axis=1).to_numpy()
    mean = pd.Series(ranks.mean(axis=0), index=kept).sort_values(kind="stable")
    return Ranks(mean, len(complete), len(values), left_out, stats.friedman_test(complete)[1])


def groups(order: Sequence[str], tested: pd.DataFrame) -> list[list[int]]:
    """Largest groups of methods of which no two differ significantly, as places in the order.

    Two methods are together in a group exactly if their test does not tell them apart.  A group
    need not be a stretch of the order: a test of pairs may tell a method from one in the middle,
    and not from one beyond.

    Args:
        order: Methods, best first.
        tested: Lines of `igbench.records.stats.pairwise`.

    Returns:
        Places in rising order, groups with the best methods first; single methods are no group.

    >>> lines = [("a", "b", 0.2), ("b", "c", 0.3), ("a", "c", 0.01)]
    >>> groups(["a", "b", "c"], pd.DataFrame(lines, columns=["a", "b", "p_holm"]))
    [[0, 1], [1, 2]]
    """
    import networkx as nx  # for this alone; the page needs no diagram

    place = {m: i for i, m in enumerate(order)}
    same = tested[~(tested["p_holm"] <= stats.LEVEL)]
    graph = nx.Graph(
        (place[a], place[b])
        for a, b in zip(same["a"], same["b"], strict=True)
        if a in place and b in place
    )
    return sorted(sorted(members) for members in nx.find_cliques(graph))


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
