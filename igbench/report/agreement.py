"""Agreement of the metrics: rank correlations of the orders in which they put the methods."""

from __future__ import annotations

import math
import textwrap

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

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
    shown = taus.rename(index=styles.label, columns=styles.label)
    above = np.triu(np.ones_like(taus, dtype=bool))
    texts = _texts(taus, intervals)
    label = "Kendall's τ" if intervals is None else "Kendall's τ, with its 95 % interval"
    sns.heatmap(shown.iloc[1:, :-1], mask=above[1:, :-1], vmin=-1, vmax=1, cmap="RdBu",
                annot=texts.iloc[1:, :-1].to_numpy(), fmt="", square=True, linewidths=1,
                annot_kws={"fontsize": 7 if intervals is None else 6.2},
                cbar_kws={"label": label, "shrink": 0.7}, ax=axes)  # fmt: skip
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0)
    axes.set_xticks(
        axes.get_xticks(), [styles.label(m) for m in names[:-1]], rotation=35, ha="right"
    )
    axes.tick_params(axis="y", rotation=0)
    used = counts.to_numpy()[above.T & ~np.eye(len(taus), dtype=bool)]
    span = f"{used.min()}" if used.min() == used.max() else f"{used.min()} to {used.max()}"
    styles.panel_title(axes, f"Rank agreement ({span} methods)")
    if left_out:
        text = "fewer than three methods have a value of: " + ", ".join(map(styles.label, left_out))
        figure.supxlabel(textwrap.fill(text, 60), fontsize=6.5, color="#707070")
    return figure


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
    return oriented.corr(method="kendall", min_periods=3), counts
