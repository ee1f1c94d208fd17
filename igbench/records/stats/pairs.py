"""Comparison of every pair of methods on a metric: test, interval, equivalence, power."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from igbench.errors import InputError
from igbench.records.settings import own_settings
from igbench.records.stats.cells import Cells, mean, of_metric, sample_sd, spec_of
from igbench.records.stats.intervals import CONFIDENCE, RESAMPLES, Ends, nested_intervals
from igbench.records.stats.power import LEVEL, detectable
from igbench.records.stats.signed_rank import holm, signed_ranks, subtract
from igbench.schema import MetricSpec

PAIR_COLUMNS = (
    "model", "metric", "a", "b", "n", "difference", "low", "high", "p_value", "p_holm", "effect",
    "share_better", "band", "verdict", "detectable",
)  # fmt: skip
BAND_SHARE = 0.1
"""Share of a standard deviation that is the band of metrics without a bounded range."""

PairVerdict = Literal["better", "worse", "different", "equivalent", "undecided"]


@own_settings()
def pairwise(
    scores: pd.DataFrame,
    specs: Mapping[str, MetricSpec],
    metric: str,
    *,
    band: float | None = None,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Compare every pair of methods on one metric, over the samples where both have a value.

    Differences are a - b.  The family of Holm's correction is all k (k - 1) / 2 pairs of one model
    and metric, controls included.

    Args:
        scores: Columns of `Row`, of one run.
        specs: Metric definitions.
        metric: Name of the metric.
        band: Largest difference of means that does not matter; see `equivalence_band` if None.
        resamples: Number of bootstrap resamples.

    Returns:
        Columns `PAIR_COLUMNS`; `effect` is the matched-pairs rank-biserial correlation of a - b,
        `share_better` the share of samples where a is better (larger where the metric has no
        direction), ties counted half.  `verdict` on a is "equivalent" where the 90 % interval of
        the difference lies within ±`band` (two one-sided tests at 5 %), otherwise "better" or
        "worse" ("different" without a direction) where `p_holm` is at most 5 %, the difference
        reaches the band, and the signs of mean and `effect` agree, otherwise "undecided".
        `detectable` is the smallest difference that these n pairs detect with 90 % power at
        5 % / (number of pairs tested), see `igbench.records.stats.detectable`.

    Raises:
        InputError: The metric has no rows or no definition, or the band is negative or no number.
    """
    spec = spec_of(specs, metric)
    if band is not None and not 0 <= band < math.inf:
        raise InputError(f"band={band!r} of {metric!r} must be a number of at least 0.")
    lines: list[dict[str, Any]] = []
    for block in of_metric(scores, metric):
        own = equivalence_band(spec, block) if band is None else float(band)
        lines += _lines(block, spec, own, resamples)
    return pd.DataFrame(lines, columns=list(PAIR_COLUMNS))


def equivalence_band(spec: MetricSpec, found: Cells) -> float:
    """Largest difference of means of two methods that does not matter.

    `MetricSpec.min_effect` for metrics with a bounded range, the same number as in the comparison
    of two runs; otherwise .1 of the standard deviation over samples, the median over methods,
    because the unit of such metrics changes with the model.

    Args:
        spec: Definition of the metric.
        found: Scores of one model on it.

    Returns:
        NaN where no method has two finite values, for metrics without a bounded range.
    """
    if math.isfinite(spec.low) and math.isfinite(spec.high) and math.isfinite(spec.min_effect):
        return float(spec.min_effect)
    spreads = [sample_sd(values[~np.isnan(values)]) for values in found.values.values()]
    known = [sd for sd in spreads if not math.isnan(sd)]
    return BAND_SHARE * float(np.median(known)) if known else math.nan


def pair_verdict(line: Mapping[str, Any], ends: Ends, spec: MetricSpec) -> PairVerdict:
    """The verdict on method a of a line of `pairwise`.

    Args:
        line: Its difference, band, effect and corrected p-value.
        ends: 90 % interval of the difference.
        spec: Definition of the metric.
    """
    band, difference = line["band"], line["difference"]
    if -band <= ends[0] and ends[1] <= band:
        return "equivalent"
    agree = difference * line["effect"] > 0
    if not (line["p_holm"] <= LEVEL and agree and abs(difference) >= band):
        return "undecided"
    if spec.direction == "none":
        return "different"
    return "better" if (difference > 0) == (spec.direction == "higher") else "worse"


def verdict_counts(pairs: pd.DataFrame) -> pd.DataFrame:
    """Wins, ties and losses of every method against all others, from the verdicts of `pairwise`.

    Args:
        pairs: Lines of `pairwise`, of any metrics.

    Returns:
        Columns model, metric, method, wins ("better"), ties ("equivalent"), losses ("worse"),
        different and undecided, which add up to the number of other methods.
    """
    swapped = {"better": "worse", "worse": "better"}
    turned = pairs.assign(a=pairs["b"], verdict=pairs["verdict"].replace(swapped))
    names = {"better": "wins", "equivalent": "ties", "worse": "losses",
             "different": "different", "undecided": "undecided"}  # fmt: skip
    keys = {
        (line.model, line.metric, method): None
        for line in pairs.itertuples()
        for method in (line.a, line.b)
    }
    found = {
        key: group["verdict"].value_counts()
        for key, group in pd.concat([pairs, turned]).groupby(["model", "metric", "a"], sort=False)
    }
    return pd.DataFrame(
        [(*key, *(int(found[key].get(word, 0)) for word in names)) for key in keys],
        columns=["model", "metric", "method", *names.values()],
    )


def _lines(block: Cells, spec: MetricSpec, band: float, resamples: int) -> list[dict[str, Any]]:
    """The lines of all pairs of one model."""
    pairs = [(a, b, subtract(y, x)) for a, b, x, y in block.pairs()]
    bounds = nested_intervals(
        [difference for *_, difference in pairs],
        (CONFIDENCE, 1 - 2 * LEVEL),
        resamples=resamples,
    )
    lines = [
        {
            "model": block.model, "metric": block.metric, "a": a, "b": b,
            **_compare(difference, spec), "low": low, "high": high, "band": band,
        }
        for (a, b, difference), ((low, high), _) in zip(pairs, bounds, strict=True)
    ]  # fmt: skip
    corrected = holm([line["p_value"] for line in lines])
    tested = max(1, int(np.count_nonzero(~np.isnan(corrected))))
    for line, p, (_, inner), (*_, difference) in zip(lines, corrected, bounds, pairs, strict=True):
        line["p_holm"] = float(p)
        line["verdict"] = pair_verdict(line, inner, spec)
        line["detectable"] = detectable(
            len(difference), sample_sd(difference), alpha=LEVEL / tested
        )
    return lines


def _compare(difference: np.ndarray, spec: MetricSpec) -> dict[str, Any]:
    """The columns of a pair that need no other pair."""
    ranks = signed_ranks(difference)
    gain = -difference if spec.direction == "lower" else difference
    return {
        "n": len(difference), "difference": mean(difference), "p_value": ranks.p_value,
        "effect": ranks.effect, "share_better": mean((gain > 0) + 0.5 * (gain == 0)),
    }  # fmt: skip
