"""Panels on a page stand where axes of matplotlib would put their curves and ticks."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.ticker import MaxNLocator

from igbench.report import mosaic, panels, styles
from igbench.report.mosaic import Place
from igbench.report.panels import Panel, linear, logarithmic

PLACE = Place(1.0, 2.0, 3.0, 0.8)


@pytest.mark.parametrize("log", [False, True])
def test_points_and_ticks_are_those_of_axes(log: bool) -> None:
    panel = Panel(PLACE, logarithmic(1, 200) if log else linear(1, 200, 2), linear(-0.4, 0.83, 3))
    figure = styles.canvas(10, 10)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.1, 0.2, 0.3, 0.08))
    axes.set(xscale="log" if log else "linear", xlim=(1, 200), ylim=(-0.4, 0.83))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    if not log:
        axes.xaxis.set_major_locator(MaxNLocator(2))
    values = np.array([[1, 0.1], [7, 0.7], [30, 0.4], [200, -0.3]])
    inches = figure.dpi_scale_trans.inverted()
    np.testing.assert_allclose(
        panel.points(*values.T), inches.transform(axes.transData.transform(values)), rtol=1e-12
    )
    for axis, scale in ((axes.xaxis, panel.x), (axes.yaxis, panel.y)):
        low, high = axis.get_view_interval()
        shown = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
        assert len(shown) >= 2
        assert scale.ticks == pytest.approx(shown, abs=1e-12)


def test_scales_of_one_value_have_a_length() -> None:
    for scale in (linear(0.3, 0.3, 3), linear(0, 0, 3), logarithmic(5, 5)):
        assert scale.low < scale.high
        assert np.isfinite(scale.shares(np.array([scale.low, scale.high]))).all()


def test_ticks_of_small_values_are_not_zero() -> None:
    assert linear(-2e-12, 5e-12, 3).ticks == (0.0, 2.5e-12, 5e-12)


def test_bands_are_clipped_by_their_panel_and_end_where_a_bound_is_unknown() -> None:
    _, page = mosaic.page(6, 4)
    panel = Panel(PLACE, linear(0, 4, 2), linear(0, 1, 3))
    low, high = np.array([-9, 0, np.nan, 0, 0]), np.array([1, 2, np.nan, 9, np.inf])
    panels.band(page, panel, np.arange(5.0), low, high, "red")
    (drawn,) = [c for c in page.get_children() if isinstance(c, PolyCollection)]
    first, second = (path.vertices[:-1] for path in drawn.get_paths())  # closed
    np.testing.assert_allclose(first, [(1, -5.2), (1.75, 2), (1.75, 3.6), (1, 2.8)])
    np.testing.assert_allclose(second, [(3.25, 2), (3.25, 9.2)])
    box = drawn.get_clip_box()
    assert box is not None
    np.testing.assert_allclose(box.transformed(page.transData.inverted()).bounds, PLACE)


def test_frames_and_marks_lie_at_the_edges() -> None:
    _, page = mosaic.page(6, 4)
    panels.frames(page, [Panel(PLACE, linear(0, 2, 2), linear(0, 1, 2))])
    edges, marks = [c.get_segments() for c in page.get_children() if isinstance(c, LineCollection)]
    np.testing.assert_allclose(edges, [[(1, 2.8), (1, 2), (4, 2)]])
    level = [mark for mark in marks if mark[0, 1] == mark[1, 1]]
    upright = [mark for mark in marks if mark[0, 0] == mark[1, 0]]
    np.testing.assert_allclose([mark[0] for mark in level], [(1, 2), (1, 2.4), (1, 2.8)])
    np.testing.assert_allclose([mark[0] for mark in upright], [(1, 2), (2.5, 2), (4, 2)])
    assert all(mark[1, 0] < 1 for mark in level)
    assert all(mark[1, 1] < 2 for mark in upright)
