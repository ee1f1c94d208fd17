"""Figures of series with their attributions as coloured bands, the methods as small multiples."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from igbench.report import heatmaps, samples, styles
from igbench.report.samples import Sample
from igbench.schema import RANDOM_WEIGHTS, Run

ACROSS = 2
"""Panels side by side, at most."""
SERIES = 3
"""Series with a figure of their own, at most."""
CHANNELS = 6
"""Channels of a series in a figure, at most: those with the largest attributions."""
PALE = 0.7
"""Share of the scale of colours that bands use, so that the line can be told on all of them."""


def bands(sample: Sample, method: str) -> np.ndarray:
    """The attribution of each point, (C, T): that of its feature, divided over its points.

    So the sum over a band is the attribution of the feature; NaN where points take no part.
    """
    values = np.asarray(sample.maps[method], dtype=float)
    if not sample.groups.size:
        return values
    counts = np.bincount(sample.groups[sample.groups >= 0], minlength=len(values))
    shares = values / np.maximum(1, counts)
    found = shares[np.maximum(0, sample.groups)] if len(values) else np.zeros(sample.groups.shape)
    return np.asarray(np.where(sample.groups >= 0, found, np.nan))


def channels(sample: Sample) -> list[int]:
    """The channels that are shown, in their order: those with the largest attributions.

    Methods count alike: each is divided by its largest channel.
    """
    total = np.zeros(len(sample.series))
    for method in sample.maps:
        sizes = np.abs(np.nan_to_num(bands(sample, method))).sum(axis=1)
        total += sizes / (sizes.max(initial=0.0) or 1.0)
    return sorted(np.argsort(-total, kind="stable")[:CHANNELS].tolist())


def figure(run: Run, sample: Sample) -> Figure:
    """Draw a series once for each method, over bands in the colours of its map.

    Each channel has a strip of its own, from its smallest to its largest value; a map of all
    channels has one scale.
    """
    methods, chosen = list(sample.maps), channels(sample)
    wide = min(ACROSS, len(methods))
    high = -(-len(methods) // wide)
    made = styles.canvas(styles.FULL_WIDTH, 0.85 + high * (0.5 + max(0.75, 0.38 * len(chosen))))
    grid = made.subplots(high, wide, squeeze=False)
    panels = list(grid.flat)
    for axes in panels[len(methods) :]:
        axes.set_visible(False)
    for axes, method in zip(panels, methods, strict=False):
        _panel(axes, run, sample, method, chosen)
    left_out = len(sample.series) - len(chosen)
    more = f"; {left_out} other channels are not shown" if left_out else ""
    warning = f"\nThe model has {RANDOM_WEIGHTS}." if run.random_weights else ""
    made.suptitle(styles.plain(sample.head + more) + warning, fontsize=8.5, x=0.01, ha="left",
                  fontweight="bold")  # fmt: skip
    for axes in grid[-1]:
        axes.set_xlabel("time step", fontsize=7)
    made.supxlabel(f"{samples.RULE}.", fontsize=6.5, color="#333333")
    _bars(made, panels[: len(methods)], {samples.signed(run, m) for m in methods})
    return made


def _panel(axes: Axes, run: Run, sample: Sample, method: str, chosen: Sequence[int]) -> None:
    signed, found = samples.signed(run, method), bands(sample, method)
    top = samples.limit(found) or 1.0
    shares = np.clip(found / top, -1, 1) * PALE
    name = heatmaps.SIGNED if signed else heatmaps.UNSIGNED
    colours = mpl.colormaps[name].with_extremes(bad="#dddddd")
    places = (shares + 1) / 2 if signed else np.abs(shares)
    steps = found.shape[1]
    for strip, channel in enumerate(chosen):
        axes.imshow(np.ma.masked_invalid(places[channel][None]), cmap=colours, vmin=0, vmax=1,
                    aspect="auto", interpolation="nearest",
                    extent=(-0.5, steps - 0.5, strip + 0.96, strip + 0.04))  # fmt: skip
        own = sample.series[channel]
        finite = own[np.isfinite(own)]
        low, high = finite.min(initial=np.inf), finite.max(initial=-np.inf)
        line = strip + 0.86 - 0.72 * (own - low) / ((high - low) or 1.0)
        axes.plot(range(steps), line, color="#1a1a1a", linewidth=0.9, marker=".",
                  markersize=2.2 if steps <= 64 else 0)  # fmt: skip
    axes.set(xlim=(-0.5, steps - 0.5), ylim=(len(chosen), 0))
    texts = [range_text(sample.series[c], c, len(sample.series)) for c in chosen]
    axes.set_yticks([i + 0.5 for i in range(len(chosen))], texts, fontsize=6.5)
    axes.tick_params(axis="y", length=0)
    styles.panel_title(axes, styles.label(method))


def range_text(values: np.ndarray, channel: int, count: int) -> str:
    """The largest and the smallest value of a channel, with its number where there are several."""
    finite = values[np.isfinite(values)]
    ends = f"{finite.max():.3g}\n{finite.min():.3g}".replace("-", "−") if finite.size else "NaN"
    return f"[{channel}]  {ends}" if count > 1 else ends


def _bars(made: Figure, panels: Sequence[Axes], kinds: set[bool]) -> None:
    for signed in sorted(kinds, reverse=True):
        whole = mpl.colormaps[heatmaps.SIGNED if signed else heatmaps.UNSIGNED]
        ends = ((1 - PALE) / 2, (1 + PALE) / 2) if signed else (0.0, PALE)
        colours = mpl.colors.ListedColormap(whole(np.linspace(*ends, 128)))
        bar = made.colorbar(ScalarMappable(mpl.colors.Normalize(-1 if signed else 0, 1), colours),
                            ax=list(panels), location="bottom", aspect=70, shrink=0.55,
                            pad=0.03)  # fmt: skip
        bar.set_ticks([-1, 0, 1] if signed else [0, 1],
                      labels=["−limit: lowers the output", "0", "raises it: +limit"] if signed else
                      ["0", "limit: magnitude, no sign"])  # fmt: skip
        bar.ax.tick_params(labelsize=6.5, length=2)


def figures(run: Run, chosen: Sequence[Sample]) -> dict[str, Figure]:
    """A figure for each of the first series, by file name."""
    with styles.style():
        return {
            f"series_{i + 1}": figure(run, sample)
            for i, sample in enumerate(chosen[:SERIES])
            if sample.series.size
        }
