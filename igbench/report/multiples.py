"""Small multiples of curves: a panel for each method, with all other methods in grey behind."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from igbench.report import front, mosaic, styles
from igbench.report.mosaic import Place
from igbench.report.panels import Panel, band, frames, labels, linear, logarithmic
from igbench.schema import Run

SHOWN = 12
"""Methods with a panel, at most."""
CONTROLS = 2
"""Controls and ceilings among them, at most of each."""
TOGETHER = 5
"""Lines that a reader can tell apart in one panel with a legend, at most."""
_BEHIND = "#d4d4d4"
_FEW = 16
# Inches: panels, margins, and room for what stands above a panel.
_HIGH, _HEAD, _LEFT, _FOOT = 0.82, 0.2, 0.58, 0.4
_NAME_GAP, _VALUE_GAP, _LINE = 0.34, 0.22, 0.125


@dataclass(frozen=True)
class Row:
    """Curves of one metric.

    Attributes:
        title: Of the metric, with the direction.
        xlabel: What the curves run over.
        ylabel: What they measure.
        lines: Curves by method, with the columns mean, low and high; the second is dashed.
        values: What stands above a panel, by method.
        logarithmic: Whether the horizontal axis is.
        level: Height of a thin line.
    """

    title: str
    xlabel: str
    ylabel: str
    lines: Mapping[str, Sequence[pd.DataFrame]]
    values: Mapping[str, str]
    logarithmic: bool = False
    level: float | None = None


def highlighted(run: Run, lines: pd.DataFrame, methods: Sequence[str]) -> list[str]:
    """Methods that get a panel or a label where there are too many for all of them.

    Up to `SHOWN` methods all do.  Otherwise Integrated Gradients (of several budgets the best),
    two controls, two ceilings, and the best by the headline metric, one of each family of budgets
    as far as there are others, in the order of `methods`.

    Args:
        run: Definitions.
        lines: Lines of `igbench.records.stats.summarise` of one model.
        methods: What there is to show, in display order.
    """
    if len(methods) <= SHOWN:
        return list(methods)
    ranked = _ranked(run, lines, methods)
    kinds = {kind: [m for m in methods if styles.role(run, m) == kind] for kind in styles.ROLES}
    of_ig = [m for m in ranked if m == "ig" or m.removeprefix("ig_").isdigit()][:1]
    first = of_ig + kinds["control"][:CONTROLS] + kinds["ceiling"][:CONTROLS]
    proper = [m for m in ranked if styles.role(run, m) == "method"]
    leaders = {front.base_of(m): m for m in reversed(proper)}
    one_each = [m for m in proper if m in leaders.values()]
    chosen = set(list(dict.fromkeys(first + one_each + proper))[:SHOWN])
    return [m for m in methods if m in chosen]


def _ranked(run: Run, lines: pd.DataFrame, methods: Sequence[str]) -> list[str]:
    """The methods by the mean of the headline metric, best first; those without a mean last."""
    metric = styles.headline(run, lines)
    own = lines[lines["metric"] == metric].set_index("method")["mean"].astype(float)
    sign = -1 if metric and run.metrics[metric].direction == "higher" else 1
    merit = (sign * own.reindex(list(methods))).sort_values(kind="stable", na_position="last")
    return [str(m) for m in merit.index]


def said(run: Run, lines: pd.DataFrame, shown: Sequence[str], of: int) -> str:
    """Which methods are shown and which are grey; "" if all are shown."""
    if len(shown) >= of:
        return ""
    metric = styles.headline(run, lines)
    best = f"the best by {styles.metric_label(metric, run.metrics[metric])}, " if metric else ""
    return (
        f"In colour {len(shown)} of {of} methods: {best}Integrated Gradients, controls and "
        f"ceilings; the other {of - len(shown)} are grey."
    )


def figure(
    run: Run,
    rows: Sequence[Row],
    shown: Sequence[str],
    *,
    note: str = "",
    width: float = styles.FULL_WIDTH,
) -> Figure:
    """Draw a panel for each metric and method; rows of a metric share their axes.

    Args:
        run: Definitions, for the colours.
        rows: One for each metric.
        shown: Methods with panels.
        note: A sentence below.
        width: In inches.
    """
    most = 3 if width <= styles.COLUMN else 6
    blocks = -(-len(shown) // most)
    across = -(-len(shown) // blocks)
    parts = [shown[i * across : (i + 1) * across] for i in range(blocks)]
    below = _below(rows, note, width)
    gaps = [
        _VALUE_GAP if i else _NAME_GAP + _LINE * any("\n" in _name(m) for m in part)
        for part in parts
        for i in range(len(rows))
    ]
    foot = _FOOT + _LINE * (below.count("\n") + 1)
    height = _HEAD + sum(gaps) + _HIGH * len(gaps) + foot
    made, page = mosaic.page(width, height)
    wide = (width - _LEFT - 0.1) / across
    top, drawn = height - _HEAD, []
    for k, gap in enumerate(gaps):
        block, i = divmod(k, len(rows))
        top -= gap + _HIGH
        places = [Place(_LEFT + j * wide, top, 0.88 * wide, _HIGH) for j in range(across)]
        drawn += _row(run, page, places, rows[i], parts[block], named=i == 0)
    frames(page, drawn)
    for panel in drawn[-len(parts[-1]) :]:
        labels(page, panel, below=True, left=False)
        page.text(panel.place.middle[0], top - 0.2, rows[-1].xlabel, ha="center", va="top",
                  fontsize=mpl.rcParams["axes.labelsize"])  # fmt: skip
    page.text(0.08, 0.05, below, fontsize=7, color="#4d4d4d")
    return made


def _name(method: str) -> str:
    """Name of a method in one or two short lines."""
    return textwrap.fill(styles.short_label(method), 16, max_lines=2, placeholder="…")


def _below(rows: Sequence[Row], note: str, width: float) -> str:
    parts = ["Colour: the method with its 95 % band; grey: all others"]
    if any(len(lines) > 1 for row in rows for lines in row.lines.values()):
        parts.append("LIF solid, MIF dashed")
    text = "; ".join(parts) + "."
    return textwrap.fill(f"{text} {note}".strip(), int(19 * width))


def _row(
    run: Run, page: Axes, places: Sequence[Place], row: Row, own: Sequence[str], *, named: bool
) -> list[Panel]:
    """Draw the curves of a metric, with names of methods above if asked for; returns its panels."""
    lines = [line for lines in row.lines.values() for line in lines if len(line)]
    ends = [line.index.to_numpy(float)[[0, -1]] for line in lines] or [np.array([0.0, 1.0])]
    low, high = float(np.min(ends)), float(np.max(ends))
    y = linear(*_limits(np.concatenate([line["mean"] for line in lines] or [[]])), 3)
    x = logarithmic(low, high) if row.logarithmic and low > 0 else linear(low, high, 2)
    panels = [Panel(place, x, y) for place, _ in zip(places, own, strict=False)]
    behind = [panel.points(*_thinned(line)) for panel in panels for line in lines]
    page.add_artist(LineCollection(behind, colors=_BEHIND, linewidths=0.5))
    if row.level is not None:
        levels = [panel.level(row.level) for panel in panels]
        page.add_artist(LineCollection(levels, colors="#4d4d4d", linewidths=0.5, zorder=2.2))
    for panel, method in zip(panels, own, strict=True):
        _lines(page, panel, run, row.lines.get(method, ()), method)
        above = [*([_name(method)] if named else []), row.values.get(method, "n/a")]
        page.text(panel.place.middle[0], panel.place.top + 2 * mosaic.POINT,
                  "\n".join(filter(None, above)), ha="center", va="baseline",
                  fontsize=7)  # fmt: skip
    labels(page, panels[0], below=False, left=True)
    page.text(0.05, panels[0].place.middle[1], f"{row.title}\n{row.ylabel}", rotation=90,
              va="center", ha="left", multialignment="center",
              fontsize=mpl.rcParams["axes.labelsize"])  # fmt: skip
    return panels


def _thinned(line: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Points of a grey line, few enough for a small file, with both of its ends."""
    places = np.unique(np.linspace(0, len(line) - 1, min(len(line), _FEW)).round().astype(int))
    return line.index.to_numpy(float)[places], line["mean"].to_numpy(float)[places]


def _lines(page: Axes, panel: Panel, run: Run, lines: Sequence[pd.DataFrame], method: str) -> None:
    colour = front.family_styles(run, [method])[method]["color"]
    for i, line in enumerate(lines):
        x, mean, low, high = (
            line.index.to_numpy(float),
            *(line[k].to_numpy(float) for k in ("mean", "low", "high")),
        )
        band(page, panel, x, low, high, colour)
        dash: Any = (0, (2.5, 1)) if i else "-"
        page.plot(*panel.points(x, mean).T, color=colour, linewidth=1.3, linestyle=dash, zorder=3,
                  scalex=False, scaley=False)  # fmt: skip


def _limits(heights: np.ndarray) -> tuple[float, float]:
    """Let the means fill the panels; wide bands of few samples may leave them."""
    finite = heights[np.isfinite(heights)]
    low, high = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
    if not finite.size:
        return 0.0, 1.0
    margin = 0.1 * ((high - low) or 1.0)
    return low - margin, high + margin
