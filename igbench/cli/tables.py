"""Print tables: with rich on a terminal, as aligned text or Markdown elsewhere."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from igbench.errors import printable
from igbench.records import compare
from igbench.report import render
from igbench.report.table import TIE, Cell, Table

HEAD = 16
"""Characters of a head that are not broken, even where the cells are narrower."""

GAP = 2
"""Spaces between two columns on a terminal: one of padding, one in the place of a rule."""


def show(console: Console, table: Table, *, markdown: bool = False, piped: str = "") -> None:
    """Print a table in the form that fits where it goes.

    Args:
        console: Where to; a terminal gets a table drawn by rich.
        table: What to print.
        markdown: Print Markdown, wherever it goes.
        piped: What is printed where there is no terminal; the table as aligned text by default.
    """
    if markdown:
        console.file.write(render.to_markdown(table))
    elif console.is_terminal:
        draw(console, table)
        if table.caption:
            console.print(plain(table.caption, "dim"), soft_wrap=False)
    else:
        head = f"{printable(table.caption)}\n" if table.caption else ""
        console.file.write(piped or head + to_text(table))


def show_comparison(console: Console, comparison: compare.Comparison) -> None:
    """Print the verdict on two runs on a terminal: headline, table of the findings, remarks."""
    console.print(plain(compare.headline(comparison), "bold"), soft_wrap=False)
    for text in comparison.incomparable:
        console.print(plain(f"NOT COMPARABLE {text}"), soft_wrap=False)
    console.line()
    rows = compare.finding_rows(comparison)
    if rows:
        draw(
            console,
            Table(
                name="comparison",
                caption="",
                columns=compare.FINDING_COLUMNS,
                rows=tuple(row[0] for row in rows),
                cells=tuple(tuple(map(Cell, row[1:])) for row in rows),
                numeric=False,
            ),
        )
    for text in compare.remarks(comparison):
        console.print(plain(text), soft_wrap=False)


def to_text(table: Table) -> str:
    """Columns aligned by spaces, and footnotes, as plain text; no heads where all are empty."""
    heads = [[printable(head) for head in table.columns]] if any(table.columns) else []
    lines = [
        *heads,
        *(
            [printable(row), *_texts(cells)]
            for row, cells in zip(table.rows, table.cells, strict=True)
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = [
        "  ".join(
            text.rjust(width) if table.numeric and i else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*body, *map(printable, _footnotes(table))]) + "\n"


def _texts(cells: Sequence[Cell]) -> list[str]:
    return [_cell(cell).plain for cell in cells]


def draw(console: Console, table: Table) -> None:
    """Print a table on a terminal, with its footnotes."""
    for block in blocks(table, console.width):
        console.print(block, soft_wrap=False)
        console.line()
    for note in _footnotes(table):
        console.print(plain(note), soft_wrap=False)


def blocks(table: Table, width: int) -> Iterator[RichTable]:
    """The table in as few pieces of whole columns as fit into a width, each with the row names.

    Tables of words are never cut: their long texts are wrapped.
    """
    names = Column(table.columns[0], [Text(row) for row in map(printable, table.rows)])
    columns = [
        Column(head, [_cell(line[i]) for line in table.cells])
        for i, head in enumerate(table.columns[1:])
    ]
    if not table.numeric:
        yield _block(names, columns, numeric=False)
        return
    while columns:
        room, fitting = width - names.width, 0
        while fitting < len(columns) and (room := room - GAP - columns[fitting].width) >= 0:
            fitting += 1
        fitting = max(1, fitting)
        yield _block(names, columns[:fitting], numeric=True)
        columns = columns[fitting:]


class Column:
    """A head and cells, with the width that they need.

    Args:
        head: Broken after underscores and at spaces where the cells are narrower.
        cells: One for each row.
    """

    def __init__(self, head: str, cells: Sequence[Text]) -> None:
        self.cells = cells
        widest = max((cell.cell_len for cell in cells), default=0)
        self.head = _broken(printable(head), max(widest, HEAD))
        self.width = max([widest, *(Text(line).cell_len for line in self.head.split("\n"))])


def _broken(head: str, width: int) -> str:
    """A head in lines of at most `width`, or of its longest word."""
    lines = [""]
    for word in re.split(r"(?<=_)|(?<= )(?![↑↓])", head):
        if lines[-1] and len((lines[-1] + word).rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)


def _block(names: Column, columns: Sequence[Column], *, numeric: bool) -> RichTable:
    made = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    made.show_header = any(column.head for column in [names, *columns])
    made.add_column(Text(names.head), no_wrap=True, vertical="bottom" if numeric else "top")
    side: Literal["left", "right"] = "right" if numeric else "left"
    for column in columns:
        made.add_column(
            Text(column.head, justify=side),
            justify=side,
            no_wrap=numeric,
            vertical="bottom" if numeric else "top",
            overflow="fold",
        )
    for name, *cells in zip(names.cells, *(c.cells for c in columns), strict=True):
        made.add_row(name, *cells)
    return made


def _cell(cell: Cell) -> Text:
    style = "bold" if cell.best else "underline" if cell.second else ""
    text = Text().append(printable(cell.text), style)
    text = text.append(TIE) if cell.tied else text
    # A footnote says why there is no value: its letter is enough, and keeps the column narrow.
    note = f" ({cell.note})" if cell.note and not (cell.mark and math.isnan(cell.value)) else ""
    mark = f" [{cell.mark}]" if cell.mark else ""
    return text.append_text(plain(note + mark))


def _footnotes(table: Table) -> list[str]:
    return [f"[{mark}] {note}" if mark else note for mark, note in table.footnotes.items()]


def plain(text: str, style: str = "") -> Text:
    """Text as it is, without markup and without characters that steer a terminal."""
    return Text(printable(text), style)
