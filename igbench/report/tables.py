"""The table of scores, and the list of all tables of a run.

Cells with undefined or failed values show their counts and reasons.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from string import ascii_lowercase
from typing import Any

import pandas as pd

from igbench.report import certificates, styles
from igbench.report.costs import costs_table, stages_table
from igbench.report.glossary import definitions_table, methods_table
from igbench.report.table import (
    Cell,
    Table,
    decimals,
    ends,
    line_name,
    marked,
    mean_text,
    methods_of,
    percent,
)
from igbench.schema import Records, Run


def tables(records: Records, summary: pd.DataFrame) -> list[Table]:
    """Make all tables of a run: scores, costs, definitions, certificates."""
    run = records.run
    others = [
        shares_table(run, summary),
        costs_table(records),
        stages_table(run),
        definitions_table(run),
        methods_table(run),
        *certificates.tables(run),
    ]
    return [
        scores_table(run, summary),
        *(replace(t, caption=marked(run, t.caption)) for t in others if t is not None),
    ]


def scores_table(run: Run, summary: pd.DataFrame) -> Table:
    """Table of methods by metrics: mean ± half the width of its 95 % interval.

    Args:
        run: Definitions and samples.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
    """
    metrics = styles.metric_names(run) if len(summary) else []
    models = list(dict.fromkeys(summary["model"]))
    lines = [(o, m) for o in models for m in methods_of(run, summary, o)]
    records: list[dict[Any, Any]] = summary.to_dict("records")
    found = {(r["model"], r["method"], r["metric"]): r for r in records}
    size = len(run.samples) or _largest(summary)
    digits = {m: decimals(summary[summary["metric"] == m]) for m in metrics}
    letters = reason_letters(
        found[(o, m, c)] for c in metrics for o, m in lines if (o, m, c) in found
    )
    return Table(
        name="scores",
        caption=marked(run, _scores_caption(run, models, size)),
        columns=("method", *(f"{m} {run.metrics[m].arrow}".strip() for m in metrics)),
        rows=tuple(line_name(run, o, m, len(models)) for o, m in lines),
        cells=tuple(
            tuple(score_cell(found.get((o, m, c)), digits[c], size, letters) for c in metrics)
            for o, m in lines
        ),
        footnotes={letter: reason for reason, letter in letters.items()},
    )


def _largest(summary: pd.DataFrame) -> int:
    return int(summary[["n", "n_undefined", "n_failed"]].sum(axis=1).max()) if len(summary) else 0


def _scores_caption(run: Run, models: Sequence[str], size: int) -> str:
    return (
        f"{run.experiment}, {', '.join(map(str, models))}: mean ± half the width of its 95 % "
        f"bootstrap interval over n = {size} samples, unless a cell says otherwise. Arrows: the "
        "better direction. Bold: best method; underlined: not significantly different from it "
        "(paired Wilcoxon signed-rank test, Holm). Oracles and controls are shown, not ranked."
    )


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
            "beat. Undefined where the ceiling is not significantly better than the floor."
        ),
        columns=("method", *(f"{m} {run.metrics[m].arrow}" for m in metrics)),
        rows=tuple(line_name(run, o, m, len(models)) for o, m in lines),
        cells=tuple(tuple(_share_cell(found.get((o, m, c))) for c in metrics) for o, m in lines),
        footnotes={"": "; ".join(_ways(run, summary, models, metrics)) + "."},
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
                head = f"{model}, {metric}" if len(models) > 1 else metric
                yield f"{head}: {floor} {low:.{digits}f}, {ceiling} {high:.{digits}f}"


def _share_cell(line: Mapping[str, Any] | None) -> Cell:
    if line is None:
        return Cell("–", hint="not part of this run")
    share, low, high = (100 * float(line[k]) for k in ("share", "share_low", "share_high"))
    if math.isnan(share):
        return Cell("n/a", hint="no values, or a ceiling that is not better than the floor")
    text = percent(share, low, high)
    return Cell(text, value=share, hint=f"{share:.6g} % [{low:.6g}, {high:.6g}]")


def reason_letters(lines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Reasons in order of appearance, each with a letter: a to z, then a1, b1 and so on."""
    reasons = dict.fromkeys(
        str(line["reason"]) for line in lines if line["n_undefined"] or line["n_failed"]
    )
    known = [r for r in reasons if r]
    return {r: ascii_lowercase[i % 26] + str(i // 26 or "") for i, r in enumerate(known)}


def score_cell(
    line: Mapping[str, Any] | None, digits: int, size: int, letters: Mapping[str, str]
) -> Cell:
    """The cell of a line of a summary.

    Args:
        line: From `igbench.records.stats.summarise`; None where there is no score.
        digits: Decimals of the column.
        size: Number of samples that goes without saying.
        letters: From `reason_letters`.
    """
    if line is None:
        return Cell("–", hint="not part of this run")
    n, undefined, failed = (int(line[k]) for k in ("n", "n_undefined", "n_failed"))
    troubles = [f"{k} {w}" for k, w in ((undefined, "undefined"), (failed, "failed")) if k]
    all_counts = ", ".join([f"n = {n}", *troubles])
    mark = letters.get(str(line["reason"]), "") if troubles else ""
    if not n:
        return Cell("n/a", ", ".join(troubles), mark, hint=str(line["reason"]))
    mean, low, high = float(line["mean"]), float(line["low"]), float(line["high"])
    shown = [f"n = {n}", f"{failed} failed" if failed else ""] if n != size or failed else []
    return Cell(
        text=mean_text(mean, (high - low) / 2, digits),
        note=", ".join(filter(None, shown)),
        mark=mark,
        best=bool(line["best"]),
        tied=bool(line["tied"]) and not bool(line["best"]),
        value=mean,
        hint=(
            f"mean {mean:.6g} [{low:.6g}, {high:.6g}], median {float(line['median']):.6g}, "
            + _monte_carlo(float(line["mc_error"]))
            + all_counts
        ),
    )


def _monte_carlo(mc_error: float) -> str:
    """The Monte Carlo error of a mean; "" for exact metrics."""
    return f"Monte Carlo error {mc_error:.2g}, " if mc_error > 0 else ""
