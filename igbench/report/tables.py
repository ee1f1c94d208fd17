"""The table of scores, and the list of all tables of a run.

Cells with undefined or failed values show their counts and reasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from igbench.errors import check_choice
from igbench.records import stats
from igbench.report import captions, certificates, disagreement, names, styles
from igbench.report.costs import costs_table, stages_table
from igbench.report.glossary import definitions_table, methods_table
from igbench.report.ranking import mean_ranks, second_best
from igbench.report.table import (
    DEFAULTS,
    FORMS,
    Cell,
    Table,
    TableOptions,
    decimals,
    ends,
    letter,
    line_name,
    marked,
    mean_text,
    methods_of,
    percent,
    stub,
)
from igbench.schema import Records, Run

COMPACT = 3
"""Metrics of the compact form, which fit into a column of a page with two."""


def tables(
    records: Records, summary: pd.DataFrame, options: TableOptions = DEFAULTS
) -> list[Table]:
    """Make all tables of a run: scores in both forms, shares, costs, definitions, certificates.

    Args:
        records: The run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
        options: What the tables of scores show; both forms are made, whichever it says.
    """
    run = records.run
    others = [
        shares_table(run, summary),
        disagreement.table(records, summary),
        costs_table(records),
        stages_table(run),
        definitions_table(run),
        methods_table(run),
        *certificates.tables(run),
    ]
    return [
        *(scores_table(run, summary, replace(options, form=f), records.scores) for f in FORMS),
        *(replace(t, caption=marked(run, t.caption)) for t in others if t is not None),
    ]


def scores_table(
    run: Run,
    summary: pd.DataFrame,
    options: TableOptions = DEFAULTS,
    scores: pd.DataFrame | None = None,
) -> Table:
    """Table of methods by metrics: mean ± half the width of its 95 % interval.

    Args:
        run: Definitions and samples.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
        options: Form, choice of metrics and methods, and further columns.
        scores: The rows of the run, which mean ranks are computed from.

    Raises:
        InputError: A metric or a method that the run does not have.
        ValueError: Ranks are asked for without the rows.
    """
    metrics = chosen_metrics(run, summary, options)
    shown = _of_methods(run, summary, options.methods)
    models = list(dict.fromkeys(shown["model"]))
    lines = [(o, m) for o in models for m in methods_of(run, shown, o)]
    records: list[dict[Any, Any]] = shown.to_dict("records")
    found = {(r["model"], r["method"], r["metric"]): r for r in records}
    size = len(run.samples) or _largest(summary)
    columns = [
        *_score_columns(run, summary, metrics, options),
        *(_rank_columns(run, shown, metrics, scores) if options.ranks else ()),
        *(_share_columns(shown, metrics, run) if options.shares else ()),
    ]
    letters = reason_letters(
        found[(o, m, c)] for c in metrics for o, m in lines if (o, m, c) in found
    )
    named = shown[shown["metric"].isin(metrics)]
    return Table(
        name="scores" if options.form == "wide" else f"scores_{options.form}",
        caption=marked(run, captions.scores(run, named, metrics, size, options)),
        columns=("method", *(c.head for c in columns)),
        rows=tuple(line_name(run, o, m, len(models)) for o, m in lines),
        cells=tuple(
            tuple(c.cell(found.get((o, m, c.metric)), size, letters) for c in columns)
            for o, m in lines
        ),
        footnotes={letter: reason for reason, letter in letters.items()},
        form=options.form,
        keys=tuple({"model": str(o), "method": m} for o, m in lines),
        column_keys=tuple(c.key for c in columns),
        stubs=tuple(stub(run, o, m, len(models)) for o, m in lines),
    )


def chosen_metrics(run: Run, summary: pd.DataFrame, options: TableOptions) -> list[str]:
    """The metrics that have a column.

    Without a choice they are all for the wide form.  For the compact one they are the headline
    metric and `COMPACT` - 1 more that have a direction and a mean: first of other families, then
    in the order of the run.

    Raises:
        InputError: A metric that the run does not have.
    """
    known = styles.metric_names(run)
    for name in options.metrics:
        check_choice("metric", name, tuple(known))
    if options.metrics:
        return list(dict.fromkeys(options.metrics))
    if not len(summary):
        return []
    if options.form == "wide":
        return known
    valued = set(summary.loc[summary["mean"].notna(), "metric"])
    directed = [m for m in known if run.metrics[m].direction != "none"]
    usable = [m for m in directed if m in valued] or directed
    first = styles.headline(run, summary)
    ordered = list(dict.fromkeys(([first] if first else []) + usable)) or known
    seen: dict[str, str] = {}
    for name in ordered:
        seen.setdefault(run.metrics[name].family or name, name)
    return list(dict.fromkeys([*seen.values(), *ordered]))[:COMPACT]


def _of_methods(run: Run, summary: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """The lines of the methods that are chosen; all without a choice."""
    for name in methods:
        check_choice("method", name, tuple(run.methods))
    return summary[summary["method"].isin(methods)] if methods else summary


@dataclass(frozen=True)
class _Column:
    """A column: head, identifier, the metric whose line a cell takes, and how it is shown."""

    head: str
    key: str
    metric: str
    cell: Callable[[Mapping[str, Any] | None, int, Mapping[str, str]], Cell]


def _score_columns(
    run: Run, summary: pd.DataFrame, metrics: Sequence[str], options: TableOptions
) -> list[_Column]:
    return [_score_column(run, summary[summary["metric"] == m], m, options) for m in metrics]


def _score_column(run: Run, lines: pd.DataFrame, metric: str, options: TableOptions) -> _Column:
    """The means of a metric; what is second best does not depend on the methods that are shown."""
    compact = options.form == "compact"
    digits = max(0, decimals(_of_methods(run, lines, options.methods)) - compact)
    own: list[dict[Any, Any]] = lines.to_dict("records")
    second = {
        (model, method)
        for model in lines["model"].unique()
        for method in second_best(run, [line for line in own if line["model"] == model])
    }

    def cell(line: Mapping[str, Any] | None, size: int, letters: Mapping[str, str]) -> Cell:
        return score_cell(
            line, digits, size, letters,
            significant=1 if compact else 2,
            second=line is not None and (line["model"], line["method"]) in second,
        )  # fmt: skip

    return _Column(names.metric(metric, run.metrics), metric, metric, cell)


def _rank_columns(
    run: Run, summary: pd.DataFrame, metrics: Sequence[str], scores: pd.DataFrame | None
) -> list[_Column]:
    """The mean rank by the first metric that has a direction; none if there is none."""
    if scores is None:
        raise ValueError("mean ranks need the rows of the run; give scores=.")
    metric = next((m for m in metrics if run.metrics[m].direction != "none"), "")
    if not metric:
        return []
    rows = scores[scores["metric"] == metric]
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for model in rows["model"].unique():
        competing = [
            m
            for m in summary.loc[summary["model"] == model, "method"].unique()
            if styles.role(run, m) == "method"
        ]
        values = stats.wide(rows[(rows["model"] == model) & rows["method"].isin(competing)])
        ranks = mean_ranks(values, run.metrics[metric])
        found |= {(model, str(m)): (float(rank), ranks.n) for m, rank in ranks.mean.items()}

    def cell(line: Mapping[str, Any] | None, size: int, letters: Mapping[str, str]) -> Cell:
        rank, n = found.get((line["model"], line["method"]), (math.nan, 0)) if line else (0, 0)
        if not n:
            return Cell("–", hint="not ranked")
        note = f"n = {n}" if n != size else ""
        return Cell(f"{rank:.2f}", note, value=rank, numbers={"mean": rank, "n": n})

    return [_Column(f"Rank, {styles.name_text(metric)} ↓", f"rank_{metric}", metric, cell)]


def _share_columns(summary: pd.DataFrame, metrics: Sequence[str], run: Run) -> list[_Column]:
    """The share of the way in the first metric that has one; none if none has."""
    known = set(summary.loc[summary["share"].notna(), "metric"])
    metric = next((m for m in metrics if m in known), "")
    if not metric:
        return []
    head = f"Share, {styles.name_text(metric)} ↑"
    return [_Column(head, f"share_{metric}", metric, lambda line, *_: _share_cell(line))]


def _largest(summary: pd.DataFrame) -> int:
    return int(summary[["n", "n_undefined", "n_failed"]].sum(axis=1).max()) if len(summary) else 0


def shares_table(run: Run, summary: pd.DataFrame) -> Table | None:
    """Table of the shares of the way from floor to ceiling; None if the run has none.

    Args:
        run: Definitions.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
    """
    known = summary[summary["share"].notna()]
    metrics = [m for m in styles.metric_names(run) if m in set(known["metric"])]
    if not metrics:
        return None
    models = list(dict.fromkeys(summary["model"]))
    lines = [(o, m) for o in models for m in methods_of(run, summary, o)]
    records: list[dict[Any, Any]] = summary.to_dict("records")
    found = {(r["model"], r["method"], r["metric"]): r for r in records}
    return Table(
        name="shares",
        caption=(
            "Share of the way from the floor to the ceiling in percent: (mean - floor) / (ceiling "
            "- floor), a ratio of means with its 95 % bootstrap interval, paired by sample. Floor: "
            "the random control. Ceiling: the best order that a search found, which a method may "
            "beat. Undefined where the ceiling is not significantly better than the floor. "
            + captions.counts(summary[summary["metric"].isin(metrics)])
        ),
        columns=("method", *(names.metric(m, run.metrics) for m in metrics)),
        rows=tuple(line_name(run, o, m, len(models)) for o, m in lines),
        cells=tuple(tuple(_share_cell(found.get((o, m, c))) for c in metrics) for o, m in lines),
        footnotes={"": "; ".join(_ways(run, summary, models, metrics)) + "."},
        keys=tuple({"model": str(o), "method": m} for o, m in lines),
        column_keys=tuple(metrics),
        stubs=tuple(stub(run, o, m, len(models)) for o, m in lines),
    )


def _ways(
    run: Run, summary: pd.DataFrame, models: Sequence[str], metrics: Sequence[str]
) -> Iterable[str]:
    """From where to where the way of each metric goes."""
    for model in models:
        for metric in metrics:
            lines = summary[(summary["model"] == model) & (summary["metric"] == metric)]
            between = ends(run, lines, metric)
            if between:
                (floor, low), (ceiling, high) = between
                digits = decimals(lines)
                head = styles.name_text(metric)
                head = f"{names.model(model)}, {head}" if len(models) > 1 else head
                yield (
                    f"{head}: {names.method(floor)} {low:.{digits}f}, "
                    f"{names.method(ceiling)} {high:.{digits}f}"
                )


def _share_cell(line: Mapping[str, Any] | None) -> Cell:
    if line is None:
        return Cell("–", hint="not part of this run")
    share, low, high = (100 * float(line[k]) for k in ("share", "share_low", "share_high"))
    troubles = _troubles(line)
    note = ", ".join([f"n = {int(line['n'])}", *troubles]) if troubles else ""
    numbers = {"share": share, "low": low, "high": high} | _counts(line)
    if math.isnan(share):
        hint = "no values, or a ceiling that is not better than the floor"
        return Cell("n/a", note, hint=hint, numbers=numbers)
    hint = f"{share:.6g} % [{low:.6g}, {high:.6g}]"
    return Cell(percent(share, low, high), note, value=share, hint=hint, numbers=numbers)


def _troubles(line: Mapping[str, Any]) -> list[str]:
    """How many values of a cell are undefined and failed, in words."""
    words = (("n_undefined", "undefined"), ("n_failed", "failed"))
    return [f"{int(line[k])} {w}" for k, w in words if line[k]]


def _counts(line: Mapping[str, Any]) -> dict[str, int]:
    return {k: int(line[k]) for k in captions.COUNTS}


def reason_letters(lines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Reasons in order of appearance, each with a letter: a to z, then a1, b1 and so on."""
    reasons = dict.fromkeys(
        str(line["reason"]) for line in lines if line["n_undefined"] or line["n_failed"]
    )
    known = [r for r in reasons if r]
    return {r: letter(i) for i, r in enumerate(known)}


def score_cell(
    line: Mapping[str, Any] | None,
    digits: int,
    size: int,
    letters: Mapping[str, str],
    *,
    significant: int = 2,
    second: bool = False,
) -> Cell:
    """The cell of a line of a summary.

    Args:
        line: From `igbench.records.stats.summarise`; None where there is no score.
        digits: Decimals of the column.
        size: Number of samples that goes without saying.
        letters: From `reason_letters`.
        significant: See `mean_text`.
        second: Whether it is the second best.
    """
    if line is None:
        return Cell("–", hint="not part of this run")
    n, failed = int(line["n"]), int(line["n_failed"])
    troubles = _troubles(line)
    mean, low, high = (float(line[k]) for k in ("mean", "low", "high"))
    numbers = {"mean": mean, "low": low, "high": high} | _counts(line)
    all_counts = ", ".join([f"n = {n}", *troubles])
    mark = letters.get(str(line["reason"]), "") if troubles else ""
    if not n:
        note = ", ".join(troubles)
        return Cell("n/a", note, mark, hint=str(line["reason"]), numbers=numbers)
    shown = [f"n = {n}", f"{failed} failed" if failed else ""] if n != size or failed else []
    return Cell(
        text=mean_text(mean, (high - low) / 2, digits, significant=significant),
        note=", ".join(filter(None, shown)),
        mark=mark,
        best=bool(line["best"]),
        tied=bool(line["tied"]) and not bool(line["best"]),
        second=second,
        value=mean,
        hint=(
            f"mean {mean:.6g} [{low:.6g}, {high:.6g}], median {float(line['median']):.6g}, "
            + _monte_carlo(float(line["mc_error"]))
            + all_counts
        ),
        numbers=numbers,
    )


def _monte_carlo(mc_error: float) -> str:
    """The Monte Carlo error of a mean; "" for exact metrics."""
    return f"Monte Carlo error {mc_error:.2g}, " if mc_error > 0 else ""
