"""Put runs of several models side by side: methods in rows, models in columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from igbench.errors import InputError, check_choice
from igbench.report import styles
from igbench.report.table import Table, decimals, line_name
from igbench.report.tables import reason_letters, score_cell
from igbench.schema import RANDOM_WEIGHTS, Run

Column = tuple[str, Run, Mapping[tuple[str, str], Mapping[Any, Any]]]
"""Head, run, and the lines of its summary by method and metric."""


def tables(runs: Sequence[tuple[Run, pd.DataFrame]], metrics: Sequence[str] = ()) -> list[Table]:
    """One table for each metric: mean ± half the width of the 95 % interval, methods by models.

    Bold and underlined cells are the best methods of their model, as in the report of its run.

    Args:
        runs: Runs with their summaries, from `igbench.records.stats.summarise`.
        metrics: Names of metrics; all that have a direction if none.

    Raises:
        InputError: A metric that no run has.
    """
    known = {m: run.metrics[m] for run, _ in runs for m in styles.metric_names(run)}
    chosen = metrics or [m for m, spec in known.items() if spec.direction != "none"]
    for name in chosen:
        check_choice("metric", name, tuple(known))
    if not chosen:
        raise InputError("the runs have no metric with a direction; give --metric=NAME.")
    shown = columns(runs)
    summary = pd.concat([s for _, s in runs], ignore_index=True)
    return [_table(shown, name, decimals(summary[summary["metric"] == name])) for name in chosen]


def columns(runs: Sequence[tuple[Run, pd.DataFrame]]) -> list[Column]:
    """A column for each model of each run, with a head that no other column has.

    What tells columns of one model apart is, in this order, as far as it is needed: the experiment,
    the weights, the run.
    """
    found = [
        (str(model), run, lines)
        for run, s in runs
        for model, lines in s.groupby("model", sort=False)
    ]
    names = Counter(model for model, _, _ in found)
    shared = [(m, run) for m, run, _ in found if names[m] > 1]
    return [
        (
            _head(model, run, [other for m, other in shared if m == model]),
            run,
            {(r["method"], r["metric"]): r for r in lines.to_dict("records")},
        )
        for model, run, lines in found
    ]


def _head(model: str, run: Run, shared: Sequence[Run]) -> str:
    """Name of a model, with what tells it apart and what a reader must know."""
    facts = (
        lambda run: run.experiment,
        lambda run: f"weights {str(run.comparability.get('weights', ''))[:8]}",
        lambda run: run.id,
    )
    notes: list[str] = []
    left = list(shared)
    for fact in facts:
        own = fact(run)
        if len(left) > 1 and any(fact(other) != own for other in left):
            notes.append(own)
            left = [other for other in left if fact(other) == own]
    notes += [RANDOM_WEIGHTS] if run.random_weights and RANDOM_WEIGHTS not in model else []
    return f"{model} ({', '.join(notes)})" if notes else model


def _table(columns: Sequence[Column], metric: str, digits: int) -> Table:
    names = methods([run for _, run, _ in columns])
    with_metric = next(run for _, run, _ in columns if metric in run.metrics)
    spec = with_metric.metrics[metric]
    cells = [[lines.get((m, metric)) for _, _, lines in columns] for m in names]
    shown = [(m, row) for m, row in zip(names, cells, strict=True) if any(row)]
    letters = reason_letters(line for _, row in shown for line in row if line is not None)
    owner = {m: next(run for _, run, _ in columns if m in run.methods) for m in names}
    sizes = [len(run.samples) for _, run, _ in columns]
    footnotes = {letter: reason for reason, letter in letters.items()}
    if different := _differences([run for _, run, _ in columns], metric):
        footnotes[""] = different
    return Table(
        name=f"models_{metric}",
        caption=_caption(sizes, f"{metric} {spec.arrow}".strip(), spec.title),
        columns=("method", *(head for head, _, _ in columns)),
        rows=tuple(line_name(owner[m], "", m, 1) for m, _ in shown),
        cells=tuple(
            tuple(score_cell(c, digits, n, letters) for c, n in zip(row, sizes, strict=True))
            for _, row in shown
        ),
        footnotes=footnotes,
    )


def methods(runs: Sequence[Run]) -> list[str]:
    """Methods of all runs: those of the first, then what others have besides; by role."""
    ordered = [m for run in runs for m in styles.method_names(run)]
    roles = {m: run.methods[m].role for run in runs for m in run.methods}
    return sorted(dict.fromkeys(ordered), key=lambda m: styles.ROLES.index(roles[m]))


def _caption(sizes: Sequence[int], metric: str, title: str) -> str:
    samples = " to ".join(map(str, sorted({min(sizes), max(sizes)})))
    return (
        f"{metric}, {title}: mean ± half the width of its 95 % bootstrap interval over n = "
        f"{samples} samples. Bold: best method of a model; underlined: not significantly different "
        "from it (paired Wilcoxon signed-rank test, Holm)."
    )


def _differences(runs: Sequence[Run], metric: str) -> str:
    """What besides the weights is not the same in all runs, so that columns are not comparable."""
    facts: dict[str, list[Any]] = {}
    for run in runs:
        own = {
            k: v for k, v in run.comparability.items() if k not in ("weights", "metric_versions")
        }
        own["definition"] = dict(run.comparability.get("metric_versions", {})).get(metric)
        for key, value in own.items():
            facts.setdefault(key, []).append(value)
    differing = [k for k, v in facts.items() if len(v) < len(runs) or any(x != v[0] for x in v)]
    return f"The runs differ in: {', '.join(differing)}." if differing else ""
