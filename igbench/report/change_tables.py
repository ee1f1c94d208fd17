"""Tables of the comparison of two runs: findings, accepted entries, environments, maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from igbench.records.compare import FINDING_COLUMNS, Comparison, finding_rows
from igbench.report import samples
from igbench.report.map_changes import MapChanges, Unpaired, distance_text
from igbench.report.phrases import count
from igbench.report.table import Cell, Table
from igbench.schema import Run

LISTED = 5
"""Identifiers of samples in a cell of a table, at most."""
_INTERNAL = (
    "identity", "certificates", "reuse", "executor", "parameters", "packages", "baseline",
)  # fmt: skip
"""Parts of the environment on record that are no environment, or are in the identity."""


def arrows(text: str) -> str:
    """A text whose arrows are signs, not two letters.

    >>> arrows("captum: 0.8 -> 0.9")
    'captum: 0.8 → 0.9'
    """
    return text.replace(" -> ", " → ")


def findings(comparison: Comparison) -> Table | None:
    """Table of the findings, with the names of cells first and numbers that sort; None for none."""
    rows = finding_rows(comparison)
    if not rows:
        return None
    stub = FINDING_COLUMNS.index("cell")
    gravity = {label: i for i, label in enumerate(dict.fromkeys(row[0] for row in rows))}
    others = [i for i in range(len(FINDING_COLUMNS)) if i != stub]
    return Table(
        name="findings",
        caption=f"{count(len(rows), 'finding')} in {count(len(comparison.changes), 'cell')}, the "
        "gravest first; the verdict counts all cells by kind.",
        columns=("cell", *(FINDING_COLUMNS[i] for i in others)),
        rows=tuple(row[stub] for row in rows),
        cells=tuple(
            tuple(
                Cell(row[i], value=gravity[row[0]] if i == 0 else _leading(row[i])) for i in others
            )
            for row in rows
        ),
        numeric=False,
    )


def _leading(text: str) -> float:
    """The number with which a text begins, for sorting; NaN for none.

    >>> _leading("+0.03 [+0.01, +0.05]"), _leading("lost 3 of 24")
    (0.03, nan)
    """
    try:
        return float(text.split()[0])
    except (IndexError, ValueError):
        return math.nan


def accepted(comparison: Comparison) -> Table | None:
    """Table of the accepted verdicts with their reasons; None for none."""
    if not comparison.accepted:
        return None
    verdicts = {c.name: str(c.verdict) for c in comparison.changes}
    return Table(
        name="accepted",
        caption="Accepted: these verdicts do not count for the exit code.",
        columns=("cell", "verdict", "reason"),
        rows=tuple(comparison.accepted),
        cells=tuple(
            (Cell(verdicts.get(cell, "–")), Cell(reason))
            for cell, reason in comparison.accepted.items()
        ),
        numeric=False,
    )


def differences(base: Run, new: Run, comparison: Comparison) -> Table | None:
    """Table of what differs between question, identity and environment; None for nothing.

    Args:
        base: The run to compare with.
        new: The other run.
        comparison: Says how their identities differ.
    """
    found = dict(one.text.partition(": ")[::2] for one in comparison.found)
    for key in dict.fromkeys([*base.environment, *new.environment]):
        old, now = (run.environment.get(key, "(absent)") for run in (base, new))
        if key not in (*_INTERNAL, *found) and old != now:
            found[key] = f"{old!r} -> {now!r}"
    if not found:
        return None
    return Table(
        name="environments",
        caption="What differs on record, besides the definitions of metrics and the results.",
        columns=("entry", "base → new"),
        rows=tuple(found),
        cells=tuple((Cell(arrows(text)),) for text in found.values()),
        numeric=False,
    )


def distances(changes: MapChanges) -> Table | None:
    """Table of distances by method, of those with maps that moved; None for none."""
    rows = {m: own for m, own in changes.moved.items() if own}
    if not rows:
        return None
    cells = []
    for method, own in rows.items():
        same = changes.equal[method]
        far = np.array([one.distance for one in own] + [0.0] * same)
        ranks = np.array([one.rank_distance for one in own] + [0.0] * same)
        known = ranks[np.isfinite(ranks)]
        without = f"{len(ranks) - len(known)} without" if len(known) < len(ranks) else ""
        cells.append((
            Cell(str(same + len(own)), value=same + len(own)), Cell(str(same), value=same),
            _distance(np.median(far)), _distance(np.max(far)),
            _distance(np.median(known) if len(known) else math.nan, without),
            _distance(np.max(known) if len(known) else math.nan),
        ))  # fmt: skip
    return Table(
        name="distances",
        caption="Maps by method, over the samples with a map in both runs; bit-equal maps have the "
        "distance 0. Methods whose maps are all bit-equal are not listed.",
        columns=("method", "maps", "bit-equal", "median relative L2", "largest relative L2",
                 "median rank distance", "largest rank distance"),
        rows=tuple(samples.method_label(m) for m in rows),
        cells=tuple(cells),
    )  # fmt: skip


def _distance(value: Any, note: str = "") -> Cell:
    return Cell(distance_text(float(value)), note, value=float(value))


def unpaired(lost: Sequence[Unpaired]) -> Table | None:
    """Table of maps that cannot be compared, with the reasons; None for none."""
    if not lost:
        return None
    lines = []
    for one in lost:
        more = f" and {len(one.samples) - LISTED} more" if len(one.samples) > LISTED else ""
        lines.append(f"{', '.join(one.samples[:LISTED])}{more}")
    return Table(
        name="unpaired",
        caption="Maps that cannot be compared.",
        columns=("method", "reason", "maps", "samples"),
        rows=tuple(samples.method_label(one.method) for one in lost),
        cells=tuple(
            (Cell(one.reason), Cell(str(len(one.samples)), value=len(one.samples)), Cell(line))
            for one, line in zip(lost, lines, strict=True)
        ),
        numeric=False,
    )
