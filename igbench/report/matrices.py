"""Matrices of comparison: methods against methods, and methods against metrics."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from igbench.report import ranking, styles
from igbench.report.diagrams import footer, role_label
from igbench.schema import Direction, Run

FEW = 12
"""Methods whose differences are written into the cells; more have the marks alone."""
WRAPPED = 7
"""Metrics with level names at most; the names of more stand upright."""
SHORT = 6
"""Characters of a difference that fit beside the mark."""
ACROSS = 14
"""Metrics side by side; more of them are set in further rows."""
MARKS = {
    "better": ("▲", "^"), "worse": ("▼", "v"), "equivalent": ("=", "_"), "undecided": ("·", ""),
}  # fmt: skip
"""Marks of the verdicts on the row, as text and as a marker of matplotlib; "" for none."""
ORDER = ("better", "equivalent", "undecided", "worse")
OPPOSITE = {"better": "worse", "worse": "better"}
DIVERGING = "RdBu"
SEQUENTIAL = "Blues_r"
NONE = "#e6e6e6"
"""Colour behind what has no value."""


def comparison_matrix(
    run: Run, metric: str, values: pd.DataFrame, tested: pd.DataFrame
) -> Figure | None:
    """Draw the difference of every pair of methods, and who wins (after Ismail-Fawaz 2023).

    Methods by their mean, best first.  A cell compares its row with its column over the samples
    where both have a value: the mean difference row - column, its colour (blue where the row is
    better), and a mark of the verdict (Wilcoxon's signed-rank test with Holm's correction over all
    pairs).  The last column counts the verdicts.  More than 12 methods have marks and
    colours alone.

    Args:
        run: Definitions.
        metric: The metric.
        values: Its scores of one model, samples x methods, from `igbench.report.ranking.tables`.
        tested: Tests of its pairs, from `igbench.records.stats.pairwise`.

    Returns:
        None for a metric without a direction, and for fewer than two methods with values.
    """
    spec = run.metrics[metric]
    methods = by_mean(values, spec.direction)
    if spec.direction == "none" or len(methods) < 2:
        return None
    gaps, results = differences(methods, tested), verdicts(methods, tested)
    few = len(methods) <= FEW
    wide = _width(len(methods))
    figure = styles.canvas(wide, 1.75 + (0.25 if few else 0.135) * len(methods))
    axes = figure.subplots()
    merit = -gaps if spec.direction == "lower" else gaps
    limit = _limit(gaps)
    shown = axes.imshow(np.ma.masked_invalid(merit), cmap=_colours(DIVERGING),
                        norm=Normalize(-limit, limit), aspect="auto")  # fmt: skip
    if few:
        _write_cells(axes, gaps, results, limit)
    else:
        _mark_cells(axes, results, merit / limit)
        _colour_bar(figure, axes, shown, limit, spec.direction)
    _write_counts(axes, results)
    names = [role_label(run, m) for m in methods]
    _frame(axes, names, names, rotation=35 if few else 90)
    styles.panel_title(axes, styles.metric_label(metric, spec))
    lost = [m for m in map(str, values) if m not in methods]
    footer(figure, _matrix_remarks(results, len(tested), few, lost))
    return figure


def _width(methods: int) -> float:
    """Width of the matrix: one column, two, and more only where marks would touch."""
    if methods <= 4:
        return styles.COLUMN
    return max(styles.FULL_WIDTH, 2.6 + 0.09 * methods)


def _limit(gaps: np.ndarray) -> float:
    finite = np.abs(gaps[np.isfinite(gaps)])
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def _matrix_remarks(results: np.ndarray, pairs: int, few: bool, lost: Sequence[str]) -> str:
    shown = set(results.flat)
    says = {
        "better": "the row is better", "worse": "worse", "equivalent": "equivalent",
        "undecided": "no significant difference",
    }  # fmt: skip
    parts = [
        f"{MARKS[v][0] if few or MARKS[v][1] else 'no mark (·):'} {text}"
        for v, text in says.items()
        if v in shown or v in OPPOSITE
    ]
    head = "mean difference row − column; " if few else ""
    text = f"{head}{', '.join(parts)} (Wilcoxon, Holm over {pairs} "
    text += f"pair{'' if pairs == 1 else 's'}, 5 %)"
    return text + (f"; no value: {', '.join(map(styles.label, lost))}" if lost else "")


def by_mean(values: pd.DataFrame, direction: Direction) -> list[str]:
    """Methods by the mean of their values, best first, without those that have none.

    >>> by_mean(pd.DataFrame({"a": [1.0], "b": [2.0], "c": [math.nan]}), "higher")
    ['b', 'a']
    """
    means = values.mean().dropna().sort_values(ascending=direction == "lower", kind="stable")
    return [str(m) for m in means.index]


def differences(methods: Sequence[str], tested: pd.DataFrame) -> np.ndarray:
    """Mean differences row - column, (k, k); NaN on the diagonal and without common samples.

    Args:
        methods: Rows and columns.
        tested: Lines of `igbench.records.stats.pairwise`.
    """
    found = np.full((len(methods), len(methods)), math.nan)
    for i, j, line in _placed(methods, tested):
        found[i, j], found[j, i] = line["difference"], -line["difference"]
    return found


def verdicts(methods: Sequence[str], tested: pd.DataFrame) -> np.ndarray:
    """Verdicts on each row against each column, (k, k) texts; "" on the diagonal and untested.

    Args:
        methods: Rows and columns.
        tested: Lines of `igbench.records.stats.pairwise`.

    >>> lines = [("a", "b", 4, "worse")]
    >>> tested = pd.DataFrame(lines, columns=["a", "b", "n", "verdict"])
    >>> verdicts(["a", "b"], tested).tolist()
    [['', 'worse'], ['better', '']]
    """
    found = np.full((len(methods), len(methods)), "", dtype=object)
    for i, j, line in _placed(methods, tested):
        if line["n"]:
            found[i, j] = line["verdict"]
            found[j, i] = OPPOSITE.get(line["verdict"], line["verdict"])
    return found


def _placed(
    methods: Sequence[str], tested: pd.DataFrame
) -> Iterator[tuple[int, int, dict[Any, Any]]]:
    """Lines of the tests with the places of both methods."""
    place = {m: i for i, m in enumerate(methods)}
    for line in tested.to_dict("records"):
        if line["a"] in place and line["b"] in place:
            yield place[line["a"]], place[line["b"]], line


def _write_cells(axes: Axes, gaps: np.ndarray, results: np.ndarray, limit: float) -> None:
    """The mark and the difference of every pair, in two lines where numbers are long."""
    digits = _digits(gaps)
    cells = {(i, j): _signed(gap, digits) for (i, j), gap in np.ndenumerate(gaps) if i != j}
    between = " " if max(map(len, cells.values())) <= SHORT else "\n"
    for (i, j), number in cells.items():
        mark = MARKS[str(results[i, j])][0] if results[i, j] else ""
        text = f"{mark}{between}{number}".strip()
        _cell_text(axes, j, i, text, dark=bool(abs(gaps[i, j]) > 0.6 * limit))


def _signed(gap: float, digits: int) -> str:
    """A difference with its sign, in powers of ten where it is long.

    >>> _signed(-0.25, 2), _signed(0.0, 2), _signed(1234567.0, 1), _signed(math.nan, 1)
    ('−0.25', '0.00', '+1.2e+06', 'n/a')
    """
    if math.isnan(gap):
        return "n/a"
    text = f"{gap:+.{digits}f}"
    if len(text) > 8:
        text = f"{gap:+.1e}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _cell_text(axes: Axes, x: int, y: int, text: str, *, dark: bool) -> None:
    axes.text(x, y, text, ha="center", va="center", fontsize=6.5, in_layout=False,
              color="white" if dark else "#222222")  # fmt: skip


def _mark_cells(axes: Axes, results: np.ndarray, merit: np.ndarray) -> None:
    """The marks of the verdicts as markers, which cost a thousandth of texts."""
    dark = np.abs(merit) > 0.6
    for verdict, (_, marker) in MARKS.items():
        for own, colour in ((dark, "white"), (~dark, "#222222")):
            y, x = np.nonzero((results == verdict) & own)
            if marker and len(x):
                axes.scatter(x, y, s=7, marker=marker, color=colour, linewidths=0.6)


def _colour_bar(
    figure: Figure, axes: Axes, shown: AxesImage, limit: float, direction: Direction
) -> None:
    bar = figure.colorbar(shown, ax=axes, shrink=0.5, aspect=22, pad=0.01)
    worse, better = ("+", "−") if direction == "lower" else ("−", "+")
    words = [f"{worse}{limit:.2g}\nrow worse", "0", f"{better}{limit:.2g}\nrow better"]
    bar.set_ticks([-limit, 0, limit], labels=words)
    bar.ax.tick_params(labelsize=6.5, length=2)
    cast(Any, bar.outline).set(linewidth=0.4)


def _digits(gaps: np.ndarray) -> int:
    """Decimals with which most differences have two digits, from 0 to 4."""
    sizes = np.abs(gaps[np.isfinite(gaps) & (gaps != 0)])
    typical = float(np.median(sizes)) if sizes.size else 0.01
    return min(4, max(0, 1 - math.floor(math.log10(typical))))


def _write_counts(axes: Axes, results: np.ndarray) -> None:
    """How often each row has each verdict, at its right, under the marks of the verdicts."""
    k = len(results)
    counted = [v for v in ORDER if v in OPPOSITE or (results == v).any()]
    places = [(k - 0.35, -0.65, "/".join(MARKS[v][0] for v in counted), "bottom")]
    for i, row in enumerate(results):
        counts = "/".join(str((row == v).sum()) for v in counted)
        places.append((k - 0.35, i, counts, "center"))
    for x, y, text, align in places:
        axes.text(x, y, text, va=align, fontsize=6.5)


def _colours(name: str) -> Any:
    return mpl.colormaps[name].with_extremes(bad=NONE)


def _frame(axes: Axes, rows: Sequence[str], columns: Sequence[str], *, rotation: int) -> None:
    """Names at the left and below, no ticks, thin white lines between cells."""
    axes.set_yticks(range(len(rows)), rows, fontsize=6.8)
    axes.set_xticks(range(len(columns)), columns, fontsize=6.8, rotation=rotation)
    if 0 < rotation < 90:
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.8 if len(rows) <= FEW else 0.3)
    axes.tick_params(which="both", length=0)


def rank_heatmap(run: Run, values: ranking.Values, metric: str) -> Figure | None:
    """Draw the mean rank of every method by every metric that has a direction.

    Mean of the ranks on the samples, as in the critical-difference diagram, not the rank of the
    mean.  Colours run from the first to the last rank of a metric, whose number of ranked methods
    stands under its name, since a metric may leave methods out.  Cells without a rank are grey.

    Args:
        run: Definitions.
        values: Scores of one model by metric, from `igbench.report.ranking.tables`.
        metric: The metric by which the rows are ordered, within their roles.

    Returns:
        None for fewer than two metrics with ranks of two methods.
    """
    found = {
        m: ranking.mean_ranks(table, run.metrics[m])
        for m, table in values.items()
        if run.metrics[m].direction != "none"
    }
    if sum(len(r.mean) > 1 for r in found.values()) < 2:
        return None
    means = pd.DataFrame({m: r.mean for m, r in found.items()})
    methods = _row_order(run, means, metric)
    parts = [list(found)[i : i + ACROSS] for i in range(0, len(found), ACROSS)]
    wide = styles.COLUMN if len(found) <= 4 else styles.FULL_WIDTH
    tall = (
        0.5 if len(parts[0]) <= WRAPPED else 0.25 + 0.07 * max(map(len, map(styles.label, found)))
    )
    figure = styles.canvas(wide, 0.45 + len(parts) * (tall + 0.155 * len(methods)))
    panels = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    for axes, part in zip(panels, parts, strict=True):
        _rank_panel(axes, means.reindex(index=methods, columns=part))
        flat = len(part) <= WRAPPED
        heads = [_head(run, m, len(found[m].mean), flat) for m in part]
        _frame(axes, [role_label(run, m) for m in methods], heads, rotation=0 if flat else 90)
        axes.tick_params(axis="x", labelbottom=False, labeltop=True)
    footer(figure, _rank_remarks(found))
    return figure


def _row_order(run: Run, means: pd.DataFrame, metric: str) -> list[str]:
    """Methods, oracles, controls and ceilings, each by their rank, those without one last."""
    first = means[metric] if metric in means else pd.Series(dtype=float)
    ordered = styles.method_names(run, means.index.to_series().astype(str))
    own = {m: float(first.get(m, math.inf)) for m in ordered}
    return sorted(
        ordered,
        key=lambda m: (styles.ROLES.index(styles.role(run, m)),
                       math.inf if math.isnan(own[m]) else own[m]),
    )  # fmt: skip


def _head(run: Run, metric: str, count: int, flat: bool) -> str:
    name = styles.metric_label(metric, run.metrics[metric])
    if flat:  # the arrow is never on a line alone
        name = textwrap.fill(name.replace(" ↑", "\xa0↑").replace(" ↓", "\xa0↓"), 15,
                             break_on_hyphens=False).replace("\xa0", " ")  # fmt: skip
    return f"{name}\nof {count}"


def _rank_panel(axes: Axes, means: pd.DataFrame) -> None:
    counts = means.notna().sum().to_numpy()
    place = (means.to_numpy() - 1) / np.maximum(counts - 1, 1)
    axes.imshow(np.ma.masked_invalid(place), cmap=_colours(SEQUENTIAL), aspect="auto",
                norm=Normalize(-0.15, 1.15))  # fmt: skip
    for (i, j), rank in np.ndenumerate(means.to_numpy()):
        text = "n/a" if math.isnan(rank) else f"{rank:.1f}"
        _cell_text(axes, j, i, text, dark=place[i, j] < 0.4)


def _rank_remarks(found: Mapping[str, ranking.Ranks]) -> str:
    """The number of samples, and where some have no value."""
    counts = sorted(r.n for r in found.values())
    span = f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    of = max(r.of for r in found.values())
    text = "mean rank, 1 is best; dark is better; over "
    text += (
        f"{span} samples"
        if counts[0] == of
        else (f"{span} of {of} samples, those with a value of all ranked methods")
    )
    parts = [text]
    if any(r.left_out for r in found.values()):
        parts.append("n/a: a value on fewer than half of the samples, or not scored")
    return "; ".join(parts)
