"""What is printed is plain: no name, reason or path steers a terminal or rich."""

from __future__ import annotations

import io
import logging
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from igbench.__main__ import main
from igbench.cli import printing, repeats, tables
from igbench.errors import one_line
from igbench.evaluation.forecast import Progress
from igbench.records import compare, stats, store, view
from igbench.report import html, render
from igbench.report.table import Cell, Table
from igbench.report.tables import tables as all_tables
from igbench.run import progress
from tests.helpers import strange, synthetic

EVIL = "\x1b]8;;http://x\x07[/red][link=http://x]a:warning:\u202eb\r\nc\x1b[2J`|<b>$x$"
STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
TABLE = Table("t", EVIL, ("method", EVIL), (EVIL,), ((Cell(EVIL, EVIL),),), {"a": EVIL, "": EVIL})


def console(terminal: bool) -> Console:
    """Standard output as the command line makes it, kept in memory; without colours."""
    return Console(
        file=io.StringIO(), force_terminal=terminal, color_system=None, width=200,
        soft_wrap=True, markup=False, highlight=False, emoji=False,
    )  # fmt: skip


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("markdown", [True, False])
def test_tables(terminal: bool, markdown: bool) -> None:
    out = console(terminal)
    tables.show(out, TABLE, markdown=markdown)
    text = out.file.getvalue()
    assert not STEERS.search(text)
    assert "http://x" in text


def test_lines_of_our_own() -> None:
    out = console(True)
    printing.say(out, f"first {EVIL}\nsecond")
    text = out.file.getvalue()
    assert not STEERS.search(text)
    assert "[/red][link=http://x]a:warning:" in text, "neither markup nor emoji"
    assert printing.standard_output()._markup is False


def test_a_path_with_brackets_is_no_markup(tmp_path: Path, capsys) -> None:
    folder = strange.write(tmp_path / "[red]x[/bold]" / "r")
    assert main(["compare", str(folder), str(strange.write(tmp_path / "[/red]"))]) == 0
    assert "no regression" in capsys.readouterr().out


def test_errors_are_one_plain_line(capsys) -> None:
    assert main(["report", "results/\x1b[31m\nx[/red]"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not STEERS.search(said)
    assert r"\x1b[31m x[/red]" in said


def test_warnings_are_one_plain_line(capsys, monkeypatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    with repeats.collapsed():
        for sample in (EVIL, f"{EVIL}2"):
            logging.getLogger("igbench.x").warning("%s: bad", sample, extra={"sample": sample})
    said = capsys.readouterr().err
    assert said.count("\n") == 2
    assert not STEERS.search(said)
    assert "1 more like" in said


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(terminal: bool) -> None:
    out = console(terminal)
    with progress.shown(out, Progress({EVIL: 2}, {EVIL: 1.0})) as advance:
        advance(EVIL, 2)
    text = re.sub(r"\x1b\[[0-9?]*[A-Za-z]|\r", "", out.file.getvalue())  # what rich draws with
    assert not STEERS.search(text)
    assert ("last step: " in text) is not terminal


def test_comparisons() -> None:
    base = synthetic.make_records(samples=2)
    named = replace(
        base,
        scores=base.scores.assign(model=EVIL),
        run=replace(base.run, identity={"device": EVIL}),
    )
    lost = named.scores.copy()
    lost.loc[lost["status"] == "ok", ["status", "reason", "value"]] = ["failed", EVIL, float("nan")]
    refused = compare.compare(named, replace(base, scores=lost), resamples=100)
    assert refused.incomparable
    found = compare.compare(named, replace(base, scores=lost), across=["all"], resamples=100)
    assert found.changes
    for shown in (refused, found):
        assert not STEERS.search(compare.format_text(shown))
        for write in compare.FORMATS.values():
            assert not STEERS.search(write(shown).replace("\n", ""))
    text = compare.format_markdown(found)
    assert not STEERS.search(text)
    assert "<b>" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {9}


def test_evaluations() -> None:
    run = strange.run()
    rows = [r._replace(status="failed", reason=EVIL, value=float("nan")) for r in strange.rows(run)]
    records = store.records(run, rows)
    text = view.text(stats.summarise(records.scores, run.metrics, resamples=100))
    assert "failed 2/2" in text
    assert not STEERS.search(text)
    assert not STEERS.search(one_line(ValueError(EVIL)))


# -- tables in files -------------------------------------------------------------------------


def test_markdown_html_and_latex_hold_texts_alone() -> None:
    cells = r"\input{/etc/passwd} % a"
    table = replace(TABLE, rows=(f"[3cm]{EVIL}",), cells=((Cell(cells, EVIL),),))
    latex, text, page = (f(table) for f in (render.to_latex, render.to_markdown, render.to_html))
    for one in (latex, text, page):
        assert not STEERS.search(one.replace("\n", ""))
    assert r"\textbackslash{}input\{/etc/passwd\} \% a" in latex
    assert "\n{}[3cm]" in latex, "no argument of the rule before it"
    assert r"\$x\$" in latex
    assert r"\`\|&lt;b&gt;\$x\$" in text
    assert "<b>" not in page
    assert "`|&lt;b&gt;" in page
    assert {len(re.findall(r"(?<!\\)\|", x)) for x in text.splitlines() if x[:1] == "|"} == {3}


def test_the_page_shows_marks_that_turn_writing(tmp_path: Path) -> None:
    records = store.read(strange.write(tmp_path))
    run = replace(records.run, state=EVIL, config={"note": EVIL, "command": shlex.join([EVIL])})
    summary = stats.summarise(records.scores, run.metrics, methods=run.methods, resamples=100)
    evil = replace(records, run=run)
    text = html.page(evil, summary, all_tables(evil, summary), {}, None)
    assert not STEERS.search(text.replace("\t", ""))
    assert r"\u202e" in text
