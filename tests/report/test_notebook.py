"""Evaluations in notebooks: escaped, small, and without a change of the user's matplotlib."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from igbench.api import Evaluation
from igbench.errors import InputError
from igbench.evaluation.results import Results
from igbench.records import stats
from igbench.report import axes
from igbench.schema import Point, Records, Row
from tests.helpers import synthetic

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def records() -> Records:
    found = synthetic.make_records(samples=8)
    rng = np.random.default_rng(0)
    maps = {"inputs": {s: rng.integers(0, 256, (16, 16, 3), np.uint8)
                       for s in synthetic.sample_ids(8)}}  # fmt: skip
    maps |= {m: {s: rng.normal(size=(16, 16)) for s in maps["inputs"]} for m in ("ig", "edges")}
    return replace(found, maps=maps)


@pytest.fixture(scope="module")
def lines(records):
    run = records.run
    return stats.summarise(records.scores, run.metrics, methods=run.methods, resamples=50)


def evaluation(records: Records) -> Evaluation:
    rows, points = (
        [kind(*line) for line in frame.itertuples(index=False, name=None)]
        for kind, frame in ((Row, records.scores), (Point, records.curves))
    )
    return Evaluation(records.run, Results(rows=rows, points=points, maps=records.maps))


@pytest.fixture(autouse=True)
def _nothing_global_changes():
    settings, figures = dict(mpl.rcParams), plt.get_fignums()
    yield
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == figures


def test_bars_have_the_means_of_the_summary(records, lines) -> None:
    own = lines[lines["metric"] == "deletion"].set_index("method")["mean"]
    drawn = axes.metric(records.run, lines, "deletion")
    widths = [bar.get_width() for bar in drawn.patches]
    assert sorted(widths) == pytest.approx(sorted(own))
    assert drawn.get_xlabel() == "Deletion ↓ (mean, 95 % interval)"
    assert axes.metric(records.run, lines).get_xlabel().startswith("SRG ↑"), "the headline metric"


def test_own_axes_are_drawn_on(records, lines) -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert axes.metric(records.run, lines, "srg", right) is right
    assert right.patches
    assert not left.patches


def test_unknown_metrics_are_refused(records, lines) -> None:
    with pytest.raises(InputError, match=r"unknown metric 'sgr'.*Did you mean 'srg'"):
        axes.metric(records.run, lines, "sgr")


def test_curves_cost_and_maps(records, lines) -> None:
    drawn = axes.removal(records.run, records.curves)
    methods = {m for m in records.run.methods if m in set(records.curves["method"])}
    assert len(drawn) == 1, "of more than five methods on one pair of axes"
    assert len(drawn[0].lines) >= 3 * len(methods), "a curve for each method and metric"
    few = {m: records.run.methods[m] for m in sorted(methods)[:4]}
    own = records.curves[records.curves["method"].isin(few)]
    drawn = axes.removal(replace(records.run, methods=few), own)
    assert len(drawn) == 3, "of few methods a panel for each metric"
    assert axes.cost(records.run, lines).get_xscale() == "log"
    assert len(axes.maps(records)[0].images) >= 8 * 3


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda r, s: axes.removal(r.run, r.curves[:0]), "no removal curves to draw; evaluate"),
        (lambda r, s: axes.cost(r.run, s[s["metric"] == "srg"]), "no costs to draw"),
        (lambda r, s: axes.maps(replace(r, maps={})), "no maps are kept"),
        (lambda r, s: axes.metric(replace(r.run, metrics={}), s), "no metric to draw"),
    ],
)
def test_nothing_to_draw_is_said_in_one_line(records, lines, draw, message) -> None:
    with pytest.raises(InputError, match=message):
        draw(records, lines)


@pytest.fixture(scope="module")
def few(records) -> Records:
    """Two methods and metrics."""
    methods, metrics = ("ig", "edges"), ("srg", "forward_rows", "backward_rows")
    own = records.scores["method"].isin(methods) & records.scores["metric"].isin(metrics)
    run = replace(
        records.run,
        methods={m: records.run.methods[m] for m in methods},
        metrics={m: records.run.metrics[m] for m in metrics},
    )
    curves = records.curves[records.curves["method"].isin(methods)]
    return replace(records, run=run, scores=records.scores[own], curves=curves)


def test_an_evaluation_draws_itself(few) -> None:
    found = evaluation(few)
    assert [t.get_text() for t in found.plot_metrics().get_yticklabels()] == ["IG", "Edges"]
    assert found.plot_metrics("srg").get_xlabel().startswith("SRG ↑")
    assert len(found.plot_curves()) == 3
    assert found.plot_cost().get_xscale() == "log"
    assert len(found.plot_maps()[0].images) >= 8 * 3
    ax = Figure().subplots()
    assert found.plot_metrics(ax=ax) is ax


def test_a_notebook_shows_table_and_maps(few) -> None:
    shown = evaluation(few)._repr_html_()
    assert shown.startswith("<table>")
    assert shown.count("<img ") == 1
    assert "data:image/webp;base64," in shown
    assert len(shown) < 200_000


def test_names_are_escaped(few) -> None:
    evil = {EVIL if m == "ig" else m: spec for m, spec in few.run.methods.items()}
    renamed = few.scores.assign(method=few.scores["method"].replace("ig", EVIL))
    maps = {EVIL if m == "ig" else m: own for m, own in few.maps.items()}
    run = replace(few.run, methods=evil)
    shown = evaluation(replace(few, run=run, scores=renamed, maps=maps))._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert shown.count("<img ") == 1


def test_no_maps_no_picture(records) -> None:
    assert axes.to_html(replace(records, maps={})) == ""
