"""Pair the samples of a cell of two runs, with those that lose or regain their value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from igbench.errors import InputError
from igbench.records import stats
from igbench.schema import COSTS, Change, MetricSpec, SampleChange, Verdict

Cell = tuple[str, str, str]
"""Model, method and metric."""

TOLERANCES = {"float32": 1e-6, "float64": 1e-9}
"""Relative difference of a sample up to which two runs agree but for rounding, by precision: eight
units in the last place of float32; what float64 leaves of a metric's many terms."""

NAMED = 5
"""Samples that a note names; the others are counted, and all are in the JSON output."""

_RANKS = {"ok": 0, "undefined": 1, "NaN": 2, "failed": 2, "missing": 2}
"""How bad a status is; a sample whose status gets worse is lost."""


@dataclass(frozen=True)
class Pair:
    """One cell of two runs, over the samples with a number in both.

    Attributes:
        cell: Model, method and metric.
        spec: Definition of the metric.
        base: (n,) values in the base run.
        new: (n,) values in the new run.
        tolerance: Relative difference up to which two values agree.
        lost: Samples that have no value any more.
        recovered: Samples that have one again.
        note: The same in words.
    """

    cell: Cell
    spec: MetricSpec
    base: np.ndarray
    new: np.ndarray
    tolerance: float
    lost: tuple[SampleChange, ...] = ()
    recovered: tuple[SampleChange, ...] = ()
    note: str = ""

    @property
    def n(self) -> int:
        """Number of paired samples."""
        return len(self.base)

    @property
    def counted(self) -> bool:
        """Whether the values are counts, which are exact and need no test."""
        return self.cell[2] in COSTS and self.judged

    @property
    def judged(self) -> bool:
        """Whether there is a difference that matters; times and memory have none."""
        return math.isfinite(self.spec.min_effect)

    @property
    def close(self) -> bool:
        """Whether all values agree within the tolerance."""
        with np.errstate(invalid="ignore"):
            size = np.maximum(np.abs(self.base), np.abs(self.new))
            near = np.abs(self.new - self.base) <= self.tolerance * size
            return bool(np.all((self.base == self.new) | near))

    @property
    def tested(self) -> bool:
        """Whether the verdict needs a test."""
        return self.judged and not self.counted and self.n > 0 and not self.close


def cells(scores: pd.DataFrame, samples: Collection[str] | None = None) -> dict[Cell, pd.DataFrame]:
    """The rows of each cell, by sample.

    Args:
        scores: Columns of `Row`, of one run.
        samples: Only these; all if None.

    Raises:
        InputError: A sample occurs twice in a cell.
    """
    key = ["model", "method", "metric"]
    if samples is not None:
        scores = scores[scores["sample_id"].isin(list(samples))]
    _refuse_twice(scores)
    return {
        (str(model), str(method), str(metric)): rows.set_index("sample_id")
        for (model, method, metric), rows in scores.groupby(key, sort=False)
    }


def _refuse_twice(scores: pd.DataFrame) -> None:
    key = ["model", "method", "metric"]
    twice = scores[scores.duplicated([*key, "sample_id"])]
    if len(twice):
        raise InputError(
            f"sample {twice['sample_id'].iloc[0]!r} occurs twice in "
            f"{'/'.join(twice[key].iloc[0])}; compare one run with one run."
        )


def pair(
    cell: Cell,
    old: pd.DataFrame | None,
    now: pd.DataFrame | None,
    specs: Mapping[str, MetricSpec],
    tolerance: float,
) -> Change | Pair:
    """Pair the samples of a cell, or give the verdict if there is nothing to pair.

    Raises:
        InputError: The metric has no definition.
    """
    if cell[2] not in specs:
        raise InputError(
            f"metric {cell[2]!r} has no definition in either run; run both experiments again."
        )
    if now is None:
        return Change(*cell, "missing", note="in the base run only")
    if old is None:
        return Change(*cell, "new", note="in the new run only")
    lost, recovered = _turned(old, now)
    had, has = (rows.loc[stats.usable(rows), "value"] for rows in (old, now))
    if had.empty and not has.empty:
        note = f"{len(has)} values, none in the base run"
        return Change(*cell, "new", note=note, lost=lost, recovered=recovered)
    n = len(had) or len(old)
    note = "; ".join(filter(None, [_named("lost", lost, n), _named("recovered", recovered, n)]))
    if had.empty:
        return _without_values(cell, lost, recovered, note)
    both = had.index.intersection(has.index)
    return Pair(
        cell, specs[cell[2]], had[both].to_numpy(float), has[both].to_numpy(float), tolerance,
        lost, recovered, note,
    )  # fmt: skip


def quick_pairs(
    old: pd.DataFrame, now: pd.DataFrame, specs: Mapping[str, MetricSpec], tolerance: float
) -> dict[Cell, Pair]:
    """The paired values of all cells of two runs at once, without a word on samples that turn.

    Args:
        old: Columns of `Row`, of the base run.
        now: Columns of `Row`, of the new run.
        specs: Definitions of the metrics; cells of others are left out.
        tolerance: As of `pair`.
    """
    key = ["model", "method", "metric", "sample_id"]
    _refuse_twice(old)
    had, has = (rows.loc[stats.usable(rows), [*key, "value"]] for rows in (old, now))
    both = had.merge(has, on=key, suffixes=("", "_new"))
    base, new = both["value"].to_numpy(float), both["value_new"].to_numpy(float)
    return {
        (str(model), str(method), str(metric)): Pair(
            (str(model), str(method), str(metric)),
            specs[metric], base[places], new[places], tolerance,
        )
        for (model, method, metric), places in both.groupby(key[:3], sort=False).indices.items()
        if metric in specs
    }  # fmt: skip


def _without_values(
    cell: Cell, lost: tuple[SampleChange, ...], recovered: tuple[SampleChange, ...], note: str
) -> Change:
    """The verdict on a cell without values in both runs: what was undefined may fail now."""
    verdict: Verdict = "failed" if lost else "identical"
    said = "no value in either run"
    if lost and {s.base for s in lost} == {"undefined"}:
        said = f"undefined in the base run, fails now ({lost[0].reason})"
    said = "; ".join(filter(None, [said, note]))
    return Change(*cell, verdict, note=said, lost=lost, recovered=recovered)


def _turned(
    old: pd.DataFrame, now: pd.DataFrame
) -> tuple[tuple[SampleChange, ...], tuple[SampleChange, ...]]:
    """The samples whose status gets worse, and those whose gets better."""
    samples = old.index.union(now.index, sort=False)
    was, is_ = (_statuses(r).reindex(samples, fill_value="missing") for r in (old, now))
    worse = is_.map(_RANKS).to_numpy() - was.map(_RANKS).to_numpy()
    lost: list[SampleChange] = []
    recovered: list[SampleChange] = []
    for i in np.flatnonzero(worse):
        sample, before, after = samples[i], str(was.iloc[i]), str(is_.iloc[i])
        found, rows = (lost, now) if worse[i] > 0 else (recovered, old)
        found.append(SampleChange(str(sample), before, after, _reason(rows, sample)))
    return tuple(lost), tuple(recovered)


def _statuses(rows: pd.DataFrame) -> pd.Series:
    """Status of each sample; "NaN" where a value that should be there is none."""
    return rows["status"].mask((rows["status"] == "ok") & rows["value"].isna(), "NaN")


def _reason(rows: pd.DataFrame, sample: object) -> str:
    return str(rows.at[sample, "reason"]) if sample in rows.index else ""


def _named(word: str, turned: Iterable[SampleChange], n: int) -> str:
    """Number of samples that turned, with the first of them and their reasons by status."""
    turned = tuple(turned)
    if not turned:
        return ""
    status = (lambda t: t.new) if word == "lost" else (lambda t: t.base)
    parts = []
    for state, count in sorted(Counter(map(status, turned)).items()):
        own = [t for t in turned if status(t) == state]
        reason = next((t.reason for t in own if t.reason), "")
        names = ", ".join(t.sample_id for t in own[:NAMED])
        more = f", and {count - NAMED} more" if count > NAMED else ""
        parts.append(f"{count} {state} ({names}{more}{f': {reason}' if reason else ''})")
    before = " before" if word == "recovered" else ""
    return f"{word} {len(turned)} of {n} samples: {', '.join(parts)}{before}"
