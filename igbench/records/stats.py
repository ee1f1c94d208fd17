"""Statistics of scores: means with intervals, paired tests and detectable differences.

The unit is the sample, paired across methods and across runs.  Undefined and failed values are left
out and counted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from igbench.errors import InputError
from igbench.records.settings import own_settings
from igbench.schema import Direction, MethodSpec, MetricSpec

RESAMPLES = 9999
CONFIDENCE = 0.95
LARGE = 2000
"""Above this many samples, intervals use the normal approximation, which agrees with BCa there."""
EXACT = 50
"""Largest number of non-zero differences for the exact p-value."""
SEED = 20170304
"""Seed of the resamples, the same for every method, metric and run."""
FLOOR = "random"
"""Method whose mean is the floor of metrics that rank."""

SUMMARY_COLUMNS = (
    "model", "method", "metric", "n", "n_undefined", "n_failed", "reason", "mean", "low", "high",
    "median", "std", "mc_error", "best", "tied", "share", "share_low", "share_high",
)  # fmt: skip
PAIR_COLUMNS = (
    "model", "metric", "a", "b", "n", "difference", "low", "high", "p_value", "p_holm", "effect",
    "share_better",
)  # fmt: skip


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two paired samples, new minus base.

    Attributes:
        mean: Mean difference; NaN without pairs.
        low: Lower end of its 95 % interval; NaN with fewer than two pairs.
        high: Upper end.
        p_value: Wilcoxon signed-rank test, two-sided, not corrected for multiplicity.
        effect: Matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), in [-1, 1].
        n: Number of pairs.
    """

    mean: float
    low: float
    high: float
    p_value: float
    effect: float
    n: int


def usable(scores: pd.DataFrame) -> pd.Series:
    """Mask of the rows with status "ok" and a value that is not NaN, (rows,) bool."""
    return (scores["status"] == "ok") & scores["value"].notna()


def interval(values: np.ndarray, *, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % BCa bootstrap interval of the mean (Efron 1987).

    Samples of equal size are resampled with the same indices.  Equal values give that value twice;
    fewer than two values, or infinite values, give NaN.

    Args:
        values: (n,).
        resamples: Number of bootstrap resamples; BCa needs about a hundred or more.

    >>> interval(np.array([2.0, 2.0, 2.0]))
    (2.0, 2.0)
    """
    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        return math.nan, math.nan
    origin, spread = float(values[0]), float(np.ptp(values))
    if spread == 0:
        return origin, origin
    if n > LARGE:
        return _normal(values)
    # BCa is equivariant; this keeps tiny spreads well-posed
    low, high = _bootstrap(((values - origin) / spread,), np.mean, resamples)
    return origin + spread * low, origin + spread * high


def _normal(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean by the normal approximation."""
    half = scipy_stats.norm.ppf((1 + CONFIDENCE) / 2) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def _bootstrap(
    samples: Sequence[np.ndarray], statistic: Callable[..., Any], resamples: int
) -> tuple[float, float]:
    """95 % BCa interval of a statistic of paired samples, (n,) each."""
    found = scipy_stats.bootstrap(
        samples,
        statistic,
        paired=len(samples) > 1,
        confidence_level=CONFIDENCE,
        n_resamples=resamples,
        batch=max(1, 2**18 // len(samples[0])),  # 2 MiB at a time
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Share:
    """Share of the way from a floor to a ceiling, NaN where it is not defined.

    Attributes:
        share: (mean - floor) / (ceiling - floor), a ratio of means: 0 at the floor, 1 at the
            ceiling, outside where a method is worse than one or better than the other.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    share: float = math.nan
    low: float = math.nan
    high: float = math.nan


def share_of_way(
    values: np.ndarray,
    floor: np.ndarray,
    ceiling: np.ndarray,
    direction: Direction,
    *,
    resamples: int = RESAMPLES,
) -> Share:
    """Share of the way from the floor to the ceiling, with a paired 95 % BCa bootstrap interval.

    Above 2000 samples, the interval is the normal one of the linearised ratio.

    Args:
        values: (n,) scores of a method.
        floor: (n,) scores at the floor, paired with them.
        ceiling: (n,) scores at the ceiling.
        direction: Which way is better.
        resamples: Number of bootstrap resamples.

    Returns:
        NaN with fewer than two samples, for infinite scores, and where the interval of the way from
        the floor to the ceiling does not lie on the better side of zero.

    >>> floor, ceiling = np.array([0.1, 0.0, 0.2]), np.array([0.8, 0.9, 0.9])
    >>> found = share_of_way((floor + ceiling) / 2, floor, ceiling, "higher")
    >>> round(found.share, 9), round(found.low, 9), round(found.high, 9)
    (0.5, 0.5, 0.5)
    """
    finite = all(np.isfinite(v).all() for v in (values, floor, ceiling))
    if len(values) < 2 or not finite or direction == "none":
        return Share()
    sign = 1.0 if direction == "higher" else -1.0
    gone, way = sign * (values - floor), sign * (ceiling - floor)
    if not interval(way, resamples=resamples)[0] > 0:
        return Share()
    share = _mean(gone) / _mean(way)
    rest = (gone - share * way) / _mean(way)  # the linearised ratio, less its value
    if np.ptp(rest) <= 1e-12 * max(1.0, abs(share)):
        return Share(share, share, share)
    if len(values) > LARGE:
        low, high = _normal(rest)
        return Share(share, share + low, share + high)
    return Share(share, *_bootstrap((gone, way), _ratio, resamples))


def _ratio(gone: np.ndarray, way: np.ndarray, axis: int = -1) -> Any:
    return np.mean(gone, axis=axis) / np.mean(way, axis=axis)


def ends(
    lines: Sequence[Mapping[Any, Any]],
    methods: Mapping[str, MethodSpec] | None,
    spec: MetricSpec,
) -> tuple[str, str] | None:
    """The methods at the floor and at the ceiling of one model and metric, or None.

    Args:
        lines: Lines of `summarise` of that model and metric.
        methods: Definitions of the methods.
        spec: Definition of the metric.

    Returns:
        `FLOOR`, and the method of role "ceiling" with the best mean; None unless the metric ranks
        and both have a mean.
    """
    means = {line["method"]: line["mean"] for line in lines if math.isfinite(line["mean"])}
    top = [m for m in means if methods and m in methods and methods[m].role == "ceiling"]
    if not spec.ranks or spec.direction == "none" or FLOOR not in means or not top:
        return None
    return FLOOR, (max if spec.direction == "higher" else min)(top, key=lambda m: means[m])


def signed_rank_p(difference: np.ndarray) -> float:
    """Two-sided p-value of the Wilcoxon signed-rank test, zeros ranked and dropped (Pratt 1959).

    Exact for up to 50 non-zero differences, with ties and zeros: the permutation distribution of
    the signs given the ranks.  Otherwise the normal approximation with tie correction.

    Args:
        difference: (n,) paired differences.

    Returns:
        In (0, 1]; 1 if all are zero, NaN if there are none.

    >>> signed_rank_p(np.ones(6))  # 2 / 2**6
    0.03125
    """
    if len(difference) == 0 or np.isnan(difference).any():
        return math.nan
    positive, ranks = _signed_ranks(difference)
    if len(ranks) == 0:
        return 1.0
    if len(ranks) > EXACT:
        test = scipy_stats.wilcoxon(difference, zero_method="pratt", method="asymptotic")
        return float(test.pvalue)
    steps = np.rint(2 * ranks).astype(int)  # average ranks are multiples of one half
    ways = np.zeros(int(steps.sum()) + 1)
    ways[0] = 1.0
    for step in steps:
        ways[step:] = ways[step:] + ways[:-step]
    plus = int(steps[positive].sum())
    tail = min(ways[: plus + 1].sum(), ways[plus:].sum())
    return float(min(1.0, 2.0 * tail / ways.sum()))


def rank_biserial(difference: np.ndarray) -> float:
    """Matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), in [-1, 1] (Kerby 2014).

    0 if all differences are zero; NaN if there are none.

    >>> rank_biserial(np.array([3.0, -1.0, 2.0]))  # (2 + 3 - 1) / (1 + 2 + 3)
    0.6666666666666666
    """
    if len(difference) == 0 or np.isnan(difference).any():
        return math.nan
    positive, ranks = _signed_ranks(difference)
    return float((2 * ranks[positive].sum() - ranks.sum()) / ranks.sum()) if len(ranks) else 0.0


def _signed_ranks(difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signs (True where positive) and Pratt ranks of the non-zero differences."""
    kept = difference != 0
    return difference[kept] > 0, scipy_stats.rankdata(np.abs(difference))[kept]


def paired_difference(
    base: np.ndarray, new: np.ndarray, *, resamples: int = RESAMPLES
) -> PairedDifference:
    """Mean of new - base with its interval, test and effect size.

    Args:
        base: (n,).
        new: (n,), paired with `base`.
        resamples: Number of bootstrap resamples.

    Raises:
        InputError: The two have different lengths.
    """
    difference = subtract(base, new)
    low, high = interval(difference, resamples=resamples)
    return PairedDifference(
        mean=_mean(difference), low=low, high=high, p_value=signed_rank_p(difference),
        effect=rank_biserial(difference), n=len(difference),
    )  # fmt: skip


def subtract(base: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The differences new - base, (n,); equal infinities give 0.

    Raises:
        InputError: The two have different lengths.
    """
    if base.shape != new.shape or base.ndim != 1:
        raise InputError(
            f"paired values have shapes {base.shape} and {new.shape}; they must be one-dimensional "
            "and of equal length, one pair for each sample."
        )
    with np.errstate(invalid="ignore"):
        return np.where(base == new, 0.0, new - base)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P-values after Holm's step-down adjustment (1979), same shape; NaN is not counted.

    The i-th smallest of m values becomes the largest of (m - j + 1) p_(j) over j <= i, at most 1.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(p.shape, math.nan)
    order = np.argsort(p, axis=None)[: np.count_nonzero(~np.isnan(p))]  # NaN is sorted last
    weights = np.arange(len(order), 0, -1)
    adjusted.flat[order] = np.minimum(np.maximum.accumulate(weights * p.flat[order]), 1.0)
    return adjusted


def detectable(n: int, sd: float, *, alpha: float = 0.05, power: float = 0.9) -> float:
    """Smallest mean difference that n pairs detect with a given power at a two-sided level.

    (z[1 - alpha / 2] + z[power]) sd / sqrt(n 3 / pi): the normal approximation with the
    asymptotic efficiency 3 / pi of the signed-rank test.  Infinite if n pairs can never reach the
    level, because 2 / 2**n > alpha.

    >>> round(detectable(100, 1.0), 3), detectable(5, 1.0)
    (0.332, inf)

    Args:
        n: Number of pairs.
        sd: Standard deviation of the paired differences, in the unit of the metric.
        alpha: Level; divide it by the number of tests for a bound under Holm's correction.
        power: Probability of a rejection.
    """
    if n < 1 or 2.0 ** (1 - n) > alpha:
        return math.inf
    z = scipy_stats.norm.ppf(1 - alpha / 2) + scipy_stats.norm.ppf(power)
    return float(z * sd / math.sqrt(n * 3 / math.pi))


def wide(scores: pd.DataFrame) -> pd.DataFrame:
    """Pivot the scores of one model and metric to samples x methods; NaN where there is no value.

    Raises:
        InputError: A sample occurs twice for one method.
    """
    if scores.duplicated(["method", "sample_id"]).any():
        twice = scores[scores.duplicated(["method", "sample_id"])].iloc[0]
        raise InputError(
            f"sample {twice['sample_id']!r} occurs twice for {twice['method']}/{twice['metric']}; "
            "give the scores of one run at a time."
        )
    values = scores.assign(value=scores["value"].where(usable(scores)))
    table = values.pivot(index="sample_id", columns="method", values="value")
    return table[list(dict.fromkeys(scores["method"]))]


@own_settings()
def pairwise(
    scores: pd.DataFrame,
    specs: Mapping[str, MetricSpec],
    metric: str,
    *,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Compare every pair of methods on one metric, over the samples where both have a value.

    Differences are a - b.  The family of Holm's correction is all k (k - 1) / 2 pairs of one model
    and metric, controls included.

    Args:
        scores: Columns of `Row`, of one run.
        specs: Metric definitions.
        metric: Name of the metric.
        resamples: Number of bootstrap resamples.

    Returns:
        Columns `PAIR_COLUMNS`; `effect` is the matched-pairs rank-biserial correlation of a - b,
        `share_better` the share of samples where a is better (larger where the metric has no
        direction), ties counted half.

    Raises:
        InputError: The metric has no rows or no definition.
    """
    spec = _spec(specs, metric)
    chosen = scores[scores["metric"] == metric]
    if chosen.empty:
        known = ", ".join(dict.fromkeys(scores["metric"]))
        raise InputError(f"no rows of metric {metric!r}; these records hold: {known}.")
    lines = []
    for model, group in chosen.groupby("model", sort=False):
        table = wide(group)
        pairs = [
            {"model": model, "metric": metric, "a": a, "b": b, **_compare(x, y, spec, resamples)}
            for a, b, x, y in _pairs(table)
        ]
        for line, p in zip(pairs, holm([line["p_value"] for line in pairs]), strict=True):
            lines.append({**line, "p_holm": float(p)})
    return pd.DataFrame(lines, columns=list(PAIR_COLUMNS))


def _pairs(table: pd.DataFrame) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Every pair of columns, with their values where both have one."""
    for a, b in itertools.combinations(table.columns, 2):
        both = table[[a, b]].dropna()
        yield a, b, both[a].to_numpy(), both[b].to_numpy()


def _compare(a: np.ndarray, b: np.ndarray, spec: MetricSpec, resamples: int) -> dict[str, Any]:
    found = paired_difference(b, a, resamples=resamples)
    gain = b - a if spec.direction == "lower" else a - b
    return {
        "n": found.n, "difference": found.mean, "low": found.low, "high": found.high,
        "p_value": found.p_value, "effect": found.effect,
        "share_better": _mean((gain > 0) + 0.5 * (gain == 0)),
    }  # fmt: skip


@own_settings()
def summarise(
    scores: pd.DataFrame,
    specs: Mapping[str, MetricSpec],
    *,
    methods: Mapping[str, MethodSpec] | None = None,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Summarise scores: one line for each model, metric and method.

    Args:
        scores: Columns of `Row`, of one run.
        specs: Definitions of the metrics and costs.
        methods: Definitions of the methods; oracles, controls and ceilings are never best.  Without
            them, every method competes.
        resamples: Number of bootstrap resamples.

    Returns:
        Columns `SUMMARY_COLUMNS`: `n`, `n_undefined`, `n_failed` count samples; `reason` is the
        most common one; `low`, `high` bound the mean with 95 % confidence; `mc_error` is the
        Monte Carlo standard error of the mean, NaN for exact metrics (for draws that all samples
        share it is that of one sample, an upper bound); `best` marks the best mean among methods
        that are no oracles, controls or ceilings, `tied` those that do not differ significantly
        from it (signed-rank test, Holm's correction over all pairs of the model and metric);
        `share` is that of the way from floor to ceiling (see `ends`, `share_of_way`), over the
        samples where all three have a value, and `share_low`, `share_high` bound it.

    Raises:
        InputError: A metric has no definition, or a sample occurs twice.
    """
    lines = []
    for (model, metric), group in scores.groupby(["model", "metric"], sort=False):
        spec = _spec(specs, str(metric))
        cells = [
            {"model": model, "method": method, "metric": metric, **_describe(cell, spec, resamples)}
            for method, cell in group.groupby("method", sort=False)
        ]
        rivals = [c for c in cells if _competes(c["method"], methods) and c["n"]]
        values = wide(group)
        shares = _shares(values, ends(cells, methods, spec), spec, resamples)
        lines += [
            {**cell, **shares.get(cell["method"], _NO_SHARE)}
            for cell in _mark(cells, rivals, values, spec)
        ]
    return pd.DataFrame(lines, columns=list(SUMMARY_COLUMNS))


@own_settings()
def table(
    summary: pd.DataFrame, *, methods: Sequence[str] = (), metrics: Sequence[str] = ()
) -> pd.DataFrame:
    """Means of one model, methods by metrics: a row for every method, a column for every metric.

    Args:
        summary: Lines of `summarise`.
        methods: Methods that have a row, in any case.
        metrics: Metrics that have a column, in any case.

    Returns:
        Numbers, NaN where there is no mean: no sample has a value, or the cell was not scored.
        `counts_table` says which.
    """
    return _spread(summary, "mean", methods, metrics).astype(float)


@own_settings()
def counts_table(
    summary: pd.DataFrame, *, methods: Sequence[str] = (), metrics: Sequence[str] = ()
) -> pd.DataFrame:
    """The cells of `table` as text: the mean, and how many samples have none and why.

    Args:
        summary: Lines of `summarise`.
        methods: Methods that have a row, in any case.
        metrics: Metrics that have a column, in any case.

    Returns:
        Texts such as "0.132", "0.132 (2 of 4; 2 failed)", "undefined 4/4", and "not scored" where
        a metric leaves a method out.
    """
    lines = summary.assign(text=[_cell_text(line) for line in summary.to_dict("records")])
    wide = _spread(lines, "text", methods, metrics).astype(object)
    return wide.where(wide.notna(), "not scored")


def remarks(summary: pd.DataFrame) -> list[str]:
    """One line for each cell in which samples have no value: how many, and the commonest reason."""
    return [
        f"{line['metric']} of {line['method']}: {_troubles(line)} of {_size(line)}"
        + (f" ({line['reason']})" if line["reason"] else "")
        for line in summary.to_dict("records")
        if line["n_undefined"] or line["n_failed"]
    ]


def _spread(
    lines: pd.DataFrame, value: str, methods: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """One column of the summary as a frame of methods by metrics, in order of appearance."""
    if lines["model"].nunique() > 1:
        raise InputError(
            f"the scores are of {lines['model'].nunique()} models; make one table for each."
        )
    index = pd.Index(list(dict.fromkeys([*lines["method"], *methods])), name="method")
    columns = pd.Index(list(dict.fromkeys([*lines["metric"], *metrics])), name="metric")
    wide = lines.pivot(index="method", columns="metric", values=value)
    return wide.reindex(index=index, columns=columns)


def _cell_text(line: Mapping[Any, Any]) -> str:
    if not line["n"]:
        words = [w for k, w in (("n_undefined", "undefined"), ("n_failed", "failed")) if line[k]]
        counts = [f"{w} {line[f'n_{w}']}/{_size(line)}" for w in words]
        return ", ".join(counts) or "no samples"
    mean = f"{line['mean']:.3g}"
    if line["n"] == _size(line):
        return mean
    return f"{mean} ({line['n']} of {_size(line)}; {_troubles(line)})"


def _size(line: Mapping[Any, Any]) -> int:
    return int(line["n"] + line["n_undefined"] + line["n_failed"])


def _troubles(line: Mapping[Any, Any]) -> str:
    counts = ((line["n_undefined"], "undefined"), (line["n_failed"], "failed"))
    return ", ".join(f"{n} {word}" for n, word in counts if n)


def _describe(cell: pd.DataFrame, spec: MetricSpec, resamples: int) -> dict[str, Any]:
    good = usable(cell)
    values = cell.loc[good, "value"].to_numpy(dtype=float)
    errors = cell.loc[good, "std_error"].dropna().to_numpy(dtype=float)
    undefined = int((cell["status"] == "undefined").sum())
    reasons = cell.loc[~good & (cell["reason"] != ""), "reason"].value_counts()
    low, high = interval(values, resamples=resamples)
    independent = 1 if spec.shared_draws else len(values)
    spread = len(values) > 1 and np.isfinite(values).all()
    return {
        "n": len(values),
        "n_undefined": undefined,
        "n_failed": len(cell) - len(values) - undefined,
        "reason": str(reasons.index[0]) if len(reasons) else "",
        "mean": _mean(values),
        "low": low,
        "high": high,
        "median": float(np.median(values)) if len(values) else math.nan,
        "std": float(values.std(ddof=1)) if spread else math.nan,
        "mc_error": math.sqrt(_mean(errors**2) / independent) if len(errors) else math.nan,
    }


_NO_SHARE = {"share": math.nan, "share_low": math.nan, "share_high": math.nan}


def _shares(
    table: pd.DataFrame, between: tuple[str, str] | None, spec: MetricSpec, resamples: int
) -> dict[str, dict[str, float]]:
    """The columns of the share of every method; none without a floor and a ceiling."""
    found = {}
    for method in table.columns if between else ():
        floor, ceiling = between or ("", "")
        paired = table.loc[table[[method, floor, ceiling]].notna().all(axis=1)]
        x, low, high = (paired[name].to_numpy(dtype=float) for name in (method, floor, ceiling))
        own = share_of_way(x, low, high, spec.direction, resamples=resamples)
        found[method] = {"share": own.share, "share_low": own.low, "share_high": own.high}
    return found


def _mark(
    cells: list[dict[str, Any]],
    rivals: list[dict[str, Any]],
    table: pd.DataFrame,
    spec: MetricSpec,
) -> list[dict[str, Any]]:
    """Add `best` and `tied` to the cells; equal best means are all best."""
    sign = {"higher": 1.0, "lower": -1.0, "none": math.nan}[spec.direction]
    merits = {c["method"]: sign * c["mean"] for c in rivals}
    top = max((m for m in merits.values() if not math.isnan(m)), default=math.nan)
    best = [name for name, merit in merits.items() if merit == top]
    differs = _differs(table, best[0]) if best else {}
    return [
        {
            **cell,
            "best": cell["method"] in best,
            "tied": bool(best)
            and cell["method"] in merits
            and cell["method"] not in best
            and not differs[cell["method"]],
        }
        for cell in cells
    ]


def _differs(table: pd.DataFrame, best: str) -> dict[str, bool]:
    """Whether each method differs from `best` at 5 %, with Holm's correction over all pairs."""
    found = [(a, b, signed_rank_p(subtract(x, y))) for a, b, x, y in _pairs(table)]
    adjusted = holm([p for *_, p in found])
    return {
        b if a == best else a: bool(p <= 0.05)
        for (a, b, _), p in zip(found, adjusted, strict=True)
        if best in (a, b)
    }


def _competes(method: str, methods: Mapping[str, MethodSpec] | None) -> bool:
    return methods is None or method not in methods or methods[method].role == "method"


def _spec(specs: Mapping[str, MetricSpec], metric: str) -> MetricSpec:
    if metric not in specs:
        raise InputError(f"metric {metric!r} has no definition; known: {', '.join(specs)}.")
    return specs[metric]


def _mean(values: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.mean(values)) if len(values) else math.nan
