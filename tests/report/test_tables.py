"""Do the tables say what the summary says, and hide nothing, in all four formats?"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from igbench.records.stats import summarise
from igbench.report import render, table, tables
from igbench.report.table import Cell, Table
from igbench.schema import Records
from tests.helpers.synthetic import METRICS, make_records


@pytest.fixture(scope="module")
def records() -> Records:
    return make_records()


@pytest.fixture(scope="module")
def summary(records: Records) -> pd.DataFrame:
    return summarise(
        records.scores, records.run.metrics, methods=records.run.methods, resamples=200
    )


@pytest.fixture(scope="module")
def scores(records: Records, summary: pd.DataFrame) -> Table:
    return tables.scores_table(records.run, summary)


def cell(table: Table, row: str, column: str) -> Cell:
    methods = [key["method"] for key in table.keys]
    return table.cells[methods.index(row)][table.column_keys.index(column)]


def methods(table: Table) -> list[str]:
    return [key["method"] for key in table.keys]


def one_cell(**parts: object) -> Table:
    """A table whose single cell has the given parts."""
    return Table("t", "c", ("method", "m"), ("r",), ((Cell(**parts),),))  # type: ignore[arg-type]


def test_methods_come_first_then_oracles_then_controls(scores: Table) -> None:
    assert scores.rows == (
        "IG", "GradientSHAP", "Saliency", "Input × gradient", "Occlusion", "Grad-CAM",
        "IG (Captum) (oracle)", "Random (control)", "Edges (control)",
    )  # fmt: skip
    assert methods(scores) == [
        "ig", "gradient_shap", "saliency", "input_x_gradient", "occlusion", "grad_cam",
        "ig_captum", "random", "edges",
    ]  # fmt: skip
    assert scores.stubs[-3:] == (
        ("Oracles", "IG (Captum)"), ("Controls", "Random"), ("Controls", "Edges"),
    )  # fmt: skip


def test_heads_have_arrows_in_the_order_of_the_run(scores: Table) -> None:
    assert scores.columns[1:] == (
        "Completeness gap ↓", "Infidelity ↓", "Sensitivity-n ↑", "Deletion ↓", "Insertion ↑",
        "SRG ↑", "Difference from IG",
    )  # fmt: skip
    assert scores.column_keys == tuple(METRICS)


def test_numbers_are_those_of_the_rows(records: Records, scores: Table) -> None:
    rows = records.scores
    values = rows[(rows.method == "ig") & (rows.metric == "srg")].value
    found = cell(scores, "ig", "srg")
    assert found.value == pytest.approx(values.mean())
    mean, half = map(float, found.text.split(" ± "))
    assert mean == pytest.approx(values.mean(), abs=0.0005)
    # A bootstrap interval of 24 values is near the normal one.
    assert half == pytest.approx(1.96 * values.std() / math.sqrt(24), rel=0.25)


def test_best_is_the_best_mean_and_marks_no_control(records: Records, scores: Table) -> None:
    rows = records.scores
    competing = ["ig", "gradient_shap", "saliency", "input_x_gradient", "occlusion", "grad_cam"]
    for metric, spec in METRICS.items():
        means = rows[rows.metric == metric].groupby("method").value.mean()[competing]
        expected = {
            "higher": [means.idxmax()], "lower": [means.idxmin()], "none": [],
        }[spec.direction]  # fmt: skip
        best = [r for r in methods(scores) if cell(scores, r, metric).best]
        assert best == expected, metric
        order = means.dropna().sort_values(ascending=spec.direction == "lower").index
        second = [r for r in methods(scores) if cell(scores, r, metric).second]
        assert second == ([order[1]] if expected else []), metric
        marked = {r for r in methods(scores) if cell(scores, r, metric).tied}
        assert marked <= set(competing) - set(best)
    assert cell(scores, "grad_cam", "srg").tied
    assert not cell(scores, "saliency", "srg").tied


def test_undefined_and_failed_values_are_counted_and_explained(scores: Table) -> None:
    nothing = cell(scores, "saliency", "completeness")
    assert (nothing.text, nothing.note) == ("n/a", "24 undefined")
    assert scores.footnotes[nothing.mark] == "needs a global attribution; this one is local"
    failed = cell(scores, "occlusion", "srg")
    assert failed.note == "n = 23, 1 failed"
    assert scores.footnotes[failed.mark] == "RuntimeError: not enough memory"
    both = cell(scores, "occlusion", "sensitivity_n")
    assert both.note == "n = 22, 1 failed"
    assert both.hint.endswith("n = 22, 1 undefined, 1 failed")
    assert cell(scores, "ig", "sensitivity_n").note == "n = 23"
    assert cell(scores, "ig", "srg").note == ""
    assert "n = 24" in scores.caption
    assert "Monte Carlo error 0.0" in both.hint, "it draws"
    assert "Monte Carlo" not in cell(scores, "ig", "srg").hint, "it does not"


@pytest.mark.parametrize(
    ("mean", "half", "digits", "text"),
    [
        (0.43125, 0.0217, 3, "0.431 ± 0.022"),
        (-0.0004, 0.03, 3, "0.000 ± 0.030"),
        (3.1e-7, 2e-8, 3, "3.1e-07 ± 2.0e-08"),
        (0.0106, 0.0043, 1, "0.0106 ± 0.0043"),
        (0.012, 0.0, 1, "0.012 ± 0.000"),
        (123456.0, 100.0, 0, "1.2e+05 ± 1.0e+02"),
        (0.5, math.nan, 2, "0.50"),
        (0.0, 0.0, 3, "0"),
    ],
)
def test_mean_text(mean: float, half: float, digits: int, text: str) -> None:
    assert table.mean_text(mean, half, digits) == text


def test_decimals_show_two_digits_of_the_interval() -> None:
    def lines(half: float) -> pd.DataFrame:
        return pd.DataFrame({"low": [1 - half], "high": [1 + half]})

    assert [table.decimals(lines(h)) for h in (23.0, 2.3, 0.23, 0.023, 1e-7)] == [0, 1, 2, 3, 4]
    assert table.decimals(lines(math.nan)) == 4


def test_markdown_has_a_row_for_each_method(scores: Table) -> None:
    lines = [x for x in render.to_markdown(scores).splitlines() if x.startswith("|")]
    assert len(lines) == 2 + len(scores.rows)
    assert {line.count("|") for line in lines} == {len(scores.columns) + 1}
    assert "**0.0" in lines[2]  # the best completeness gap
    assert "<sup>a</sup> needs a global attribution" in render.to_markdown(scores)


def test_markdown_escapes() -> None:
    text = render.to_markdown(one_cell(text="a|b <script> *x*", best=True))
    assert r"**a\|b &lt;script&gt; \*x\***" in text


def test_latex_marks_best_and_tied(scores: Table) -> None:
    text = render.to_latex(scores)
    panels = text.count(r"\toprule")
    assert panels == text.count(r"\bottomrule") == 2
    best, second, tied = (
        sum(getattr(c, kind) for line in scores.cells for c in line)
        for kind in ("best", "second", "tied")
    )
    assert text.count(r"\bfseries") == best > 0
    assert text.count(r"\underline{") == second > 0
    assert text.count(r"$\dagger$") == tied > 0
    rows = [x for x in text.splitlines() if x.endswith(r"\\") and r"\multicolumn" not in x]
    cells = [len(re.findall(r"(?<!\\)&", row)) for row in rows]
    assert len(rows) == panels * (len(scores.rows) + 1)
    assert sum(cells) == (len(scores.rows) + 1) * (len(scores.columns) - 1)
    assert text.rindex(r"\end{tabular*}") < text.index("not enough memory")
    assert not set("±↑↓−∞") & set(text)


def test_latex_escapes() -> None:
    text = render.to_latex(one_cell(text="50% of $x_1$ & {y}^2 #3 ~ \\z <", note="-3"))
    assert (
        r"50\% of \$x\_1\$ \& \{y\}\textasciicircum{}2 \#3 \textasciitilde{} "
        r"\textbackslash{}z \textless{}"
    ) in text
    assert r"$-$0.5\,$\pm$\,0.1" in render.to_latex(one_cell(text="-0.5 ± 0.1"))
    assert r"$3.1{\times}10^{-7}$" in render.to_latex(one_cell(text="3.1e-07"))
    assert r"$1.2{\times}10^{5}$" in render.to_latex(one_cell(text="1.2e+05"))
    text = render.to_latex(one_cell(text="-3.1e-07 ± 2.0e-08"))
    assert r"$(-3.1{\pm}0.2){\times}10^{-7}$" in text


def test_html_escapes_everything() -> None:
    evil = "<script>alert('x')</script>"
    text = render.to_html(
        Table("t", evil, (evil, evil), (evil,), ((Cell(evil, evil, hint=evil),),), {"a": evil})
    )
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 8


def test_html_files_are_ascii(tmp_path: Path, scores: Table) -> None:
    paths = {p.suffix: p for p in render.write(scores, tmp_path)}
    assert set(paths) == {".md", ".tex", ".html", ".csv"}
    assert "Completeness gap &#8595;" in paths[".html"].read_text("ascii")
    assert "Completeness gap ↓" in paths[".md"].read_text("utf-8")


def test_costs_are_aggregated_as_the_caption_says(records: Records) -> None:
    table = tables.costs_table(records)
    rows = records.scores
    seconds = rows[(rows.method == "ig") & (rows.metric == "seconds")].value
    memory = rows[(rows.method == "ig") & (rows.metric == "peak_memory")].value
    assert table.columns[1:] == ("forwards", "backwards", "seconds", "peak MiB")
    assert cell(table, "ig", "forward_rows").text == "51"
    numbers = {"mean": 197.0, "n": 23, "n_undefined": 0, "n_failed": 1}
    assert cell(table, "occlusion", "forward_rows") == Cell(
        "197", "1 failed", value=197.0, numbers=numbers
    )
    assert "Of 864 values, 0 are undefined and 4 failed." in table.caption
    assert cell(table, "ig", "seconds").value == pytest.approx(seconds.median())
    assert cell(table, "ig", "peak_memory").value == pytest.approx(memory.max())
    assert "forward rows 8,424" in table.footnotes[""]


def test_stages_have_a_table_of_their_own(records: Records) -> None:
    assert tables.stages_table(records.run) is None
    stages = {"method ig": {"forward": 300.0, "seconds": 0.82424}, "metric srg": {"forward": 1234}}
    run = replace(records.run, totals={"seconds": 9.9, "stages": stages})
    table = tables.stages_table(run)
    assert table is not None
    assert table.columns == ("stage", "forward", "seconds")
    assert table.rows == ("method IG", "metric SRG")
    assert [[c.text for c in row] for row in table.cells] == [["300", "0.824"], ["1,234", "–"]]
    assert tables.costs_table(replace(records, run=run)).footnotes[""] == "whole run: seconds 9.9"


def test_definitions_cover_all_metrics_and_costs(records: Records) -> None:
    table = tables.definitions_table(records.run)
    assert [line[-1].text for line in table.cells] == list(records.run.metrics)
    row = table.cells[table.rows.index("Sensitivity-n")]
    assert [c.text for c in row] == [
        "Sensitivity-n (Ancona 2018)", "↑ higher", "[−1, 1]", "score", "pixel", "1",
        "Ancona et al. 2018, sec. 4", "where the model's output does not vary",
        "sensitivity_n",
    ]  # fmt: skip
    assert table.cells[table.rows.index("Infidelity")][2].text == "[0, ∞)"


def test_two_models_give_two_blocks(records: Records) -> None:
    other = records.scores.assign(model="other")
    both = replace(records, scores=pd.concat([records.scores, other]))
    lines = summarise(both.scores, both.run.metrics, methods=both.run.methods, resamples=50)
    table = tables.scores_table(both.run, lines)
    assert len(table.rows) == len(set(table.rows)) == 18
    assert table.rows[0] == "Synthetic net: IG"
    assert table.rows[9] == "Other: IG"
    assert table.stubs[8:10] == (("Synthetic net: Controls", "Edges"), ("Other", "IG"))
