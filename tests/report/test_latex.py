"""LaTeX tables compile as they stand, fit one column and two, and are nowhere in tiny type."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from igbench.records.stats import summarise
from igbench.report import across, latex, latex_text, render, tables
from igbench.report.table import Cell, Table, TableOptions
from igbench.schema import COSTS, MethodSpec, MetricSpec, Records, Run
from tests.helpers.pdf import CLASSES, compile_tables, needs_pdflatex, too_large
from tests.helpers.synthetic import make_records, make_run

SPECIAL = r"a&b%c$d#e_f{g}h~i^j\k<l>m|n`o--p"
HEBREW = "שלום"
STRANGE = (SPECIAL, HEBREW, "e\u202ev\x1bil\nname", "Müller_ŝø", "梯度", "[3cm]", "*", "-" * 70)


def wide_run(
    methods: int, metrics: int, *, samples: int = 6, names: tuple[str, ...] = ()
) -> Records:
    """A run of many methods and metrics with a known value in every cell."""
    all_methods = [*names, *(f"method_number_{i}" for i in range(methods - len(names)))]
    all_metrics = [*names[:metrics], *(f"metric_{j}" for j in range(metrics - len(names)))]
    run = replace(
        make_run(samples=samples),
        methods={m: MethodSpec(m, "r", "global", True) for m in all_methods}
        | {"random": MethodSpec("Random", "control", "global", True, role="control")},
        metrics={
            m: MetricSpec(m, ("higher", "lower")[j % 2], -9, 9, 1, "r")
            for j, m in enumerate(all_metrics)
        },
    )
    rows = [
        (run.id, run.experiment, "net", method, metric, f"s{k}",
         i + j / 100 + k * 0.01 * (1 + i % 3), "ok", "", math.nan, 0, 0, 0.0)
        for i, method in enumerate(run.methods)
        for j, metric in enumerate(run.metrics)
        for k in range(samples)
    ]  # fmt: skip
    columns = list(make_records(samples=2).scores.columns)
    return Records(run, pd.DataFrame(rows, columns=columns), pd.DataFrame())


@cache
def synthetic() -> tuple[Records, pd.DataFrame]:
    """The synthetic run and its summary."""
    records = make_records()
    run = records.run
    return records, summarise(records.scores, run.metrics, methods=run.methods, resamples=20)


def summary_of(records: Records) -> pd.DataFrame:
    """A summary without tests, which are slow for many methods: intervals of ± 0.02."""
    frame = records.scores.groupby(["model", "method", "metric"], sort=False).agg(
        n=("value", "count"), n_undefined=("status", lambda s: (s == "undefined").sum()),
        n_failed=("status", lambda s: (s == "failed").sum()), reason=("reason", "first"),
        mean=("value", "mean"),
    ).reset_index()  # fmt: skip
    top = frame.groupby("metric")["mean"].transform("max")
    ranked = (frame["method"] != "random") & frame["mean"].notna()
    extra = {k: math.nan for k in ("std", "mc_error", "share", "share_low", "share_high")}
    return frame.assign(
        low=frame["mean"] - 0.02, high=frame["mean"] + 0.02, median=frame["mean"],
        best=ranked & (frame["mean"] == top), tied=ranked & (frame["mean"] != top), **extra,
    )  # fmt: skip


def both_forms(records: Records, summary: pd.DataFrame | None = None) -> list[Table]:
    summary = summary_of(records) if summary is None else summary
    made = tables.tables(records, summary)
    return [t for t in made if t.name.startswith("scores")]


def undefined(records: Records) -> Records:
    scores = records.scores.assign(value=math.nan, status="undefined", reason="nothing is there")
    return replace(records, scores=scores)


def body_rows(text: str) -> list[str]:
    return [x for x in text.splitlines() if x.endswith(r"\\") and "multicolumn" not in x]


# -- what is written ----------------------------------------------------------------------------


def test_special_characters_are_texts() -> None:
    assert latex_text.latex_escape(SPECIAL) == (
        r"a\&b\%c\$d\#e\_f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k"
        r"\textless{}l\textgreater{}m\textbar{}n\textasciigrave{}o-{}-p"
    )


@pytest.mark.parametrize(
    ("text", "latex_of_it"),
    [
        (HEBREW, r"\texttt{U+05E9}\texttt{U+05DC}\texttt{U+05D5}\texttt{U+05DD}"),
        ("a\u202eb", r"a\textbackslash{}u202eb"),
        ("a\x1bb\nc", r"a\textbackslash{}x1bb c"),
        ("Müller ŝ ø ß", r"M\"{u}ller \^{s} \o{} \ss{}"),
        ("αΩΑ", r"$\alpha$$\Omega$\texttt{U+0391}"),
        ("---", "-{}-{}-"),
    ],
)
def test_other_characters_compile_and_stay_visible(text: str, latex_of_it: str) -> None:
    assert latex_text.latex_escape(text) == latex_of_it


def test_no_type_is_smaller_than_footnotes_and_nothing_is_scaled() -> None:
    records, summary = synthetic()
    for table in tables.tables(records, summary):
        text = render.to_latex(table)
        assert r"\footnotesize" in text
        for command in (r"\resizebox", r"\scalebox", r"\scriptsize", r"\tiny"):
            assert command not in text, table.name


def test_forms_are_floats_of_their_width() -> None:
    wide, compact = map(render.to_latex, both_forms(*synthetic()))
    assert wide.count(r"\begin{table*}[tp]") == wide.count(r"\end{table*}") == 1
    assert r"\label{tab:scores}" in wide
    assert compact.count(r"\begin{table}[tp]") == 1
    assert r"\label{tab:scores_compact}" in compact


def test_47_methods_go_on_in_further_floats_and_lose_none() -> None:
    for table in both_forms(wide_run(47, 2, samples=3)):
        text = render.to_latex(table)
        floats = text.split(r"\begin{table")[1:]
        assert len(floats) > 1
        assert all(r"\addtocounter{table}{-1}\caption{(continued)}" in f for f in floats[1:])
        rows = body_rows(text)
        panels = {len(row.split(" & ")) - 1 for row in rows}
        for i in range(47):
            own = [row for row in rows if row.startswith(f"Method number {i} &")]
            assert sum(row.count(" & ") for row in own) == len(table.columns) - 1, panels
        assert text.count(r"{\itshape Controls}") == sum(r.startswith("Random &") for r in rows)


def test_20_metrics_are_stacked_in_panels() -> None:
    wide, compact = both_forms(wide_run(2, 20))
    assert len(wide.columns) == 21
    assert len(compact.columns) == 4
    rows = body_rows(render.to_latex(wide))
    heads = [row for row in rows if row.startswith("Method &")]
    assert len(heads) == 5
    assert sum(row.count(r"\uparrow") + row.count(r"\downarrow") for row in heads) == 20
    first = [r.split(" & ")[1:] for r in rows if r.startswith("Method number 0 &")]
    shown = [cell.removesuffix(r" \\") for part in first for cell in part]
    assert len(shown) == 20
    # The values of sample k are j / 100 + 0.01 k: their mean is j / 100 + 0.025.
    assert [float(re.findall(r"\d\.\d+", cell)[0]) for cell in shown] == pytest.approx(
        [j / 100 + 0.025 for j in range(20)], abs=0.0051
    )


def test_one_metric_is_one_table() -> None:
    (wide, compact) = both_forms(wide_run(2, 1))
    assert wide.columns == compact.columns == ("method", "Metric 0 ↑")
    assert render.to_latex(wide).count(r"\begin{tabular}{") == 1


def test_everything_undefined_is_said_in_every_format() -> None:
    for table in both_forms(undefined(wide_run(3, 2))):
        assert {c.text for line in table.cells for c in line} == {"n/a"}
        assert not any(c.best or c.second or c.tied for line in table.cells for c in line)
        assert "Of 48 values, 48 are undefined and 0 failed." in table.caption
        text = render.to_latex(table)
        assert text.count(r"n/a\rlap{\textsuperscript{a}}") == 8
        assert r"\textsuperscript{a}\,6 undefined: nothing is there" in text
        assert "6 undefined" in render.to_markdown(table)
        assert ",,,0,6,0" in render.to_csv(table)


def test_a_cell_without_all_samples_has_a_note_with_its_counts() -> None:
    (wide, _) = both_forms(*synthetic())
    text = render.to_latex(wide)
    notes = re.findall(r"\\textsuperscript\{(\w+)\}\\,(.*)\\par", text)
    assert "24 undefined: needs a global attribution; this one is local" in dict(notes).values()
    assert "n = 22, 1 failed: RuntimeError: not enough memory" in dict(notes).values()
    for letter, _ in notes:
        assert re.search(rf"\\rlap{{\\textsuperscript{{(\$\\dagger\$,)?{letter}}}}}", text)


def test_texts_that_do_not_fit_are_merged_and_none_is_lost() -> None:
    run = make_run()
    table = tables.definitions_table(run)
    text = render.to_latex(table)
    assert r"Metric & Title and details \\" in text
    row = next(x for x in text.splitlines() if x.startswith("Sensitivity-n & "))
    assert row == (
        r"Sensitivity-n & Sensitivity-n (Ancona 2018); better: $\uparrow$ higher; range: "
        r"[$-$1, 1]; scalar: score; feature: pixel; version: 1; source: Ancona et al. 2018, "
        r"sec. 4; undefined: where the model's output does not vary; name: sensitivity\_n \\"
    )


def test_columns_have_readable_widths() -> None:
    run = make_run()
    for table in (tables.definitions_table(run), tables.methods_table(run)):
        shares = re.findall(r"p\{\\dimexpr ([\d.]+)\\linewidth\}", render.to_latex(table))
        assert min(map(float, shares)) > 0.1
        assert sum(map(float, shares)) <= 1


def test_groups_of_columns_have_rules() -> None:
    cells = ((Cell("1"), Cell("2"), Cell("3")),)
    table = Table(
        "t", "c", ("method", "A, x", "B, x", "A, y"), ("r",), cells,
        heads=(("x", "A"), ("x", "B"), ("y", "A")),
    )  # fmt: skip
    text = render.to_latex(table)
    assert r" & \multicolumn{2}{c}{x} & \multicolumn{1}{c}{y} \\" in text
    assert r"\cmidrule(lr){2-3}\cmidrule(lr){4-4}" in text
    assert r"Method & A & B & A \\" in text


# -- what pdflatex makes of it ------------------------------------------------------------------


def of_two_runs() -> list[Table]:
    made = []
    for model, data in (("resnet50", "imagenet"), ("vit_b_16", "photographs")):
        records, summary = synthetic()
        run: Run = replace(records.run, config={"data": {"_target_": f"igbench.data.{data}"}})
        made.append((run, summary.assign(model=model)))
    return across.tables(made, ["srg", "completeness"], TableOptions(ranks=True))


def everything() -> dict[str, list[Table]]:
    records, summary = synthetic()
    return {
        "a run": tables.tables(records, summary, TableOptions(ranks=True, shares=True)),
        "47 methods": both_forms(wide_run(47, 2, samples=3)),
        "20 metrics": both_forms(wide_run(3, 20)),
        "one metric": both_forms(wide_run(2, 1)),
        "undefined": both_forms(undefined(wide_run(3, 2))),
        "strange names": both_forms(wide_run(9, 8, names=STRANGE)),
        "two runs": of_two_runs(),
        "nothing": [Table("t", "c", ("method",), (), ())],
    }


def test_a_table_of_nothing_is_a_table() -> None:
    text = render.to_latex(Table("t", "c", ("method",), (), ()))
    assert "Method \\\\\n\\midrule\n\\bottomrule\n" in text


@needs_pdflatex
@pytest.mark.slow
@pytest.mark.parametrize("columns", CLASSES)
def test_every_table_compiles_and_fits(columns: str, tmp_path: Path) -> None:
    for name, made in everything().items():
        folder = tmp_path / name.replace(" ", "_")
        folder.mkdir()
        log = compile_tables(list(map(render.to_latex, made)), columns, folder)
        assert too_large(log) == [], name
        assert (folder / "article.pdf").stat().st_size > 10_000


def test_estimated_widths_are_those_of_the_type() -> None:
    # Widths in points of cmr8 by TeX: 0.12345 has 6 digits and a point, 6 x 4.25 + 2.36.
    assert latex_text.width("0.12345") == pytest.approx(27.86, rel=0.05)
    assert latex_text.width("Integrated Gradients") == pytest.approx(83, rel=0.1)
    assert latex._panels([60.0] * 5, 200.0) == [range(3), range(3, 5)]


def test_the_tables_of_costs_have_no_marks() -> None:
    table = tables.costs_table(synthetic()[0])
    assert set(table.column_keys) == set(COSTS)
    assert "dagger" not in render.to_latex(table)
