"""Put the scores of several runs into one report: a table and a figure for each metric."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from igbench.errors import InputError, check_choice, printable
from igbench.files import refuse_links, write_whole
from igbench.records import sheets, store
from igbench.report import across, html, render, styles
from igbench.report.plots import logarithmic
from igbench.report.samples import method_label
from igbench.report.table import Table, TableOptions, marked
from igbench.schema import Run

FORMATS = ("html", "latex", "markdown", "csv")
"""Formats of a report of several runs."""
_SUFFIXES = {"latex": "tex", "markdown": "md"}


@dataclass(frozen=True)
class Choice:
    """What a report of several runs shows.

    Attributes:
        formats: Some of `FORMATS`.
        metrics: Names of metrics; all that have a direction if none.
        methods: Names of methods; all if none.
    """

    formats: tuple[str, ...] = FORMATS
    metrics: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


Runs = Sequence[tuple[Run, pd.DataFrame]]
"""Runs with their summaries."""


def write(runs: Runs, folder: Path, choice: Choice) -> list[Path]:
    """Write a report of several runs, which may be of several models and data sets, into a folder.

    Writes tables/models_METRIC.{tex,md}, plots/models_METRIC.{png,svg,...}, scores.csv with a line
    for each run, method and metric, and report.html with all tables and figures.  Numbers and marks
    are those of the summaries of the runs: leaving methods out does not change what is best.  Other
    files in the folder stay.

    Args:
        runs: Runs with their summaries, from `igbench.records.stats.summarise`.
        folder: Where to; created where it does not exist.
        choice: Formats, metrics and methods.

    Returns:
        The paths of what was written, the page last.

    Raises:
        InputError: A name is unknown, the folder is a run, or a link is in it; nothing is written.
    """
    known = tuple(dict.fromkeys(m for run, _ in runs for m in styles.method_names(run)))
    for name in choice.methods:
        check_choice("method", name, known)
    chosen = [(run, _chosen(summary, choice)) for run, summary in runs]
    tables = across.tables(runs, choice.metrics, TableOptions(methods=choice.methods))
    if (folder / store.RUN_FILE).exists():
        raise InputError(f"{folder} is a run; give another folder with --out.")
    refuse_links(folder)
    for name in ("tables", "plots"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    written = [p for kind in ("latex", "markdown") if kind in choice.formats
               for p in _texts(tables, folder / "tables", kind)]  # fmt: skip
    pictures: list[tuple[Table, str]] = []
    for table in tables:
        files = styles.save(figure(chosen, _metric(table)), folder / "plots" / table.name)
        written += files
        svg = next(path for path in files if path.suffix == ".svg")
        pictures.append((table, html.data_uri(svg.read_bytes(), "image/svg+xml")))
    if "csv" in choice.formats:
        written.append(_csv(chosen, [_metric(table) for table in tables], folder / "scores.csv"))
    if "html" in choice.formats:
        written.append(folder / "report.html")
        write_whole(written[-1], _page(chosen, pictures).encode(errors="backslashreplace"))
    return written


def _metric(table: Table) -> str:
    return table.name.removeprefix("models_")


def _chosen(summary: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    return summary[summary["method"].isin(choice.methods)] if choice.methods else summary


def _texts(tables: Sequence[Table], folder: Path, kind: str) -> list[Path]:
    made = {"latex": render.to_latex, "markdown": render.to_markdown}[kind]
    written = []
    for table in tables:
        written.append(folder / f"{table.name}.{_SUFFIXES[kind]}")
        write_whole(written[-1], made(table).encode(errors="backslashreplace"))
    return written


def _csv(runs: Runs, metrics: Sequence[str], path: Path) -> Path:
    """One line for each run, model, method and metric, with everything that the summaries hold."""
    frames = [
        summary[summary["metric"].isin(metrics)].assign(run=run.id, experiment=run.experiment)
        for run, summary in runs
    ]
    whole = pd.concat(frames, ignore_index=True)
    first = ["run", "experiment"]
    text = io.StringIO()
    sheets.write(
        whole[first + [c for c in whole if c not in first]], text, [*first, *store.SUMMARY_TEXTS]
    )
    write_whole(path, text.getvalue().encode(errors="backslashreplace"))
    return path


@styles.style()
def figure(runs: Runs, metric: str) -> Figure:
    """Means with their 95 % intervals, methods in rows and a mark for each model of each run.

    Args:
        runs: Runs with their summaries.
        metric: Name of the metric, which one of the runs has.
    """
    columns = across.columns(runs)
    spec = next(run.metrics[metric] for run, _ in runs if metric in run.metrics)
    found = {
        (head, m): line
        for head, _, lines, *_ in columns
        for (m, own), line in lines.items()
        if own == metric and line["n"]
    }
    methods = [m for m in across.methods([run for run, _ in runs])
               if any((head, m) in found for head, *_ in columns)]  # fmt: skip
    step = 0.7 / max(1, len(columns))
    height = 0.9 + len(methods) * max(0.2, 0.11 * len(columns)) + 0.16 * len(columns)
    made = styles.canvas(styles.FULL_WIDTH / 2 + 1, height)
    axes = made.subplots()
    for i, (head, *_) in enumerate(columns):
        own = [(y, found[head, m]) for y, m in enumerate(methods) if (head, m) in found]
        if not own:
            continue
        means = [float(line["mean"]) for _, line in own]
        errors = [[_reach(line, end) for _, line in own] for end in ("low", "high")]
        colour = styles.METHOD_COLOURS[i % len(styles.METHOD_COLOURS)]
        axes.errorbar(
            means, [y + step * (i - (len(columns) - 1) / 2) for y, _ in own], xerr=errors,
            fmt=styles.MARKERS[i % len(styles.MARKERS)], color=colour, ms=4, elinewidth=1,
            markeredgecolor="white", markeredgewidth=0.4, label=styles.plain(head),
        )  # fmt: skip
    axes.set_yticks(range(len(methods)), [styles.label(m) for m in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    if logarithmic(spec, pd.Series([float(line["mean"]) for line in found.values()], dtype=float)):
        axes.set_xscale("log")
        styles.log_powers(axes.xaxis)
    axes.set_xlabel(f"{styles.metric_label(metric, spec)} (mean, 95 % interval)")
    axes.grid()
    axes.tick_params(axis="y", length=0)
    if found:
        made.legend(loc="outside upper left", ncols=1)
    return made


def _reach(line: Mapping[Any, Any], end: str) -> float:
    """Length of one arm of an interval; 0 where it has none."""
    length = abs(float(line[end]) - float(line["mean"]))
    return 0.0 if math.isnan(length) else length


def _page(runs: Runs, pictures: Sequence[tuple[Table, str]]) -> str:
    return html.template("several.html.j2").render(
        runs=[
            {
                "id": printable(run.id),
                "experiment": printable(run.experiment),
                "model": printable(", ".join(dict.fromkeys(map(str, summary["model"])))),
                "samples": len(run.samples),
                "created": printable(run.created),
                "state": printable(run.state),
                "warning": marked(run, ""),
            }
            for run, summary in runs
        ],
        blocks=[
            {
                "table": render.to_html(table),
                "name": table.name,
                "title": method_label(_metric(table)),
                "figure": uri,
            }
            for table, uri in pictures
        ],
    )


def names(text: str) -> tuple[str, ...]:
    """Names from a text with commas between them.

    >>> names("srg, deletion")
    ('srg', 'deletion')
    """
    return tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


def formats(text: str) -> tuple[str, ...]:
    """Formats from their names with commas between.

    >>> formats("html,csv")
    ('html', 'csv')

    Raises:
        InputError: One is unknown, or there is none.
    """
    found = names(text)
    for name in found:
        check_choice("format", name, FORMATS)
    if not found:
        raise InputError(f"no format is given; known: {', '.join(FORMATS)}.")
    return found
