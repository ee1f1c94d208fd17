"""Words coloured by their attribution as a figure, the methods one under another."""

from __future__ import annotations

import textwrap
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from igbench.errors import printable
from igbench.report import heatmaps, samples, styles
from igbench.report.text_words import JOINERS, SOFT, Word, label

POINTS = 72
"""Points of an inch: figures of texts are laid out in points."""
SIZE = 8.5
LINE = 16.0
"""Points from one line to the next."""
HEAD = 84.0
"""Points of the column with the names of the methods."""
MARGIN = 5.0
FINE = 16
"""Factor by which texts are measured larger, so that whole pixels do not matter."""

_RTL = ("R", "AL")


@dataclass(frozen=True)
class Placed:
    """A piece of a text in its place: left edge and width in points, and its line from 0."""

    piece: Word
    x: float
    width: float
    line: int


def layout(pieces: Sequence[Word], width: float) -> list[Placed]:
    """Break a text into lines of at most a width, in points.

    Lines of texts that begin in a script from right to left are flush right, and words of the
    other direction are in their own order within a line.
    """
    lines: list[list[tuple[Word, float]]] = [[]]
    used, space = 0.0, 0.0
    for piece in _broken(pieces, width):
        if not piece.text.strip():
            space = measure(" ") if piece.text else space
            continue
        own = measure(piece.text)
        if lines[-1] and used + space + own > width:
            lines.append([])
            used, space = 0.0, 0.0
        lines[-1].append((piece, space))
        used, space = used + space + own, 0.0
    rtl = direction([piece for line in lines for piece, _ in line])
    return [one for i, line in enumerate(lines) for one in _placed(line, i, width, rtl)]


def _placed(line: Sequence[tuple[Word, float]], i: int, width: float, rtl: bool) -> list[Placed]:
    found, x = [], 0.0
    for piece, space in _visual(line, rtl):
        x += space
        found.append(Placed(piece, x, measure(piece.text), i))
        x += found[-1].width
    if not rtl:
        return found
    return [Placed(p.piece, p.x + width - x, p.width, i) for p in found]


def _visual(line: Sequence[tuple[Word, float]], rtl: bool) -> list[tuple[Word, float]]:
    """The words of a line from left to right; runs in a direction stay in order within it."""
    runs: list[list[tuple[Word, float]]] = []
    last: bool | None = None
    for entry in line:
        own = direction([entry[0]], otherwise=rtl if last is None else last)
        if own != last:
            runs.append([])
        runs[-1].append(entry)
        last = own
    shown = [
        list(reversed(run)) if direction([run[0][0]], otherwise=rtl) else run
        for run in (reversed(runs) if rtl else runs)
    ]
    flat = [entry for run in shown for entry in run]
    spaces = [space for _, space in line]
    return list(zip((w for w, _ in flat), spaces if not rtl else _turned(spaces), strict=True))


def _turned(spaces: list[float]) -> list[float]:
    """Spaces before words from the right, as spaces before words from the left."""
    return [0.0, *reversed(spaces[1:])]


def direction(pieces: Sequence[Word], *, otherwise: bool = False) -> bool:
    """Whether the first letter of some words belongs to a script from right to left.

    >>> direction([Word("3"), Word("\u05e9")]), direction([Word("3")])
    (True, False)
    """
    for piece in pieces:
        for letter in piece.text:
            kind = unicodedata.bidirectional(letter)
            if kind == "L" or kind in _RTL:
                return kind in _RTL
    return otherwise


def _broken(pieces: Sequence[Word], width: float) -> list[Word]:
    """The pieces as they are drawn: no longer than a line, and texts between words word by word."""
    found = []
    for piece in pieces:
        if piece.value is not None:
            found += _chunks(Word(**{**vars(piece), "text": samples.visible(piece.text)}), width)
            continue
        for i, word in enumerate(piece.text.split() or [""]):
            lead = " " if i or piece.text[:1].isspace() else ""
            found += [Word(lead), *(_chunks(Word(word), width) if word else ())]
        if piece.text[-1:].isspace():
            found.append(Word(" "))
    return found


def _chunks(piece: Word, width: float) -> list[Word]:
    """A word, or parts of it where it is wider than a line."""
    if measure(piece.text) <= width:
        return [piece]
    most = max(1, int(len(piece.text) * width / measure(piece.text) * 0.9))
    parts = [piece.text[i : i + most] for i in range(0, len(piece.text), most)]
    return [Word(**{**vars(piece), "text": part}) for part in parts]


@cache
def _renderer() -> FigureCanvasAgg:
    return FigureCanvasAgg(Figure(dpi=POINTS * FINE))


@cache
def measure(text: str) -> float:
    """Width of a text in points."""
    font = FontProperties(family=["DejaVu Sans"], size=SIZE)
    renderer = _renderer().get_renderer()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        wide, _, _ = renderer.get_text_width_height_descent(_drawn(text), font, ismath=False)
    return float(wide) / FINE


def _drawn(text: str) -> str:
    return printable(text, keep=JOINERS)


def figure(
    title: str,
    lines: Mapping[str, Sequence[Word]],
    signed: Mapping[str, bool],
    *,
    note: str = "",
) -> Figure:
    """Draw a text with coloured words, once for each method.

    Args:
        title: What stands above.
        lines: Name of the method to the pieces of the text, from `text_words.pieces`.
        signed: Whether the map of a method has a sign.
        note: A warning below the title.
    """
    wide = styles.FULL_WIDTH * POINTS
    room = wide - HEAD - 2 * MARGIN
    with styles.style():
        placed = {m: layout(found, room) for m, found in lines.items()}
        heads = {m: textwrap.wrap(label(m, lines[m]), 16) for m in lines}
        rows = {m: max(len(heads[m]), 1 + max((p.line for p in placed[m]), default=0))
                for m in lines}  # fmt: skip
        top = [title, *([note] if note else [])]
        high = LINE * (len(top) + sum(rows.values())) + 5 * len(rows) + 56
        made = styles.canvas(styles.FULL_WIDTH, high / POINTS)
        made.set_layout_engine("none")
        axes = made.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, wide), ylim=(high, 0))
        axes.set_axis_off()
        y = LINE
        for text in top:
            _say(axes, MARGIN, y, printable(text, keep=JOINERS), weight="bold")
            y += LINE
        for m, words in placed.items():
            for i, part in enumerate(heads[m]):
                _say(axes, MARGIN, y + i * LINE, part, color="#333333")
            for one, pads in zip(words, _pads(words), strict=True):
                _draw(axes, one, MARGIN + HEAD, y, pads)
            y += rows[m] * LINE + 5
        _legend(axes, y + 4, wide, set(signed[m] for m in lines))
    return made


def _say(axes: Axes, x: float, y: float, text: str, **more: object) -> None:
    axes.text(x, y, text, fontsize=SIZE, va="baseline", parse_math=False, **more)  # type: ignore[arg-type]


def _pads(words: Sequence[Placed]) -> list[tuple[float, float]]:
    """Points by which the colour of each word sticks out, to the left and to the right."""
    order = sorted(range(len(words)), key=lambda i: (words[i].line, words[i].x))
    found = [(1.0, 1.0)] * len(words)
    for i, j in pairwise(order):
        if words[i].line == words[j].line:
            pad = min(1.0, max(0.0, (words[j].x - words[i].x - words[i].width) / 2))
            found[i], found[j] = (found[i][0], pad), (pad, found[j][1])
    return found


def _draw(axes: Axes, one: Placed, left: float, y: float, pads: tuple[float, float]) -> None:
    x, base, piece = left + one.x, y + one.line * LINE, one.piece
    if piece.fill:
        start, wide = x - pads[0], one.width + sum(pads)
        axes.add_patch(Rectangle((start, base - 9.5), wide, 12, facecolor=piece.fill, linewidth=0))
    if piece.line:
        dash = "-" if piece.line == "solid" else (0, (1, 1.2))
        axes.plot([x, x + one.width], [base + 3.6] * 2, color="#222222", linewidth=0.9,
                  linestyle=dash, solid_capstyle="butt", dash_capstyle="butt")  # fmt: skip
    ink = piece.ink if piece.value is not None else SOFT
    _say(axes, x, base, _drawn(piece.text), color=ink)


def _legend(axes: Axes, y: float, wide: float, kinds: set[bool]) -> None:
    """Scales of the colours, side by side."""
    room = wide / max(1, len(kinds))
    for i, signed in enumerate(sorted(kinds, reverse=True)):
        left, right = (i + 0.2) * room, (i + 0.8) * room
        name = heatmaps.SIGNED if signed else heatmaps.UNSIGNED
        axes.imshow(np.linspace(0, 1, 128)[None], cmap=mpl.colormaps[name], aspect="auto",
                    extent=(left, right, y + 5, y))  # fmt: skip
        texts = (
            [
                (left, "−limit: lowers (dotted)"),
                ((left + right) / 2, "0"),
                (right, "raises: +limit"),
            ]
            if signed
            else [(left, "0"), (right, "limit: magnitude, no sign")]
        )
        for x, text in texts:
            axes.text(x, y + 14, text, fontsize=6.5, ha="center", color="#333333")
    axes.text(wide / 2, y + 27, f"{samples.RULE}.", fontsize=6.5, ha="center", color="#333333")
    axes.set(xlim=(0, wide), ylim=(axes.get_ylim()[0], 0))
