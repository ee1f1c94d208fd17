"""A comparison as text: headline, a line for each finding, what differs, what could be seen."""

from __future__ import annotations

import math
from collections import Counter
from typing import get_args

from igbench.errors import printable
from igbench.records.compare.acceptance import drifted
from igbench.records.compare.comparison import Comparison, fails
from igbench.schema import Change, Drift, Verdict

LABELS: dict[Verdict, str] = {
    "regressed": "REGRESSION", "failed": "FAILED", "missing": "MISSING",
    "incomparable": "INCOMPARABLE", "changed": "CHANGED", "improved": "IMPROVED", "new": "NEW",
}  # fmt: skip
"""Verdicts in capitals where a line begins; the others are themselves."""

_WORDS: dict[Verdict, str] = {"regressed": "worse", "improved": "better"}
"""Verdicts on a difference in a sentence; the others are themselves."""

FINDING_COLUMNS = (
    "verdict", "cell", "base", "new", "difference [95 %]", "p (Holm)", "n", "note",
)  # fmt: skip
"""Heads of the table of findings."""

NAMED = 3
"""Cells that a remark names."""


def format_text(comparison: Comparison) -> str:
    """Format a comparison for a terminal: headline, one line for each finding, differences."""
    c = comparison
    lines = [headline(c), *(f"NOT COMPARABLE {text}" for text in c.incomparable)]
    lines += [line for change in findings(c) for line in finding_lines(c, change)]
    return "\n".join(map(printable, [*lines, *remarks(c)])) + "\n"


def headline(c: Comparison) -> str:
    """The verdict on the whole, with counts of cells and the names of both runs."""
    counts = Counter(change.verdict for change in c.changes)
    text = ", ".join(f"{counts[v]} {v}" for v in get_args(Verdict) if counts[v])
    cells = f": {text} of {len(c.changes)} cells" if text else ""
    worse = sum(map(drifted, c.changes))
    cells += f", {worse} worse than the best before" if worse else ""
    cells += f", {len(c.accepted)} accepted" if c.accepted else ""
    return f"{c.outcome}{cells} ({c.base} -> {c.new})"


def findings(c: Comparison) -> list[Change]:
    """The changes to report, the most serious first; all others are counted in the headline."""
    order = list(get_args(Verdict))
    shown = [
        f for f in c.changes if f.verdict in LABELS or f.note or drifted(f) or fails(f, c.fail_on)
    ]
    shown = [f for f in shown if f.verdict != "identical" or f.recovered or drifted(f)]
    return sorted(shown, key=lambda f: order.index(f.verdict))


def finding_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The findings as texts, one for each of `FINDING_COLUMNS`; the gravest first."""
    rows = []
    for change in findings(comparison):
        rows.append(_columns(comparison, change))
        if change.drift and drifted(change):
            rows.append(_drift_columns(comparison, change, change.drift))
    return rows


def finding_lines(c: Comparison, change: Change) -> list[str]:
    """One line for a finding, and one more where it is worse than the best run before."""
    start, said = f"{label(c, change)} {cell_name(c, change)}:", note(c, change)
    lines = [f"{start} {said}"]
    if change.n:
        lines = [f"{start} {_numbers(c, change, change)}{f'; {said}' if said else ''}"]
    if change.drift and drifted(change):
        name = "ACCEPTED DRIFT" if change.name in c.accepted else "DRIFT"
        lines.append(
            f"{name} {cell_name(c, change)}: {_numbers(c, change, change.drift)}; against "
            f"{change.drift.run}, the best run before"
        )
    return lines


def remarks(comparison: Comparison) -> list[str]:
    """What differs between the runs, what is odd, and the differences that could be seen."""
    c = comparison
    found = [f"differs: {text}" for text in c.differences]
    found += [f"warning: {text}" for text in c.warnings]
    if c.incomparable:
        return found
    return [*found, *_open(c), sensitivity(c)]


def label(c: Comparison, change: Change) -> str:
    """The verdict as a line begins with it."""
    return "ACCEPTED" if change.name in c.accepted else LABELS.get(change.verdict, change.verdict)


def cell_name(c: Comparison, change: Change) -> str:
    """Name of a cell, without the model if there is only one."""
    several = len({f.model for f in c.changes}) > 1
    return change.name if several else f"{change.method}/{change.metric}"


def note(c: Comparison, change: Change) -> str:
    """What is to be said of a cell besides its numbers."""
    reason = c.accepted.get(change.name)
    return "; ".join(filter(None, [change.note, f"accepted: {reason}" if reason else ""]))


def _numbers(c: Comparison, change: Change, one: Change | Drift) -> str:
    p = "" if math.isnan(one.p_value) else f"p={p_text(one.p_value)} Holm; "
    word = _WORDS.get(one.verdict, one.verdict)
    return (
        f"{one.base:.4g} -> {one.new:.4g} ({difference(one)}, {word}; {p}n={one.n}; min effect "
        f"{c.metrics[change.metric].min_effect:g})"
    )


def _columns(c: Comparison, change: Change) -> tuple[str, ...]:
    numbers = _cells(change) if change.n else ["", "", "", "", ""]
    return (label(c, change), cell_name(c, change), *numbers, note(c, change))


def _drift_columns(c: Comparison, change: Change, drift: Drift) -> tuple[str, ...]:
    name = "ACCEPTED DRIFT" if change.name in c.accepted else "DRIFT"
    said = f"against {drift.run}, the best run before"
    return (name, cell_name(c, change), *_cells(drift), said)


def _cells(one: Change | Drift) -> list[str]:
    return [
        f"{one.base:.4g}", f"{one.new:.4g}", difference(one), p_text(one.p_value), str(one.n)
    ]  # fmt: skip


def difference(one: Change | Drift) -> str:
    """A difference with its interval.

    >>> difference(Change("m", "ig", "srg", "improved", difference=0.029, low=0.021, high=0.037))
    '+0.029 [0.021, 0.037]'
    """
    return f"{one.difference:+.3g} [{one.low:.3g}, {one.high:.3g}]"


def p_text(p: float) -> str:
    """A p-value in two digits; "" for NaN.

    >>> p_text(3e-6), p_text(0.0321), p_text(float("nan"))
    ('3e-6', '0.032', '')
    """
    return "" if math.isnan(p) else f"{p:.2g}".replace("e-0", "e-")


def _open(c: Comparison) -> list[str]:
    """Undecided cells whose difference would matter if it were real."""
    found = [
        f for f in c.changes
        if f.verdict == "undecided" and abs(f.difference) >= c.metrics[f.metric].min_effect
    ]  # fmt: skip
    if not found:
        return []
    names = ", ".join(cell_name(c, f) for f in found[:NAMED])
    more = f", and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return [
        f"undecided: the difference reaches the minimum effect in {len(found)} cells, and may be "
        f"chance: {names}{more}"
    ]


def sensitivity(c: Comparison) -> str:
    """One line with the smallest differences that the comparison could detect."""
    if not c.detectable:
        return "detectable: every compared score agrees to rounding, so nothing was tested"
    parts = [
        f"{metric} >= {least:.2g}" if math.isfinite(least) else f"{metric}: too few samples"
        for metric, least in c.detectable.items()
    ]
    return "detectable (mean difference, 90 % power, after Holm): " + ", ".join(parts)
