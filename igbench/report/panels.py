"""Panels of curves on one pair of axes in inches, which costs a tenth of axes for each of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import contiguous_regions
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.ticker import LogLocator, MaxNLocator
from matplotlib.transforms import Bbox, TransformedBbox

from igbench.report.mosaic import POINT, Place

TICK = 2 * POINT
"""Length of a tick mark."""
ROUNDING = 1e-9
"""Of places of ticks, as a share of an axis."""


@dataclass(frozen=True)
class Scale:
    """One axis of a panel.

    Attributes:
        low: Value at its start.
        high: Value at its end, larger.
        ticks: Values with marks.
        logarithmic: Whether equal lengths are equal factors.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def shares(self, values: np.ndarray) -> np.ndarray:
        """Where values stand, from 0 at the start to 1 at the end.

        >>> Scale(1.0, 100.0, (), logarithmic=True).shares(np.array([10.0, 100.0])).tolist()
        [0.5, 1.0]
        """
        ends = np.array([self.low, self.high])
        if self.logarithmic:
            ends, values = np.log10(ends), np.log10(values)
        return (np.asarray(values, float) - ends[0]) / (ends[1] - ends[0])


def linear(low: float, high: float, steps: int) -> Scale:
    """A scale with at most so many steps between ticks.

    >>> linear(-0.03, 0.88, 3)
    Scale(low=-0.03, high=0.88, ticks=(0.0, 0.4, 0.8), logarithmic=False)
    """
    if low == high:
        room = 0.05 * (abs(low) or 1.0)
        low, high = low - room, high + room
    return _marked(Scale(low, high, tuple(MaxNLocator(steps).tick_values(low, high))))


def logarithmic(low: float, high: float) -> Scale:
    """A scale with ticks at powers of ten, or at twice those where few lie between its ends.

    >>> logarithmic(1.0, 200.0).ticks, logarithmic(3.0, 30.0).ticks
    ((1.0, 10.0, 100.0), (20.0,))
    """
    if low == high:
        low, high = low / 2, high * 2
    few = math.floor(math.log10(high)) <= math.ceil(math.log10(low))
    found = LogLocator(subs=(2.0,) if few else (1.0,)).tick_values(low, high)
    return _marked(Scale(low, high, tuple(found), logarithmic=True))


def _marked(scale: Scale) -> Scale:
    """A scale with the ticks that lie on it, without the rounding of their computation."""
    ticks = np.array(scale.ticks)
    shares = scale.shares(ticks)
    inside = ticks[(shares >= -ROUNDING) & (shares <= 1 + ROUNDING)]
    inside = np.where(abs(inside) < ROUNDING * (scale.high - scale.low), 0.0, inside)
    return replace(scale, ticks=tuple(float(f"{tick:.9g}") for tick in inside))


def tick_label(value: float) -> str:
    """A tick in words, with a true minus.

    >>> tick_label(-0.5), tick_label(2.0), tick_label(1e-07)
    ('−0.5', '2', '1e−07')
    """
    return f"{value:g}".replace("-", "−")


@dataclass(frozen=True)
class Panel:
    """A place on a page with its scales.

    Attributes:
        place: Where, in inches.
        x: The horizontal scale.
        y: The vertical scale.
    """

    place: Place
    x: Scale
    y: Scale

    def points(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Points on the page (n, 2) in inches, of values on the two scales."""
        left, bottom, wide, high = self.place
        return np.column_stack([left + wide * self.x.shares(x), bottom + high * self.y.shares(y)])

    def level(self, y: float) -> np.ndarray:
        """A level line across the panel, (2, 2)."""
        return self.points(np.array([self.x.low, self.x.high]), np.array([y, y]))


def frames(page: Axes, panels: Sequence[Panel]) -> None:
    """Draw the left and lower edges of panels, and tick marks outside them.

    Args:
        page: From `igbench.report.mosaic.page`.
        panels: What stands on it.
    """
    edges, marks = [], []
    for panel in panels:
        left, bottom, wide, high = panel.place
        edges.append([(left, bottom + high), (left, bottom), (left + wide, bottom)])
        marks += [[(left, y), (left - TICK, y)] for y in bottom + high * _places(panel.y)]
        marks += [[(x, bottom), (x, bottom - TICK)] for x in left + wide * _places(panel.x)]
    look = mpl.rcParams
    for lines, colour, width, above in (
        (edges, look["axes.edgecolor"], look["axes.linewidth"], 2.5),
        (marks, look["xtick.color"], look["xtick.major.width"], 2.4),
    ):
        page.add_artist(
            LineCollection(lines, colors=colour, linewidths=width, zorder=above,
                           capstyle="projecting" if lines is edges else "butt")
        )  # fmt: skip


def labels(page: Axes, panel: Panel, *, below: bool, left: bool) -> None:
    """Write the values of ticks below a panel, and left of it.

    Args:
        page: From `igbench.report.mosaic.page`.
        panel: The panel.
        below: Whether the horizontal scale has them.
        left: Whether the vertical scale has them.
    """
    start, bottom, wide, high = panel.place
    look, gap = mpl.rcParams, TICK + 3.5 * POINT
    for tick, share in zip(panel.x.ticks, _places(panel.x), strict=True) if below else ():
        page.text(start + wide * share, bottom - gap, tick_label(tick), ha="center", va="top",
                  fontsize=look["xtick.labelsize"])  # fmt: skip
    for tick, share in zip(panel.y.ticks, _places(panel.y), strict=True) if left else ():
        page.text(start - gap, bottom + high * share, tick_label(tick), ha="right",
                  va="center_baseline", fontsize=look["ytick.labelsize"])  # fmt: skip


def band(
    page: Axes, panel: Panel, x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str
) -> None:
    """Fill the room between two curves as far as both are known and lie in the panel.

    Args:
        page: From `igbench.report.mosaic.page`.
        panel: The panel.
        x: (n,) values on its horizontal scale, ascending.
        low: (n,) values on its vertical scale.
        high: (n,) values above them.
        colour: Of the band, which is a quarter opaque.
    """
    known = np.isfinite(low) & np.isfinite(high)
    drawn = PolyCollection(list(_outlines(panel, x, low, high, known)), facecolors=colour,
                           alpha=0.25, linewidths=0, zorder=2)  # fmt: skip
    page.add_artist(drawn)
    drawn.set_clip_box(TransformedBbox(Bbox.from_bounds(*panel.place), page.transData))


def _outlines(
    panel: Panel, x: np.ndarray, low: np.ndarray, high: np.ndarray, known: np.ndarray
) -> Iterator[np.ndarray]:
    for start, end in contiguous_regions(known):
        part = slice(start, end)
        yield np.concatenate(
            [panel.points(x[part], low[part]), panel.points(x[part], high[part])[::-1]]
        )


def _places(scale: Scale) -> np.ndarray:
    return scale.shares(np.array(scale.ticks))
