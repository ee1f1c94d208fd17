"""Place labels around points greedily, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

# Offsets around a point in typographic points, nearest first: right, left, above, below, corners.
_RINGS = ((6, 4), (12, 10), (20, 17), (30, 25), (42, 34))
_SIDES = (
    (1, 0, "left", "center"), (-1, 0, "right", "center"), (0, 1, "center", "bottom"),
    (0, -1, "center", "top"), (1, 1, "left", "bottom"), (1, -1, "left", "top"),
    (-1, 1, "right", "bottom"), (-1, -1, "right", "top"),
)  # fmt: skip


class Spot(NamedTuple):
    """A point with a vertical interval, in data coordinates; its colour and its label."""

    x: float
    y: float
    low: float
    high: float
    colour: str
    text: str


def place_labels(axes: Axes, spots: Sequence[Spot]) -> list[Annotation]:
    """Label points so that, if there is room, no label covers another, a marker or an interval.

    Args:
        axes: Axes with their final limits and scales; the layout is computed here.
        spots: The points to label; those without a text only take their place.
    """
    figure: Any = axes.figure
    figure.draw_without_rendering()
    taken = [_around(axes, spot) for spot in spots]
    placed = []
    for spot in sorted(s for s in spots if s.text):
        placed.append(_place(axes, spot, taken))
        taken.append(placed[-1].get_window_extent())
    return placed


def _around(axes: Axes, spot: Spot) -> Bbox:
    """The marker and the interval, as one box in pixels."""
    ends = axes.transData.transform([(spot.x, spot.low), (spot.x, spot.high)])
    r = 3.5 * axes.figure.dpi / 72
    return Bbox([ends.min(axis=0) - r, ends.max(axis=0) + r])


def _place(axes: Axes, spot: Spot, taken: Sequence[Bbox]) -> Annotation:
    frame, xy = axes.get_window_extent(), (spot.x, spot.y)
    dark = tuple(0.75 * c for c in to_rgb(spot.colour))
    note = axes.annotate(spot.text, xy, xytext=(0, 0), textcoords="offset points", fontsize=7,
                         color=dark, annotation_clip=False)  # fmt: skip
    note.set_in_layout(False)
    best, best_cost = (_RINGS[0], _SIDES[0]), float("inf")
    for i, place in enumerate(product(_RINGS, _SIDES)):
        _move(note, *place)
        box = note.get_window_extent()
        covered = sum(_area(Bbox.intersection(box, other)) for other in taken)
        outside = _area(box) - _area(Bbox.intersection(box, frame))
        cost = covered + outside + 1e-3 * i
        if cost < best_cost:
            best, best_cost = place, cost
    _move(note, *best)
    if best[0] not in _RINGS[:1]:
        x, y = note.get_position()
        axes.annotate("", xy, xytext=(x, y), textcoords="offset points", zorder=1,
                      arrowprops={"arrowstyle": "-", "lw": 0.5, "color": dark, "shrinkA": 0,
                                  "shrinkB": 0})  # fmt: skip
    return note


def _move(note: Annotation, ring: tuple[int, int], side: tuple[int, int, str, str]) -> None:
    right, up, horizontal, vertical = side
    note.set_position((right * ring[0], up * ring[1]))
    note.set(ha=horizontal, va=vertical)


def _area(box: Bbox | None) -> float:
    return 0.0 if box is None else box.width * box.height
