"""Table and figure of the scores of concepts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from igbench.files import write_whole
from igbench.report import render, styles
from igbench.report.table import Cell, Table
from igbench.schema import ConceptScore

LEVEL = 0.05
"""Significance after correction."""

COLUMNS = (
    "concept", "class", "score", "random sets", "magnitude", "size by chance", "p (Holm)",
    "accuracy", "samples",
)  # fmt: skip

_NULL = "#c9c9c9"


def table(lines: Sequence[ConceptScore]) -> Table:
    """A row for each concept and class; significant scores are bold."""
    reasons = list(dict.fromkeys(line.reason for line in lines if line.reason))
    marks = {reason: ascii_lowercase[i % 26] for i, reason in enumerate(reasons)}
    first = lines[0]
    return Table(
        name="tcav",
        caption=(
            f"TCAV at layer {first.layer}: share of samples whose output rises along the concept, "
            f"with its 95 % range over {first.n_sets} random sets, beside the range of random sets "
            "in the place of the concept; the mean derivative along it, and the size that 5 % of "
            "random sets exceed. Bold: a concept of influence "
            f"(p of the magnitude, after Holm's correction, at most {LEVEL:g})."
        ),
        columns=COLUMNS,
        rows=tuple(line.concept for line in lines),
        cells=tuple(_cells(line, marks.get(line.reason, "")) for line in lines),
        footnotes={mark: reason for reason, mark in marks.items()},
    )


def _cells(line: ConceptScore, mark: str) -> tuple[Cell, ...]:
    star = significant(line)
    accuracy = f"{line.accuracy:.2f} [{line.accuracy_low:.2f}, {line.accuracy_high:.2f}]"
    texts = (
        f"{line.score:.2f} [{line.score_low:.2f}, {line.score_high:.2f}]",
        f"[{line.null_low:.2f}, {line.null_high:.2f}]",
        f"{line.magnitude:+.2g}",
        f"{line.critical:.2g}",
        _p_text(line.p_holm),
    )
    if line.status != "ok":
        texts = ("–", texts[1], "–", texts[3], "–")
    return (
        Cell(line.target),
        Cell(texts[0], best=star, mark=mark, value=line.score),
        Cell(texts[1]),
        Cell(texts[2], best=star, value=line.magnitude),
        Cell(texts[3], value=line.critical),
        Cell(texts[4], value=line.p_holm),
        Cell(accuracy, value=line.accuracy),
        Cell(f"{line.n_samples}", value=float(line.n_samples)),
    )


def _p_text(p: float) -> str:
    return "–" if math.isnan(p) else f"{p:.1e}" if p < 0.001 else f"{p:.3f}"


def significant(line: ConceptScore) -> bool:
    """Whether a concept has an influence on a class, after correction."""
    return line.status == "ok" and line.p_holm <= LEVEL


@styles.style()
def figure(lines: Sequence[ConceptScore]) -> Figure:
    """Bars of scores and of magnitudes, with what random sets give in grey, and stars."""
    concepts = list(dict.fromkeys(line.concept for line in lines))
    colours = {c: styles.METHOD_COLOURS[i % 8] for i, c in enumerate(concepts)}
    drawn = figure_rows(lines)
    made = styles.canvas(styles.FULL_WIDTH, 1.35 + 0.24 * (max(drawn) + 1))
    left, right = made.subplots(1, 2, sharey=True)
    for axes in (left, right):
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    for y, line in zip(drawn, lines, strict=True):
        _score_bar(left, y, line, colours[line.concept])
        _magnitude_bar(right, y, line, colours[line.concept])
    left.axvline(0.5, color="#4d4d4d", linewidth=0.7)
    right.axvline(0, color="#4d4d4d", linewidth=0.7)
    left.set_xlim(-0.04, 1.04)
    right.use_sticky_edges = False  # a band may be the widest
    right.margins(x=0.12)
    right.xaxis.set_major_locator(MaxNLocator(5))
    left.set_yticks(drawn, [_name(line) for line in lines])
    left.set_ylim(max(drawn) + 0.6, -0.6)
    left.set_xlabel("share of samples whose output rises")
    right.set_xlabel("mean derivative along the concept")
    styles.panel_title(left, "Score")
    styles.panel_title(right, "Magnitude, which is tested")
    made.legend(handles=_legend(lines), loc="outside lower center", ncols=3)
    return made


def figure_rows(lines: Sequence[ConceptScore]) -> list[float]:
    """Places of the bars from above, with a gap between concepts.

    >>> figure_rows([])
    []
    """
    places, y = [], -1.0
    for i, line in enumerate(lines):
        y += 1.0 if i == 0 or line.concept == lines[i - 1].concept else 1.5
        places.append(y)
    return places


def _name(line: ConceptScore) -> str:
    name = styles.plain(f"{_short(line.concept)} → {_short(line.target)}")
    return f"{name} *" if significant(line) else name


def _short(text: str) -> str:
    return text if len(text) <= styles.LONGEST else f"{text[: styles.LONGEST - 1]}…"


def _legend(lines: Sequence[ConceptScore]) -> list[Patch | Line2D]:
    sets = lines[0].n_sets
    return [
        Patch(facecolor=_NULL, label="random sets in the place of the concept (95 %)"),
        Line2D([], [], color="#222222", linewidth=1, label=f"95 % of {sets} random sets"),
        Line2D([], [], linestyle="none", marker="$*$", color="#222222",
               label=f"p ≤ {LEVEL:g} after Holm's correction"),
    ]  # fmt: skip


def _score_bar(axes: Axes, y: float, line: ConceptScore, colour: str) -> None:
    axes.barh(y, line.null_high - line.null_low, left=line.null_low, height=0.85, color=_NULL)
    if line.status != "ok":
        axes.text(0.02, y, "undefined", va="center", fontsize=7, color="#333333")
        return
    axes.barh(y, line.score - 0.5, left=0.5, height=0.5, color=colour)
    # The range need not hold the mean: one odd set of thirty moves it out.
    middle, half = (line.score_low + line.score_high) / 2, (line.score_high - line.score_low) / 2
    axes.errorbar(middle, y, xerr=half, fmt="none", ecolor="#222222", elinewidth=1, capsize=1.8)


def _magnitude_bar(axes: Axes, y: float, line: ConceptScore, colour: str) -> None:
    axes.barh(y, 2 * line.critical, left=-line.critical, height=0.85, color=_NULL)
    if line.status != "ok":
        return
    axes.barh(y, line.magnitude, height=0.5, color=colour)
    if significant(line):
        side = 1 if line.magnitude >= 0 else -1
        axes.annotate("*", (line.magnitude, y), (4 * side, -2.5), textcoords="offset points",
                      ha="center", va="center", fontsize=11, color="#222222")  # fmt: skip


def write(lines: Sequence[ConceptScore], folder: Path) -> None:
    """Write tcav.md and tcav.png into a folder."""
    text = f"# Concepts\n\n{render.to_markdown(table(lines))}\n![Scores](tcav.png)\n"
    write_whole(folder / "tcav.md", text.encode(errors="backslashreplace"))
    styles.save(figure(lines), folder / "tcav", ("png", "pdf"))
