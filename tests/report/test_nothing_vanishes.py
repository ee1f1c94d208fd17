"""A column without any value, a failed method and a failed sample stay visible in every view."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from igbench.records import compare, stats, view
from igbench.records.stats import summarise
from igbench.report import agreement, curves, plots, render, styles, tables, write_report
from igbench.report.findings import findings
from igbench.schema import Records
from tests.helpers.synthetic import make_records

EMPTY, BROKEN, LOST = "infidelity", "grad_cam", "photo-003"
REASON = "needs what these samples lack"


@pytest.fixture(scope="module")
def records() -> Records:
    """A metric without a value anywhere, a method that failed everywhere, a sample that failed."""
    made = make_records()
    scores = made.scores.copy()
    lost = scores["sample_id"].unique()[3]
    costs = scores["metric"].isin(["forward_rows", "backward_rows", "seconds", "peak_memory"])
    for chosen, status, reason in (
        (scores["metric"] == EMPTY, "undefined", REASON),
        ((scores["method"] == BROKEN) & ~costs, "failed", "it broke"),
        ((scores["sample_id"] == lost) & ~costs, "failed", "truncated file"),
    ):
        scores.loc[chosen, ["value", "std_error"]] = math.nan
        scores.loc[chosen, "status"] = status
        scores.loc[chosen, "reason"] = reason
    points = made.curves[
        (made.curves["method"] != BROKEN)
        & (made.curves["sample_id"] != lost)
        & (made.curves["curve"] != EMPTY)
    ]
    return Records(made.run, scores, points, made.folder, made.maps)


@pytest.fixture(scope="module")
def summary(records: Records) -> pd.DataFrame:
    return summarise(
        records.scores, records.run.metrics, methods=records.run.methods, resamples=100
    )


def everything(records: Records) -> dict[str, list[str]]:
    return {"methods": list(records.run.methods), "metrics": list(records.run.metrics)}


def test_the_numeric_table_keeps_every_method_and_metric(records, summary):
    found = stats.table(summary, **everything(records))
    assert set(found.index) == set(records.run.methods)
    assert set(found.columns) == set(records.run.metrics)
    assert found[EMPTY].isna().all()
    assert {d.kind for d in found.dtypes} == {"f"}
    scores = records.scores
    mean = scores[(scores["method"] == "ig") & (scores["metric"] == "srg")]["value"].mean()
    assert found.loc["ig", "srg"] == pytest.approx(mean)


def test_counts_and_reasons_are_in_text_and_html(records, summary):
    size = len(records.run.samples)
    cells = stats.counts_table(summary, **everything(records))
    assert cells.loc["ig", EMPTY] == f"undefined {size - 1}/{size}, failed 1/{size}"
    assert cells.loc[BROKEN, "srg"] == f"failed {size}/{size}"
    assert cells.loc["ig", "srg"].endswith(f"({size - 1} of {size}; 1 failed)")
    for shown in (view.text(summary), view.html(summary)):
        assert f"{EMPTY} of ig: {size - 1} undefined, 1 failed of {size} ({REASON})" in shown
        assert f"undefined {size - 1}/{size}" in shown
        assert "it broke" in shown


def test_a_metric_without_rows_has_a_column(records, summary):
    lines = summary[summary["metric"] != "deletion"]
    assert stats.table(lines, **everything(records))["deletion"].isna().all()
    assert (stats.counts_table(lines, **everything(records))["deletion"] == "not scored").all()
    table = tables.scores_table(records.run, lines)
    column = table.column_keys.index("deletion")
    assert {row[column].text for row in table.cells} == {"–"}


def test_tables_of_two_models_are_not_mixed(summary):
    both = pd.concat([summary, summary.assign(model="other")])
    with pytest.raises(ValueError, match="2 models"):
        stats.table(both)


@pytest.mark.parametrize(
    "form", [render.to_markdown, render.to_latex, render.to_html], ids=["md", "tex", "html"]
)
def test_every_format_of_the_table_of_scores_has_all_of_it(records, summary, form):
    shown = (
        form(tables.scores_table(records.run, summary)).replace(r"\_", "_").replace("&#95;", "_")
    )
    assert "Infidelity ↓" in shown.replace(r"$\downarrow$", "↓")
    assert "Grad-CAM" in shown
    size = len(records.run.samples)
    assert f"{size - 1} undefined, 1 failed" in shown
    assert f"{size} failed" in shown
    assert REASON in shown


def texts(figure) -> str:
    found = [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text"))]
    return " ".join(" ".join(found).split())


def test_figures_name_what_they_cannot_draw(records, summary):
    bars = plots.metric_bars(records.run, summary)
    assert "Infidelity" in texts(bars)
    assert texts(bars).count("n/a") >= len(records.run.methods)
    assert "no value: Grad-CAM" in texts(plots.cost_quality(records.run, summary))
    matrix = texts(agreement.metric_agreement(records.run, summary))
    assert "fewer than three methods have a value of: Infidelity" in matrix
    assert "Grad-CAM n/a" in texts(curves.removal(records.run, records.curves))
    assert "Grad-CAM n/a" in texts(curves.sensitivity_n(records.run, records.curves))


def test_a_headline_metric_without_values_does_not_empty_the_report(records):
    scores = records.scores.copy()
    chosen = scores["metric"] == "srg"
    scores.loc[chosen, "value"] = math.nan
    scores.loc[chosen, "status"] = "undefined"
    lines = summarise(scores, records.run.metrics, methods=records.run.methods, resamples=100)
    said = findings(records.run, lines, scores)[0].text
    assert "has the best mean of Insertion" in said
    assert plots.cost_quality(records.run, lines) is not None
    nothing = lines.assign(mean=math.nan, n=0)
    assert "No method has a value of SRG" in findings(records.run, nothing, scores)[0].text


def test_compare_tells_a_metric_that_breaks_from_one_that_is_undefined(records):
    worse = records.scores.copy()
    chosen = (worse["metric"] == EMPTY) & (worse["method"] == "ig")
    base = Records(
        records.run, records.scores[records.scores["status"] != "failed"], records.curves
    )
    worse.loc[chosen, ["status", "reason"]] = ["failed", "ValueError: it broke"]
    new = Records(records.run, worse[worse["method"] != BROKEN], records.curves)
    found = {(c.method, c.metric): c for c in compare.compare(base, new, resamples=100).changes}
    assert found["ig", EMPTY].verdict == "failed"
    assert "undefined in the base run, fails now (ValueError: it broke)" in found["ig", EMPTY].note
    assert found["saliency", EMPTY].verdict in ("identical", "failed")
    assert compare.compare(base, base, resamples=100).changes


@pytest.mark.parametrize(
    ("methods", "metrics", "samples"),
    [
        (["random"], ["completeness"], 3),
        (["random", "edges"], ["srg", "deletion"], 3),
        (["ig"], ["srg"], 1),
        (["ig", "random"], ["difference_from_ig"], 2),
        (["ig_captum"], ["srg", "insertion"], 3),
    ],
)
def test_small_runs_have_a_report(tmp_path, methods, metrics, samples):
    whole = make_records(samples=samples)
    kept = whole.scores["method"].isin(methods) & whole.scores["metric"].isin(metrics)
    run = replace(
        whole.run,
        methods={m: whole.run.methods[m] for m in methods},
        metrics={m: whole.run.metrics[m] for m in metrics},
    )
    few = Records(run, whole.scores[kept], whole.curves.iloc[:0], folder=str(tmp_path))
    page = write_report(few).read_text(encoding="utf-8")
    table = page[page.index('id="table-scores"') :].partition("</table>")[0]
    assert table.count('<th scope="row"') == len(methods)
    assert all(styles.name_text(m) in table for m in methods)
