"""Texts for LaTeX: escaping, and widths in the type of tables."""

from __future__ import annotations

import re
import unicodedata

from igbench.report.table import plain

_SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}",
    "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$",
    "∞": r"$\infty$", "−": "$-$", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$",
    "≠": r"$\neq$", "≈": r"$\approx$", "∈": r"$\in$", "·": r"$\cdot$", "–": "--", "—": "---",
    "′": "$'$", "²": "$^2$", "³": "$^3$", "½": r"$\frac12$", "†": r"\textdagger{}",
    "…": r"\ldots{}", "“": "``", "”": "''", "‘": "`", "’": "'", "§": r"\S{}", "\xa0": "~",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "œ": r"\oe{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u",
    "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip
"""Combining characters that pdflatex sets with the fonts of its default."""
_GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)")
_CAPITALS = frozenset(
    "GAMMA DELTA THETA LAMDA XI PI SIGMA UPSILON PHI PSI OMEGA".split()  # noqa: SIM905
)
"""Capital Greek letters that LaTeX has commands for; others look like Latin ones."""

_WIDTHS = {
    2.4: ".,:;'|!()[]ijlt", 2.9: " ", 6.6: "±−×↑↓→≥≤≈∞mwMW%+=", 5.9: "ABCDEFGHKLNOPQRSTUVXYZ&",
}  # fmt: skip
_WIDTH = {c: width for width, characters in _WIDTHS.items() for c in characters}
LONGEST_WORD = 100.0
"""Points of a word that is not broken."""
_BOLD = 1.13
"""How much wider bold type is."""


def latex_escape(text: str) -> str:
    r"""A text as it is in LaTeX, for pdflatex with its default fonts too.

    Special characters are escaped, mathematical signs and Greek letters are formulas, and letters
    of scripts that pdflatex has no font for are shown by their code point.

    >>> print(latex_escape("a_b < 5 % ± 1"))
    a\_b \textless{} 5 \% $\pm$ 1
    >>> print(latex_escape("Blücher, Δ, א, --x"))
    Bl\"{u}cher, $\Delta$, \texttt{U+05D0}, -{}-x
    """
    escaped = "".join(map(_character, plain(text)))
    return re.sub(r"(?<=-)(?=-)", "{}", escaped) if "--" in plain(text) else escaped


def _character(c: str) -> str:
    if c in _SIGNS:
        return _SIGNS[c]
    if c.isascii():
        return c
    base, *marks = list(unicodedata.normalize("NFD", c))
    if base.isascii() and len(marks) == 1 and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return _greek(c) or rf"\texttt{{U+{ord(c):04X}}}"


def _greek(c: str) -> str:
    r"""A Greek letter as a formula; "" for other characters.

    >>> print(_greek("Δ"), _greek("α"))
    $\Delta$ $\alpha$
    """
    found = _GREEK.fullmatch(unicodedata.name(c, ""))
    if not found or found[2] == "OMICRON" or found[2] == "FINAL SIGMA":
        return ""
    name = {"LAMDA": "lambda"}.get(found[2], found[2].lower())
    if found[1] == "SMALL":
        return rf"$\{name}$"
    return rf"$\{name.capitalize()}$" if found[2] in _CAPITALS else ""


def width(text: str, *, bold: bool = False) -> float:
    r"""Estimate the width of a plain text in \footnotesize of a 10-point document, in points.

    >>> round(width("0.43")), round(width("0.43", bold=True))
    (15, 17)
    """
    return sum(map(_points, text)) * (_BOLD if bold else 1)


def _points(c: str) -> float:
    if c in _WIDTH or c.isascii():
        return _WIDTH.get(c, 4.3)
    return 25.5 if "texttt" in _character(c) else 6.6


def pieces(word: str, room: float = LONGEST_WORD) -> list[str]:
    """A word in parts that a line may end after; one part unless it is wider than `room` points.

    >>> pieces("sensitivity"), pieces("x" * 6, 14)
    (['sensitivity'], ['xxx', 'xxx'])
    """
    parts, filled = [""], 0.0
    for c in word:
        if parts[-1] and filled + _points(c) > room:
            parts.append("")
            filled = 0.0
        parts[-1] += c
        filled += _points(c)
    return parts


def breakable(text: str, room: float = LONGEST_WORD) -> str:
    """A text as `latex_escape` makes it, with breaks in words that are wider than `room` points."""
    words = plain(text).split(" ")
    return " ".join(r"\hspace{0pt}".join(map(latex_escape, pieces(w, room))) for w in words)
