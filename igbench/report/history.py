"""Draw an experiment over its releases: a panel for each metric, a line for each method."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from igbench.records.history import History
from igbench.report import styles

COLOURED = 6
"""Methods in colour, at most; the others are grey."""
ACROSS = 2
"""Panels side by side."""
TICKS = 7
"""Releases that are named below a panel, at most."""

# Inches: height of a panel, gap above it, margins, room for the names of lines and of releases.
_HIGH, _HEAD, _LEFT, _NAMES, _TICKS, _LINE = 1.25, 0.42, 0.52, 0.92, 0.75, 0.125
_GREY = "#d4d4d4"
_MARK_ROOM = 10
"""Points above a panel for the names of methods that change."""
_NAME_GAP = 0.095
"""Smallest distance of two names, as a share of the height of a panel."""


def figure(history: History) -> Figure:
    """Draw the means with their 95 % bands over the releases that are shown.

    Lines join the releases of one question and one version of the metric alone.  Those of other
    questions than that of the newest release have hollow markers.  A dashed vertical line in the
    colour of a method is a change point, which lies between two releases.

    Args:
        history: What is drawn.
    """
    with styles.style():
        points = history.points[history.points["release"] >= history.shown]
        panels = list(points.groupby(["model", "metric"], sort=False))
        coloured = _coloured(history, points)
        note = _note(history, points, coloured)
        across = min(ACROSS, max(1, len(panels)))
        rows = -(-len(panels) // across)
        foot = _TICKS + _LINE * (note.count("\n") + 1) + 0.1
        width, height = styles.FULL_WIDTH, rows * (_HIGH + _HEAD) + foot
        made = styles.canvas(width, height)
        made.set_layout_engine("none")
        wide = width / across
        several = points["model"].nunique() > 1
        for i, ((model, metric), own) in enumerate(panels):
            row, column = divmod(i, across)
            bottom = height - (row + 1) * (_HIGH + _HEAD)
            axes = made.add_axes(
                ((column * wide + _LEFT) / width, bottom / height,
                 (wide - _LEFT - _NAMES) / width, _HIGH / height)
            )  # fmt: skip
            title = styles.metric_label(str(metric), history.metrics[str(metric)])
            title = f"{title}, {styles.plain(str(model))}" if several else title
            _panel(axes, history, own, coloured)
            styles.panel_title(axes, title, pad=_MARK_ROOM)
            _releases(axes, history, named=i + across >= len(panels))
        made.text(0.08 / width, 0.05 / height, note, fontsize=7, color="#4d4d4d")
        return made


def _coloured(history: History, points: pd.DataFrame) -> dict[str, Mapping[str, Any]]:
    """Styles of the methods in colour: those with a change point first, then by their order."""
    found = styles.method_styles(history.methods)
    there = dict.fromkeys(map(str, points["method"]))
    changed = [c.cell[1] for c in history.change_points if c.release >= history.shown]
    roles = {name: spec.role for name, spec in history.methods.items()}
    ordered = sorted(there, key=lambda m: styles.ROLES.index(roles.get(m, "method")))
    chosen = [m for m in dict.fromkeys([*changed, *ordered]) if m in there][:COLOURED]
    return {m: found.get(m, styles.UNKNOWN) for m in there if m in chosen}


def _panel(
    axes: Axes, history: History, points: pd.DataFrame, coloured: Mapping[str, Mapping[str, Any]]
) -> None:
    newest = _newest_lines(history, points)
    names: list[tuple[float, str, str]] = []
    for (method, number), own in points.groupby(["method", "line"], sort=False):
        name, current = str(method), number in newest
        style = coloured.get(name)
        if style is None:
            axes.plot(own["release"] + 1, own["mean"], color=_GREY, linewidth=0.8, zorder=1)
            continue
        x, colour = own["release"].to_numpy() + 1, style["color"]
        axes.fill_between(x, own["low"], own["high"], color=colour, alpha=0.12, linewidth=0)
        axes.plot(
            x, own["mean"], color=colour, marker=style["marker"], markersize=3, linewidth=1.1,
            linestyle=style["linestyle"], markerfacecolor=colour if current else "white",
            markeredgewidth=0.7, zorder=3,
        )  # fmt: skip
        means = own["mean"].dropna()
        if current and len(means):
            names.append((float(means.iloc[-1]), styles.short_label(name), colour))
    metric, model = points["metric"].iloc[0], points["model"].iloc[0]
    for one in history.change_points:
        style = coloured.get(one.cell[1])
        if style and one.cell[::2] == (model, metric) and one.release >= history.shown:
            _mark(axes, one.release + 0.5, styles.short_label(one.cell[1]), style["color"])
    axes.set_xlim(history.shown + 0.6, len(history.releases) + 0.4)
    _name_lines(axes, names)


def _mark(axes: Axes, x: float, name: str, colour: str) -> None:
    """Mark a change point, with the name of the method above the panel."""
    axes.axvline(x, color=colour, linewidth=0.9, dashes=(2, 1.5))
    axes.annotate(
        name, (x, 1), (0, 1.5), ("data", "axes fraction"), "offset points", fontsize=6,
        color=colour, ha="center", va="bottom",
    )  # fmt: skip


def _newest_lines(history: History, points: pd.DataFrame) -> set[int]:
    """The lines on which the newest release that has the metric lies."""
    question = history.releases[-1].question
    own = points[[history.releases[r].question == question for r in points["release"]]]
    return set(own.loc[own["release"] == own["release"].max(), "line"]) if len(own) else set()


def _name_lines(axes: Axes, names: Sequence[tuple[float, str, str]]) -> None:
    """Write names at the right ends of lines, moved apart where they would cover each other."""
    low, high = axes.get_ylim()
    ends = [((y - low) / ((high - low) or 1.0), text, colour) for y, text, colour in sorted(names)]
    for height, (end, text, colour) in zip(spread([e for e, *_ in ends]), ends, strict=True):
        shown = textwrap.fill(text, 17, max_lines=2, placeholder="…")
        axes.annotate(
            shown, (1, end), (1.07, height), "axes fraction", "axes fraction", color=colour,
            fontsize=6.5, va="center", linespacing=0.9,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0.5,
                        "shrinkB": 0.5},
        )  # fmt: skip


def spread(heights: Sequence[float], gap: float = _NAME_GAP) -> list[float]:
    """Ascending heights moved apart to a gap, as little as possible on the whole.

    Heights that come too near become a block around their mean.

    Args:
        heights: Ascending.
        gap: Smallest distance.

    >>> [round(h, 3) for h in spread([0.5, 0.5, 0.9], 0.1)]
    [0.45, 0.55, 0.9]
    """
    blocks: list[list[float]] = []
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _start(blocks[-1], gap) < _start(blocks[-2], gap) + gap * len(
            blocks[-2]
        ):
            last = blocks.pop()
            blocks[-1] += last
    return [_start(block, gap) + i * gap for block in blocks for i in range(len(block))]


def _start(block: Sequence[float], gap: float) -> float:
    return float(np.mean(block)) - gap * (len(block) - 1) / 2


def _releases(axes: Axes, history: History, *, named: bool) -> None:
    """Name the first release of each label, with those of its parts that are new."""
    places = range(history.shown, len(history.releases))
    starts = [
        i for i in places if i == history.shown or _label(history, i) != _label(history, i - 1)
    ]
    every = math.ceil(len(starts) / TICKS)
    shown = starts[::every]
    axes.set_xticks([i + 1 for i in shown])
    for i in starts[1:]:
        axes.axvline(i + 0.5, color="#e3e3e3", linewidth=0.6, zorder=0)
    texts = list(_texts([_label(history, i) for i in shown]))
    axes.set_xticklabels(
        [styles.plain(text).replace(", ", ",\n") for text in texts] if named else [],
        rotation=35, ha="right", rotation_mode="anchor", fontsize=6.5, linespacing=0.9,
    )  # fmt: skip
    axes.tick_params(length=2, pad=2)


def _label(history: History, place: int) -> str:
    return history.releases[place].label


def _texts(labels: Sequence[str]) -> Iterator[str]:
    """Labels without the parts that the one before has, such as the same version of a package."""
    for before, label in itertools.pairwise(["", *labels]):
        parts = [part for part in label.split(", ") if part not in before.split(", ")]
        text = ", ".join(parts) or label
        yield text if len(text) <= styles.LONGEST else f"{text[: styles.LONGEST - 1]}…"


def _note(history: History, points: pd.DataFrame, coloured: Mapping[str, object]) -> str:
    """What the marks mean, and what is not drawn in colour."""
    count = len(history.releases) - history.shown
    parts = [f"Means of {count} releases, oldest left, with 95 % bands; names: what is new."]
    if any(c.release >= history.shown for c in history.change_points):
        parts.append("Dashed: change point of the method of that colour.")
    newest = history.releases[-1].question
    apart = {
        history.releases[r].question: history.questions[history.releases[r].question]
        for r in points["release"]
        if history.releases[r].question != newest
    }
    parts += [f"Hollow, not joined: another question ({text})." for text in apart.values()]
    versions = points.groupby("metric")["line"].nunique()
    if len(versions) and versions.max() > 1 + len(apart):
        parts.append("Gaps: other versions of the metric are not joined.")
    rest = points["method"].nunique() - len(coloured)
    if rest:
        parts.append(f"Grey: {rest} further method{'s' if rest > 1 else ''}.")
    empty = [m for m, own in points.groupby("method")["n"] if not own.any()]
    if empty:
        parts.append(f"No value: {', '.join(styles.short_label(str(m)) for m in empty)}.")
    return textwrap.fill(styles.plain(" ".join(parts)), 116)
