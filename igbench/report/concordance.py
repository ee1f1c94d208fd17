"""Agreement of the metrics as a number: the mean Kendall's tau with a bootstrap interval."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from igbench.records import stats
from igbench.report import agreement, styles
from igbench.schema import Run

RESAMPLES = 999
"""Resamples of the samples; the interval takes their percentiles."""
_ENTRIES = 2**21
"""Entries of the counts of resamples that are held at a time."""


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b of the orders of the methods by two metrics, or the mean over pairs.

    Attributes:
        tau: In [-1, 1].
        low: Lower end of the 95 % percentile interval over resampled samples; NaN for one sample.
        high: Upper end.
    """

    tau: float
    low: float
    high: float


@dataclass(frozen=True)
class Concordance:
    """How far the metrics of a run put its methods into the same order.

    Attributes:
        mean: Mean of tau over the pairs of metrics.
        pairs: Tau of each pair of metrics with at least three methods in common.
        methods: Largest number of methods that a pair of metrics has in common.
        n: Number of samples.
    """

    mean: Tau
    pairs: dict[tuple[str, str], Tau]
    methods: int
    n: int

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics in the pairs."""
        return tuple(dict.fromkeys(itertools.chain(*self.pairs)))

    @property
    def least(self) -> tuple[str, str]:
        """The pair of metrics that agrees least."""
        return min(self.pairs, key=lambda pair: self.pairs[pair].tau)


def concordance(
    run: Run, lines: pd.DataFrame, scores: pd.DataFrame, *, resamples: int = RESAMPLES
) -> Concordance | None:
    """Mean Kendall's tau-b over the pairs of metrics of one model, with an interval.

    Each tau is that of `igbench.report.agreement.rank_correlations`, as in its figure.  The
    interval resamples samples, the same for all methods and metrics: it says how far tau depends on
    the choice of samples, not of methods.

    Args:
        run: Definitions.
        lines: Lines of `igbench.records.stats.summarise` of one model.
        scores: Columns of `Row`, of the same model.
        resamples: Number of bootstrap resamples.

    Returns:
        None unless two metrics with a direction have the means of three methods in common.
    """
    taus, counts = agreement.rank_correlations(run, lines)
    metrics = tuple(map(str, taus))
    pairs = {(a, b): float(taus.loc[a, b]) for a, b in itertools.combinations(metrics, 2)}
    known = np.array([math.isfinite(tau) for tau in pairs.values()], dtype=bool)
    if not known.any():
        return None
    methods = [m for m in styles.method_names(run) if styles.role(run, m) == "method"]
    cube = _cube(scores, metrics, tuple(methods))
    signs = np.array([1.0 if run.metrics[m].direction == "higher" else -1.0 for m in metrics])
    drawn = [_taus(signs[:, None] * means)[:, known] for means in _resampled(cube, resamples)]
    found = np.concatenate(drawn)
    kept = [(pair, tau) for pair, tau in pairs.items() if math.isfinite(tau)]
    return Concordance(
        mean=_tau(float(np.mean([tau for _, tau in kept])), np.nanmean(found, axis=1)),
        pairs={pair: _tau(tau, found[:, i]) for i, (pair, tau) in enumerate(kept)},
        methods=max(int(counts.loc[a, b]) for (a, b), _ in kept),
        n=cube.shape[2],
    )


def _tau(point: float, drawn: np.ndarray) -> Tau:
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return Tau(point, float(low), float(high))


def _cube(scores: pd.DataFrame, metrics: tuple[str, ...], methods: tuple[str, ...]) -> np.ndarray:
    """Values by metric, method and sample; NaN where there is none."""
    chosen = scores[scores["metric"].isin(metrics) & scores["method"].isin(methods)]
    codes, ids = pd.factorize(chosen["sample_id"])
    cube = np.full((len(metrics), len(methods), len(ids)), math.nan)
    good = stats.usable(chosen).to_numpy()
    places = [
        chosen[name].map({k: i for i, k in enumerate(known)}).to_numpy(dtype=int)[good]
        for name, known in (("metric", metrics), ("method", methods))
    ]
    cube[(*places, codes[good])] = chosen["value"].to_numpy(dtype=float)[good]
    return cube


def _resampled(cube: np.ndarray, resamples: int) -> Iterator[np.ndarray]:
    """Means over resampled samples, (some resamples, metrics, methods)."""
    n = cube.shape[2]
    flat = cube.reshape(-1, n)
    known = np.isfinite(flat)
    values, present = np.where(known, flat, 0.0).T, known.T.astype(float)
    rng, step = np.random.default_rng(stats.SEED), max(1, _ENTRIES // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            yield (counts @ values / (counts @ present)).reshape(size, *cube.shape[:2])


def _taus(means: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of every pair of metrics, (resamples, pairs); NaN where one is level.

    Args:
        means: (resamples, metrics, methods), NaN where a method has no value.
    """
    first, second = np.triu_indices(means.shape[2], 1)
    order = np.sign(means[:, :, first] - means[:, :, second])
    known, order = ~np.isnan(order), np.nan_to_num(order)
    a, b = np.triu_indices(means.shape[1], 1)
    untied = np.sqrt(
        ((order[:, a] != 0) & known[:, b]).sum(axis=2)
        * ((order[:, b] != 0) & known[:, a]).sum(axis=2)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = (order[:, a] * order[:, b]).sum(axis=2) / untied
    return found
