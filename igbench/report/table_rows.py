"""Figures of attributions of tables: single rows, and all rows that a run has kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from igbench.report import samples, styles
from igbench.report.samples import Sample
from igbench.schema import RANDOM_WEIGHTS, Run

COLUMNS = 12
"""Columns of a table in a figure, at most; the others are added up."""
ACROSS = 3
"""Panels side by side, at most."""
ROWS = 2
"""Rows of a table with figures of their own, at most."""
LEAST = 3
"""Rows from which on a figure of all rows says something."""
RAISES, LOWERS, MAGNITUDE = "#b2182b", "#2166ac", "#6a51a3"
"""Bars: the colours of maps of images at three quarters of their limit."""
VALUES = "viridis"
"""Colours of values of features, which grow brighter in grey too and are never grey."""


@dataclass(frozen=True)
class Rows:
    """Rows of a table with the same columns.

    Attributes:
        run: Definitions of the methods.
        names: G names of columns.
        values: Their values, R rows of G; none where the run has none.
        maps: Method to (R, G), NaN where a row has no map.
        order: Positions of the columns that are shown, the most important first.
    """

    run: Run
    names: tuple[str, ...]
    values: tuple[tuple[float | str, ...], ...]
    maps: Mapping[str, np.ndarray]
    order: tuple[int, ...]

    @property
    def rest(self) -> list[int]:
        """Positions of the columns that are added up."""
        return [i for i in range(len(self.names)) if i not in self.order]


def rows(run: Run, chosen: Sequence[Sample]) -> Rows:
    """Rows as arrays, with columns sorted by the mean of |a| over rows and methods.

    Methods count alike: each is divided by its largest mean.  Controls do not count, unless there
    is nothing else.
    """
    names = chosen[0].names
    methods = [m for m in styles.method_names(run) if any(m in s.maps for s in chosen)]
    missing = np.full(len(names), np.nan)
    maps = {m: np.array([s.maps.get(m, missing) for s in chosen], dtype=float) for m in methods}
    telling = [m for m in maps if styles.role(run, m) != "control"] or list(maps)
    score = np.sum([_relative(importance(maps[m])) for m in telling], axis=0)
    order = sorted(range(len(names)), key=lambda i: -score[i])
    most = COLUMNS if len(names) > COLUMNS + 1 else len(names)
    values = tuple(s.values for s in chosen)
    return Rows(run, names, values if all(values) else (), maps, tuple(order[:most]))


def importance(maps: np.ndarray) -> np.ndarray:
    """Mean of |a| over rows, (R, G) to (G,); rows without a map do not count.

    >>> importance(np.array([[1.0, -2.0], [-3.0, 0.0], [np.nan, np.nan]]))
    array([2., 1.])
    """
    finite = np.isfinite(maps)
    counts = np.maximum(1, finite.sum(axis=0))
    return np.asarray(np.where(finite, np.abs(maps), 0.0).sum(axis=0) / counts)


def _relative(sizes: np.ndarray) -> np.ndarray:
    return sizes / (sizes.max(initial=0.0) or 1.0)


def name_value(name: str, value: float | str | None) -> str:
    """A column with its value, as it stands beside a bar.

    >>> name_value("age", 39.0), name_value("income", 1234.5678), name_value("job", None)
    ('age = 39', 'income = 1235', 'job')
    """
    shown = _short(samples.visible(name), 28)
    if value is None:
        return shown
    return f"{shown} = {_short(value, 18) if isinstance(value, str) else f'{value:.4g}'}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


# -- panels ----------------------------------------------------------------------------------


def _panels(
    count: int, lines: int, labels: Sequence[str], *, extra: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure with panels that share their columns, whose names stand at the left of each row."""
    wide = min(ACROSS, count)
    high = -(-count // wide)
    figure = styles.canvas(styles.FULL_WIDTH, 0.45 + extra + high * (0.55 + 0.175 * lines))
    grid = figure.subplots(high, wide, squeeze=False, sharey=True)
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[:count]:
        axes.set_yticks(range(lines))
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.grid(axis="x")
        axes.set_ylim(lines - 0.4, -0.6)
    for axes in grid[:, 0]:
        axes.set_yticks(range(lines), [styles.plain(text) for text in labels])
    return figure, panels[:count]


def _title(figure: Figure, run: Run, text: str) -> None:
    warning = f"\nThe model has {RANDOM_WEIGHTS}." if run.random_weights else ""
    figure.suptitle(styles.plain(text) + warning, fontsize=8.5, x=0.01, ha="left",
                    fontweight="bold")  # fmt: skip


def _method_title(axes: Axes, run: Run, method: str) -> None:
    role = styles.role(run, method)
    text = styles.label(method) if role == "method" else f"{styles.label(method)} ({role})"
    styles.panel_title(axes, text)


# -- one row ---------------------------------------------------------------------------------


def bars(own: Rows, row: int, title: str) -> Figure:
    """Bars of the attributions of one row, a panel for each method."""
    labels = line_labels(own, row)
    figure, panels = _panels(len(own.maps), len(labels), labels, extra=0.2)
    for axes, (method, maps) in zip(panels, own.maps.items(), strict=True):
        values = with_rest(own, maps[row])
        signed = samples.signed(own.run, method)
        axes.barh(range(len(values)), np.nan_to_num(values), height=0.72, linewidth=0.5,
                  color=[_bar_colour(v, signed) for v in values], edgecolor="#222222",
                  hatch=["" if v >= 0 or not signed else "////" for v in values])  # fmt: skip
        axes.axvline(0, color="#4d4d4d", linewidth=0.7)
        _method_title(axes, own.run, method)
        if not np.isfinite(maps[row]).any():
            _no_map(axes)
    _title(figure, own.run, title)
    figure.supxlabel("attribution, each panel on its own axis; hatched: lowers the output, "
                     "violet: magnitude without sign",
                     fontsize=7, color="#4d4d4d")  # fmt: skip
    return figure


def _bar_colour(value: float, signed: bool) -> str:
    return MAGNITUDE if not signed else RAISES if value >= 0 else LOWERS


def line_labels(own: Rows, row: int) -> list[str]:
    """The columns that are shown with their values in one row, and how many others there are."""
    values = own.values[row] if own.values else (None,) * len(own.names)
    found = [name_value(own.names[i], values[i]) for i in own.order]
    return found + ([f"{len(own.rest)} other columns"] if own.rest else [])


def with_rest(own: Rows, values: np.ndarray) -> np.ndarray:
    """The attributions of the columns that are shown, and the sum of the others."""
    shown = values[list(own.order)]
    return np.append(shown, values[own.rest].sum()) if own.rest else shown


def _no_map(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no map", transform=axes.transAxes, ha="center", va="center",
              fontsize=7, color="#707070")  # fmt: skip


def waterfall(own: Rows, row: int, title: str, output: float | None) -> Figure | None:
    """Steps from f(x) - sum of a to f(x), column by column; None if no method allows it.

    Only for signed global maps, whose entries are contributions; the start is f(x') where a map is
    complete.  The most important columns stand at the top, as in the plots of shap.
    """
    methods = {m: a for m, a in own.maps.items() if _adds_up(own.run, m, a[row])}
    if not methods or output is None:
        return None
    labels = line_labels(own, row)
    figure, panels = _panels(len(methods), len(labels), labels, extra=0.2)
    for axes, (method, maps) in zip(panels, methods.items(), strict=True):
        values = with_rest(own, maps[row])
        _steps(axes, values, output)
        _method_title(axes, own.run, method)
    _title(figure, own.run, title)
    figure.supxlabel("output; dotted: f(x) − sum of the attributions, line: f(x); hatched: lowers",
                     fontsize=7, color="#4d4d4d")  # fmt: skip
    return figure


def _adds_up(run: Run, method: str, values: np.ndarray) -> bool:
    spec = run.methods.get(method)
    fits = spec is not None and spec.kind == "global" and spec.signed and spec.role != "control"
    return fits and bool(np.isfinite(values).all())


def _steps(axes: Axes, values: np.ndarray, output: float) -> None:
    """Steps from the bottom, where all columns are missing, to the output at the top."""
    ends = output - np.concatenate([[0.0], np.cumsum(values)])  # before and after each, top down
    start = ends[-1]
    for i, value in enumerate(values):
        low, colour = min(ends[i], ends[i + 1]), RAISES if value >= 0 else LOWERS
        axes.barh(i, abs(value), left=low, height=0.66, color=colour, edgecolor="#222222",
                  linewidth=0.5, hatch="" if value >= 0 else "////")  # fmt: skip
        if i:
            axes.plot([ends[i]] * 2, [i - 1, i], color="#707070", linewidth=0.6)
    axes.axvline(output, color="#222222", linewidth=0.8, zorder=0.5)
    axes.axvline(start, color="#222222", linewidth=0.8, linestyle=":", zorder=0.5)
    low, high = float(ends.min()), float(ends.max())
    room = 0.06 * ((high - low) or 1.0)
    axes.set_xlim(low - room, high + room)
    shown = [0.0 if abs(v) < 1e-4 * (high - low) else v for v in (start, output)]
    axes.set_xlabel(f"{shown[0]:.3g} → {shown[1]:.3g}".replace("-", "−"), fontsize=7)


# -- all rows --------------------------------------------------------------------------------


def mean_bars(own: Rows) -> Figure:
    """Bars of the mean of |a| over the rows, a panel for each method."""
    labels = _names(own)
    figure, panels = _panels(len(own.maps), len(labels), labels, extra=0.2)
    for axes, (method, maps) in zip(panels, own.maps.items(), strict=True):
        sizes = importance(maps)
        shown = with_rest(own, sizes)
        axes.barh(range(len(shown)), shown, height=0.72, color="#4d4d4d")
        _method_title(axes, own.run, method)
    count = len(next(iter(own.maps.values())))
    _title(figure, own.run, f"Mean of |attribution| over {count} rows")
    return figure


def _names(own: Rows) -> list[str]:
    found = [name_value(own.names[i], None) for i in own.order]
    return found + ([f"{len(own.rest)} other columns"] if own.rest else [])


def beeswarm(own: Rows) -> Figure:
    """A point for each row in each column: its attribution, coloured by the value of the column."""
    columns, labels = list(own.order), _names(own)[: len(own.order)]
    figure, panels = _panels(len(own.maps), len(columns), labels, extra=0.55)
    for axes, (method, maps) in zip(panels, own.maps.items(), strict=True):
        for place, column in enumerate(columns):
            _swarm(axes, place, maps[:, column], ranks([v[column] for v in own.values]))
        axes.axvline(0, color="#4d4d4d", linewidth=0.7, zorder=0.5)
        _method_title(axes, own.run, method)
    count = len(next(iter(own.maps.values())))
    _title(figure, own.run, f"Attributions of {count} rows, one point each")
    if own.values:
        bar = figure.colorbar(ScalarMappable(mpl.colors.Normalize(0, 1), VALUES), ax=panels,
                              location="bottom", aspect=60, shrink=0.6, pad=0.02)  # fmt: skip
        bar.set_ticks([0, 1], labels=["low value of the column", "high"])
        bar.ax.tick_params(labelsize=6.5, length=2)
        if any(isinstance(v, str) for line in own.values for v in line):
            bar.set_label("grey: the value is no number", fontsize=6.5)
    return figure


def ranks(values: Sequence[float | str]) -> np.ndarray:
    """Ranks of values within their column, 0 to 1 and equal for equals; NaN for what is no number.

    >>> ranks([30.0, "x", 10.0, 20.0]), ranks([5.0, 5.0])
    (array([1. , nan, 0. , 0.5]), array([0.5, 0.5]))
    """
    numbers = np.array([v if isinstance(v, float | int) else math.nan for v in values], dtype=float)
    known = np.unique(numbers[np.isfinite(numbers)])
    if not len(known):
        return np.full(len(numbers), np.nan)
    placed = np.searchsorted(known, numbers).astype(float)
    placed = placed / (len(known) - 1) if len(known) > 1 else placed + 0.5
    return np.where(np.isfinite(numbers), placed, np.nan)


def _swarm(axes: Axes, place: int, values: np.ndarray, colours: np.ndarray) -> None:
    """The points of a column, spread where they would lie on one another."""
    ok = np.isfinite(values)
    if not ok.any():
        return
    y = place + spread(values[ok])
    shades = np.full((ok.sum(), 4), mpl.colors.to_rgba("#8a8a8a"))
    if len(colours):
        own = colours[ok]
        known = np.isfinite(own)
        shades[known] = mpl.colormaps[VALUES](own[known])
    axes.scatter(values[ok], y, s=7, c=shades, linewidths=0.2, edgecolors="#333333",
                 rasterized=True, zorder=2)  # fmt: skip


def spread(values: np.ndarray, *, cells: int = 60, height: float = 0.38) -> np.ndarray:
    """Offsets of points across their line, so that equal values lie side by side.

    >>> spread(np.array([0.0, 5.0, 5.0, 5.0])).round(2).tolist()
    [0.0, 0.0, 0.08, -0.08]
    """
    low, high = values.min(), values.max()
    cell = np.floor((values - low) / ((high - low) or 1.0) * (cells - 1)).astype(int)
    layer = np.zeros(len(values))
    for one in np.unique(cell):
        inside = np.flatnonzero(cell == one)
        steps = np.arange(len(inside))
        layer[inside] = np.where(steps % 2, 1, -1) * ((steps + 1) // 2)
    step = min(0.08, height / max(1.0, np.abs(layer).max()))
    return np.asarray(layer * step + 0.0)


# -- figures ---------------------------------------------------------------------------------


def figures(run: Run, chosen: Sequence[Sample]) -> dict[str, Figure]:
    """All figures of the rows of a table, by file name.

    Rows with other columns than the first are no part of figures of all rows.
    """
    made: dict[str, Figure] = {}
    alike = [s for s in chosen if s.names == chosen[0].names]
    with styles.style():
        whole = rows(run, alike)
        if len(alike) >= LEAST:
            made["table_importance"] = mean_bars(whole)
            made["table_beeswarm"] = beeswarm(whole)
        for i, sample in enumerate(chosen[:ROWS]):
            own = rows(run, [sample])
            steps = waterfall(own, 0, sample.head, sample.output)
            if steps is not None:
                made[f"table_waterfall_{i + 1}"] = steps
            made[f"table_bars_{i + 1}"] = bars(own, 0, sample.head)
    return made
