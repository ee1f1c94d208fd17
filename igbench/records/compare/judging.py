"""The verdict on paired samples: exact agreement, rounding, then the test of pairs of methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from igbench.records import stats
from igbench.records.compare.pairing import Pair
from igbench.records.stats.intervals import Ends, nested_intervals
from igbench.records.stats.pairs import pair_verdict
from igbench.schema import Change, MetricSpec, Verdict

LEVEL = stats.LEVEL

_VERDICTS: dict[str, Verdict] = {
    "better": "improved", "worse": "regressed", "different": "changed",
    "equivalent": "equivalent", "undecided": "undecided",
}  # fmt: skip
"""What `igbench.records.stats.pair_verdict` says of two methods, of two runs."""


def judge(pairs: Sequence[Pair], *, tests: Sequence[int] = (), resamples: int) -> list[Change]:
    """The verdicts on paired cells.

    Args:
        pairs: The cells; those that are tested are one family of Holm's correction.
        tests: Number of runs among which the base of each cell was chosen, which its p-value is
            multiplied with; 1 each if none are given.
        resamples: Number of bootstrap resamples of each interval.
    """
    differences = [stats.subtract(p.base, p.new) for p in pairs]
    tested = [i for i, p in enumerate(pairs) if p.tested]
    times = list(tests) or [1] * len(pairs)
    ranks = {i: stats.signed_ranks(differences[i]) for i in tested}
    corrected = stats.holm([min(1.0, times[i] * ranks[i].p_value) for i in tested])
    p_values = dict(zip(tested, map(float, corrected), strict=True))
    bounds = nested_intervals(differences, (stats.CONFIDENCE, 1 - 2 * LEVEL), resamples=resamples)
    return [
        _change(p, d, ends, p_values.get(i, math.nan), ranks[i].effect if i in ranks else math.nan)
        for i, (p, d, ends) in enumerate(zip(pairs, differences, bounds, strict=True))
    ]


def _change(
    pair: Pair, difference: np.ndarray, bounds: Sequence[Ends], p_holm: float, effect: float
) -> Change:
    with np.errstate(invalid="ignore"):  # infinities of both signs
        base, new, mean = (
            float(v.mean()) if pair.n else math.nan for v in (pair.base, pair.new, difference)
        )
    low, high = bounds[0]
    change = Change(
        *pair.cell, "unjudged", base, new, mean, low, high, p_holm, pair.n, pair.note,
        pair.lost, pair.recovered,
    )  # fmt: skip
    change = replace(change, verdict=_verdict(pair, change, bounds[1], effect))
    if change.verdict == "undecided":
        change = _beyond_the_test(pair, change)
    if pair.lost and change.verdict != "regressed":
        change = replace(change, verdict="failed")
    return change


def _beyond_the_test(pair: Pair, change: Change) -> Change:
    """What the test of means cannot see: a change of few samples, or too few of them.

    Where most samples agree to the last bit, the others have not changed by chance, and a mean that
    moved by the minimum effect is a verdict.  Scores of few values, as hits and misses, agree by
    chance and are left to the test.
    """
    differ = int((pair.base != pair.new).sum())
    many = 2 * len(np.unique(pair.base)) > pair.n
    moved = abs(change.difference) >= pair.spec.min_effect
    if many and moved and 2 * differ <= pair.n:
        note = f"{differ} of {pair.n} samples differ, the others are identical"
        directed = pair.spec.direction != "none"
        verdict = _of_counts(change.difference, pair.spec) if directed else "changed"
    elif not math.isfinite(stats.detectable(pair.n, 0.0)):
        note, verdict = "too few samples", change.verdict
    else:
        return change
    return replace(change, verdict=verdict, note="; ".join(filter(None, [pair.note, note])))


def _verdict(pair: Pair, change: Change, inner: Ends, effect: float) -> Verdict:
    """The verdict on the paired samples alone."""
    if np.array_equal(pair.base, pair.new):
        return "identical"
    if not pair.judged:
        return "unjudged"
    if pair.close:
        return "close"
    if pair.counted:
        return _of_counts(change.difference, pair.spec)
    line = {
        "band": pair.spec.min_effect, "difference": change.difference, "effect": effect,
        "p_holm": change.p_value,
    }  # fmt: skip
    return _VERDICTS[pair_verdict(line, inner, pair.spec)]


def _of_counts(difference: float, spec: MetricSpec) -> Verdict:
    """Counts are exact: their means differ or they do not."""
    if abs(difference) < spec.min_effect:
        return "equivalent"
    return "improved" if (difference > 0) == (spec.direction == "higher") else "regressed"


def detectable(pairs: Sequence[Pair]) -> dict[str, float]:
    """Metric to the smallest mean difference that is seen, in its least sensitive cell."""
    tested = [p for p in pairs if p.tested]
    found: dict[str, float] = {}
    for pair in tested:
        with np.errstate(invalid="ignore"):
            sd = float(np.std(stats.subtract(pair.base, pair.new), ddof=1)) if pair.n > 1 else 0.0
        seen = stats.detectable(pair.n, sd, alpha=LEVEL / len(tested))
        metric = pair.cell[2]
        found[metric] = max(found.get(metric, 0.0), seen, pair.spec.min_effect)
    return found
