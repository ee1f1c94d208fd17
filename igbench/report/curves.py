"""Figures of curves: removal, sensitivity-n and convergence, with their spread."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student

from igbench.report import styles
from igbench.schema import Run, curve_parts

REMOVAL = {
    "deletion": "Deletion ↓",
    "insertion": "Insertion ↑",
    "srg": "SRG ↑",
}
REMOVAL_LINES = {
    "deletion": ("deletion",),
    "insertion": ("insertion",),
    "srg": ("srg_lif", "srg_mif"),
}
TINY = float(np.finfo(np.float32).eps)


def removal(run: Run, points: pd.DataFrame) -> Figure | None:
    """Deletion, insertion and SRG curves: mean and 95 % band, with the areas in the legends.

    For SRG the upper curve removes the least influential features first (LIF), the dashed one the
    most influential (MIF); SRG is the area between them.
    """
    points = by_entry(points)
    panels = [
        (entry, panel)
        for panel, names in REMOVAL_LINES.items()
        for entry in _entries(run, points[points["curve"].isin(names)])
    ]
    if not panels:
        return None
    count, rows = len(_methods(run, points)), math.ceil(len(panels) / 3)
    figure = styles.canvas(styles.FULL_WIDTH, rows * (2.35 + 0.13 * count))
    wide = min(3, len(panels))
    alike = len({_scalar(run, entry or panel) for entry, panel in panels}) == 1
    grid = figure.subplots(rows, wide, squeeze=False, sharey=alike)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    drawn = list(grid.flat[: len(panels)])
    for axes, (entry, panel) in zip(drawn, panels, strict=True):
        own = points["curve"].isin(REMOVAL_LINES[panel]) & (points["entry"] == entry)
        _removal_panel(axes, run, points[own], panel, entry)
    for together in [drawn] if alike else [[axes] for axes in drawn]:
        _fill(together)
    for axes in grid[:, 0]:
        axes.set_ylabel("model output (mean over samples)")
    return figure


def by_entry(points: pd.DataFrame) -> pd.DataFrame:
    """Points with the entry of their curve, "" without a prefix, in a column of its own."""
    parts = [curve_parts(str(name)) for name in points["curve"]]
    return points.assign(entry=[e for e, _ in parts], curve=[c for _, c in parts])


def _entries(run: Run, points: pd.DataFrame) -> list[str]:
    """Entries that have points, in the order of the run; that without a prefix is first."""
    found = dict.fromkeys(points["entry"])
    known = [m for m in ("", *run.metrics) if m in found]
    return known + [m for m in found if m not in known]


def _scalar(run: Run, metric: str) -> str:
    """The output that a metric tracks; "" for metrics that the run does not define."""
    return run.metrics[metric].scalar if metric in run.metrics else ""


def _fill(panels: Sequence[Axes]) -> None:
    """Let the means fill panels with one axis; wide bands of few samples may leave them."""
    heights = np.concatenate([line.get_ydata() for axes in panels for line in axes.lines])
    if heights.size:
        margin = 0.12 * (float(np.ptp(heights)) or 1.0)
        panels[0].set_ylim(heights.min() - margin, heights.max() + margin)


def _removal_panel(axes: Axes, run: Run, points: pd.DataFrame, panel: str, entry: str) -> None:
    both = {"srg_lif", "srg_mif"} <= set(points["curve"])
    for method in _methods(run, points):
        _removal_lines(axes, run, points[points["method"] == method], method, both)
    axes.grid()
    added = panel == "insertion"
    axes.set_xlabel(f"fraction of features {'inserted' if added else 'removed'}")
    title = REMOVAL[panel] + (f": {styles.short_label(entry)}" if entry else "")
    if panel == "srg":
        title += " (LIF solid, MIF dashed)" if both else " (LIF)"
    styles.panel_title(axes, title)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=1, handlelength=2.2,
                title="area between" if both else "area under the mean curve",
                title_fontsize=7, labelspacing=0.25)  # fmt: skip


def _removal_lines(axes: Axes, run: Run, points: pd.DataFrame, method: str, both: bool) -> None:
    """Draw the curve or curves of a method; oracles are thin, as they lie on another curve."""
    style = styles.method_styles(run.methods).get(method, styles.UNKNOWN)
    oracle = styles.role(run, method) == "oracle"
    usual = "-" if both and not oracle else style["linestyle"]
    areas: dict[str, float] = {}
    for curve, of_curve in points.groupby("curve"):
        line = mean_curve(of_curve)
        areas[str(curve)] = area(line) if len(line) else math.nan
        dashed = curve == "srg_mif" and not oracle
        axes.fill_between(line.index, line["low"], line["high"], color=style["color"], alpha=0.1,
                          linewidth=0)  # fmt: skip
        axes.plot(line.index, line["mean"], color=style["color"], linewidth=0.9 if oracle else 1.4,
                  linestyle=(0, (2.5, 1)) if dashed else usual)  # fmt: skip
    if both:
        value = areas.get("srg_lif", math.nan) - areas.get("srg_mif", math.nan)
    else:
        value = next(iter(areas.values()), math.nan)
    text = "n/a" if math.isnan(value) else f"{value:.3f}".replace("-", "−")
    axes.plot([], [], color=style["color"], linestyle=usual, linewidth=0.9 if oracle else 1.4,
              label=f"{styles.short_label(method)}  {text}")  # fmt: skip


def _methods(run: Run, points: pd.DataFrame) -> list[str]:
    """Every method of the run, without points too, and those of the points without definition."""
    return styles.method_names(run, pd.Series([*run.methods, *points["method"]], dtype=object))


def mean_curve(points: pd.DataFrame) -> pd.DataFrame:
    """Mean over samples at every x, with its 95 % Student interval.

    Returns:
        Frame indexed by x with columns mean, low, high and n; bounds equal the mean for n = 1.
    """
    groups = points[np.isfinite(points["y"])].groupby("x")["y"]
    line = groups.agg(["mean", "std", "count"])
    half = line["std"] / np.sqrt(line["count"]) * student.ppf(0.975, (line["count"] - 1).clip(1))
    half = half.where(line["count"] > 1, 0.0)
    return pd.DataFrame(
        {
            "mean": line["mean"],
            "low": line["mean"] - half,
            "high": line["mean"] + half,
            "n": line["count"],
        }
    )


def area(line: pd.DataFrame) -> float:
    """Trapezoid area under a mean curve, divided by the length of its x axis.

    >>> area(pd.DataFrame({"mean": [0.0, 1.0]}, index=[0.0, 2.0]))
    0.5
    """
    x = line.index.to_numpy(dtype=float)
    if len(x) < 2:
        return math.nan
    return float(np.trapezoid(line["mean"].to_numpy(), x) / (x[-1] - x[0]))


def sensitivity_n(run: Run, points: pd.DataFrame) -> Figure | None:
    """Correlation of attributed and actual change against the size of the removed subset."""
    points = by_entry(points)
    points = points[points["curve"] == "sensitivity_n"]
    if points.empty:
        return None
    entries = _entries(run, points)
    figure = styles.canvas(1.6 + 3.2 * len(entries), 2.7)
    panels = figure.subplots(1, len(entries), squeeze=False)[0]
    for axes, entry in zip(panels, entries, strict=True):
        _sensitivity_panel(axes, run, points[points["entry"] == entry], entry)
    panels[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _sensitivity_panel(axes: Axes, run: Run, points: pd.DataFrame, entry: str) -> None:
    by_method = styles.method_styles(run.methods)
    for method in _methods(run, points):
        style = by_method.get(method, styles.UNKNOWN)
        line = mean_curve(points[points["method"] == method])
        if line.empty:
            axes.plot([], [], label=f"{styles.short_label(method)}  n/a", ms=3.5, **style)
            continue
        axes.fill_between(line.index, line["low"], line["high"], color=style["color"], alpha=0.13,
                          linewidth=0)  # fmt: skip
        axes.plot(line.index, line["mean"], label=styles.short_label(method), ms=3.5, **style)
    _subset_axis(axes, points["x"])
    axes.axhline(0, color="#4d4d4d", linewidth=0.7)
    axes.set_ylabel("Pearson correlation (mean, 95 %)")
    axes.grid()
    styles.panel_title(
        axes, "Sensitivity-n ↑" + (f": {styles.short_label(entry)}" if entry else "")
    )


def _subset_axis(axes: Axes, x: pd.Series) -> None:
    fraction = float(x.max()) <= 1
    axes.set_xlabel("fraction of features removed" if fraction else "features removed, n")
    if float(x.min()) > 0 and float(x.max()) / float(x.min()) > 20:
        axes.set_xscale("log")
        styles.log_ticks(axes.xaxis, between=(1.0, 2.0, 5.0) if fraction else (1.0,))


def convergence(points: pd.DataFrame) -> Figure | None:
    """Gap and error of Integrated Gradients by number of gradients, one line for each rule.

    Medians over samples with the band of the quartiles, on logarithmic axes; values below the
    resolution of float32 are drawn at it.
    """
    names = {
        "convergence_gap": "Completeness gap ↓",
        "convergence_error": "Error of the map ↓",
    }
    panels = [curve for curve in names if curve in set(points["curve"])]
    if not panels:
        return None
    rules = list(dict.fromkeys(points.loc[points["curve"].isin(panels), "method"]))
    figure = styles.canvas(3.4 * len(panels) + (1.2 if len(panels) == 1 else 0.2), 2.5)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, curve in zip(all_axes, panels, strict=True):
        of_curve = points[points["curve"] == curve]
        for i, rule in enumerate(rules):
            of_rule = of_curve[of_curve["method"] == rule]
            _quartiles(axes, of_rule, i, styles.label(rule))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        styles.log_ticks(axes.xaxis, base=2)
        axes.set_xlabel("gradients of each sample")
        axes.grid()
        styles.panel_title(axes, names[curve])
    all_axes[0].set_ylabel("median over samples, quartiles")
    if all_axes[-1].get_legend_handles_labels()[0]:  # none where every gap is zero
        all_axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _quartiles(axes: Axes, points: pd.DataFrame, i: int, name: str) -> None:
    points = points[np.isfinite(points["y"])]
    groups = points.assign(y=points["y"].abs().clip(lower=TINY)).groupby("x")["y"]
    line = groups.quantile(np.array([0.25, 0.5, 0.75])).unstack()
    if line.empty:
        return
    colour = styles.METHOD_COLOURS[i % len(styles.METHOD_COLOURS)]
    axes.fill_between(line.index, line[0.25], line[0.75], color=colour, alpha=0.14, linewidth=0)
    axes.plot(line.index, line[0.5], color=colour, marker=styles.MARKERS[i % len(styles.MARKERS)],
              ms=3.5, label=name)  # fmt: skip
