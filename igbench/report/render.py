"""Write tables as Markdown, LaTeX, HTML and CSV, with escaping."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from pathlib import Path

import pandas as pd

from igbench.errors import printable
from igbench.files import write_whole
from igbench.report.anchors import row_anchors
from igbench.report.latex import to_latex
from igbench.report.latex_text import latex_escape
from igbench.report.table import TIE, Cell, Table, plain

__all__ = [
    "csv_text",
    "latex_escape",
    "markdown_escape",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
    "write",
]

_FORMULA = tuple("=+-@＝＋－＠")
"""Characters that begin a formula in a spreadsheet."""

_MARKDOWN = re.compile(r"([\\`*_\[\]|#~$])")


def write(table: Table, folder: Path) -> list[Path]:
    """Write NAME.md, .tex, .html and .csv into a folder; returns the paths."""
    texts = {
        "md": to_markdown(table), "tex": to_latex(table), "html": to_html(table),
        "csv": to_csv(table),
    }  # fmt: skip
    written = []
    for suffix, text in texts.items():
        written.append(folder / f"{table.name}.{suffix}")
        # Characters beyond ASCII as references, so that a bare fragment needs no charset.
        data = (
            text.encode("ascii", "xmlcharrefreplace")
            if suffix == "html"
            else text.encode(errors="backslashreplace")
        )
        write_whole(written[-1], data)
    return written


def to_markdown(table: Table) -> str:
    """Format a table as GitHub-flavoured Markdown: caption, table, footnotes."""
    frame = pd.DataFrame(
        [
            [f"**{markdown_escape(row)}**" if not table.numeric else markdown_escape(row)]
            + [_markdown_cell(cell) for cell in cells]
            for row, cells in zip(table.rows, table.cells, strict=True)
        ],
        columns=[markdown_escape(c) for c in table.columns],
    )
    align = ["left"] + ["right" if table.numeric else "left"] * (len(table.columns) - 1)
    body = frame.to_markdown(index=False, disable_numparse=True, colalign=align)
    notes = [
        (f"<sup>{k}</sup> " if k else "") + markdown_escape(v) for k, v in table.footnotes.items()
    ]
    return "\n\n".join([markdown_escape(table.caption), body, *notes]) + "\n"


def markdown_escape(text: str) -> str:
    r"""Escape Markdown and HTML in a text.

    >>> print(markdown_escape("a_b <i>"))
    a\_b &lt;i&gt;
    """
    return _MARKDOWN.sub(r"\\\1", html.escape(plain(text), quote=False))


def _markdown_cell(cell: Cell) -> str:
    text = markdown_escape(cell.text)
    text = f"**{text}**" if cell.best else f"<ins>{text}</ins>" if cell.second else text
    mark = f"<sup>{markdown_escape(_marks(cell))}</sup>" if _marks(cell) else ""
    return f"{text}{mark} ({markdown_escape(cell.note)})" if cell.note else text + mark


def _marks(cell: Cell) -> str:
    """The dagger of a tie and the letter of a footnote."""
    return ",".join(filter(None, (TIE if cell.tied else "", cell.mark)))


def to_csv(table: Table) -> str:
    """Format a table as CSV with plain numbers, each in a column of its own.

    Numbers are those of `Cell.numbers`, under the identifier of the column and their name; a mark
    column says "best", "second" and "tied".  Texts that a spreadsheet would take for a formula
    begin with an apostrophe.
    """
    kinds = list(dict.fromkeys(k for key in table.keys for k in key))
    columns = table.column_keys or table.columns[1:]
    parts = [_csv_names(table, j) for j in range(len(columns))]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    heads = [f"{c}_{n}" if n else c for c, part in zip(columns, parts, strict=True) for n in part]
    writer.writerow(map(csv_text, [*kinds, "title" if kinds else table.columns[0], *heads]))
    for i, (row, cells) in enumerate(zip(table.rows, table.cells, strict=True)):
        own = [table.keys[i].get(k, "") for k in kinds] if kinds else []
        values = [_csv_value(c, n) for c, part in zip(cells, parts, strict=True) for n in part]
        writer.writerow([*map(csv_text, [*own, row]), *values])
    return stream.getvalue()


def csv_text(text: str) -> str:
    """A text that is no formula in a spreadsheet, in one line.

    >>> csv_text("=1+1"), csv_text(" @SUM(A1)"), csv_text("ig")
    ("'=1+1", "' @SUM(A1)", 'ig')
    """
    shown = plain(text)
    return f"'{shown}" if shown.lstrip()[:1] in _FORMULA else shown


def _csv_names(table: Table, j: int) -> list[str]:
    """Names of the numbers in a column; "" for a column without, whose texts are written."""
    column = [line[j] for line in table.cells]
    found = list(dict.fromkeys(name for cell in column for name in cell.numbers))
    marked = any(cell.best or cell.second or cell.tied for cell in column)
    return [*found, *(["mark"] if marked else [])] if found else [""]


def _csv_value(cell: Cell, name: str) -> str:
    if name == "mark":
        flags = {"best": cell.best, "second": cell.second, "tied": cell.tied}
        return " ".join(k for k, v in flags.items() if v)
    if not name:
        return csv_text(f"{cell.text} ({cell.note})" if cell.note else cell.text)
    value = cell.numbers.get(name, "")
    if isinstance(value, str):
        return csv_text(value)
    return "" if math.isnan(value) else repr(value)


def to_html(table: Table) -> str:
    """Format a table as an escaped `<table>` fragment; cells carry `data-value` for sorting."""
    head = "".join(f'<th scope="col">{_html(c)}</th>' for c in table.columns)
    lines = "\n".join(
        f'<tr id="{own}"><th scope="row">{_html(row)}</th>{"".join(map(_html_cell, cells))}</tr>'
        for own, row, cells in zip(
            row_anchors(table.name, table.rows), table.rows, table.cells, strict=True
        )
    )
    notes = "".join(
        f"<p>{f'<sup>{k}</sup> ' if k else ''}{_html(v)}</p>" for k, v in table.footnotes.items()
    )
    kind = "numbers" if table.numeric else "words"
    foot = f'\n<div class="footnotes">{notes}</div>' if notes else ""
    return (
        f'<table class="{kind}" id="table-{html.escape(table.name)}">\n'
        f"<caption>{_html(table.caption)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>{foot}\n"
    )


def _html_cell(cell: Cell) -> str:
    text = _html(cell.text)
    text = f"<strong>{text}</strong>" if cell.best else f"<u>{text}</u>" if cell.second else text
    mark = f"<sup>{_html(_marks(cell))}</sup>" if _marks(cell) else ""
    note = f" <small>{_html(cell.note)}</small>" if cell.note else ""
    value = "" if math.isnan(cell.value) else f' data-value="{cell.value!r}"'
    hint = f' title="{_html(cell.hint)}"' if cell.hint else ""
    return f"<td{value}{hint}>{text}{mark}{note}</td>"


def _html(text: str) -> str:
    return html.escape(printable(text, keep="\n\t\xa0"))
