"""Do the figures of comparison show the right ranks, groups, verdicts, scores and counts?"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import stats as scipy_stats

from igbench.records import stats
from igbench.report import comparison, diagrams, matrices, plots, ranking, strips, styles
from igbench.report.model_statistics import ModelStatistics
from igbench.schema import MethodSpec, MetricSpec, Records, Run
from tests.helpers.synthetic import METHODS, make_records, make_run

SPEC = MetricSpec("Gain", "higher", -10, 10, 1, "")
LOWER = replace(SPEC, direction="lower")
METHOD = MethodSpec("", "", "global", True)


def run_of(methods: list[str], metrics: dict[str, MetricSpec], **roles: Any) -> Run:
    specs = {m: replace(METHOD, role=roles.get(m, "method")) for m in methods}
    return replace(make_run(samples=0), methods=specs, metrics=metrics)


def scores_of(tables: dict[str, dict[str, list[float]]]) -> pd.DataFrame:
    """Rows of a run from metric -> method -> values; NaN becomes "undefined"."""
    return pd.DataFrame(
        [
            {"model": "net", "metric": metric, "method": method, "sample_id": f"s{i}",
             "value": v, "status": "undefined" if math.isnan(v) else "ok",
             "reason": "no value" if math.isnan(v) else "", "std_error": math.nan}
            for metric, columns in tables.items()
            for method, values in columns.items()
            for i, v in enumerate(values)
        ],
        columns=["model", "metric", "method", "sample_id", "value", "status", "reason",
                 "std_error"],
    )  # fmt: skip


def drawn(
    tables: dict[str, dict[str, list[float]]], spec: MetricSpec = SPEC, **roles: Any
) -> dict[str, Any]:
    methods = list(dict.fromkeys(m for columns in tables.values() for m in columns))
    run, scores = run_of(methods, dict.fromkeys(tables, spec), **roles), scores_of(tables)
    lines = stats.summarise(scores, run.metrics, methods=run.methods, resamples=50)
    return comparison.figures(ModelStatistics(run, lines, scores))


def pairs(values: pd.DataFrame, spec: MetricSpec = SPEC) -> pd.DataFrame:
    scores = scores_of({"gain": {str(m): list(values[m]) for m in values}})
    return stats.pairwise(scores, {"gain": spec}, "gain", resamples=99)


def clear(n: int = 12) -> dict[str, list[float]]:
    """Three methods: a and b share the first place, c is worse on every sample."""
    noise = np.linspace(-1, 1, n)
    a = 5 + noise
    b = a + np.where(np.arange(n) % 2, 0.5, -0.5)  # better on every second sample
    return {"c": list(a - 3), "a": list(a), "random": list(a - 5), "b": list(b)}


@pytest.fixture(scope="module")
def synthetic() -> tuple[Records, pd.DataFrame]:
    """A run of nine methods and five metrics, with its summary."""
    whole = make_records()
    kept = whole.scores[whole.scores["metric"].isin(styles.HEADLINES)]
    records = replace(whole, scores=kept)
    return records, stats.summarise(kept, whole.run.metrics, resamples=50)


def texts(axes: Any) -> list[str]:
    return [t.get_text() for t in axes.texts]


def names(axis: Any) -> list[str]:
    return [t.get_text() for t in axis.get_ticklabels()]


def footer(figure: Any) -> str:
    return str(figure.get_supxlabel()).replace("\n", " ")


def bars(axes: Any) -> list[list[int]]:
    """The places that each upright bar joins."""
    return [[int(y) for y in line.get_ydata()] for line in axes.lines if line.get_marker() == "o"]


# --- ranks ---------------------------------------------------------------------------------------


def test_mean_ranks_by_hand_with_ties_and_both_directions() -> None:
    values = pd.DataFrame({"a": [1.0, 5.0], "b": [1.0, 4.0], "c": [0.0, 6.0]})
    higher = ranking.mean_ranks(values, SPEC).mean
    assert higher.to_dict() == {"a": (1.5 + 2) / 2, "c": (3 + 1) / 2, "b": (1.5 + 3) / 2}
    assert list(higher.index) == ["a", "c", "b"]
    lower = ranking.mean_ranks(values, LOWER).mean
    assert lower.to_dict() == {m: 4 - rank for m, rank in higher.items()}


def test_ranks_need_all_methods_and_leave_out_those_with_few_values() -> None:
    nan = math.nan
    values = pd.DataFrame(
        {"a": [1, 2, 3, 4], "b": [2, 1, nan, 5], "few": [9, nan, nan, nan], "none": [nan] * 4},
        dtype=float,
    )
    found = ranking.mean_ranks(values, SPEC)
    assert (found.n, found.of, found.left_out) == (3, 4, ("few", "none"))
    assert found.mean.to_dict() == pytest.approx({"b": 4 / 3, "a": 5 / 3})


def test_friedman_is_that_of_scipy() -> None:
    values = pd.DataFrame(clear())
    expected = scipy_stats.friedmanchisquare(*values.to_numpy().T).pvalue
    assert ranking.mean_ranks(values, SPEC).friedman == pytest.approx(expected)
    assert math.isnan(ranking.mean_ranks(values[["a", "b"]], SPEC).friedman)
    assert ranking.mean_ranks(pd.DataFrame(np.ones((5, 3))), SPEC).friedman == 1.0


def test_equivalent_methods_have_a_mark_and_a_count_of_their_own() -> None:
    run = run_of(["a", "b", "c"], {"gain": SPEC})
    values = pd.DataFrame({"a": [3.0, 3.0], "b": [2.0, 2.0], "c": [1.0, 1.0]})
    tested = pairs(values).assign(verdict=["equivalent", "better", "undecided"])
    with styles.style():
        figure: Any = matrices.comparison_matrix(run, "gain", values, tested)
    assert texts(figure.axes[0]) == [
        "= +1.0", "▲ +2.0", "= −1.0", "· +1.0", "▼ −2.0", "· −1.0",
        "▲/=/·/▼", "1/1/0/0", "0/1/1/0", "0/0/1/1",
    ]  # fmt: skip
    assert "= equivalent, · no significant difference" in footer(figure)


def test_groups_are_exactly_the_pairs_that_do_not_differ() -> None:
    rng = np.random.default_rng(0)
    order = [f"m{i}" for i in range(9)]
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    tested = pd.DataFrame(pairs, columns=["a", "b"]).assign(p_holm=rng.random(len(pairs)) / 8)
    found = ranking.groups(order, tested)
    together = {(order[i], order[j]) for g in found for i in g for j in g if i < j}
    assert together == {(a, b) for a, b, p in tested.to_numpy().tolist() if p > 0.05}
    assert found == sorted(found)
    assert not any(set(g) < set(h) for g in found for h in found)


def test_groups_and_ranks_agree_with_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs", reason="the oracle is not installed")
    records = make_records()
    values = ranking.tables(records.run, records.scores)["srg"]
    spec = records.run.metrics["srg"]
    tested, found = pairs(values, spec), ranking.mean_ranks(values, spec)
    methods = list(found.mean.index)
    square = pd.DataFrame(1.0, index=methods, columns=methods)
    for line in tested.itertuples():
        square.loc[line.a, line.b] = square.loc[line.b, line.a] = line.p_holm
    complete = values.dropna()
    expected = complete.rank(axis=1, ascending=False).mean()
    assert found.mean.to_dict() == pytest.approx(expected.to_dict())
    axes = styles.canvas(4, 3).subplots()
    oracle = posthocs.critical_difference_diagram(expected, square, ax=axes)
    spans = sorted(
        (min(line.get_xdata()), max(line.get_xdata())) for (line,) in oracle["crossbars"]
    )
    own = sorted(
        (found.mean.iloc[g[0]], found.mean.iloc[g[-1]]) for g in ranking.groups(methods, tested)
    )
    assert own
    assert np.array(own) == pytest.approx(np.array(spans))


# --- critical-difference diagram -----------------------------------------------------------------


def test_diagram_shows_ranks_in_order_and_joins_what_does_not_differ() -> None:
    figure = drawn({"gain": clear()}, random="control")["critical_difference"]
    left, right = figure.axes
    assert names(left.yaxis) == ["A", "B", "C", "Random (control)"]
    assert texts(left) == ["1.50", "1.50", "3.00", "4.00"]
    points = [line for line in left.lines if line.get_marker() in ("o", "s", "D")]
    assert [float(p.get_xdata()[0]) for p in points] == [1.5, 1.5, 3, 4]
    assert [p.get_marker() for p in points] == ["o", "o", "o", "s"]
    assert bars(right) == [[0, 1]]
    assert left.get_title(loc="left") == "Gain ↑"
    assert footer(figure) == (
        "12 samples in the ranks; Friedman p < 0.001; Wilcoxon, Holm over 6 pairs, 5 %"
    )
    assert figure.get_size_inches()[0] == 3.4


def test_a_bar_is_thin_where_it_passes_a_method_that_differs() -> None:
    axes = styles.canvas(3, 3).subplots()
    diagrams._bars(axes, [[[0, 2, 3]]])
    segments = [line for line in axes.lines if line.get_marker() == "None"]
    widths = {tuple(s.get_ydata()): s.get_linewidth() for s in segments}
    assert widths == {(0, 2): 0.6, (2, 3): 2}
    assert bars(axes) == [[0, 2, 3]]


def test_diagram_says_what_it_leaves_out() -> None:
    table = clear() | {"c": [math.nan] * 12}
    table["b"][3] = math.nan
    figure = drawn({"gain": table}, random="control")["critical_difference"]
    assert names(figure.axes[0].yaxis) == ["A", "B", "Random (control)"]
    assert footer(figure).startswith("11 of 12 samples in the ranks; ")
    assert footer(figure).endswith("not ranked, value on fewer than half of the samples: C")


def test_equal_methods_are_one_group() -> None:
    same = {m: [1.0, 2.0, 3.0, 4.0] for m in "abc"}
    made = drawn({"gain": same})
    left, right = made["critical_difference"].axes
    assert texts(left) == ["2.00"] * 3
    assert bars(right) == [[0, 1, 2]]
    assert "Friedman p = 1;" in footer(made["critical_difference"])
    cells = texts(made["comparison_matrix"].axes[0])
    assert cells[:6] == ["= 0.000"] * 6
    assert cells[6:] == ["▲/=/▼", "0/2/0", "0/2/0", "0/2/0"]


def test_one_method_one_sample_and_no_direction() -> None:
    one = drawn({"gain": {"a": [1.0, 2.0]}})
    assert one["critical_difference"] is None
    assert one["comparison_matrix"] is None
    assert one["rank_heatmap"] is None
    assert one["score_strips"] is not None
    single = drawn({"gain": {"a": [1.0], "b": [2.0]}})
    assert bars(single["critical_difference"].axes[1]) == [[0, 1]]
    assert footer(single["critical_difference"]).startswith("1 sample in the ranks; Wilcoxon")
    undirected = drawn({"gain": clear()}, replace(SPEC, direction="none"))
    assert set(undirected.values()) == {None}
    nothing = drawn({"gain": {"a": [math.nan] * 3, "b": [math.nan] * 3}})
    assert set(nothing.values()) == {None}


def many(k: int, n: int = 12) -> dict[str, list[float]]:
    rng = np.random.default_rng(1)
    return {f"method_{i}": list(rng.normal(size=n) - 0.3 * i) for i in range(k)}


@pytest.mark.parametrize("k", [5, pytest.param(47, marks=pytest.mark.slow)])
def test_any_number_of_methods_has_a_row_each_without_overlaps(k: int) -> None:
    values = pd.DataFrame(many(k))
    run = run_of(list(values), {"gain": SPEC})
    with styles.style():
        figure: Any = diagrams.critical_difference(run, "gain", values, pairs(values))
        figure.draw_without_rendering()
    left, right = figure.axes
    labels = left.get_yticklabels()
    assert len({t.get_text() for t in labels}) == k
    boxes = [t.get_window_extent() for t in labels]
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert figure.get_size_inches()[0] in (3.4, 7.0)
    assert min(t.get_fontsize() for t in [*labels, *left.texts]) >= 6.5
    assert right.get_window_extent().x0 >= max(t.get_window_extent().x1 for t in left.texts)


# --- matrix of methods ---------------------------------------------------------------------------


def test_matrix_has_differences_verdicts_and_counts() -> None:
    figure = drawn({"gain": clear()}, random="control")["comparison_matrix"]
    axes = figure.axes[0]
    assert names(axes.yaxis)[:4] == ["A", "B", "C", "Random (control)"]
    assert texts(axes) == [
        "· 0.0", "▲ +3.0", "▲ +5.0", "· 0.0", "▲ +3.0", "▲ +5.0", "▼ −3.0", "▼ −3.0", "▲ +2.0",
        "▼ −5.0", "▼ −5.0", "▼ −2.0", "▲/·/▼", "2/1/0", "2/1/0", "1/0/2", "0/0/3",
    ]  # fmt: skip
    assert "Wilcoxon, Holm over 6 pairs, 5 %" in footer(figure)


def test_blue_is_better_whatever_the_direction() -> None:
    for spec, wins in ((SPEC, 2), (LOWER, 3)):
        axes = drawn({"gain": clear()}, spec)["comparison_matrix"].axes[0]
        shown = axes.images[0].get_array()
        assert shown.shape == (4, 4)
        assert shown.mask.diagonal().all()
        assert (shown[np.triu_indices(4, 1)] > -1e-9).all()  # rows in order, best first
        assert axes.images[0].cmap.name == "RdBu"
        marks = [t[0] for t in texts(axes)[:3]]
        assert marks.count("▲") == wins
        assert marks.count("▼") == 0


def test_pairs_without_common_samples_are_not_ties() -> None:
    nan = math.nan
    apart = {"a": [1.0, 2.0, nan, nan], "b": [nan, nan, 3.0, 4.0], "c": [1.0, 2.0, 3.0, 4.0]}
    figure = drawn({"gain": apart | {"none": [nan] * 4}})["comparison_matrix"]
    axes = figure.axes[0]
    assert names(axes.yaxis)[:3] == ["B", "C", "A"]
    assert texts(axes)[1] == "n/a"
    assert texts(axes)[-3:] == ["0/1/0", "0/2/0", "0/1/0"]
    assert footer(figure).endswith("no value: None")


def test_many_methods_have_marks_in_place_of_numbers() -> None:
    values = pd.DataFrame(many(20, 40))
    tested = pairs(values)
    run = run_of(list(values), {"gain": SPEC})
    with styles.style():
        figure: Any = matrices.comparison_matrix(run, "gain", values, tested)
    axes = figure.axes[0]
    significant = int(tested["verdict"].isin(["better", "worse"]).sum())
    assert significant > 0
    assert sum(len(c.get_offsets()) for c in axes.collections) == 2 * significant
    assert len(axes.texts) == 21  # counts and their head alone
    wins = sum(int(t.split("/")[0]) for t in texts(axes)[1:])
    losses = sum(int(t.split("/")[2]) for t in texts(axes)[1:])
    assert wins == losses == significant
    assert "no mark (·): no significant difference" in footer(figure)
    assert figure.get_size_inches()[0] == 7.0


# --- ranks by metric -----------------------------------------------------------------------------


def test_rank_heatmap_has_the_ranks_of_the_diagram_and_shows_undefined_cells() -> None:
    table = clear()
    other = table | {"c": [math.nan] * 12}
    other["a"] = [*other["a"][:11], math.nan]
    made = drawn({"gain": table, "other": other}, random="control")
    axes = made["rank_heatmap"].axes[0]
    assert names(axes.yaxis)[:4] == ["A", "B", "C", "Random (control)"]
    assert names(axes.xaxis)[:2] == ["Gain ↑\nof 4", "Other ↑\nof 3"]
    b = (5 * 1 + 6 * 2) / 11  # b is worse on the even samples, of which 11 have one more
    assert texts(axes) == ["1.5", f"{3 - b:.1f}", "1.5", f"{b:.1f}", "3.0", "n/a", "4.0", "3.0"]
    shown = axes.images[0].get_array()
    assert shown.mask.tolist() == [[False] * 2, [False] * 2, [False, True], [False] * 2]
    assert float(shown[3, 0]) == float(shown[3, 1]) == 1.0  # the last of 4 and the last of 3
    assert to_hex(axes.images[0].cmap.get_bad()) == matrices.NONE
    assert "over 11 to 12 of 12 samples" in footer(made["rank_heatmap"])


def test_controls_and_ceilings_stand_last_in_the_heatmap() -> None:
    made = drawn({"gain": clear(), "other": clear()}, a="ceiling", random="control")
    assert names(made["rank_heatmap"].axes[0].yaxis)[:4] == [
        "B", "C", "Random (control)", "A (ceiling)",
    ]  # fmt: skip


def test_many_metrics_are_set_in_rows() -> None:
    metrics = [f"metric_{i}" for i in range(matrices.ACROSS + 2)]
    run = run_of(list(clear()), dict.fromkeys(metrics, SPEC))
    with styles.style():
        figure: Any = matrices.rank_heatmap(
            run, dict.fromkeys(metrics, pd.DataFrame(clear())), metrics[0]
        )
    shapes = [a.images[0].get_array().shape for a in figure.axes]
    assert shapes == [(4, matrices.ACROSS), (4, 2)]
    assert figure.get_size_inches()[0] == 7.0


# --- all scores ----------------------------------------------------------------------------------


def test_every_sample_is_a_point_at_its_score() -> None:
    table = clear()
    table["c"][2] = math.nan
    table["a"][5] = math.inf
    figure = drawn({"srg": table}, random="control")["score_strips"]
    axes = figure.axes[0]
    assert names(axes.yaxis)[:4] == ["C", "A", "B", "Random (control)"]
    for y, method in enumerate(("c", "a", "b", "random")):
        points = np.asarray(axes.collections[y].get_offsets())
        assert sorted(points[:, 0]) == sorted(v for v in table[method] if math.isfinite(v))
        assert (np.abs(points[:, 1] - y) < 0.35).all()
    assert texts(axes) == ["n = 11", "n = 11, 1 infinite"]
    assert footer(figure).endswith("n = 12 unless a row says otherwise")
    means = [float(d.get_xdata()[0]) for d in axes.lines if d.get_marker() == "D"]
    assert means == pytest.approx(
        [np.nanmean(table["c"]), *map(np.mean, (table["b"], table["random"]))]
    )


def test_only_headline_metrics_have_a_panel(synthetic: tuple[Records, pd.DataFrame]) -> None:
    records, lines = synthetic
    values = ranking.tables(records.run, records.scores)
    with styles.style():
        figure = strips.score_strips(records.run, values, lines)
    assert figure is not None
    titles = [a.get_title(loc="left") for a in figure.axes if a.get_visible()]
    assert titles == ["SRG ↑", "Insertion ↑", "Deletion ↓", "Sensitivity-n ↑", "Infidelity ↓"]
    assert figure.get_size_inches()[0] == 7.0


def test_points_become_pixels_and_then_letter_values() -> None:
    rng = np.random.default_rng(0)
    several = {m: list(rng.normal(size=450)) for m in "abcde"}
    axes = drawn({"srg": several})["score_strips"].axes[0]
    assert all(c.get_rasterized() for c in axes.collections)
    few = drawn({"srg": clear()})["score_strips"].axes[0]
    assert not any(c.get_rasterized() for c in few.collections)
    one = rng.normal(size=4000)
    figure = drawn({"srg": {"a": list(one), "b": [1.0] * 4000}})["score_strips"]
    axes = figure.axes[0]
    extents = [path.get_extents() for c in axes.collections for path in c.get_paths()]
    middle = np.quantile(one, [0.25, 0.75])
    assert any((e.x0, e.x1) == pytest.approx(tuple(middle)) for e in extents)
    beyond = [c for c in axes.collections if len(c.get_offsets()) > 1 and c.get_rasterized()]
    assert 0 < sum(len(c.get_offsets()) for c in beyond) < 100
    assert footer(figure).startswith("boxes: middle 1/2, 3/4, 7/8")


def test_wide_positive_metrics_have_a_logarithmic_axis() -> None:
    wide = {"a": [0.01, 0.02, 0.03, 5.0], "b": [0.02, 0.01, 0.03, 0.02]}
    unbounded = replace(LOWER, low=0, high=math.inf)
    assert drawn({"infidelity": wide}, unbounded)["score_strips"].axes[0].get_xscale() == "log"
    assert drawn({"infidelity": wide}, LOWER)["score_strips"].axes[0].get_xscale() == "linear"
    zero = {"a": [0.0, *wide["a"]], "b": [0.0, *wide["b"]]}  # a logarithm would hide it
    assert drawn({"infidelity": zero}, unbounded)["score_strips"].axes[0].get_xscale() == "linear"


# --- all of them ---------------------------------------------------------------------------------


def test_the_user_s_metric_is_drawn_on_request(synthetic: tuple[Records, pd.DataFrame]) -> None:
    records, lines = synthetic
    made = comparison.figures(
        ModelStatistics(records.run, lines, records.scores), metric="deletion"
    )
    figure = made["critical_difference"]
    assert figure is not None
    assert figure.axes[0].get_title(loc="left") == "Deletion ↓"
    assert len(names(figure.axes[0].yaxis)) == len(METHODS)


def test_figures_are_legible_at_the_width_of_a_page(
    synthetic: tuple[Records, pd.DataFrame],
) -> None:
    records, lines = synthetic
    made = comparison.figures(ModelStatistics(records.run, lines, records.scores))
    for name, figure in made.items():
        assert figure is not None
        assert figure.get_size_inches()[0] in (3.4, 7.0), name
        figure.draw_without_rendering()
        written = [
            t for a in figure.axes for t in (*a.texts, *a.get_yticklabels(), *a.get_xticklabels())
        ]
        assert min(t.get_fontsize() for t in written if t.get_text()) >= 6.5, name
        words = " ".join(t.get_text() for t in written) + footer(figure)
        assert "_" not in words, "identifiers in place of names"


@pytest.mark.slow  # six files
def test_odd_names_are_drawn(tmp_path: Path) -> None:
    odd = [r"_my $\bad{ 名", "a" * 60, "<b>"]
    made = drawn({"srg": dict(zip(odd, ([1.0, 2.0], [2.0, 1.0], [0.0, 0.0]), strict=True))})
    paths = plots.write({k: f for k, f in made.items() if f is not None}, tmp_path)
    assert [p.suffix for p in paths] == [".png", ".pdf", ".svg"] * 3
