"""Paired plot of one cell of a comparison: base against new by sample, and the differences."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from igbench.records import stats
from igbench.report import styles
from igbench.report.phrases import count
from igbench.report.strips import GOLDEN, POINTS
from igbench.schema import Change, MetricSpec, Records

HEIGHT = 1.75
"""Of a plot, in inches."""
WORSE, BETTER, NEITHER = styles.METHOD_COLOURS[1], styles.METHOD_COLOURS[0], "#4d4d4d"
MARKS = {WORSE: "v", BETTER: "^", NEITHER: "o"}
"""Colours and marks of samples that got worse or better, and of others."""

CAPTION = (
    "A point for each sample. Left: base against new, equal on the line. Right: new − base, with "
    "the mean and its 95 % interval as diamond and line; the grey band holds differences below the "
    "minimum effect. Blue ▲: better, orange ▼: worse, grey ●: equal, or a metric without direction."
)


def pairs(base: Records, new: Records, change: Change) -> pd.DataFrame:
    """Scores of a cell in both runs, columns "base" and "new", of the samples with both.

    Args:
        base: The run to compare with.
        new: The other run.
        change: Names the cell.
    """
    found = []
    for records, model in ((base, change.model), (new, change.new_model or change.model)):
        own = records.scores
        own = own[own["method"] == change.method]
        own = own[(own["metric"] == change.metric) & (own["model"] == model)]
        found.append(own[stats.usable(own)].set_index("sample_id")["value"].astype(float))
    return pd.concat(found, axis=1, join="inner", keys=["base", "new"])


def paired_plot(table: pd.DataFrame, change: Change, spec: MetricSpec) -> Figure:
    """Draw the scores of a cell in both runs and their differences, one column wide.

    Args:
        table: From `pairs`.
        change: The verdict, with the mean difference and its interval.
        spec: Definition of the metric.
    """
    finite = table[np.isfinite(table.to_numpy()).all(axis=1)]
    old, now = (finite[k].to_numpy() for k in ("base", "new"))
    with styles.style():
        figure = styles.canvas(styles.COLUMN, HEIGHT)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        looks = _looks(now - old, spec)
        _scatter(left, old, now, looks)
        _strip(right, now - old, looks)
        _mean(right, change, spec)
        if len(finite) < len(table):
            shown = f"{len(finite)} of {count(len(table), 'sample')}: others are infinite"
            right.set_title(shown, loc="right", fontsize=6.5)
    return figure


def _looks(differences: np.ndarray, spec: MetricSpec) -> np.ndarray:
    """The colour of each sample."""
    sign = {"higher": 1.0, "lower": -1.0, "none": 0.0}[spec.direction]
    gains = sign * differences
    return np.where(gains > 0, BETTER, np.where(gains < 0, WORSE, NEITHER))


def _scatter(axes: Axes, old: np.ndarray, now: np.ndarray, looks: np.ndarray) -> None:
    _points(axes, old, now, looks)
    whole = np.concatenate([old, now])
    low, high = (float(whole.min()), float(whole.max())) if len(whole) else (0.0, 1.0)
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    ends = (low - room, high + room)
    axes.plot(ends, ends, color="#9a9a9a", linewidth=0.7, zorder=1)
    axes.set(xlim=ends, ylim=ends, xlabel="base", ylabel="new")
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=6.5)


def _strip(axes: Axes, differences: np.ndarray, looks: np.ndarray) -> None:
    """The differences, spread upwards so that they can be told apart."""
    heights = (np.arange(len(differences)) * GOLDEN + 0.5) % 1 - 0.5
    _points(axes, differences, 0.55 * heights, looks)
    axes.axvline(0, color="#9a9a9a", linewidth=0.7, zorder=1)
    axes.set(yticks=[], xlabel="new − base", ylim=(-0.8, 0.4))
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=6.5)


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, looks: np.ndarray) -> None:
    many = len(x) > POINTS
    for colour, mark in MARKS.items():
        own = looks == colour
        axes.scatter(x[own], y[own], s=4 if many else 10, marker=mark, color=colour, linewidths=0,
                     alpha=0.4 if many else 0.75, rasterized=many, zorder=2)  # fmt: skip


def _mean(axes: Axes, change: Change, spec: MetricSpec) -> None:
    """The mean difference with its interval below the points, and the band that counts as equal."""
    y = -0.55
    if math.isfinite(change.low) and math.isfinite(change.high):
        axes.plot([change.low, change.high], [y, y], color="black", linewidth=1.4, zorder=4)
    if math.isfinite(change.difference):
        axes.plot(change.difference, y, marker="D", markersize=3.6, color="white",
                  markeredgecolor="black", markeredgewidth=0.8, zorder=5)  # fmt: skip
    if math.isfinite(spec.min_effect):
        ends = axes.get_xlim()
        axes.axvspan(-spec.min_effect, spec.min_effect, color="#ececec", zorder=0, linewidth=0)
        axes.set_xlim(*ends)
