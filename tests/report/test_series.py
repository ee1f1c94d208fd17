"""Figures of series show the series and the attribution of each of its points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from igbench.report import series, styles
from igbench.report.samples import Sample
from igbench.schema import Run
from tests.helpers.synthetic import METHODS, make_run

STEPS = np.arange(32.0)
WAVE = np.sin(STEPS / 3)[None]


def run(*methods: str) -> Run:
    return replace(make_run(samples=1), methods={m: METHODS[m] for m in methods})


def test_a_window_is_divided_over_its_points():
    groups = np.array([[0, 0, 1, -1], [0, 0, 1, 1]])
    sample = Sample("s", "s", 1.0, ("early", "late"), series=np.zeros((2, 4)), groups=groups,
                    maps={"ig": np.array([4.0, -3.0])})  # fmt: skip
    found = series.bands(sample, "ig")
    assert np.allclose(found, [[1, 1, -1, np.nan], [1, 1, -1, -1]], equal_nan=True)
    assert np.nansum(found) == pytest.approx(1.0)


def test_points_without_names_have_their_own_values():
    sample = Sample("s", "s", 1.0, series=WAVE, maps={"ig": 2 * WAVE})
    assert series.bands(sample, "ig").tolist() == (2 * WAVE).tolist()


def test_channels_with_the_largest_attributions_are_shown():
    values = np.zeros((9, 32))
    values[[8, 1, 2, 5, 4, 7]] = 1.0
    sample = Sample("s", "s", 1.0, series=np.ones((9, 32)), maps={"ig": values})
    assert series.channels(sample) == [1, 2, 4, 5, 7, 8]
    with styles.style():
        figure = series.figure(run("ig"), sample)
    assert "3 other channels are not shown" in figure.get_suptitle()


def test_lines_and_bands_are_where_the_series_is(tmp_path):
    maps = {"ig": WAVE, "saliency": np.abs(WAVE), "random": np.full((1, 32), np.nan)}
    sample = Sample("s", "s: $x$", 1.0, series=WAVE, maps=maps)
    made = series.figures(run("ig", "saliency", "random"), [sample, replace(sample, series=WAVE)])
    assert set(made) == {"series_1", "series_2"}
    axes = made["series_1"].axes[0]
    (line,) = axes.lines
    x, y = line.get_data()
    assert list(x) == list(range(32))
    assert np.argmin(y) == np.argmax(WAVE), "the axis points down"
    (band,) = axes.images
    shown = np.asarray(band.get_array())[0].tolist()
    assert shown == pytest.approx((1 + series.PALE * WAVE[0] / np.abs(WAVE).max()) / 2)
    png, *_ = styles.save(made["series_1"], tmp_path / "s")
    assert png.stat().st_size > 5_000


def test_a_series_that_is_not_finite_is_drawn():
    holes = np.where(STEPS % 5 == 0, np.nan, WAVE)
    for points in (holes, np.full((1, 32), np.nan), np.ones((1, 32))):
        sample = Sample("s", "s", 1.0, series=points, maps={"ig": WAVE})
        with styles.style():
            series.figure(run("ig"), sample).draw_without_rendering()
