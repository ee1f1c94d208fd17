"""Every sample's score by method: points, or letter values where samples are many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from igbench.report import ranking, styles
from igbench.report.diagrams import footer, role_label
from igbench.schema import MetricSpec, Run

POINTS = 500
"""Samples that are drawn as points; more become letter values."""
RASTER = 2000
"""Points of a panel above which they are pixels inside a vector file."""
FACTOR = 50
"""A positive unbounded metric has a logarithmic axis if its largest score is so many medians."""
GOLDEN = (math.sqrt(5) - 1) / 2
"""Step of the heights of points within a row, which spreads any number of them evenly."""


def score_strips(run: Run, values: ranking.Values, lines: pd.DataFrame) -> Figure | None:
    """Draw the scores of all samples by method with mean and 95 % interval, a panel for a metric.

    The metrics are those of `igbench.report.styles.HEADLINES` that the run has, or its headline.
    More than 500 samples are drawn as letter values: the widest box holds the middle half of the
    samples, the next ones the middle 3/4, 7/8 and so on, as far as their ends can be estimated,
    and points lie beyond (Hofmann, Wickham and Kafadar 2017).

    Args:
        run: Definitions.
        values: Scores of one model by metric, from `igbench.report.ranking.tables`.
        lines: Its lines of `igbench.records.stats.summarise`, with means and intervals.

    Returns:
        None if no such metric has a value.
    """
    metrics = _metrics(run, values, lines)
    if not metrics:
        return None
    present = pd.Series([m for metric in metrics for m in values[metric]], dtype=object)
    methods = styles.method_names(run, present)
    across = _across(len(metrics), len(methods))
    high = math.ceil(len(metrics) / across)
    wide = styles.COLUMN if len(metrics) == 1 else styles.FULL_WIDTH
    figure = styles.canvas(wide, 0.4 + high * (0.5 + 0.16 * len(methods)))
    panels = figure.subplots(high, across, squeeze=False, sharey=True)
    colours = {m: s["color"] for m, s in styles.method_styles(run.methods).items()}
    for axes, metric in zip(panels.flat, metrics, strict=False):
        _panel(axes, values[metric].reindex(columns=methods), run.metrics[metric],
               [colours.get(m, styles.UNKNOWN["color"]) for m in methods])  # fmt: skip
        own = lines[lines["metric"] == metric].set_index("method").reindex(methods)
        _means(axes, own)
        styles.panel_title(axes, styles.metric_label(metric, run.metrics[metric]))
    for axes in list(panels.flat)[len(metrics) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(methods)), [role_label(run, m) for m in methods], fontsize=6.8)
    for axes in panels[:, 1:].flat:
        axes.yaxis.set_visible(False)  # it shows nothing there, and would be laid out and drawn
    panels[0, 0].set_ylim(len(methods) - 0.5, -0.5)
    footer(figure, _remarks([values[m] for m in metrics]))
    return figure


def _metrics(run: Run, values: ranking.Values, lines: pd.DataFrame) -> list[str]:
    usual = [m for m in styles.HEADLINES if m in values and run.metrics[m].direction != "none"]
    chosen = usual or [styles.headline(run, lines)]
    return [m for m in chosen if m in values and np.isfinite(values[m].to_numpy(float)).any()]


def _across(panels: int, methods: int) -> int:
    """Panels side by side: all of them where methods are many, so that the figure stays low."""
    if panels <= 3 or methods > 12:
        return panels
    return math.ceil(panels / 2)


def _panel(axes: Axes, table: pd.DataFrame, spec: MetricSpec, colours: Sequence[Any]) -> None:
    columns = [table[m].to_numpy(dtype=float) for m in table]
    finite = [c[np.isfinite(c)] for c in columns]
    if _logarithmic(spec, np.concatenate(finite)):
        axes.set_xscale("log")
        styles.log_powers(axes.xaxis, between=False)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    if max(map(len, finite)) > POINTS:
        _letter_values(axes, finite, colours)
    else:
        _points(axes, finite, colours)
    for y, (column, shown) in enumerate(zip(columns, finite, strict=True)):
        if len(shown) < len(column):
            axes.text(1.01, y, _count(column, len(shown)), transform=axes.get_yaxis_transform(),
                      fontsize=6.5, va="center", color="#707070")  # fmt: skip
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=6.8)


def _logarithmic(spec: MetricSpec, shown: np.ndarray) -> bool:
    if spec.low != 0 or not math.isinf(spec.high) or (shown <= 0).any():
        return False
    return bool(shown.max() > FACTOR * np.median(shown))


def _count(column: np.ndarray, shown: int) -> str:
    infinite = int(np.isinf(column).sum())
    if infinite:
        return f"n = {shown}, {infinite} infinite"
    return f"n = {shown}" if shown else "n/a"


def _points(axes: Axes, columns: Sequence[np.ndarray], colours: Sequence[Any]) -> None:
    many = sum(map(len, columns)) > RASTER
    largest = max(map(len, columns))
    size, alpha = (7, 0.6) if largest <= 50 else (3.5, 0.4)
    for y, (column, colour) in enumerate(zip(columns, colours, strict=True)):
        heights = (np.arange(len(column)) * GOLDEN + 0.5) % 1 - 0.5
        axes.scatter(column, y + 0.62 * heights, s=size, color=colour, alpha=alpha, linewidths=0,
                     rasterized=many)  # fmt: skip


def _letter_values(axes: Axes, columns: Sequence[np.ndarray], colours: Sequence[Any]) -> None:
    import seaborn as sns  # for this alone: it is slow to import

    for y, (column, colour) in enumerate(zip(columns, colours, strict=True)):
        if len(column):
            sns.boxenplot(x=column, y=np.full(len(column), y), orient="h", native_scale=True,
                          color=colour, width=0.8, width_method="exponential", linewidth=0.4,
                          saturation=1, k_depth="trustworthy",
                          line_kws={"linewidth": 0},
                          flier_kws={"s": 1.5, "alpha": 0.4, "linewidths": 0, "facecolor": colour,
                                     "rasterized": True}, ax=axes)  # fmt: skip
    axes.set(xlabel="", ylabel="")


def _means(axes: Axes, lines: pd.DataFrame) -> None:
    """A white diamond at each mean, over a line from end to end of its interval."""
    for y, (mean, low, high) in enumerate(lines[["mean", "low", "high"]].to_numpy(dtype=float)):
        if not math.isfinite(mean):
            continue
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [y, y], color="black", linewidth=1.4, zorder=4)
        axes.plot(mean, y, marker="D", markersize=3.6, color="white", markeredgecolor="black",
                  markeredgewidth=0.8, linestyle="none", zorder=5)  # fmt: skip


def _remarks(shown: Sequence[pd.DataFrame]) -> str:
    sizes = sorted({len(table) for table in shown})
    many = any(table.notna().sum().max() > POINTS for table in shown)
    what = (
        "boxes: middle 1/2, 3/4, 7/8, … of the samples; points beyond"
        if many
        else ("a point for each sample")
    )
    return (
        f"{what}; diamond and line: mean with 95 % interval; "
        f"n = {' or '.join(map(str, sizes))} unless a row says otherwise"
    )
