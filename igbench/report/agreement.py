"""Agreement of the metrics: rank correlations of the orders in which they put the methods."""

from __future__ import annotations

import math
import textwrap
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from igbench.records.stats.agreement import taus as rank_taus
from igbench.report import styles
from igbench.schema import Run


def metric_agreement(
    run: Run, lines: pd.DataFrame, intervals: pd.DataFrame | None = None
) -> Figure | None:
    """Heatmap of Kendall's tau-b between metrics, over the means of methods, better always up.

    With the 95 % interval below each, where the lines of `igbench.records.stats.agreement` are
    given.  Without oracles and controls, on which all metrics agree; only pairs of metrics with at
    least three methods in common.  None for fewer than three metrics.
    """
    taus, counts = rank_correlations(run, lines)
    if len(taus) < 3 or not (counts.to_numpy() >= 3).any():
        return None
    left_out = [m for m in styles.metric_names(run) if _directed(run, m) and m not in taus]
    size = 1.5 + (0.46 if intervals is None else 0.54) * len(taus)
    figure = styles.canvas(size + 1.1, size)
    axes = figure.subplots()
    names = [str(m) for m in taus]
    above = np.triu(np.ones_like(taus, dtype=bool))
    texts = _texts(taus, intervals)
    label = "Kendall's τ" if intervals is None else "Kendall's τ, with its 95 % interval"
    values = np.ma.masked_invalid(np.where(above, math.nan, taus.to_numpy())[1:, :-1])
    shown = axes.pcolormesh(values, cmap="RdBu", norm=Normalize(-1, 1), edgecolors="white",
                            linewidth=1)  # fmt: skip
    _write_cells(axes, values, texts.to_numpy()[1:, :-1], 7 if intervals is None else 6.2)
    bar = figure.colorbar(shown, ax=axes, shrink=0.7, label=label)
    cast(Any, bar.outline).set_visible(False)
    places = np.arange(len(values)) + 0.5
    axes.set(aspect="equal", xlim=(0, len(values)), ylim=(len(values), 0))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks(places, [styles.label(m) for m in names[:-1]], rotation=35, ha="right")
    axes.set_yticks(places, [styles.label(m) for m in names[1:]])
    used = counts.to_numpy()[above.T & ~np.eye(len(taus), dtype=bool)]
    span = f"{used.min()}" if used.min() == used.max() else f"{used.min()} to {used.max()}"
    styles.panel_title(axes, f"Rank agreement ({span} methods)")
    if left_out:
        text = "fewer than three methods have a value of: " + ", ".join(map(styles.label, left_out))
        figure.supxlabel(textwrap.fill(text, 60), fontsize=6.5, color="#707070")
    return figure


def _write_cells(axes: Axes, values: np.ma.MaskedArray, texts: np.ndarray, size: float) -> None:
    """The text of every cell that has a value, light on dark colours."""
    for (i, j), text in np.ndenumerate(texts):
        if not np.ma.getmaskarray(values)[i, j]:
            dark = abs(values[i, j]) > 0.65
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=size,
                      color="white" if dark else "#262626")  # fmt: skip


def _texts(taus: pd.DataFrame, intervals: pd.DataFrame | None) -> pd.DataFrame:
    """What is written into the cells: tau, and its interval below."""
    texts = taus.map("{:.2f}".format)
    if intervals is None:
        return texts
    shown = intervals[intervals["a"].isin(taus.columns) & intervals["b"].isin(taus.columns)]
    for line in shown.itertuples():
        if not math.isnan(line.low):
            texts.loc[line.b, line.a] += f"\n{line.low:.2f}, {line.high:.2f}"
    return texts


def _directed(run: Run, metric: str) -> bool:
    return run.metrics[metric].direction != "none"


def rank_correlations(run: Run, lines: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Kendall's tau-b between metrics over methods, and the number of methods in each tau.

    Returns:
        Two square frames by metric; tau is NaN where fewer than three methods have both metrics.
    """
    metrics = [m for m in styles.metric_names(run) if _directed(run, m)]
    methods = [m for m in styles.method_names(run) if run.methods[m].role == "method"]
    means = lines[lines["metric"].isin(metrics)].pivot_table(
        index="method", columns="metric", values="mean", dropna=False
    )
    means = means.reindex(index=methods, columns=metrics).dropna(axis="columns", thresh=3)
    names = [str(m) for m in means]
    signs = {m: 1.0 if run.metrics[m].direction == "higher" else -1.0 for m in names}
    present = means.notna().to_numpy().astype(int)
    counts = pd.DataFrame(present.T @ present, index=means.columns, columns=means.columns)
    oriented = means * pd.Series(signs, dtype=float)
    taus = rank_taus(oriented.to_numpy(dtype=float).T)
    return pd.DataFrame(taus, index=means.columns, columns=means.columns), counts
