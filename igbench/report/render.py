"""Write tables as Markdown, LaTeX (booktabs) and HTML, with escaping."""

from __future__ import annotations

import html
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

from igbench.errors import printable
from igbench.files import write_whole
from igbench.report.anchors import row_anchors
from igbench.report.table import Cell, Table

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "∞": r"$\infty$", "−": "$-$",
    "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "–": "--", "—": "---", "′": "$'$",
    "Δ": r"$\Delta$", "²": "$^2$",
}  # fmt: skip
_LATEX_TABLE = str.maketrans(_LATEX)
_NEGATIVE = re.compile(r"(?<![\w.])-(?=\d)")
_POWER = re.compile(r"(\d\.\d)e\+?(-?)0?(\d+)")
_MARKDOWN = re.compile(r"([\\`*_\[\]|#~$])")


def write(table: Table, folder: Path) -> list[Path]:
    """Write NAME.md, .tex and .html into a folder; returns the three paths."""
    texts = {"md": to_markdown(table), "tex": to_latex(table), "html": to_html(table)}
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


def plain(text: str) -> str:
    r"""A text in one line that steers nothing: line breaks are spaces, other controls escapes.

    >>> print(plain("two\nlines, \x1b[31mred"))
    two lines, \x1b[31mred
    """
    return printable(" ".join(text.splitlines()) if "\n" in text or "\r" in text else text)


def _markdown_cell(cell: Cell) -> str:
    text = markdown_escape(cell.text)
    text = f"**{text}**" if cell.best else f"<ins>{text}</ins>" if cell.tied else text
    mark = f"<sup>{cell.mark}</sup>" if cell.mark else ""
    return f"{text}{mark} ({markdown_escape(cell.note)})" if cell.note else text + mark


def to_latex(table: Table) -> str:
    r"""Format a table as LaTeX: `table*` with booktabs rules, no wider than the page.

    Needs \usepackage{booktabs,array,graphicx}.
    """
    frame = pd.DataFrame(
        [[_latex_cell(cell) for cell in cells] for cells in table.cells],
        index=range(len(table.rows)),
        columns=[latex_escape(c) for c in table.columns[1:]],
    )
    frame.columns.name = latex_escape(table.columns[0])
    css = pd.DataFrame(
        [["font-weight: bold;" if c.best else "" for c in cells] for cells in table.cells],
        index=frame.index,
        columns=frame.columns,
    )
    names = tuple(_latex_start(latex_escape(row)) for row in table.rows)  # two may be the same

    def name(row: Any) -> str:
        return names[row]

    shown = frame.style.apply(lambda _: css, axis=None).format_index(name, axis=0)
    text = shown.to_latex(
        hrules=True, convert_css=True, environment="table*", position="t",
        position_float="centering", column_format=_latex_columns(table),
        caption=latex_escape(table.caption), label=f"tab:{table.name}",
    )  # fmt: skip
    # Many columns of numbers are scaled to the page; columns of text break their lines instead.
    if table.numeric and len(table.columns) > 5:
        text = text.replace("\\begin{tabular}", "\\resizebox{\\linewidth}{!}{%\n\\begin{tabular}")
        text = text.replace("\\end{tabular}", "\\end{tabular}}")
    notes = "".join(
        (rf"\textsuperscript{{{k}}} " if k else "") + latex_escape(v) + "\\par\n"
        for k, v in table.footnotes.items()
    )
    notes = f"\\par\\smallskip\\raggedright\\footnotesize\n{notes}" if notes else ""
    head = "% needs \\usepackage{booktabs,array,graphicx}\n"
    return head + text.replace("\\end{table*}", notes + "\\end{table*}")


def _latex_columns(table: Table) -> str:
    if table.numeric or not table.rows:
        return "l" + "r" * (len(table.columns) - 1)
    texts = [table.rows, *zip(*[[c.text for c in cells] for cells in table.cells], strict=True)]
    sizes = [min(45, max(map(len, [head, *column]))) for head, column in
             zip(table.columns, texts, strict=True)]  # fmt: skip
    widths = [0.86 * size / sum(sizes) for size in sizes]
    return "".join(rf">{{\raggedright\arraybackslash}}p{{{w:.3f}\linewidth}}" for w in widths)


def latex_escape(text: str) -> str:
    r"""Escape the ten special characters of LaTeX, and convert mathematical signs.

    >>> print(latex_escape("a_b < 5 % ± 1"))
    a\_b \textless{} 5 \% $\pm$ 1
    """
    return plain(text).translate(_LATEX_TABLE)


def _latex_start(text: str) -> str:
    r"""The start of a row, which is no argument of the rule or of the \\ before it.

    >>> print(_latex_start("[3cm] wide"))
    {}[3cm] wide
    """
    return f"{{}}{text}" if text[:1] in ("[", "*") else text


def _latex_cell(cell: Cell) -> str:
    text = _NEGATIVE.sub("−", cell.text)
    text = _POWER.sub(r"$\1\\times10^{\2\3}$", latex_escape(text))
    text = rf"\underline{{{text}}}" if cell.tied else text
    mark = rf"\textsuperscript{{{cell.mark}}}" if cell.mark else ""
    note = rf" {{\scriptsize ({latex_escape(cell.note)})}}" if cell.note else ""
    return text + mark + note


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
    text = f"<strong>{text}</strong>" if cell.best else f"<u>{text}</u>" if cell.tied else text
    mark = f"<sup>{_html(cell.mark)}</sup>" if cell.mark else ""
    note = f" <small>{_html(cell.note)}</small>" if cell.note else ""
    value = "" if math.isnan(cell.value) else f' data-value="{cell.value!r}"'
    hint = f' title="{_html(cell.hint)}"' if cell.hint else ""
    return f"<td{value}{hint}>{text}{mark}{note}</td>"


def _html(text: str) -> str:
    return html.escape(printable(text, keep="\n\t\xa0"))
