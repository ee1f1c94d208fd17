"""Means of a run as text and as HTML, with the number of samples that have none, and why."""

from __future__ import annotations

import html as escaping
from collections.abc import Sequence

import pandas as pd

from igbench.errors import printable
from igbench.records import stats


def text(summary: pd.DataFrame, *, methods: Sequence[str] = (), metrics: Sequence[str] = ()) -> str:
    """The table of means as aligned text, and a line for each cell with missing values.

    Args:
        summary: Lines of `igbench.records.stats.summarise`.
        methods: Methods that have a row, in any case.
        metrics: Metrics that have a column, in any case.
    """
    table = stats.counts_table(summary, methods=methods, metrics=metrics)
    lines = [
        ["method", *table.columns],
        *([m, *row] for m, row in zip(table.index, table.to_numpy().tolist(), strict=True)),
    ]
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rows = (
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in lines
    )
    return "\n".join([*rows, *map(printable, stats.remarks(summary))])


def html(summary: pd.DataFrame, *, methods: Sequence[str] = (), metrics: Sequence[str] = ()) -> str:
    """The table of means as HTML, and a line for each cell with missing values.

    Args:
        summary: Lines of `igbench.records.stats.summarise`.
        methods: Methods that have a row, in any case.
        metrics: Metrics that have a column, in any case.
    """
    table = stats.counts_table(summary, methods=methods, metrics=metrics)
    notes = "".join(f"<br>{escaping.escape(line)}" for line in stats.remarks(summary))
    rows = "".join(
        _row(method, cells)
        for method, cells in zip(table.index, table.to_numpy().tolist(), strict=True)
    )
    head = "".join(f"<th>{escaping.escape(name)}</th>" for name in ["method", *table.columns])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{notes}"


def _row(method: str, cells: Sequence[str]) -> str:
    body = "".join(f"<td>{escaping.escape(cell)}</td>" for cell in cells)
    return f"<tr><th>{escaping.escape(method)}</th>{body}</tr>"
