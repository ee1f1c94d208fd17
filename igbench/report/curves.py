"""Figures of curves: removal, sensitivity-n and convergence, with their spread."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import stdtrit

from igbench.report import multiples, styles
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


def removal(
    run: Run, points: pd.DataFrame, *, shown: Sequence[str] = (), note: str = ""
) -> Figure | None:
    """Deletion, insertion and SRG curves: mean and 95 % band, with the areas.

    For SRG the upper curve removes the least influential features first (LIF), the dashed one the
    most influential (MIF); SRG is the area between them.  More than five methods have a panel each,
    with the others in grey.

    Args:
        run: Definitions.
        points: Curves of one model.
        shown: Methods with panels, see `igbench.report.multiples.highlighted`; all by default.
        note: A sentence on which these are.
    """
    points = _of_removal(points)
    panels = _panels(run, points)
    if not panels:
        return None
    names = methods(run, points)
    if len(names) > multiples.TOGETHER:
        rows = [_removal_row(run, points, panel, entry) for entry, panel in panels]
        return multiples.figure(run, rows, shown or names, note=note)
    return _together(run, points, panels, len(names))


def removal_column(
    run: Run, points: pd.DataFrame, *, shown: Sequence[str] = (), note: str = ""
) -> Figure | None:
    """The curves of SRG, or else of insertion or deletion, one column wide; see `removal`."""
    points = _of_removal(points)
    panels = _panels(run, points)
    if not panels:
        return None
    entry, panel = next((p for p in panels if p[1] == "srg"), panels[-1])
    rows = [_removal_row(run, points, panel, entry)]
    chosen = shown or methods(run, points)
    return multiples.figure(run, rows, chosen, note=note, width=styles.COLUMN)


def _of_removal(points: pd.DataFrame) -> pd.DataFrame:
    points = by_entry(points)
    return points[points["curve"].isin([n for names in REMOVAL_LINES.values() for n in names])]


def _panels(run: Run, points: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of an entry and a removal metric that have points."""
    return [
        (entry, panel)
        for panel, names in REMOVAL_LINES.items()
        for entry in _entries(run, points[points["curve"].isin(names)])
    ]


def _removal_row(run: Run, points: pd.DataFrame, panel: str, entry: str) -> multiples.Row:
    own = points[points["curve"].isin(REMOVAL_LINES[panel]) & (points["entry"] == entry)]
    both = {"srg_lif", "srg_mif"} <= set(own["curve"])
    lines: dict[str, list[pd.DataFrame]] = {}
    values: dict[str, str] = {}
    of_method = _mean_curves(own)
    for method in methods(run, points):
        found = of_method.get(method, {})
        lines[method] = list(found.values())
        values[method] = _area_text({c: area(line) for c, line in found.items()}, both)
    return multiples.Row(
        title=_removal_title(panel, entry),
        xlabel=f"fraction {'inserted' if panel == 'insertion' else 'removed'}",
        ylabel="model output",
        lines=lines,
        values=values,
    )


def _mean_curves(points: pd.DataFrame) -> dict[str, dict[str, pd.DataFrame]]:
    """The mean curves of each method by name, without those that have no point."""
    found: dict[str, dict[str, pd.DataFrame]] = {}
    lines = _mean_by(points, ["method", "curve", "x"])
    for (method, curve), line in lines.groupby(level=["method", "curve"]):
        found.setdefault(str(method), {})[str(curve)] = line.droplevel(["method", "curve"])
    return found


def _area_text(areas: dict[str, float], both: bool) -> str:
    """Area under a curve, or between the two of SRG; "n/a" without it."""
    if both:
        value = areas.get("srg_lif", math.nan) - areas.get("srg_mif", math.nan)
    else:
        value = next(iter(areas.values()), math.nan)
    return "n/a" if math.isnan(value) else f"{value:.3f}".replace("-", "−")


def _removal_title(panel: str, entry: str) -> str:
    return REMOVAL[panel] + (f": {styles.short_label(entry)}" if entry else "")


def _together(
    run: Run, points: pd.DataFrame, panels: Sequence[tuple[str, str]], count: int
) -> Figure:
    """A panel for each metric, with the areas in the legends."""
    rows = math.ceil(len(panels) / 3)
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
    names = points["curve"].astype(object)
    parts = {name: curve_parts(str(name)) for name in names.unique()}
    return points.assign(
        entry=names.map({name: entry for name, (entry, _) in parts.items()}),
        curve=names.map({name: curve for name, (_, curve) in parts.items()}),
    )


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
    for method in methods(run, points):
        _removal_lines(axes, run, points[points["method"] == method], method, both)
    axes.grid()
    added = panel == "insertion"
    axes.set_xlabel(f"fraction of features {'inserted' if added else 'removed'}")
    title = _removal_title(panel, entry)
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
    found = _mean_curves(points).get(method, {})
    for curve, line in found.items():
        dashed = curve == "srg_mif" and not oracle
        axes.fill_between(line.index, line["low"], line["high"], color=style["color"], alpha=0.1,
                          linewidth=0)  # fmt: skip
        axes.plot(line.index, line["mean"], color=style["color"], linewidth=0.9 if oracle else 1.4,
                  linestyle=(0, (2.5, 1)) if dashed else usual)  # fmt: skip
    text = _area_text({curve: area(line) for curve, line in found.items()}, both)
    axes.plot([], [], color=style["color"], linestyle=usual, linewidth=0.9 if oracle else 1.4,
              label=f"{styles.short_label(method)}  {text}")  # fmt: skip


def methods(run: Run, points: pd.DataFrame) -> list[str]:
    """Every method of the run, without points too, and those of the points without definition."""
    return styles.method_names(
        run, pd.Series([*run.methods, *points["method"].unique()], dtype=object)
    )


def mean_curve(points: pd.DataFrame) -> pd.DataFrame:
    """Mean over samples at every x, with its 95 % Student interval.

    Returns:
        Frame indexed by x with columns mean, low, high and n; bounds equal the mean for n = 1.
    """
    return _mean_by(points, ["x"])


def _mean_by(points: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    groups = points[np.isfinite(points["y"])].groupby(keys)["y"]
    line = groups.agg(["mean", "std", "count"])
    half = line["std"] / np.sqrt(line["count"]) * stdtrit((line["count"] - 1).clip(1), 0.975)
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


def sensitivity_n(
    run: Run, points: pd.DataFrame, *, shown: Sequence[str] = (), note: str = ""
) -> Figure | None:
    """Correlation of attributed and actual change against the size of the removed subset.

    Means over samples with 95 % bands; more than five methods have a panel each, with the others
    in grey.  For `shown` and `note` see `removal`.
    """
    points = by_entry(points)
    points = points[points["curve"] == "sensitivity_n"]
    if points.empty:
        return None
    entries, names = _entries(run, points), methods(run, points)
    if len(names) > multiples.TOGETHER:
        rows = [_sensitivity_row(run, points, entry) for entry in entries]
        return multiples.figure(run, rows, shown or names, note=note)
    figure = styles.canvas(styles.FULL_WIDTH, 2.7)
    panels = figure.subplots(1, len(entries), squeeze=False)[0]
    for axes, entry in zip(panels, entries, strict=True):
        _sensitivity_panel(axes, run, points[points["entry"] == entry], entry)
    panels[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _sensitivity_row(run: Run, points: pd.DataFrame, entry: str) -> multiples.Row:
    own = points[points["entry"] == entry]
    found = _mean_curves(own)
    lines = {m: list(found.get(m, {}).values()) for m in methods(run, points)}
    fraction, wide = _subset_span(own["x"])
    return multiples.Row(
        title=_sensitivity_title(entry),
        xlabel="fraction removed" if fraction else "removed, n",
        ylabel="correlation",
        lines=lines,
        values={m: "" if own_lines else "n/a" for m, own_lines in lines.items()},
        logarithmic=wide,
        level=0.0,
    )


def _sensitivity_title(entry: str) -> str:
    return "Sensitivity-n ↑" + (f": {styles.short_label(entry)}" if entry else "")


def _sensitivity_panel(axes: Axes, run: Run, points: pd.DataFrame, entry: str) -> None:
    by_method = styles.method_styles(run.methods)
    for method in methods(run, points):
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
    styles.panel_title(axes, _sensitivity_title(entry))


def _subset_axis(axes: Axes, x: pd.Series) -> None:
    fraction, wide = _subset_span(x)
    axes.set_xlabel("fraction of features removed" if fraction else "features removed, n")
    if wide:
        axes.set_xscale("log")
        styles.log_ticks(axes.xaxis, between=(1.0, 2.0, 5.0) if fraction else (1.0,))


def _subset_span(x: pd.Series) -> tuple[bool, bool]:
    """Whether sizes are fractions, and whether they span more than a factor of 20."""
    low, high = float(x.min()), float(x.max())
    return high <= 1, low > 0 and high / low > 20


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
    figure = styles.canvas(styles.FULL_WIDTH, 2.5)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, curve in zip(all_axes, panels, strict=True):
        of_curve = points[points["curve"] == curve]
        for i, rule in enumerate(rules):
            of_rule = of_curve[of_curve["method"] == rule]
            _quartiles(axes, of_rule, i, styles.label(rule))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        styles.log_powers(axes.yaxis)
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
