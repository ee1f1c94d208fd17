"""Figure of model parameter randomisation: similarity of maps against the layers at random."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from igbench.report import curves, styles
from igbench.schema import Run

ORDERS = {
    "mprt_top_down": ("MPRT, from the output down", "share of layers at random, from the output"),
    "mprt_bottom_up": ("MPRT, from the input up", "share of layers at random, from the input"),
    "mprt_independent": ("MPRT, one layer alone", "place of the random layer, from the output"),
    "smooth_mprt_top_down": (
        "Smooth MPRT, from the output down",
        "share of layers at random, from the output",
    ),
    "smooth_mprt_bottom_up": (
        "Smooth MPRT, from the input up",
        "share of layers at random, from the input",
    ),
    "smooth_mprt_independent": (
        "Smooth MPRT, one layer alone",
        "place of the random layer, from the output",
    ),
}
"""Title and name of the x axis of each curve of `igbench.metrics.randomisation`."""
LINE = 0.115
"""Inches of height of one label."""


def cascade(run: Run, points: pd.DataFrame) -> Figure | None:
    """Similarity of the maps to those of the network as it is, with a label at every line.

    Means over samples with 95 % intervals.  Cascades begin at 1, where no layer is random and a map
    is compared with itself.  None where no such curve is recorded.

    Args:
        run: Definitions of the methods.
        points: Points of one model.
    """
    points = curves.by_entry(points)
    points = points[points["curve"].isin(ORDERS)]
    panels = list(dict.fromkeys(zip(points["entry"], points["curve"], strict=True)))
    if not panels:
        return None
    methods = styles.method_names(run)
    wide = min(2, len(panels))
    rows = math.ceil(len(panels) / wide)
    each = 0.75 + max(1.7, LINE * len(methods))
    figure = styles.canvas(styles.FULL_WIDTH if wide > 1 else 4.6, rows * each)
    grid = figure.subplots(rows, wide, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (entry, curve) in zip(grid.flat, panels, strict=False):
        own = points[(points["entry"] == entry) & (points["curve"] == curve)]
        _panel(axes, run, own, str(curve), str(entry), methods, each)
    for axes in grid[:, 0]:
        axes.set_ylabel("similarity to the map of the\nnetwork as it is (mean, 95 %)")
    return figure


def _panel(
    axes: Axes,
    run: Run,
    points: pd.DataFrame,
    curve: str,
    entry: str,
    methods: list[str],
    height: float,
) -> None:
    title, below = ORDERS[curve]
    starts = not curve.endswith("independent")
    looks = styles.method_styles(run.methods)
    found: dict[str, tuple[float, float, str]] = {}
    size = len(run.samples) or points["sample_id"].nunique()
    for method in [*methods, *(m for m in dict.fromkeys(points["method"]) if m not in methods)]:
        line = curves.mean_curve(points[points["method"] == method])
        if line.empty:
            continue
        if starts:
            line.loc[0.0] = [1.0, 1.0, 1.0, float(line["n"].min())]
            line = line.sort_index()
        look = looks.get(method, styles.UNKNOWN)
        axes.fill_between(line.index, line["low"], line["high"], color=look["color"], alpha=0.12,
                          linewidth=0)  # fmt: skip
        axes.plot(line.index, line["mean"], ms=3, clip_on=False, **look)
        least = int(line["n"].min())
        note = f" (n = {least} of {size})" if least < size else ""
        end = (float(line.index[-1]), float(line["mean"].iloc[-1]))
        found[styles.short_label(method) + note] = (*end, str(look["color"]))
    axes.set_xlim(0 if starts else None, 1)
    low = min((y for _, y, _ in found.values()), default=0.0)
    axes.set_ylim(min(-0.05, low - 0.05), 1.03)
    axes.axhline(0, color="#4d4d4d", linewidth=0.6)
    axes.grid()
    axes.set_xlabel(below)
    styles.panel_title(axes, title + (f": {styles.short_label(entry)}" if entry else ""))
    _labels(axes, found, height)
    drawn = set(points["method"])
    styles.left_out(axes, [m for m in methods if m not in drawn])


def _labels(axes: Axes, ends: dict[str, tuple[float, float, str]], height: float) -> None:
    """Write the names at the right end of their lines, apart from each other."""
    low, high = axes.get_ylim()
    gap = LINE / (height - 0.75) * (high - low)
    names = sorted(ends, key=lambda n: ends[n][1])
    places = apart([ends[n][1] for n in names], gap)
    for name, place in zip(names, places, strict=True):
        x, y, own = ends[name]
        colour = tuple(0.75 * c for c in to_rgb(own))  # legible as a thin text
        axes.annotate(name, (x, y), xytext=(1.06, place), textcoords=axes.get_yaxis_transform(),
                      fontsize=6.5, color=colour, va="center", annotation_clip=False,
                      arrowprops={"arrowstyle": "-", "lw": 0.4, "color": colour,
                                  "shrinkA": 0, "shrinkB": 1})  # fmt: skip


def apart(places: list[float], gap: float) -> list[float]:
    """Move ascending places as little as it takes to have a gap between all neighbours.

    Groups of places that would collide are spread around their mean.

    >>> apart([0.0, 0.0, 5.0], 1.0)
    [-0.5, 0.5, 5.0]
    """
    groups: list[tuple[float, int]] = []  # mean of the wanted places, and their number
    for place in places:
        mean, count = place, 1
        while groups and groups[-1][0] + gap * (groups[-1][1] + count) / 2 > mean:
            before, n = groups.pop()
            mean, count = (before * n + mean * count) / (n + count), n + count
        groups.append((mean, count))
    return [mean + gap * (i - (n - 1) / 2) for mean, n in groups for i in range(n)]
