"""Figures of scores: bars by metric, quality against cost, agreement of the metrics.

Pure functions from records and their summary to figures; None if a figure has no data.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from igbench.report import agreement, comparison, curves, front, multiples, studies, styles
from igbench.report.label_layout import Spot, place_labels
from igbench.report.model_statistics import ModelStatistics, by_model
from igbench.report.styles import Maker
from igbench.report.table import ends
from igbench.schema import RANDOM_WEIGHTS, MetricSpec, Records, Run

PAGE = "#"
"""Stands between the name of a figure and the number of its page."""
_TITLE = {1: 36, 2: 36, 3: 26, 4: 20}
"""Letters of a line of a title, by the number of panels side by side."""
Ends = tuple[tuple[str, float], tuple[str, float]] | None
"""Name and mean of the floor and of the ceiling of a metric, see `igbench.report.table.ends`."""
OfModel = Callable[[str, pd.DataFrame, pd.DataFrame], dict[str, Maker]]
"""Makers of figures by file name, from a model, its summary and its curves."""


@styles.style()
def figures(
    records: Records,
    summary: pd.DataFrame,
    models: Mapping[str, ModelStatistics] | None = None,
) -> dict[str, Figure]:
    """All figures that the records have data for, by file name; for each model one.

    Args:
        records: A run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
        models: What is known of each model; computed here if None.
    """
    found = {name: make() for name, make in makers(records, summary, models).items()}
    return {name: figure for name, figure in found.items() if figure is not None}


def makers(
    records: Records,
    summary: pd.DataFrame,
    models: Mapping[str, ModelStatistics] | None = None,
) -> dict[str, Maker]:
    """What draws each figure of `figures`, by file name; statistics are computed here.

    Args:
        records: A run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
        models: What is known of each model; computed here if None.
    """
    known = by_model(records.run, summary, records.scores) if models is None else models

    def of_model(model: str, lines: pd.DataFrame, points: pd.DataFrame) -> dict[str, Maker]:
        none = records.scores.iloc[:0]
        own = known.get(model) or ModelStatistics(records.run, lines, none)
        return {
            **_of_model(own, points),
            **comparison.makers(own),
            **studies.of_model(records, summary, model),
        }

    return _by_model(records, summary, of_model, "")


def column_makers(records: Records, summary: pd.DataFrame) -> dict[str, Maker]:
    """What draws the main figures one column wide, by file name with the suffix `_column`.

    Bars of the headline metric, its curves, and quality against cost.
    """

    def of_model(_model: str, lines: pd.DataFrame, points: pd.DataFrame) -> dict[str, Maker]:
        return _columns_of_model(records.run, lines, points)

    return _by_model(records, summary, of_model, "_column")


def _by_model(
    records: Records, summary: pd.DataFrame, of_model: OfModel, suffix: str
) -> dict[str, Maker]:
    models = list(dict.fromkeys([*summary["model"], *records.curves["model"]]))
    made: dict[str, Maker] = {}
    for i, model in enumerate(models):
        number = str(i + 1) if len(models) > 1 else ""
        points = records.curves[records.curves["model"] == model]
        lines = summary[summary["model"] == model]
        headed = len(models) > 1 or records.run.random_weights
        head = _head(records.run, str(model)) if headed else ""
        for name, make in of_model(str(model), lines, points).items():
            stem, _, page = name.partition(PAGE)
            mark = f"{number}p{page}" if page else number
            made[stem + (f"_{mark}" if mark else "") + suffix] = partial(_headed, make, head)
    return made


@styles.style()
def _headed(make: Maker, head: str) -> Figure | None:
    """Draw a figure, with the name of its model where there is something to say."""
    figure = make()
    if figure is not None and head:
        _set_head(figure, head)
    return figure


def _set_head(figure: Figure, text: str) -> None:
    """Name the model above a figure, within its width."""
    wide = int(14 * figure.get_figwidth())
    fixed = not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)
    place = {"y": 1 - 0.03 / figure.get_figheight()} if fixed else {}
    figure.suptitle(textwrap.fill(text, wide), fontsize=8, **place)


def _head(run: Run, model: str) -> str:
    """Title of the figures of a model, which says where its weights are random."""
    says = not run.random_weights or RANDOM_WEIGHTS in model
    return styles.plain(model if says else f"{model} ({RANDOM_WEIGHTS})")


def _of_model(own: ModelStatistics, points: pd.DataFrame) -> dict[str, Maker]:
    run, lines = own.run, own.lines
    chosen: Any = _chosen(run, lines, points)
    bars = {
        f"metrics{PAGE}{i + 1}" if i else "metrics": partial(metric_bars, run, lines, page)
        for i, page in enumerate(bar_pages(run, lines))
    }
    return {
        **bars,
        "cost_quality": partial(cost_quality, run, lines),
        "removal_curves": partial(curves.removal, run, points, **chosen),
        "sensitivity_n": partial(curves.sensitivity_n, run, points, **chosen),
        "convergence": partial(curves.convergence, points),
        "metric_agreement": partial(agreement.metric_agreement, run, lines, own.agreement),
    }


def _columns_of_model(run: Run, lines: pd.DataFrame, points: pd.DataFrame) -> dict[str, Maker]:
    metric, chosen = styles.headline(run, lines), _chosen(run, lines, points)
    bars = [metric] if metric else []
    return {
        "metrics": partial(metric_bars, run, lines, bars, width=styles.COLUMN),
        "cost_quality": partial(cost_quality, run, lines, width=styles.COLUMN),
        "removal_curves": partial(curves.removal_column, run, points, **chosen),
    }


def _chosen(run: Run, lines: pd.DataFrame, points: pd.DataFrame) -> dict[str, Any]:
    """Methods with curves of their own, and what says so."""
    names = curves.by_entry(points)["curve"].astype(str)
    methods = curves.methods(run, points[~names.str.startswith("convergence")])
    shown = multiples.highlighted(run, lines, methods)
    return {"shown": shown, "note": multiples.said(run, lines, shown, len(methods))}


def write(
    made: Mapping[str, Figure], folder: Path, kinds: Sequence[str] = styles.FORMATS
) -> list[Path]:
    """Write all figures by name in some formats; returns the paths."""
    return [
        path for name, figure in made.items() for path in styles.save(figure, folder / name, kinds)
    ]


def bar_pages(run: Run, lines: pd.DataFrame) -> list[list[str]]:
    """The metrics of each figure of bars, so that none is higher than a page."""
    metrics, methods = styles.metric_names(run), styles.method_names(run, lines["method"])
    rows = max(1, int(styles.PAGE_HEIGHT / _bars_height(len(methods))))
    size = rows * _across(len(metrics))
    return [metrics[i : i + size] for i in range(0, len(metrics), size)]


def _across(count: int) -> int:
    """Panels side by side."""
    return min(4, count) if count != 5 else 3


def _bars_height(methods: int) -> float:
    return 0.65 + 0.155 * methods


def metric_bars(
    run: Run,
    lines: pd.DataFrame,
    metrics: Sequence[str] | None = None,
    *,
    width: float = styles.FULL_WIDTH,
) -> Figure | None:
    """Bars of the mean of each method with its 95 % interval, one panel for each metric.

    The dashed line is the random control, which is the floor of metrics that rank, and the
    dash-dotted one their ceiling, the best order that a search found.  A panel whose means are
    positive and span more than a factor of 50 has a logarithmic axis, and dots in place of bars.

    Args:
        run: Definitions.
        lines: Lines of `igbench.records.stats.summarise` of one model.
        metrics: Those to draw; all by default.
        width: In inches.
    """
    metrics = styles.metric_names(run) if metrics is None else list(metrics)
    if not metrics or lines.empty:
        return None
    methods = styles.method_names(run, lines["method"])
    wide = _across(len(metrics))
    high = math.ceil(len(metrics) / wide)
    figure = styles.canvas(width, high * _bars_height(len(methods)))
    panels = figure.subplots(high, wide, squeeze=False, sharey=True)
    for axes, metric in zip(panels.flat, metrics, strict=False):
        values = lines[lines["metric"] == metric].set_index("method").reindex(methods)
        _bars(axes, run, values, logarithmic(run.metrics[metric], values["mean"]))
        between = ends(run, lines, metric)
        _ends(axes, between)
        title = styles.metric_label(metric, run.metrics[metric])
        title = textwrap.fill(title, _TITLE[wide])
        styles.panel_title(axes, title, pad=None if between is None else 11)
    for axes in list(panels.flat)[len(metrics) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(methods)), [styles.label(m) for m in methods])
    for axes in panels[:, 1:].flat:
        axes.yaxis.set_visible(False)  # it shows nothing there, and would be laid out and drawn
    panels[0, 0].set_ylim(len(methods) - 0.4, -0.6)
    legend = textwrap.fill(_bars_legend(run, methods), int(19 * width))
    figure.supxlabel(legend, fontsize=7, color="#4d4d4d")
    return figure


def _bars_legend(run: Run, methods: list[str]) -> str:
    parts = ["mean with 95 % interval"]
    parts += ["dashed line: random control"] if "random" in methods else []
    ceiling = any(styles.role(run, m) == "ceiling" for m in methods)
    parts += ["dash-dotted line: best order found"] if ceiling else []
    oracles = any(styles.role(run, m) == "oracle" for m in methods)
    parts += ["hatched: independent implementation"] if oracles else []
    return "; ".join(parts)


def _ends(axes: Axes, between: Ends) -> None:
    """The line of the ceiling, and names of it and of the floor above the panel."""
    if between is None:
        return
    (_, floor), (_, ceiling) = between
    axes.axvline(ceiling, color=styles.CEILING_COLOURS[0], linestyle="-.", linewidth=0.9,
                 zorder=0.5)  # fmt: skip
    left, right = axes.get_xlim()
    inside = abs(ceiling - floor) > 0.45 * (right - left)  # room for both names between the lines
    for name, x, colour, first in (
        ("floor", floor, "#555555", floor < ceiling),
        ("ceiling", ceiling, styles.CEILING_COLOURS[1], ceiling < floor),
    ):
        axes.text(x, 1.0, name, transform=axes.get_xaxis_transform(), fontsize=7, va="bottom",
                  ha="left" if first == inside else "right", color=colour)  # fmt: skip


def logarithmic(spec: MetricSpec, means: pd.Series) -> bool:
    """Whether an axis is logarithmic: an unbounded positive metric that spans a factor above 50."""
    positive = means[means > 0]
    return (
        spec.low == 0
        and math.isinf(spec.high)
        and len(positive) > 1
        and bool(positive.max() / positive.min() > 50)
    )


def _bars(axes: Axes, run: Run, values: pd.DataFrame, log: bool) -> None:
    looks = front.family_styles(run, [str(m) for m in values.index])
    means = values["mean"].dropna()
    shown = [math.isfinite(m) and not (log and m <= 0) for m in values["mean"].astype(float)]
    for i, (mean, there) in enumerate(zip(values["mean"].astype(float), shown, strict=True)):
        if not there:
            text = "n/a" if math.isnan(mean) else f"{mean:.3g}"
            axes.text(0.02, i, text, va="center", fontsize=7, color="#707070", zorder=5,
                      transform=axes.get_yaxis_transform(),
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip
    places, own = [i for i, there in enumerate(shown) if there], values[shown]
    colours = [looks[str(m)]["color"] for m in own.index]
    if log:
        for i, colour in zip(places, colours, strict=True):
            _errors(axes, [i], values.iloc[[i]], fmt="o", color=colour, ms=4, ecolor=colour)
    elif len(own):
        oracles = [styles.role(run, str(m)) == "oracle" for m in own.index]
        fills = ["white" if o else c for o, c in zip(oracles, colours, strict=True)]
        axes.barh(places, own["mean"].astype(float), height=0.72, color=fills, edgecolor=colours,
                  hatch=["/////" if o else "" for o in oracles],
                  linewidth=[0.8 if o else 0 for o in oracles])  # fmt: skip
        _errors(axes, places, own, fmt="none", ecolor="#222222")
    if "random" in means.index and (means["random"] > 0 or not log):
        axes.axvline(means["random"], color="#555555", linestyle="--", linewidth=0.8, zorder=0.5)
    if log:
        axes.set_xscale("log")
        styles.log_powers(axes.xaxis, between=False)
    else:
        axes.axvline(0, color="#4d4d4d", linewidth=0.7)
        axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)


def _errors(axes: Axes, places: Sequence[int], own: pd.DataFrame, **look: Any) -> None:
    """Draw means with their intervals; where there is none, the mean alone."""
    mean, low, high = (own[k].to_numpy(dtype=float) for k in ("mean", "low", "high"))
    known = ~np.isnan(low)
    ends = np.where(known, np.clip([mean - low, high - mean], 0, None), math.nan)
    axes.errorbar(mean, places, xerr=ends if known.any() else None, elinewidth=1, capsize=1.8,
                  **look)  # fmt: skip


def cost_quality(
    run: Run, lines: pd.DataFrame, *, width: float = styles.FULL_WIDTH
) -> Figure | None:
    """Plot the headline metric against the cost of one attribution in model evaluations.

    The cost is that of `igbench.report.front.costs`.  Budgets of one method are joined by a line
    and labelled once; the grey steps are the Pareto front.  A figure one column wide names IG, the
    methods of the front, oracles, controls and ceilings alone.

    Args:
        run: Definitions.
        lines: Lines of `igbench.records.stats.summarise` of one model.
        width: In inches.
    """
    metric = styles.headline(run, lines)
    wide = lines.pivot(index="method", columns="metric", values=["mean", "low", "high"])
    needed = [("mean", c) for c in (metric, "forward_rows", "backward_rows")]
    if not metric or any(column not in wide.columns for column in needed):
        return None
    everything, wide = wide, wide.dropna(subset=needed)
    if wide.empty:
        return None
    quality, cost = wide.xs(metric, axis=1, level="metric"), front.costs(lines)
    methods = styles.method_names(run, wide.index.to_series().astype(str))
    by_method = front.family_styles(run, methods)
    families = front.families(methods)
    narrow = width <= styles.COLUMN
    figure = styles.canvas(width, 2.9 if narrow else min(6.0, 3.3 + 0.05 * len(methods)))
    axes = figure.subplots()
    spots = []
    for method in methods:
        style, x = by_method[method], max(1.0, float(cost[method]))
        numbers: Any = quality.loc[method]
        mean, low, high = (float(numbers[k]) for k in ("mean", "low", "high"))
        low, high = min(mean, low), max(mean, high)  # NaN bounds become the mean
        ring = styles.role(run, method) == "oracle"  # around the point that it should match
        axes.errorbar(x, mean, yerr=[[mean - low], [high - mean]], fmt=style["marker"],
                      ms=9 if ring else 5.5, color=style["color"], elinewidth=1,
                      markerfacecolor="none" if ring else style["color"],
                      markeredgecolor=style["color"] if ring else "white",
                      markeredgewidth=0.8 if ring else 0.5)  # fmt: skip
        spots.append(Spot(x, mean, low, high, style["color"], styles.label(method)))
    axes.set_xscale("log")
    styles.log_ticks(axes.xaxis)
    axes.margins(x=0.12, y=0.1)
    points = {m: (s.x, s.y) for m, s in zip(methods, spots, strict=True)}
    for members in families.values():
        _join(axes, [points[m] for m in members], by_method[members[0]]["color"])
    best = [m for m in front.front(run, lines, metric) if m in points]
    _front(axes, [points[m] for m in best])
    _levels(axes, ends(run, lines, metric))
    free = "; 0 is drawn at 1" if (cost[methods] < 1).any() else ""
    xlabel = f"model evaluations for one attribution (a gradient is {front.GRADIENT_COST:g}{free})"
    axes.set_xlabel(textwrap.fill(xlabel, int(17 * width)))
    axes.set_ylabel(f"{styles.metric_label(metric, run.metrics[metric])} (mean, 95 % interval)")
    axes.grid()
    labelled = _labelled_once(dict(zip(methods, spots, strict=True)), families)
    if narrow:
        others = [m for m in methods if styles.role(run, m) != "method"]
        named = {"ig", *map(front.base_of, [*best, *others])}
        unnamed = [m for m in labelled if front.base_of(m) not in named and labelled[m].text]
        labelled |= {m: labelled[m]._replace(text="") for m in unnamed}
        if unnamed:
            text = f"{len(unnamed)} methods off the front are not named"
            axes.set_title(text, fontsize=7, loc="right", color="#4d4d4d")
    steps = [(points[a][0], points[b][0], points[a][1]) for a, b in pairwise(best)]
    ends_of_plot = axes.get_xlim()
    levels = [(*ends_of_plot, value) for _, value in ends(run, lines, metric) or ()]
    place_labels(axes, list(labelled.values()), steps + levels)
    styles.left_out(axes, [str(m) for m in everything.index if m not in wide.index])
    return figure


def _join(axes: Axes, points: list[tuple[float, float]], colour: str) -> None:
    x, y = zip(*sorted(points), strict=True)
    axes.plot(x, y, color=colour, linewidth=1, alpha=0.7, zorder=1.5)


def _front(axes: Axes, points: list[tuple[float, float]]) -> None:
    """The steps of the Pareto front, up to the right edge."""
    if len(points) > 1:
        x, y = zip(*points, strict=True)
        right = axes.get_xlim()[1]
        axes.plot([*x, right], [*y, y[-1]], color="#9a9a9a", linewidth=3, alpha=0.45,
                  drawstyle="steps-post", zorder=1, label="Pareto front")  # fmt: skip
        axes.set_xlim(right=right)
        axes.legend(loc="best")


def _levels(axes: Axes, between: Ends) -> None:
    """Floor and ceiling as lines with their names."""
    if between is None:
        return
    (floor_name, floor), (ceiling_name, ceiling) = between
    for y, text, dash, colour, side in (
        (floor, f"floor: {styles.label(floor_name)}", "--", "#555555", 1),
        (ceiling, f"ceiling: {styles.label(ceiling_name)}", "-.", styles.CEILING_COLOURS[1], 0),
    ):
        axes.axhline(y, color=colour, linestyle=dash, linewidth=0.8, zorder=0.5)
        axes.annotate(text, (side, y), (2 - 4 * side, 2), axes.get_yaxis_transform(),
                      "offset points", ha=("left", "right")[side], va="bottom", fontsize=7,
                      color=colour)  # fmt: skip


def _labelled_once(spots: Mapping[str, Spot], families: Mapping[str, list[str]]) -> dict[str, Spot]:
    """The points, with the name of a family at the dearest of its members alone."""
    renamed = dict(spots)
    for base, members in families.items():
        dearest = max(members, key=lambda m: spots[m].x)
        for m in members:
            text = styles.label(base) if m == dearest else ""
            renamed[m] = spots[m]._replace(text=text)
    return renamed
