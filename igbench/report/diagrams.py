"""Critical-difference diagram: mean ranks of the methods, and which of them do not differ."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from igbench.report import ranking, styles
from igbench.schema import Run

NARROW = 8
"""Columns of bars that fit beside the ranks in one column of a page."""
MOST = 40
"""Columns of bars at most; more are not drawn, and the figure says so."""

ROLE_MARKS: Mapping[str, Mapping[str, Any]] = {
    "method": {"marker": "o", "markerfacecolor": "#0173b2", "markeredgecolor": "#0173b2"},
    "oracle": {"marker": "o", "markerfacecolor": "white", "markeredgecolor": "#1a1a1a"},
    "control": {"marker": "s", "markerfacecolor": "white", "markeredgecolor": "#707070"},
    "ceiling": {"marker": "D", "markerfacecolor": "#b8860b", "markeredgecolor": "#8a6d1f"},
}
"""Marks of the roles of methods, which differ in shape or filling, not by colour alone."""


def critical_difference(
    run: Run, metric: str, values: pd.DataFrame, tested: pd.DataFrame
) -> Figure | None:
    """Draw mean ranks and the groups of methods that do not differ (after Demšar 2006).

    A row for each method, best first, with its mean rank over samples.  Each upright bar joins
    the methods of which no two differ significantly by Wilcoxon's signed-rank test with Holm's
    correction over all pairs, in place of Nemenyi's distance of mean ranks, whose verdict on two
    methods depends on the others (Benavoli, Corani and Mangili 2016).  Where a bar passes a method
    that it does not join, it is thin.

    Args:
        run: Definitions.
        metric: The metric.
        values: Its scores of one model, samples x methods, from `igbench.report.ranking.tables`.
        tested: Tests of its pairs, from `igbench.records.stats.pairwise`.

    Returns:
        None for a metric without a direction, and for fewer than two methods with ranks.
    """
    spec = run.metrics[metric]
    found = ranking.mean_ranks(values, spec)
    if spec.direction == "none" or len(found.mean) < 2:
        return None
    methods = [str(m) for m in found.mean.index]
    columns = packed(ranking.groups(methods, tested))
    drawn = columns if len(columns) <= MOST else []
    wide = styles.COLUMN if len(drawn) <= NARROW else styles.FULL_WIDTH
    figure = styles.canvas(wide, 1.15 + 0.145 * len(methods))
    share = max(0.5, 0.065 * len(drawn) + 0.1)
    left, right = figure.subplots(
        1, 2, sharey=True, width_ratios=(wide - 1.35 - share, share), squeeze=False
    )[0]
    _ranks(left, run, found.mean)
    _bars(right, drawn)
    left.set_ylim(len(methods) - 0.4, -0.6)
    styles.panel_title(left, styles.metric_label(metric, spec))
    right.set_title("no significant\ndifference" if drawn else "", fontsize=6.8, loc="right")
    footer(figure, _remarks(found, len(tested), len(columns)))
    return figure


def packed(groups: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
    """Put groups into as few columns as hold them without overlaps, the first at the left.

    >>> packed([[0, 1], [1, 2], [3, 4]])
    [[[0, 1], [3, 4]], [[1, 2]]]
    """
    columns: list[list[Sequence[int]]] = []
    for group in groups:
        free = (c for c in columns if c[-1][-1] < group[0])
        column = next(free, None)
        if column is None:
            columns.append([group])
        else:
            column.append(group)
    return columns


def role_label(run: Run, method: str) -> str:
    """Display name of a method, with its role where that is another than "method"."""
    kind = styles.role(run, method)
    return styles.short_label(method) + ("" if kind == "method" else f" ({kind})")


def footer(figure: Figure, text: str) -> None:
    """Write what a reader has to know of the data under a figure, in lines that fit its width."""
    width = int(18 * figure.get_size_inches()[0])
    figure.supxlabel(textwrap.fill(text, width), x=0.01, ha="left", fontsize=6.5, color="#4d4d4d")


def _ranks(axes: Axes, run: Run, mean: pd.Series) -> None:
    methods = [str(m) for m in mean.index]
    for i, (method, rank) in enumerate(zip(methods, mean, strict=True)):
        axes.plot([0, rank], [i, i], color="#d9d9d9", linewidth=0.7, zorder=1)
        axes.plot(rank, i, markersize=4, markeredgewidth=0.9, linestyle="none",
                  **ROLE_MARKS[styles.role(run, method)])  # fmt: skip
        axes.annotate(f"{rank:.{_digits(mean)}f}", (rank, i), (4, 0), textcoords="offset points",
                      va="center", fontsize=6.5, color="#333333")  # fmt: skip
    axes.set_yticks(range(len(methods)), [role_label(run, m) for m in methods], fontsize=6.8)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0.5, len(methods) + 0.15 * (len(methods) + 1))  # room for the last number
    step = max(1, round(len(methods) / 4))
    axes.set_xticks(range(1, len(methods) + 1, step))
    axes.tick_params(axis="x", labelsize=6.8)
    axes.set_xlabel("mean rank, 1 is best", fontsize=7)


def _digits(mean: pd.Series) -> int:
    return 1 if len(mean) > 9 else 2


def _bars(axes: Axes, columns: Sequence[Sequence[Sequence[int]]]) -> None:
    """An upright bar for each group, thin where it passes others."""
    for x, column in enumerate(columns):
        for group in column:
            for above, below in pairwise(group):
                near = below - above == 1
                axes.plot([x, x], [above, below], color="#222222" if near else "#8c8c8c",
                          linewidth=2 if near else 0.6, solid_capstyle="butt")  # fmt: skip
            axes.plot([x] * len(group), group, color="#222222", marker="o", markersize=2.6,
                      linestyle="none")  # fmt: skip
    axes.set_xlim(-0.7, max(len(columns), 4) - 0.3)
    axes.set_axis_off()


def _remarks(found: ranking.Ranks, pairs: int, columns: int) -> str:
    """What was tested, and what is not drawn."""
    of = "" if found.n == found.of else f" of {found.of}"
    said = f"{found.n}{of} sample{'' if found.n == 1 and not of else 's'} in the ranks"
    if not math.isnan(found.friedman):
        said += f"; Friedman {p_text(found.friedman)}"
    said += f"; Wilcoxon, Holm over {pairs} pair{'' if pairs == 1 else 's'}, 5 %"
    if columns > MOST:
        said += f"; {columns} bars would not fit and are not drawn"
    if found.left_out:
        names = ", ".join(map(styles.label, found.left_out))
        said += f"; not ranked, value on fewer than half of the samples: {names}"
    return said


def p_text(p: float) -> str:
    """Format a p-value.

    >>> p_text(0.0312), p_text(0.00001), p_text(1.0)
    ('p = 0.031', 'p < 0.001', 'p = 1')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
