"""Do the figures show the numbers, keep one look, and survive missing or odd data?"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.stats import kendalltau

from igbench.records.stats import summarise
from igbench.report import agreement, curves, heatmaps, plots, styles
from igbench.schema import MethodSpec, MetricSpec, Records
from tests.helpers.synthetic import METHODS, METRICS, make_records, sample_ids


def summary_of(records: Records) -> pd.DataFrame:
    return summarise(records.scores, records.run.metrics, methods=records.run.methods, resamples=50)


@pytest.fixture(scope="module")
def records() -> Records:
    return make_records()


@pytest.fixture(scope="module")
def summary(records: Records) -> pd.DataFrame:
    return summary_of(records)


@pytest.fixture(scope="module")
def made(records: Records, summary: pd.DataFrame) -> dict[str, Any]:
    return plots.figures(records, summary)


def panel(figure: Any, title: str) -> Any:
    return next(a for a in figure.axes if a.get_title(loc="left").startswith(title))


def test_every_figure_is_made_without_touching_global_state(
    records: Records, summary: pd.DataFrame
) -> None:
    before = dict(mpl.rcParams)
    made = plots.figures(records, summary)
    assert set(made) == {
        "metrics", "cost_quality", "removal_curves", "sensitivity_n", "convergence",
        "metric_agreement", "critical_difference", "comparison_matrix", "rank_heatmap",
        "score_strips", "disagreement",
    }  # fmt: skip
    assert dict(mpl.rcParams) == before


def test_files_are_the_same_each_time(records: Records, tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        with styles.style():
            figure = curves.sensitivity_n(records.run, records.curves)
        assert figure is not None
        paths = plots.write({"sensitivity_n": figure}, tmp_path)
        written.append([p.read_bytes() for p in paths])
    assert [p.name for p in paths] == [
        "sensitivity_n.png",
        "sensitivity_n.pdf",
        "sensitivity_n.svg",
    ]
    assert written[0] == written[1]
    assert written[0][0].startswith(b"\x89PNG")
    assert written[0][1].startswith(b"%PDF")
    assert b"<svg" in written[0][2]


def test_bars_have_the_length_of_the_means(made: dict[str, Any], summary: pd.DataFrame) -> None:
    bars = panel(made["metrics"], "SRG ↑").patches
    means = summary[summary.metric == "srg"].set_index("method")["mean"]
    order = styles.method_names(make_records().run)
    assert [b.get_width() for b in bars] == pytest.approx([means[m] for m in order])


def test_undefined_cells_say_so(made: dict[str, Any]) -> None:
    texts = [t.get_text() for t in panel(made["metrics"], "Infidelity").texts]
    assert texts == ["n/a"] * 3  # saliency, Grad-CAM, edges


def test_logarithm_only_for_unbounded_metrics_with_a_wide_range() -> None:
    unbounded = MetricSpec("u", "lower", 0, math.inf, 1, "")
    bounded = MetricSpec("b", "lower", 0, 1, 1, "")
    assert plots.logarithmic(unbounded, pd.Series([0.001, math.nan, 1.0]))
    assert not plots.logarithmic(unbounded, pd.Series([0.1, 1.0]))
    assert not plots.logarithmic(unbounded, pd.Series([0.0, 1.0]))
    assert not plots.logarithmic(bounded, pd.Series([0.001, 1.0]))


def test_one_look_for_each_method() -> None:
    found = styles.method_styles(METHODS)
    own = [found[m]["color"] for m, s in METHODS.items() if s.role == "method"]
    assert len(set(own)) == len(own) == 6
    assert found["ig"]["color"] == styles.METHOD_COLOURS[0]
    for control in ("random", "edges"):
        red, green, blue = mpl.colors.to_rgb(found[control]["color"])
        assert red == green == blue
    assert {found[m]["linestyle"] for m in ("random", "edges")} == {"--"}


def test_many_methods_stay_distinct() -> None:
    many = {f"m{i}": MethodSpec("", "", "global", True) for i in range(20)}
    found = {(v["color"], str(v["linestyle"])) for v in styles.method_styles(many).values()}
    assert len(found) == 20


def test_cost_counts_rows_forwards_and_backwards(
    made: dict[str, Any], summary: pd.DataFrame
) -> None:
    axes = made["cost_quality"].axes[0]
    points = {round(float(c.lines[0].get_xdata()[0]), 6) for c in axes.containers}
    # ig: 51 forwards, 50 of them differentiated; a saliency map is one gradient; controls are free
    assert points == {51 + 50, 100.0, 2.0, 197.0, 1.0}
    assert axes.get_xscale() == "log"


def test_labels_do_not_overlap(made: dict[str, Any]) -> None:
    axes = made["cost_quality"].axes[0]
    boxes = [t.get_window_extent() for t in axes.texts if t.get_text()]
    assert len(boxes) == len(METHODS)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_mean_curve_and_area_by_hand() -> None:
    points = pd.DataFrame({"x": [0.0, 0.5, 1.0] * 2, "y": [1.0, 0.5, 0.0, 1.0, 0.0, 0.0]})
    line = curves.mean_curve(points)
    assert list(line["mean"]) == [1.0, 0.25, 0.0]
    half = 12.706204736 * math.sqrt(0.125) / math.sqrt(2)  # Student quantile, 1 degree of freedom
    assert line.loc[0.5, "high"] - 0.25 == pytest.approx(half)
    assert curves.area(line) == pytest.approx(0.5 * (1.25 / 2) + 0.5 * (0.25 / 2))
    assert math.isnan(curves.area(line.iloc[:1]))


def test_panels_of_removal_curves_have_the_areas(made: dict[str, Any], records: Records) -> None:
    points = records.curves
    ig = points[(points.method == "ig") & (points.curve == "deletion")]
    mean = ig.groupby("x").y.mean()
    expected = np.trapezoid(mean.to_numpy(), mean.index.to_numpy())
    (page,) = made["removal_curves"].axes
    texts = [text.get_text() for text in page.texts]
    assert f"IG\n{expected:.3f}" in texts
    assert any(text.startswith("Deletion ↓") for text in texts)
    line = page.lines[0].get_ydata()  # the first method, on an axis of its own
    slopes = np.diff(line) / np.diff(mean.to_numpy())
    assert list(slopes) == pytest.approx([slopes[0]] * len(slopes))
    behind = next(c for c in page.get_children() if isinstance(c, LineCollection))
    assert len(behind.get_segments()) == 5 * len(METHODS)  # in each of the panels of the first row


def test_srg_is_the_area_between_its_two_curves(records: Records) -> None:
    lif = records.curves[records.curves.curve == "srg_lif"]
    mif = lif.assign(curve="srg_mif", y=lif.y - 0.25)
    with styles.style():
        figure = curves.removal(records.run, pd.concat([lif, mif]))
    assert figure is not None
    (page,) = figure.axes
    texts = [text.get_text() for text in page.texts]
    assert len([text for text in texts if text.endswith("\n0.250")]) == len(METHODS)


def test_convergence_draws_medians(made: dict[str, Any], records: Records) -> None:
    axes = panel(made["convergence"], "Completeness gap")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    points = records.curves
    left = points[(points.method == "left") & (points.curve == "convergence_gap")]
    medians = left.groupby("x").y.median()
    line = next(x for x in axes.lines if x.get_label() == "Left")
    assert list(line.get_ydata()) == pytest.approx(list(medians))


def test_agreement_orients_the_metrics(records: Records, summary: pd.DataFrame) -> None:
    taus, counts = agreement.rank_correlations(records.run, summary)
    means = summary.pivot(index="method", columns="metric", values="mean")
    proper = [m for m, s in METHODS.items() if s.role == "method"]
    expected = kendalltau(means.loc[proper, "srg"], -means.loc[proper, "deletion"]).statistic
    assert taus.loc["srg", "deletion"] == pytest.approx(expected)
    assert counts.loc["srg", "deletion"] == 6
    assert counts.loc["srg", "infidelity"] == 4
    assert "difference_from_ig" not in taus


def test_absent_data_gives_no_figure(records: Records, summary: pd.DataFrame) -> None:
    empty = replace(records, curves=records.curves.iloc[:0])
    of_scores = {
        "critical_difference",
        "comparison_matrix",
        "rank_heatmap",
        "score_strips",
        "disagreement",
    }
    assert set(plots.figures(empty, summary)) == of_scores | {
        "metrics", "cost_quality", "metric_agreement",
    }  # fmt: skip
    few = summary[summary.metric.isin(["srg", "deletion"])]
    assert set(plots.figures(empty, few)) == of_scores | {"metrics"}
    assert plots.figures(empty, summary.iloc[:0]) == {}


def test_one_sample_and_odd_names(tmp_path: Path) -> None:
    whole = make_records(samples=1)
    names = {"ig": r"_my $\bad{ 名", "saliency": "a" * 60}
    run = replace(
        whole.run, methods={names.get(m, m): spec for m, spec in whole.run.methods.items()}
    )
    odd = Records(run, whole.scores.replace({"method": names}), whole.curves)
    made = plots.figures(odd, summary_of(odd))
    assert "metrics" in made
    assert len(plots.write(made, tmp_path, ("svg",))) == len(made)
    named = {"metrics": made["metrics"]}
    assert len(plots.write(named, tmp_path, ("png", "pdf"))) == 2, "fonts of all formats"


def test_two_models_get_figures_of_their_own(records: Records) -> None:
    other = records.scores.assign(model="other")
    both = replace(records, scores=pd.concat([records.scores, other]))
    names = set(plots.figures(both, summary_of(both)))
    assert {"metrics_1", "metrics_2", "removal_curves_1"} <= names
    assert "removal_curves_2" not in names


def with_maps(records: Records, photographs: int = 2) -> Records:
    rng = np.random.default_rng(0)
    ids = sample_ids()[:photographs]
    maps: dict[str, Any] = {
        m: {s: rng.normal(size=(16, 16)).astype(np.float32) for s in ids} for m in METHODS
    }
    maps["inputs"] = {s: rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for s in ids}
    return replace(records, maps=maps)


def test_grid_has_a_row_for_each_photograph_up_to_eight(records: Records) -> None:
    figure = heatmaps.grid(with_maps(records, photographs=10))
    assert figure is not None
    pictures = figure.axes[0].images
    assert len(pictures) == 8 * (1 + len(METHODS))
    assert names_above(figure)[:3] == ["Input", "IG", "GradientSHAP"]
    assert "99.5th percentile of |a|" in figure.texts[0].get_text().replace("\n", " ")


def names_above(figure: Figure) -> list[str]:
    """The text above the middle of each picture that has one, in the order of the pictures."""
    found = []
    for picture in figure.axes[0].images:
        left, right, _, top = picture.get_extent()
        found += [
            text.get_text().replace("\n", " ")
            for text in figure.axes[0].texts
            if abs(text.get_position()[0] - (left + right) / 2) < 1e-6
            and 0 < text.get_position()[1] - top < 0.1
        ]
    return found


def test_no_maps_no_grid(records: Records) -> None:
    assert heatmaps.grid(records) is None
    photographs = {"photo-000": np.zeros((4, 4, 3), dtype=np.uint8)}
    assert heatmaps.grid(replace(records, maps={"inputs": photographs})) is None


def test_limit_is_the_percentile_of_the_magnitude() -> None:
    values = np.linspace(-1, 0.5, 1001)
    assert heatmaps.limit(values) == pytest.approx(np.percentile(np.abs(values), 99.5))
    assert heatmaps.limit(np.where(values > 0.4999, values, 0)) == 0.5  # percentile 0: maximum
    assert heatmaps.limit(np.array([math.nan, 2.0])) == 2.0
    assert heatmaps.limit(np.full(4, math.nan)) == 0.0


def test_colours_are_centred_symmetric_and_clipped() -> None:
    white = np.ones((1, 4, 1))
    drawn = heatmaps.colourise(np.array([[-9.0, -1.0, 0.0, 1.0]]), white, True, 1.0).rgb[0]
    assert drawn[0] == pytest.approx(drawn[1])  # beyond the limit
    assert drawn[1][2] > drawn[1][0]  # negative is blue
    assert drawn[3][0] > drawn[3][2]  # positive is red
    assert drawn[2] == pytest.approx([0.97, 0.97, 0.97], abs=0.01)  # nought is white
    magnitude = heatmaps.colourise(np.array([[0.0, 1.0]]), np.ones((1, 2, 1)), False, 1.0).rgb[0]
    assert magnitude[0] == pytest.approx([1, 1, 1])
    assert magnitude[1].sum() < 1.5


def test_zero_nan_and_missing_maps_are_labelled(records: Records) -> None:
    paper = np.ones((2, 2, 1))
    assert heatmaps.colourise(np.zeros((2, 2)), paper, True, 0.0).note == "all zero"
    assert heatmaps.colourise(np.full((2, 2), math.nan), paper, True, 0.0).note == "NaN"
    half = heatmaps.colourise(np.array([[math.nan, 1.0], [1.0, 1.0]]), paper, True, 1.0)
    assert half.note == "25.0% NaN"
    assert half.rgb[0, 0] == pytest.approx([0.55] * 3)
    assert np.isfinite(half.rgb).all()
    holed = with_maps(records)
    del holed.maps["ig"]["photo-000"]
    figure = heatmaps.grid(holed)
    assert figure is not None
    assert "no map" in [t.get_text() for a in figure.axes for t in a.texts]


def test_many_methods_wrap_and_every_map_stands_under_its_name(records: Records) -> None:
    several = with_maps(records, photographs=4)
    names = [f"method_{i}" for i in range(27)]
    specs = dict.fromkeys(names, records.run.methods["ig"])
    maps = {"inputs": several.maps["inputs"], **dict.fromkeys(names, several.maps["ig"])}
    figure = heatmaps.grid(replace(several, run=replace(several.run, methods=specs), maps=maps))
    assert figure is not None
    assert figure.get_size_inches()[0] < 11, "as wide as a page"
    heads = names_above(figure)
    assert len(heads) == len(figure.axes[0].images) == heatmaps.MAX_WRAPPED * 28
    assert heads[:3] == ["Input", "Method 0", "Method 1"]
    assert heads.count("Method 26") == heatmaps.MAX_WRAPPED


def test_per_row_scale_shares_the_largest_limit_of_a_kind() -> None:
    maps = {"ig": np.full(4, 1.0), "occlusion": np.full(4, -3.0), "saliency": np.full(4, 9.0)}
    assert heatmaps._limits(maps, METHODS, "per_map") == {"ig": 1, "occlusion": 3, "saliency": 9}
    assert heatmaps._limits(maps, METHODS, "per_row") == {"ig": 3, "occlusion": 3, "saliency": 9}


def test_row_labels_take_what_is_recorded(records: Records) -> None:
    samples = [
        {"sample_id": "a", "target_name": "cat", "probability": 0.876},
        {"sample_id": "b", "target": 3, "score": 7.5},
        {"sample_id": "c"},
    ]
    run = replace(records.run, samples=samples)
    labels = [heatmaps.row_label(run, s) for s in "abcd"]
    assert labels == ["cat\np = 0.88", "class 3\nf = 7.5", "c", "d"]


def test_metric_labels() -> None:
    assert styles.metric_label("srg", METRICS["srg"]) == "SRG ↑"
    assert styles.label("efficient_mprt") == "Efficient MPRT"
    assert styles.label("smooth_ig") == "Smooth IG"
    assert styles.metric_label("own_thing", METRICS["difference_from_ig"]) == "Own thing"
