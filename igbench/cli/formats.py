"""Print rows of plain values as aligned text, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from igbench.errors import check_choice, printable
from igbench.records import sheets

FORMATS = ("text", "markdown", "csv", "json")

Rows = Sequence[Mapping[str, Any]]


def show(
    console: Console,
    rows: Rows,
    columns: Sequence[str],
    format_: str,
    *,
    shorter: Any = None,
) -> None:
    """Print rows.

    Args:
        console: Where to.
        rows: Column to value: text, a number, a list of texts, or None where there is none.
        columns: Which columns, in this order.
        format_: One of `FORMATS`.
        shorter: A function of a row to the row that text and Markdown show; CSV and JSON have the
            values in full.

    Raises:
        InputError: Another format.
    """
    check_choice("--format", format_, FORMATS)
    if format_ in ("text", "markdown") and shorter:
        rows = [shorter(row) for row in rows]
    made = {"text": text, "markdown": markdown, "csv": comma_separated, "json": as_json}
    console.file.write(made[format_](rows, columns))


def text(rows: Rows, columns: Sequence[str]) -> str:
    """Columns aligned by spaces; numbers are flush right.

    >>> print(text([{"run": "a", "n": 9}, {"run": "b", "n": 10}], ["run", "n"]), end="")
    run   n
    a     9
    b    10
    """
    lines = [list(map(printable, columns))]
    lines += [[printable(shown(row.get(c))) for c in columns] for row in rows]
    right = [all(_is_number(row.get(c)) for row in rows) for c in columns]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def markdown(rows: Rows, columns: Sequence[str]) -> str:
    r"""A table of GitHub-flavoured Markdown.

    >>> print(markdown([{"run": "a|b", "n": 9}], ["run", "n"]), end="")
    | run | n |
    |---|---:|
    | a\|b | 9 |
    """
    from igbench.report.render import markdown_escape  # loads matplotlib

    right = [all(_is_number(row.get(c)) for row in rows) for c in columns]
    body = [[markdown_escape(shown(row.get(c))) for c in columns] for row in rows]
    head = [
        f"| {' | '.join(map(markdown_escape, columns))} |",
        f"|{'|'.join('---:' if number else '---' for number in right)}|",
    ]
    return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in body)]) + "\n"


def comma_separated(rows: Rows, columns: Sequence[str]) -> str:
    """CSV that no spreadsheet takes for formulas; lists have spaces between.

    >>> print(comma_separated([{"run": "=1", "n": None}], ["run", "n"]), end="")
    run,n
    '=1,
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_csv(row.get(c)) for c in columns])
    return stream.getvalue()


def as_json(rows: Rows, columns: Sequence[str]) -> str:
    r"""A JSON list of objects; what is not finite is null.

    >>> as_json([{"n": math.nan}], ["n"])
    '[\n {\n  "n": null\n }\n]\n'
    """
    plain = finite([{c: row.get(c) for c in columns} for row in rows])
    return json.dumps(plain, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def shown(value: Any) -> str:
    """A value as text: numbers with four digits, lists with commas, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return "n/a" if math.isnan(value) else f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _csv(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if _is_number(value):
        return repr(value)
    words = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return sheets.guard(printable(words))


def finite(value: Any) -> Any:
    """Plain nested values, None in the place of what is not finite."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def size(count: int) -> str:
    """Bytes as text.

    >>> size(900), size(204_600), size(25_500_000)
    ('900 B', '205 kB', '25.5 MB')
    """
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"
