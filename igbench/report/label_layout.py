"""Place labels around points greedily, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.text import Annotation

# Offsets around a point in typographic points, nearest first: right, left, above, below, corners.
_RINGS = ((6, 4), (12, 10), (20, 17), (30, 25), (42, 34), (56, 46), (72, 60), (90, 76), (110, 94))
_SIDES = (
    (1, 0, "left", "center"), (-1, 0, "right", "center"), (0, 1, "center", "bottom"),
    (0, -1, "center", "top"), (1, 1, "left", "bottom"), (1, -1, "left", "top"),
    (-1, 1, "right", "bottom"), (-1, -1, "right", "top"), (1, 0.5, "left", "bottom"),
    (1, -0.5, "left", "top"), (-1, 0.5, "right", "bottom"), (-1, -0.5, "right", "top"),
)  # fmt: skip
_SHIFT = {"left": 0.0, "center": -0.5, "right": -1.0, "bottom": 0.0, "top": -1.0}
_OUTSIDE = 2.0
"""Weight of what leaves the panel against what covers another label."""


class Spot(NamedTuple):
    """A point with a vertical interval, in data coordinates; its colour and its label."""

    x: float
    y: float
    low: float
    high: float
    colour: str
    text: str


def place_labels(
    axes: Axes, spots: Sequence[Spot], levels: Sequence[tuple[float, float, float]] = ()
) -> list[Annotation]:
    """Label points so that, if there is room, no label covers another, a marker or an interval.

    Args:
        axes: Axes with their final limits and scales; the layout is computed here.
        spots: The points to label; those without a text only take their place.
        levels: Horizontal lines to keep free: both ends and the height of each.
    """
    figure: Any = axes.figure
    figure.draw_without_rendering()
    named = sorted(s for s in spots if s.text)
    written = [np.array(t.get_window_extent().extents) for t in axes.texts if t.get_text()]
    around = [_around(axes, spot) for spot in spots]
    taken = np.array(around + written + [_along(axes, *level) for level in levels]).reshape(-1, 4)
    placed = []
    for spot in named:
        note = _note(axes, spot)
        box = _place(axes, note, spot, taken)
        taken = np.vstack([taken, box])
        placed.append(note)
    return placed


def _around(axes: Axes, spot: Spot) -> np.ndarray:
    """The marker and the interval, as one box in pixels: left, bottom, right, top."""
    ends = axes.transData.transform([(spot.x, spot.low), (spot.x, spot.high)])
    r = 3.5 * axes.figure.dpi / 72
    return np.concatenate([ends.min(axis=0) - r, ends.max(axis=0) + r])


def _along(axes: Axes, left: float, right: float, height: float) -> np.ndarray:
    """A thin box along a line, in pixels."""
    ends = axes.transData.transform([(left, height), (right, height)])
    thin = np.array([0.0, 1.5 * axes.figure.dpi / 72])
    return np.concatenate([ends.min(axis=0) - thin, ends.max(axis=0) + thin])


def _note(axes: Axes, spot: Spot) -> Annotation:
    dark = tuple(0.75 * c for c in to_rgb(spot.colour))
    note = axes.annotate(spot.text, (spot.x, spot.y), xytext=(0, 0), textcoords="offset points",
                         fontsize=7, color=dark, annotation_clip=False)  # fmt: skip
    note.set_in_layout(False)
    return note


def _candidates(at: np.ndarray, size: np.ndarray, dot: float) -> np.ndarray:
    """Boxes at all places around a pixel, nearest first."""
    places = [
        (at[0] + right * ring[0] * dot + _SHIFT[h] * size[0],
         at[1] + up * ring[1] * dot + _SHIFT[v] * size[1])
        for ring in _RINGS for right, up, h, v in _SIDES
    ]  # fmt: skip
    low = np.array(places)
    return np.hstack([low, low + size])


def _place(axes: Axes, note: Annotation, spot: Spot, taken: np.ndarray) -> np.ndarray:
    """Move a label to its best place, with a line to its point if that is far; its box."""
    extent, frame = note.get_window_extent(), axes.get_window_extent()
    dot = axes.figure.dpi / 72
    boxes = _candidates(
        axes.transData.transform((spot.x, spot.y)), np.array([extent.width, extent.height]), dot
    )
    whole = extent.width * extent.height
    inside = _overlap(boxes, np.array([frame.extents]))[:, 0]
    cost = _overlap(boxes, taken).sum(axis=1) + _OUTSIDE * (whole - inside)
    best = int(np.argmin(cost + 1e-3 * np.arange(len(boxes))))
    ring, side = divmod(best, len(_SIDES))
    right, up, horizontal, vertical = _SIDES[side]
    note.set_position((right * _RINGS[ring][0], up * _RINGS[ring][1]))
    note.set(ha=horizontal, va=vertical)
    if ring:
        axes.annotate("", (spot.x, spot.y), xytext=note.get_position(), textcoords="offset points",
                      zorder=1, arrowprops={"arrowstyle": "-", "lw": 0.5, "color": note.get_color(),
                                            "shrinkA": 0, "shrinkB": 0})  # fmt: skip
    found: np.ndarray = boxes[best]
    return found


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas that pairs of boxes share."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared: np.ndarray = np.clip(high - low, 0, None).prod(axis=2)
    return shared
