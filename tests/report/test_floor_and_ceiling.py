"""Tables, figures and text of a run with a floor, a ceiling and several budgets."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import pandas as pd
import pytest
from matplotlib.figure import Figure

from igbench.records.stats import summarise
from igbench.report import across, front, plots, render, styles, tables
from igbench.report.findings import findings
from igbench.schema import MethodSpec, Records
from tests.helpers import budgets
from tests.helpers.synthetic import make_records


@pytest.fixture(scope="module")
def records() -> Records:
    return budgets.make_records()


@pytest.fixture(scope="module")
def summary(records: Records) -> pd.DataFrame:
    return summarise(
        records.scores, records.run.metrics, methods=records.run.methods, resamples=200
    )


@pytest.fixture(scope="module")
def made(records: Records, summary: pd.DataFrame) -> dict[str, Figure]:
    return plots.figures(records, summary)


def mean(summary: pd.DataFrame, method: str, metric: str = "srg") -> float:
    own = summary[(summary["method"] == method) & (summary["metric"] == metric)]
    return float(own["mean"].iloc[0])


def test_shares_have_a_table_in_every_format(records, summary, tmp_path: Path) -> None:
    table = next(t for t in tables.tables(records, summary) if t.name == "shares")
    assert table.columns == ("method", "SRG ↑", "Deletion ↓")
    assert table.rows[-2:] == ("Random (control)", "Best found (ceiling)")
    assert [[c.text for c in line] for line in table.cells[-2:]] == [["0 %"] * 2, ["100 %"] * 2]
    low, high = mean(summary, "random"), mean(summary, "best_found")
    wanted = 100 * (mean(summary, "ig_64") - low) / (high - low)
    cell = table.cells[table.rows.index("IG 64")][0]
    assert cell.value == pytest.approx(wanted, rel=1e-9)
    assert cell.text.startswith(f"{wanted:.0f} % [")
    (note,) = table.footnotes.values()
    assert note.startswith(f"SRG: Random {low:.3f}, Best found {high:.3f}; Deletion: Random")
    texts = {p.suffix: p.read_text() for p in render.write(table, tmp_path)}
    assert "12 \\%" in texts[".tex"]
    assert "12 %" in texts[".md"]
    assert "12 %" in texts[".html"]


def test_runs_without_a_ceiling_have_no_table_of_shares() -> None:
    plain = make_records()
    lines = summarise(plain.scores, plain.run.metrics, methods=plain.run.methods, resamples=20)
    assert "shares" not in [t.name for t in tables.tables(plain, lines)]
    assert lines["share"].isna().all()
    assert not any("Of the way" in f.text for f in findings(plain.run, lines, plain.scores))


def test_both_lines_are_drawn_and_labelled(made, summary) -> None:
    bars = {a.get_title(loc="left"): a for a in made["metrics"].axes}
    for title, metric in (("SRG ↑", "srg"), ("Deletion ↓", "deletion")):
        upright = {float(x[0]) for x in (line.get_xdata() for line in bars[title].lines)}
        assert {mean(summary, m, metric) for m in ("random", "best_found")} <= upright
        assert [t.get_text() for t in bars[title].texts] == ["floor", "ceiling"]
    assert "dash-dotted line: best order found" in made["metrics"].get_supxlabel()
    level = {
        float(line.get_ydata()[0])
        for line in made["cost_quality"].axes[0].lines
        if list(line.get_xdata()) == [0, 1]
    }
    assert level == {mean(summary, "random"), mean(summary, "best_found")}


def test_the_front_is_what_nothing_cheaper_reaches(records, summary) -> None:
    assert front.front(records.run, summary, "srg") == budgets.FRONT
    assert front.front(records.run, summary, "deletion") == budgets.FRONT
    cost = front.costs(summary)
    assert cost["ig_64"] == 64
    assert cost["best_found"] == 4158


def test_the_front_and_the_budgets_of_a_method_are_lines(made, summary) -> None:
    axes = made["cost_quality"].axes[0]
    lines = {tuple(map(float, line.get_xdata())) for line in axes.lines}
    assert {(64.0, 256.0, 1024.0), (63.0, 255.0, 1020.0)} <= lines
    (steps,) = [line for line in axes.lines if line.get_label() == "Pareto front"]
    assert list(steps.get_xdata())[:-1] == [2, 63, 64, 255, 1020]
    assert list(steps.get_ydata())[:-1] == [mean(summary, m) for m in budgets.FRONT]
    labels = [t.get_text() for t in axes.texts]
    assert {"IG", "SHAP", "Saliency"} <= set(labels)
    assert "IG 64" not in labels


def test_the_text_names_the_front_and_the_share(records, summary) -> None:
    text = " ".join(f.text for f in findings(records.run, summary, records.scores))
    assert "reaches Saliency (2), SHAP 64 (63), IG 64 (64), SHAP 256 (255) and SHAP 1024" in text
    assert "best order found by Best found" in text
    assert "SHAP 1024 goes 57 % [" in text
    assert "rank 3 of 7" in text, "controls and ceilings do not compete"


def test_ceilings_come_last_and_have_a_look_of_their_own(records) -> None:
    assert styles.method_names(records.run)[-2:] == ["random", "best_found"]
    found = styles.method_styles(records.run.methods)["best_found"]
    assert (found["color"], found["linestyle"]) == (styles.CEILING_COLOURS[0], "-.")


def test_every_role_has_a_place() -> None:
    assert get_args(get_type_hints(MethodSpec)["role"]) == styles.ROLES


def test_ceilings_come_last_in_tables_of_several_models_too(records) -> None:
    other = make_records().run
    assert across.methods([records.run, other])[-3:] == ["random", "edges", "best_found"]
