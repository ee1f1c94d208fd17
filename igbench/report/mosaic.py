"""Many pictures on one pair of axes in inches, which costs a tenth of axes for each of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from igbench.report import styles

POINT = 1 / 72
"""A typographic point in inches."""
LINE = 1.25
"""Height of a line of text, in the size of its font."""


class Place(NamedTuple):
    """A rectangle on a page, in inches from its lower left corner."""

    left: float
    bottom: float
    width: float
    height: float

    @property
    def top(self) -> float:
        """Upper edge."""
        return self.bottom + self.height

    @property
    def middle(self) -> tuple[float, float]:
        """Centre."""
        return self.left + self.width / 2, self.bottom + self.height / 2

    def holding(self, shape: tuple[int, ...]) -> Place:
        """The largest rectangle of this shape (H, W) within, at its centre.

        >>> Place(0, 0, 2, 2).holding((1, 2))
        Place(left=0.0, bottom=0.5, width=2.0, height=1.0)
        """
        scale = min(self.width / shape[1], self.height / shape[0])
        wide, high = scale * shape[1], scale * shape[0]
        x, y = self.middle
        return Place(x - wide / 2, y - high / 2, wide, high)


def page(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure in inches, and the axes that cover it, without layout, ticks and frame."""
    figure = styles.canvas(width, height)
    figure.set_layout_engine("none")
    figure.suppressComposite = True  # pictures stay apart within PDF files
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def show(axes: Axes, place: Place, rgb: np.ndarray, note: str = "") -> None:
    """Show a picture in a place, with a thin frame and a remark on it.

    Args:
        axes: From `page`.
        place: Where; a picture of another shape stands in its middle.
        rgb: (H, W, 3) in [0, 1].
        note: The remark; "" for none.
    """
    left, bottom, width, height = own = place.holding(rgb.shape)
    axes.imshow(
        np.rint(255 * rgb).astype(np.uint8), extent=(left, left + width, bottom, own.top),
        aspect="auto", interpolation="antialiased",
    )  # fmt: skip
    axes.add_artist(
        Rectangle((left, bottom), width, height, fill=False, edgecolor="#d5d5d5", linewidth=0.4)
    )  # add_patch would look for new limits of the axes
    if note:
        axes.text(*own.middle, note, ha="center", va="center", fontsize=7,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85,
                        "pad": 1.5})  # fmt: skip


def name(axes: Axes, place: Place, text: str, size: float) -> None:
    """Write a name above a place."""
    axes.text(place.middle[0], place.top + 2.5 * POINT, text, ha="center", va="bottom",
              fontsize=size)  # fmt: skip


def panel(figure: Figure, place: Place) -> Axes:
    """Axes of their own in a place."""
    width, height = figure.get_size_inches()
    left, bottom, wide, high = place
    return figure.add_axes((left / width, bottom / height, wide / width, high / height))


def high(texts: list[str], size: float) -> float:
    """Inches that the highest of some texts needs, with a gap below."""
    lines = 1 + max((text.count("\n") for text in texts), default=0)
    return (lines * LINE * size + 3) * POINT
