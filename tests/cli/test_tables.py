"""Tables on a terminal: marks without markup, nothing lost, never wider than the terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from igbench.cli import tables
from igbench.records import compare, stats
from igbench.report.table import Cell, Table
from igbench.report.tables import scores_table
from tests.helpers import synthetic

BOLD, UNDERLINED, END = "\x1b[1m", "\x1b[4m", "\x1b[0m"


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system="standard")


def drawn(table: Table, width: int = 100) -> str:
    console = terminal(width)
    tables.show(console, table)
    return console.file.getvalue()


def without_styles(text: str) -> str:
    for code in (BOLD, UNDERLINED, "\x1b[2m", END):
        text = text.replace(code, "")
    return text


TABLE = Table(
    name="t",
    caption="Two methods.",
    columns=("method", "srg ↑", "difference_from_ig"),
    rows=("ig", "random (control)"),
    cells=(
        (Cell("0.9 ± 0.1", best=True, value=0.9), Cell("n/a", "4 undefined", "a")),
        (
            Cell("0.8 ± 0.1", "n = 3", tied=True, second=True, value=0.8),
            Cell("1.0 ± 0.0", value=1.0),
        ),
    ),
    footnotes={"a": "[bold]is \x1b[31mred[/bold]"},
)


def test_best_is_bold_second_underlined_and_ties_have_a_mark():
    text = drawn(TABLE)
    assert f"{BOLD}0.9 ± 0.1" in text
    assert f"{UNDERLINED}0.8 ± 0.1{END}†" in text
    assert "random (control)" in text
    for markup in ("<", "**", "\\_", "sup"):
        assert markup not in text
    assert "difference_from_ig" in text or "difference_from_" in text


def test_texts_are_printed_as_they_are_and_steer_no_terminal():
    text = without_styles(drawn(TABLE))
    assert "[a] [bold]is \\x1b[31mred[/bold]" in text
    assert "n/a [a]" in text
    assert "0.8 ± 0.1† (n = 3)" in text
    assert "Two methods." in text


@pytest.fixture(scope="module")
def scores() -> Table:
    records = synthetic.make_records()
    summary = stats.summarise(records.scores, records.run.metrics, methods=records.run.methods)
    return scores_table(records.run, summary)


@pytest.mark.parametrize("width", [80, 100, 160, 400])
def test_a_wide_table_is_cut_between_columns(scores, width):
    text = without_styles(drawn(scores, width))
    assert max(map(len, text.splitlines())) <= width
    for line in scores.cells:
        for cell in line:
            assert cell.text in text, "no number is cut"
    first = [line for line in text.splitlines() if line.startswith(f"{scores.rows[0]}  ")]
    cut = list(tables.blocks(scores, width))
    assert len(first) == len(cut)
    assert sum(len(block.columns) - 1 for block in cut) == len(scores.columns) - 1
    if width == 400:
        assert len(cut) == 1


def test_tables_of_words_are_wrapped():
    words = " ".join(f"word{i}" for i in range(60))
    table = Table("t", "", ("name", "text"), ("one",), ((Cell(words),),), numeric=False)
    text = drawn(table, 60)
    assert max(map(len, without_styles(text).splitlines())) <= 60
    assert without_styles(text).split()[-60:] == words.split()


def test_pipes_get_text_and_markdown_is_for_the_asking():
    out = io.StringIO()
    tables.show(Console(file=out, width=40), TABLE)
    assert out.getvalue().splitlines() == [
        "Two methods.",
        "method                         srg ↑  difference_from_ig",
        "ig                         0.9 ± 0.1             n/a [a]",
        "random (control)  0.8 ± 0.1† (n = 3)           1.0 ± 0.0",
        "[a] [bold]is \\x1b[31mred[/bold]",
    ]
    console = terminal(100)
    tables.show(console, TABLE, markdown=True)
    assert "| ig" in console.file.getvalue()
    assert "**0.9 ± 0.1**" in console.file.getvalue()


def test_a_comparison_is_a_table_of_its_findings():
    base = synthetic.make_records()
    worse = base.scores.copy()
    mine = (worse["metric"] == "deletion") & (worse["method"] == "ig")
    worse.loc[mine, "value"] += 0.5
    found = compare.compare(base, replace(base, scores=worse), resamples=100)
    console = terminal(120)
    tables.show_comparison(console, found)
    text = without_styles(console.file.getvalue())
    assert compare.headline(found) in " ".join(text.split())
    assert "REGRESSION" in text
    assert "ig/deletion" in text
    assert "detectable" in text
