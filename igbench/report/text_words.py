"""Words coloured by their attribution, as HTML and as LaTeX."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import matplotlib as mpl

from igbench.errors import printable
from igbench.report import heatmaps, render, samples

FAINT = 0.04
"""Share of the limit below which a word is neither coloured nor underlined."""

JOINERS = "\n\t\xa0\u200c\u200d\u3000"
"""Characters of texts that steer nothing although they have no picture of their own."""

PAPER, INK, SOFT = "#ffffff", "#000000", "#6b6b6b"


@dataclass(frozen=True)
class Word:
    """A piece of a text.

    Attributes:
        text: The piece.
        value: Its attribution; None for what is no feature.
        share: value / limit, in [-1, 1]; 0 for what is no feature or not finite.
        fill: Colour behind it, "" for none.
        ink: Colour of its letters.
        line: Line below it: "solid" where it raises the output, "dotted" where it lowers it, ""
            where neither, so that the sign can be told without colours.
    """

    text: str
    value: float | None = None
    share: float = 0.0
    fill: str = ""
    ink: str = INK
    line: str = ""


def pieces(
    words: Sequence[str],
    values: Sequence[float],
    *,
    gaps: Sequence[str] = (),
    signed: bool = True,
    limit: float | None = None,
) -> list[Word]:
    """The pieces of a text in order: words with colours, and what stands between them.

    Args:
        words: G words.
        values: G attributions.
        gaps: The G + 1 texts before, between and after the words; spaces by default.
        signed: Whether colours diverge around 0, or are sequential from 0.
        limit: |value| of the full colour; by default the largest.

    Raises:
        ValueError: Another number of values or gaps, or a limit that is not positive.

    >>> [piece.text for piece in pieces(["not", "good"], [-1.0, 2.0])]
    ['not', ' ', 'good']
    """
    if len(values) != len(words):
        raise ValueError(f"{len(values)} values for {len(words)} words; give one for each.")
    between = list(gaps) or ["", *[" "] * (len(words) - 1), ""][: len(words) + 1]
    if len(between) != len(words) + 1:
        raise ValueError(f"{len(between)} gaps for {len(words)} words; give one more than words.")
    if limit is not None and not 0 < limit < math.inf:
        raise ValueError(f"limit is {limit}; it must be positive and finite.")
    top = samples.limit(values) if limit is None else limit
    found = [Word(between[0])]
    for word, value, gap in zip(words, values, between[1:], strict=True):
        found += [_coloured(word, float(value), top, signed), Word(gap)]
    return [piece for piece in found if piece.text or piece.value is not None]


def _coloured(text: str, value: float, top: float, signed: bool) -> Word:
    if not math.isfinite(value) or top == 0:
        return Word(text, value)
    share = max(-1.0, min(1.0, value / top))
    if abs(share) < FAINT:
        return Word(text, value, share)
    fill, line = colour(share, signed), "solid" if share > 0 else "dotted"
    return Word(text, value, share, fill, ink(fill), line if signed else "")


def colour(share: float, signed: bool) -> str:
    """The colour of a share of the limit, as in maps of images.

    >>> colour(0.0, signed=True), colour(1.0, signed=True)
    ('#f7f6f6', '#67001f')
    """
    name, place = (heatmaps.SIGNED, (share + 1) / 2) if signed else (heatmaps.UNSIGNED, abs(share))
    shades = _shades(name)
    return shades[min(len(shades) - 1, int(place * len(shades)))]


@cache
def _shades(name: str) -> tuple[str, ...]:
    """All colours of a colour map, which matplotlib would make anew for each word."""
    colours = mpl.colormaps[name]
    return tuple(mpl.colors.to_hex(colours(i)) for i in range(colours.N))


@cache
def ink(fill: str) -> str:
    """Black or white, whichever can be told better from a colour (WCAG 2 contrast).

    >>> ink("#67001f"), ink("#ffffff")
    ('#ffffff', '#000000')
    """
    return PAPER if _contrast(fill, PAPER) > _contrast(fill, INK) else INK


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                for c in mpl.colors.to_rgb(colour)]  # fmt: skip
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))


def label(method: str, found: Sequence[Word]) -> str:
    """Display name of a method, which says where it has no map of a text.

    >>> label("ig", pieces(["a"], [1.0])), label("ig", pieces(["a"], [math.nan]))
    ('IG', 'IG (no map)')
    """
    return samples.method_label(method) + (" (no map)" if unmapped(found) else "")


def unmapped(found: Sequence[Word]) -> bool:
    """Whether a text has words none of which has a finite attribution."""
    values = [piece.value for piece in found if piece.value is not None]
    return bool(values) and not any(map(math.isfinite, values))


# -- HTML ------------------------------------------------------------------------------------


def to_html(
    words: Sequence[str],
    values: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    gaps: Sequence[str] = (),
    signed: bool | Mapping[str, bool] = True,
    limit: float | None = None,
) -> str:
    """A text with coloured words as HTML, see `igbench.report.text_html`."""
    named = isinstance(values, Mapping)
    lines = []
    for name, own in values.items() if isinstance(values, Mapping) else [("", values)]:
        if not isinstance(signed, bool) and name not in signed:
            raise ValueError(f"signed says nothing of {name!r}; give true or false for each.")
        has_sign = signed if isinstance(signed, bool) else signed[name]
        lines.append((name, pieces(words, own, gaps=gaps, signed=has_sign, limit=limit)))
    return lines_to_html(lines, named=named)


def lines_to_html(lines: Sequence[tuple[str, Sequence[Word]]], *, named: bool = True) -> str:
    """Texts with coloured words as one `<div>`, one under another.

    Args:
        lines: Name of the method, and the pieces of the text.
        named: Whether the names are shown.
    """
    shown = [
        (f'<span style="{_HEAD}">{safe(name)}</span>' if named else "")
        + f'<p dir="auto" style="{_TEXT}">{"".join(map(_html, found))}</p>'
        for name, found in lines
    ]
    columns = "minmax(6em, 9em) minmax(0, 1fr)" if named else "minmax(0, 1fr)"
    grid = f"display: grid; grid-template-columns: {columns}; gap: .5em 1em; {_FRAME}"
    return f'<div class="words" style="{grid}">{"".join(shown)}</div>'


_FRAME = f"background: {PAPER}; color: {INK}; padding: .3em .5em"
_HEAD = "font-weight: 600; line-height: 1.75; overflow-wrap: anywhere"
_TEXT = (
    "margin: 0; max-width: none; line-height: 1.75; white-space: pre-wrap; overflow-wrap: anywhere"
)


def safe(text: str) -> str:
    """A text for HTML, in which nothing is markup and nothing turns the direction of writing.

    >>> safe("<b>")
    '&lt;b&gt;'
    """
    return html.escape(printable(text, keep=JOINERS))


def _html(piece: Word) -> str:
    if piece.value is None:
        text = safe(piece.text)
        return f'<span style="color: {SOFT}">{text}</span>' if text.strip() else text
    looks = [
        f"background: {piece.fill}" if piece.fill else "",
        f"color: {piece.ink}" if piece.ink != INK else "",
        f"border-bottom: 2px {piece.line} {INK}" if piece.line else "",
    ]
    look = f' style="{"; ".join(filter(None, looks))}"' if piece.fill else ""
    shown = safe(samples.visible(piece.text))
    return f'<span title="{number(piece.value)}"{look}>{shown}</span>'


def number(value: float) -> str:
    """An attribution in three digits, with its sign.

    >>> number(0.12345), number(-2), number(0), number(float("nan"))
    ('+0.123', '−2', '0', 'nan')
    """
    return f"{value:+.3g}".replace("-", "−") if math.isfinite(value) and value else f"{value:g}"


# -- LaTeX -----------------------------------------------------------------------------------

_PREAMBLE = r"""% Words coloured by attribution: underlined raises, italic lowers the output.
% Compiles as it stands; other scripts than Latin need lualatex or xelatex and a font of theirs.
\documentclass{article}
\usepackage{iftex}
\ifPDFTeX\usepackage[T1]{fontenc}\else\usepackage{fontspec}\fi
\usepackage[margin=2cm]{geometry}
\usepackage{xcolor}
\newcommand{\word}[3]{\colorbox[HTML]{#1}{\color[HTML]{#2}\strut #3}}
\newcommand{\raises}[3]{\word{#1}{#2}{\underline{#3}}}
\newcommand{\lowers}[3]{\word{#1}{#2}{\textit{#3}}}
\setlength{\fboxsep}{1pt}
\setlength{\parindent}{0pt}
\pagestyle{empty}
\begin{document}
\raggedright
"""


def to_latex(title: str, lines: Mapping[str, Sequence[Word]]) -> str:
    r"""Texts with coloured words as a LaTeX document that compiles as it stands.

    Args:
        title: What stands above.
        lines: Name of the method to the pieces of the text.
    """
    body = "".join(
        f"\\medskip\\textbf{{{render.latex_escape(label(name, found))}}}\\newline\n"
        f"{''.join(map(_latex, found))}\\par\n"
        for name, found in lines.items()
    )
    return f"{_PREAMBLE}{render.latex_escape(title)}\\par\n{body}\\end{{document}}\n"


def _latex(piece: Word) -> str:
    if piece.value is None:
        return _latex_text(piece.text)
    text = render.latex_escape(samples.visible(piece.text).replace(samples.NAMELESS, "?"))
    if not piece.fill:
        return text
    command = {"solid": "raises", "dotted": "lowers", "": "word"}[piece.line]
    colours = f"{{{piece.fill[1:].upper()}}}{{{piece.ink[1:].upper()}}}"
    return f"\\{command}{colours}{{{text}}}"


def _latex_text(text: str) -> str:
    """What stands between words; spaces at its ends stay, as places where a line may break."""
    core = render.latex_escape(" ".join(text.split()))
    if not core:
        return "\n" if text else ""
    return f"{chr(10) if text[0].isspace() else ''}{core}{chr(10) if text[-1].isspace() else ''}"
