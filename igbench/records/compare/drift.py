"""Compare a new run with the best earlier run of each cell, so that slow drift is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from igbench.records import stats
from igbench.records.compare.judging import judge
from igbench.records.compare.pairing import Cell, Pair
from igbench.schema import Change, Drift

EarlierPairs = Mapping[str, Mapping[Cell, Pair]]
"""Identifier of an earlier run to its cells, each paired with the new run."""


def with_drift(
    changes: Sequence[Change], earlier: EarlierPairs, *, unread: int = 0, resamples: int
) -> list[Change]:
    """The changes, with the verdict against the earlier run in which the mean was best.

    Best is the run from which the new one has changed most for the worse; metrics without a
    direction have none.  Cells of which the base run is the best have no `Drift`.  The p-value is
    multiplied with the number of runs that were to choose from, those with equal values counted
    once, before Holm's correction over the cells.

    Args:
        changes: Verdicts against the base run.
        earlier: The earlier runs, without the base run.
        unread: Number of further runs that were to choose from, which are not better.
        resamples: Number of bootstrap resamples of each interval.
    """
    chosen: dict[int, tuple[str, Pair, int]] = {}
    for i, change in enumerate(changes):
        found = _best(change, earlier)
        if found:
            chosen[i] = found
    made = judge(
        [pair for _, pair, _ in chosen.values()],
        tests=[count + unread for *_, count in chosen.values()],
        resamples=resamples,
    )
    result = list(changes)
    for (i, (run, *_)), one in zip(chosen.items(), made, strict=True):
        drift = Drift(
            run, one.verdict, one.base, one.new, one.difference, one.low, one.high, one.p_value,
            one.n,
        )  # fmt: skip
        result[i] = replace(result[i], drift=drift)
    return result


def _best(change: Change, earlier: EarlierPairs) -> tuple[str, Pair, int] | None:
    """The best earlier run of a cell that is better than the base run, and their number."""
    cell = (change.model, change.method, change.metric)
    pairs = {run: cells[cell] for run, cells in earlier.items() if cell in cells}
    pairs = {run: p for run, p in pairs.items() if p.n and p.judged}
    if not pairs or next(iter(pairs.values())).spec.direction == "none":
        return None
    falls = {run: _fall(p) for run, p in pairs.items()}
    worst = max(falls, key=falls.__getitem__)
    higher = pairs[worst].spec.direction == "higher"
    against_base = -change.difference if higher else change.difference
    if falls[worst] <= max(0.0, against_base) or falls[worst] != falls[worst]:
        return None
    distinct = {p.base.tobytes() for p in pairs.values()}
    return worst, replace(pairs[worst], lost=(), recovered=(), note=""), len(distinct)


def _fall(pair: Pair) -> float:
    """By how much the mean has become worse."""
    difference = float(stats.subtract(pair.base, pair.new).mean())
    return -difference if pair.spec.direction == "higher" else difference
