"""Figures of tables show the numbers, in one order, with names and values of columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from igbench.report import styles, table_rows
from igbench.report.samples import Sample
from igbench.schema import Run
from tests.helpers.synthetic import METHODS, make_run

NAMES = ("age", "$hours$", "", "education", "x" * 60)
WEIGHTS = np.array([1.0, 0.5, -3.0, 0.2, 2.0])


def run(*methods: str) -> Run:
    return replace(make_run(samples=1), methods={m: METHODS[m] for m in methods})


def sample(i: int, run: Run, names: tuple[str, ...] = NAMES) -> Sample:
    maps = {m: (WEIGHTS * (i + 1) * (-1) ** i).astype(np.float32) for m in run.methods}
    if "saliency" in maps:
        maps["saliency"] = np.abs(maps["saliency"])
    values = (39.0 + i, 1e6 + i, float("nan"), "<b>", i)
    return Sample(f"row-{i}", f"row-{i}: >50K", 2.0, names, values, maps=maps)


TWO = run("ig", "saliency")


def test_columns_are_sorted_by_mean_size_with_methods_alike():
    chosen = [sample(i, TWO) for i in range(3)]
    huge = {**chosen[0].maps, "saliency": np.array([1e6, 0, 0, 0, 0])}
    assert table_rows.rows(TWO, chosen).order == (2, 4, 0, 1, 3)
    # IG: (1, .5, 3, .2, 2) / 3; saliency: (1, 0, 0, 0, 0).
    assert table_rows.rows(TWO, [replace(chosen[0], maps=huge)]).order == (0, 2, 4, 1, 3)


def test_controls_do_not_decide_the_order():
    of = run("ig", "random")
    huge = {"ig": WEIGHTS, "random": np.array([0, 0, 0, 1e6, 0])}
    assert table_rows.rows(of, [replace(sample(0, of), maps=huge)]).order == (2, 4, 0, 1, 3)
    alone = run("random")
    own = replace(sample(0, alone), maps={"random": huge["random"]})
    assert table_rows.rows(alone, [own]).order == (3, 0, 1, 2, 4)


def test_many_columns_are_added_up():
    many = Sample("a", "a", 1.0, tuple(map(str, range(30))), maps={"ig": np.arange(30.0)})
    own = table_rows.rows(run("ig"), [many])
    assert own.order == tuple(range(29, 17, -1))
    with styles.style():
        figure = table_rows.bars(own, 0, "a")
    assert [b.get_width() for b in figure.axes[0].patches][-1] == sum(range(18))
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels[-1] == "18 other columns"


def test_bars_have_names_values_and_lengths():
    with styles.style():
        figure = table_rows.bars(table_rows.rows(TWO, [sample(0, TWO)]), 0, "row-0")
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels == ["␣ = nan", f"{'x' * 27}… = 0", "age = 39", r"\$hours\$ = 1e+06",
                      "education = <b>"]  # fmt: skip
    widths = [b.get_width() for b in figure.axes[0].patches]
    assert widths == pytest.approx([-3, 2, 1, 0.5, 0.2])
    assert [bool(b.get_hatch()) for b in figure.axes[0].patches] == [True, *[False] * 4]
    assert [b.get_width() for b in figure.axes[1].patches] == pytest.approx([3, 2, 1, 0.5, 0.2])


def test_steps_lead_from_f_without_all_to_f():
    own = table_rows.rows(TWO, [sample(0, TWO)])
    with styles.style():
        figure = table_rows.waterfall(own, 0, "row-0", 2.0)
    assert figure is not None
    assert len(figure.axes) == 1, "magnitudes do not add up"
    bars = figure.axes[0].patches
    ends = [(b.get_x(), b.get_x() + b.get_width()) for b in bars]
    # From the top: -3 ends at 2 and starts at 5, then 2 from 3, 1 from 2, .5 from 1.5, .2 from 1.3.
    expected = [(2, 5), (3, 5), (2, 3), (1.5, 2), (1.3, 1.5)]
    assert np.allclose(ends, expected)
    assert figure.axes[0].get_xlabel() == "1.3 → 2"
    low, high = figure.axes[0].get_xlim()
    assert low < 1.3 < 5 < high


@pytest.mark.parametrize(("output", "methods"), [(None, ("ig",)), (1.0, ("saliency", "random"))])
def test_no_steps_where_nothing_adds_up(output, methods):
    of = run(*methods)
    own = table_rows.rows(of, [sample(0, of)])
    assert table_rows.waterfall(own, 0, "row", output) is None


def test_a_map_that_failed_says_so():
    of = run("ig")
    own = table_rows.rows(of, [replace(sample(0, of), maps={"ig": np.full(5, np.nan)})])
    assert table_rows.waterfall(own, 0, "row", 1.0) is None
    with styles.style():
        figure = table_rows.bars(own, 0, "row")
    assert "no map" in [t.get_text() for t in figure.axes[0].texts]


def test_means_are_those_of_the_rows():
    own = table_rows.rows(TWO, [sample(i, TWO) for i in range(3)])
    with styles.style():
        figure = table_rows.mean_bars(own)
    for axes in figure.axes:
        assert [b.get_width() for b in axes.patches] == pytest.approx([6, 4, 2, 1, 0.4])


def test_a_point_for_each_row_with_the_colour_of_its_value():
    own = table_rows.rows(run("ig"), [sample(i, TWO) for i in range(4)])
    with styles.style():
        figure = table_rows.beeswarm(own)
    points = figure.axes[0].collections
    assert [len(p.get_offsets()) for p in points] == [4] * 5
    assert points[2].get_offsets()[:, 0].tolist() == pytest.approx([1, -2, 3, -4])
    grey = np.full(3, 0x8A / 255)
    assert np.allclose(points[0].get_facecolors()[:, :3], grey), "NaN is no number"
    assert np.allclose(points[4].get_facecolors()[:, :3], grey), "a text is no number"
    brightness = points[2].get_facecolors()[:, :3].sum(axis=1)
    assert (np.diff(brightness) > 0).all(), "colours grow brighter with the value"


def test_points_on_one_place_are_spread():
    offsets = table_rows.spread(np.zeros(101))
    assert len(set(offsets.tolist())) == 101
    assert np.abs(offsets).max() <= 0.38
    assert table_rows.spread(np.array([1.0])).tolist() == [0.0]


def test_rows_with_other_columns_have_figures_of_their_own(tmp_path):
    chosen = [sample(i, TWO) for i in range(3)] + [sample(3, TWO, NAMES[::-1])]
    made = table_rows.figures(TWO, chosen)
    assert set(made) == {"table_importance", "table_beeswarm"} | {
        f"table_{kind}_{i}" for kind in ("waterfall", "bars") for i in (1, 2)
    }
    assert set(table_rows.figures(TWO, chosen[2:])) == {
        f"table_{kind}_{i}" for kind in ("waterfall", "bars") for i in (1, 2)
    }
    styles.save(made["table_beeswarm"], tmp_path / "bees")
