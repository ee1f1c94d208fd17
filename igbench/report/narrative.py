"""Summarise a run in a few sentences, each computed from the summary of its scores."""

from __future__ import annotations

import math

import pandas as pd

from igbench.report import certificates, front, styles
from igbench.report.table import decimals, ends, marked, percent
from igbench.schema import MetricSpec, Run

IG = "ig"


def narrative(run: Run, summary: pd.DataFrame) -> list[str]:
    """Write paragraphs on the best method, the random control, completeness, costs and failures.

    Args:
        run: Definitions of metrics and methods.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.

    Returns:
        One paragraph for each model, and one on the whole run.
    """
    models = list(dict.fromkeys(summary["model"]))
    paragraphs = []
    for model in models:
        lines = summary[summary["model"] == model]
        sentences = [
            *_leader(run, lines), *_chance(run, lines), *_reached(run, lines),
            *_completeness(run, lines), *_oracles(run, lines), *_cost(lines), *_front(run, lines),
        ]  # fmt: skip
        head = f"{model}: " if len(models) > 1 else ""
        if sentences:
            paragraphs.append(head + " ".join(sentences))
    last = " ".join(filter(None, [_counts(run, summary), certificates.sentence(run)]))
    return [*paragraphs, marked(run, last)]


def ranking(run: Run, lines: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Lines of one metric, best mean first, without oracles, controls and ceilings."""
    of_metric = lines[(lines["metric"] == metric) & lines["mean"].notna()]
    proper = [m for m in run.methods if styles.role(run, m) == "method"]
    rivals = of_metric[of_metric["method"].isin(proper)]
    lower = run.metrics[metric].direction == "lower"
    return rivals.sort_values("mean", ascending=lower, kind="stable").reset_index(drop=True)


def _leader(run: Run, lines: pd.DataFrame) -> list[str]:
    metric = styles.headline(run, lines)
    ranked = ranking(run, lines, metric) if metric else lines.iloc[:0]
    if ranked.empty:
        return [f"No method has a value of {metric}, so none leads."] if metric else []
    of_metric = lines["metric"] == metric
    spec, first, digits = run.metrics[metric], ranked.iloc[0], decimals(ranked)
    sentences = [
        f"The headline metric is {metric}: {spec.title}; {spec.direction} is better.",
        f"Of {_count(len(ranked), 'method')}, {first['method']} has the best mean: "
        f"{_interval(first, digits)} over {_count(int(first['n']), 'sample')}.",
    ]
    others = ranked.iloc[1:]
    tied = list(others.loc[others["tied"].astype(bool) | others["best"].astype(bool), "method"])
    if tied:
        sentences.append(f"It does not differ significantly from {_join(tied)} at the 5 % level.")
        sentences += _too_few(int(first["n"]), int(lines.loc[of_metric, "mean"].notna().sum()))
    elif len(others):
        second = others.iloc[0]
        sentences.append(
            f"It differs significantly from every other method; the next is {second['method']} "
            f"with {_fixed(second['mean'], digits)}."
        )
    place = ranked.index[ranked["method"] == IG]
    if len(place) and place[0] > 0:
        own = _interval(ranked.loc[place[0]], digits)
        sentences.append(f"{IG} has rank {place[0] + 1} with {own}.")
    return sentences


def _too_few(samples: int, methods: int) -> list[str]:
    """A warning if even the smallest p-value, 2^(1 - n), fails the first step of Holm's test."""
    if 2.0 ** (1 - samples) * math.comb(methods, 2) <= 0.05:
        return []
    return [f"With {_count(samples, 'sample')}, this test cannot find any significant difference."]


def _chance(run: Run, lines: pd.DataFrame) -> list[str]:
    metric = styles.headline(run, lines)
    chance = lines[(lines["metric"] == metric) & (lines["method"] == "random")]["mean"].dropna()
    ranked = ranking(run, lines, metric) if metric else lines.iloc[:0]
    ranked = ranked[ranked["low"].notna()]
    if chance.empty or ranked.empty:
        return []
    level, spec = float(chance.iloc[0]), run.metrics[metric]
    shown = f"random control ({_fixed(level, decimals(ranked))})"
    not_better = ranked[~_better(ranked, level, spec)]
    if not_better.empty:
        return [f"The 95 % interval of every method is better than the mean of the {shown}."]
    names = _join(list(not_better["method"]))
    return [f"Not better than the {shown} with 95 % confidence: {names}."]


def _reached(run: Run, lines: pd.DataFrame) -> list[str]:
    """How far the best method and Integrated Gradients come on the way to the ceiling."""
    metric = styles.headline(run, lines)
    between = ends(run, lines, metric) if metric else None
    ranked = ranking(run, lines, metric) if between else lines.iloc[:0]
    ranked = ranked[ranked["share"].notna()]
    if between is None or ranked.empty:
        return []
    ((_, low), (ceiling, high)), digits = between, decimals(ranked)
    parts = [
        f"{line['method']} goes "
        + percent(*(100 * float(line[k]) for k in ("share", "share_low", "share_high")))
        for i, line in ranked.iterrows()
        if i == ranked.index[0] or line["method"] == IG
    ]
    return [
        f"Of the way from the random control ({_fixed(low, digits)}) to the best order found by "
        f"{ceiling} ({_fixed(high, digits)}), {_join(parts)}."
    ]


def _better(ranked: pd.DataFrame, level: float, spec: MetricSpec) -> pd.Series:
    return ranked["low"] > level if spec.direction == "higher" else ranked["high"] < level


def _completeness(run: Run, lines: pd.DataFrame) -> list[str]:
    found = _line(lines, IG, "completeness")
    if found is None:
        return []
    return [
        f"The median completeness gap of {IG} is {_number(found['median'])} "
        f"({run.metrics['completeness'].title})."
    ]


def _oracles(run: Run, lines: pd.DataFrame) -> list[str]:
    sentences = []
    for method in styles.method_names(run, lines["method"]):
        found = _line(lines, method, "difference_from_ig")
        if styles.role(run, method) == "oracle" and found is not None:
            title = run.metrics["difference_from_ig"].title
            sentences.append(
                f"The independent implementation {method} differs from {IG} by "
                f"{_number(found['mean'])} on average ({title})."
            )
    return sentences


def _cost(lines: pd.DataFrame) -> list[str]:
    forward, backward = (_line(lines, IG, c) for c in ("forward_rows", "backward_rows"))
    if forward is None or backward is None:
        return []
    return [
        f"One attribution by {IG} takes {forward['mean']:,.4g} forward and "
        f"{backward['mean']:,.4g} backward rows of the model."
    ]


def _front(run: Run, lines: pd.DataFrame) -> list[str]:
    """The Pareto front of quality against cost, where methods have several budgets."""
    metric = styles.headline(run, lines)
    if not metric or not front.families(map(str, lines["method"].unique())):
        return []
    names, cost = front.front(run, lines, metric), front.costs(lines)
    if not names:
        return []
    shown = [f"{name} ({cost[name]:,.4g})" for name in names]
    return [
        f"No method of equal or lower cost reaches {_join(shown)} in the mean of {metric} (model "
        f"evaluations for one attribution; a gradient counts {front.GRADIENT_COST:g})."
    ]


def _counts(run: Run, summary: pd.DataFrame) -> str:
    ok, undefined, failed = (int(summary[k].sum()) for k in ("n", "n_undefined", "n_failed"))
    text = f"Of {_count(ok + undefined + failed, 'value')}, {undefined:,} are undefined and "
    text += f"{failed:,} failed."
    limit = run.config.get("limit")
    if limit is not None:
        text += f" This run was limited to {limit} samples, too few for conclusions."
    return text


def _line(lines: pd.DataFrame, method: str, metric: str) -> pd.Series | None:
    """The line of a cell, or None if it has no value."""
    found = lines[(lines["method"] == method) & (lines["metric"] == metric)]
    return None if found.empty or math.isnan(found["mean"].iloc[0]) else found.iloc[0]


def _interval(line: pd.Series, digits: int) -> str:
    mean, low, high = (_fixed(line[k], digits) for k in ("mean", "low", "high"))
    return mean if math.isnan(line["low"]) else f"{mean} [{low}, {high}]"


def _fixed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # adding 0.0 turns -0.0 into 0.0


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
