"""Put runs of several models and data sets side by side: methods in rows, models in columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from igbench.errors import InputError, check_choice
from igbench.report import captions, names, styles
from igbench.report.ranking import second_best
from igbench.report.table import DEFAULTS, Cell, Table, TableOptions, decimals, line_name, stub
from igbench.report.tables import reason_letters, score_cell
from igbench.schema import RANDOM_WEIGHTS, Run


class Column(NamedTuple):
    """A model of a run.

    Attributes:
        head: What tells it apart from all others.
        run: The run.
        lines: Lines of its summary by method and metric.
        data: Name of the data; "" where all runs have the same.
        short: What tells it apart from others of the same data.
    """

    head: str
    run: Run
    lines: Mapping[tuple[str, str], Mapping[Any, Any]]
    data: str
    short: str


def tables(
    runs: Sequence[tuple[Run, pd.DataFrame]],
    metrics: Sequence[str] = (),
    options: TableOptions = DEFAULTS,
) -> list[Table]:
    """One table for each metric: mean ± half the width of the 95 % interval, methods by models.

    Marks are those of each model, as in the report of its run.  Where the runs have several data
    sets, these stand above their models.

    Args:
        runs: Runs with their summaries, from `igbench.records.stats.summarise`.
        metrics: Names of metrics; those of the options, or all that have a direction, if none.
        options: Form, methods, and whether a column has the mean rank over the models; shares are
            left to the tables of each run.

    Raises:
        InputError: A metric or a method that no run has.
    """
    known = {m: run.metrics[m] for run, _ in runs for m in styles.metric_names(run)}
    chosen = (
        metrics or options.metrics or [m for m, spec in known.items() if spec.direction != "none"]
    )
    for name in chosen:
        check_choice("metric", name, tuple(known))
    for name in options.methods:
        check_choice(
            "method", name, tuple(dict.fromkeys(m for run, _ in runs for m in run.methods))
        )
    if not chosen:
        raise InputError("the runs have no metric with a direction; give --metric=NAME.")
    shown = columns(runs)
    return [_table(shown, name, options) for name in chosen]


def columns(runs: Sequence[tuple[Run, pd.DataFrame]]) -> list[Column]:
    """A column for each model of each run, with a head that no other column has.

    What tells columns of one model apart is, in this order, as far as it is needed: the experiment,
    the weights, the run.  Models of one data set stand side by side, in the order of the runs.
    """
    several = len({names.data(run) for run, _ in runs}) > 1
    found = [
        (str(model), run, lines, names.data(run) if several else "")
        for run, s in runs
        for model, lines in s.groupby("model", sort=False)
    ]
    order = list(dict.fromkeys(data for *_, data in found))
    return [
        Column(
            _head(model, run, [other for m, other, *_ in found if m == model]),
            run,
            {(r["method"], r["metric"]): r for r in lines.to_dict("records")},
            data,
            _head(model, run, [other for m, other, _, d in found if (m, d) == (model, data)]),
        )
        for model, run, lines, data in sorted(found, key=lambda one: order.index(one[3]))
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
    name = names.model(model)
    return f"{name} ({', '.join(notes)})" if notes else name


def _table(columns: Sequence[Column], metric: str, options: TableOptions) -> Table:
    runs = [c.run for c in columns]
    all_methods = [m for m in methods(runs) if not options.methods or m in options.methods]
    shown = [m for m in all_methods if any((m, metric) in c.lines for c in columns)]
    own = [[c.lines.get((m, metric)) for c in columns] for m in shown]
    lines = [line for row in own for line in row if line is not None]
    letters = reason_letters(lines)
    owner = {m: next(run for run in runs if m in run.methods) for m in all_methods}
    footnotes = {letter: reason for reason, letter in letters.items()}
    if different := _differences(runs, metric):
        footnotes[""] = different
    ranks = _ranks(columns, metric, shown) if options.ranks else {}
    heads = [(c.data, c.short) for c in columns] + [("", "Mean rank ↓")] * bool(ranks)
    return Table(
        name=f"models_{metric}" + ("" if options.form == "wide" else f"_{options.form}"),
        caption=_caption(columns, metric, pd.DataFrame(lines), shown, ranked=bool(ranks)),
        columns=("method", *(f"{head}, {data}" if data else head for data, head in heads)),
        rows=tuple(line_name(owner[m], "", m, 1) for m in shown),
        cells=tuple(
            (*cells, *([_rank_cell(ranks.get(m))] if ranks else []))
            for m, cells in zip(shown, _cells(columns, metric, own, options), strict=True)
        ),
        footnotes=footnotes,
        form=options.form,
        keys=tuple({"method": m} for m in shown),
        column_keys=tuple(f"{data} {head}".strip() for data, head in heads),
        stubs=tuple(stub(owner[m], "", m, 1) for m in shown),
        heads=tuple(heads) if any(data for data, _ in heads) else (),
    )


def _cells(
    columns: Sequence[Column],
    metric: str,
    rows: Sequence[Sequence[Mapping[Any, Any] | None]],
    options: TableOptions,
) -> list[tuple[Cell, ...]]:
    """The cells of every row, with the same decimals in all columns."""
    lines = [line for row in rows for line in row if line is not None]
    letters, compact = reason_letters(lines), options.form == "compact"
    digits = max(0, decimals(pd.DataFrame(lines, columns=["low", "high"])) - compact)
    seconds = [
        second_best(c.run, [line for (_, m), line in c.lines.items() if m == metric])
        for c in columns
    ]
    return [
        tuple(
            score_cell(
                line, digits, len(c.run.samples), letters,
                significant=1 if compact else 2,
                second=line is not None and line["method"] in second,
            )
            for line, c, second in zip(row, columns, seconds, strict=True)
        )
        for row in rows
    ]  # fmt: skip


def _ranks(columns: Sequence[Column], metric: str, methods: Sequence[str]) -> dict[str, float]:
    """Mean over the columns of the rank of the mean, of ranked methods with a mean in all."""
    spec = next(c.run for c in columns if metric in c.run.metrics).metrics[metric]
    means = {
        m: [float(c.lines[m, metric]["mean"]) if (m, metric) in c.lines else math.nan
            for c in columns]
        for m in methods
        if all(styles.role(c.run, m) == "method" for c in columns)
    }  # fmt: skip
    frame = pd.DataFrame.from_dict(means, orient="index").dropna()
    ranks = frame.rank(ascending=spec.direction == "lower").mean(axis=1)
    return {str(m): float(rank) for m, rank in ranks.items()} if spec.direction != "none" else {}


def _rank_cell(rank: float | None) -> Cell:
    if rank is None:
        return Cell("–", hint="not ranked")
    return Cell(f"{rank:.2f}", value=rank, numbers={"mean": rank})


def methods(runs: Sequence[Run]) -> list[str]:
    """Methods of all runs: those of the first, then what others have besides; by role."""
    ordered = [m for run in runs for m in styles.method_names(run)]
    roles = {m: run.methods[m].role for run in runs for m in run.methods}
    return sorted(dict.fromkeys(ordered), key=lambda m: styles.ROLES.index(roles[m]))


def _caption(
    columns: Sequence[Column],
    metric: str,
    lines: pd.DataFrame,
    methods: Sequence[str],
    *,
    ranked: bool,
) -> str:
    """What the cells are, and what all runs have in common on record."""
    runs = [c.run for c in columns]
    first = next(run for run in runs if metric in run.metrics)
    size = " to ".join(map(str, sorted({min(n := [len(r.samples) for r in runs]), max(n)})))
    facts = [
        set(captions.provenance(run, [metric] if metric in run.metrics else [])) for run in runs
    ]
    common = [f for f in captions.provenance(first, [metric]) if all(f in own for own in facts)]
    sentences = [
        f"{names.metric(metric, first.metrics)}, {first.metrics[metric].title}: "
        f"{captions.reading(size)}",
        captions.marks(first, methods, of="its model"),
        "Mean rank: of the means, over the models, among methods with a mean for every one; 1 is "
        "best." if ranked else "",
        *common,
        captions.counts(lines),
    ]  # fmt: skip
    return " ".join(filter(None, sentences))


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
