"""Measure how often intervals hold the mean, and how often a table of pairs raises a false alarm.

python experiments/statistics/coverage.py

Writes table.md beside this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats as scipy_stats

from igbench.records import stats
from igbench.records.stats.intervals import nested_intervals

HERE = Path(__file__).parent
RESAMPLES = 999
TRIALS = {16: 2000, 82: 2000, 1000: 2000}
"""Number of samples to how many data sets are drawn."""

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
DATA: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "exponential (skewness 2)": (lambda rng, shape: rng.exponential(size=shape), 1.0),
    "beta(.5, 3) (skewness 1.6)": (lambda rng, shape: rng.beta(0.5, 3, shape), 1 / 7),
    "log-normal (skewness 6.2)": (lambda rng, shape: rng.lognormal(size=shape), math.exp(0.5)),
}
"""Distributions and their means."""

SEED = 7
ALARMS = 500
"""Number of tables of pairs."""
METHODS = 6
GROUPS, SIZE, SETS = 20, 8, 200
"""Clusters, samples in each, and data sets."""


def share_held(ends: np.ndarray, mean: float) -> float:
    """Share of intervals, (trials, 2), that hold the mean."""
    return float(((ends[:, 0] <= mean) & (mean <= ends[:, 1])).mean())


def coverage(draw: Draw, mean: float, n: int) -> tuple[float, float, float]:
    """Coverage of 95 % intervals: that of igbench, BCa at its plain level, and Student's."""
    values = draw(np.random.default_rng((SEED, n)), (TRIALS[n], n))
    # The level whose expansion is the plain one.
    z = scipy_stats.norm.ppf((1 + stats.CONFIDENCE) / 2) / math.sqrt(n / (n - 1))
    level = float(2 * scipy_stats.t.cdf(z, n - 1) - 1)
    found = np.array(nested_intervals([*values], (stats.CONFIDENCE, level), resamples=RESAMPLES))
    half = scipy_stats.t.ppf((1 + stats.CONFIDENCE) / 2, n - 1) * values.std(1, ddof=1)
    half = half[:, None] / math.sqrt(n) * np.array([-1.0, 1.0])
    student = values.mean(1)[:, None] + half
    return (
        share_held(found[:, 0], mean),
        share_held(found[:, 1], mean),
        share_held(student, mean),
    )


def clustered_coverage() -> tuple[float, float]:
    """Coverage of intervals of clustered samples: of clusters, and of samples alone."""
    held = []
    labels = np.repeat(np.arange(GROUPS), SIZE)
    for trial in range(SETS):
        rng = np.random.default_rng((SEED, trial))
        values = rng.normal(0, 2, GROUPS)[labels] + rng.normal(size=GROUPS * SIZE)
        both = [
            stats.interval(values, resamples=RESAMPLES, clusters=labels),
            stats.interval(values, resamples=RESAMPLES),
        ]
        held.append([low <= 0 <= high for low, high in both])
    by_cluster, alone = np.mean(held, axis=0)
    return float(by_cluster), float(alone)


def false_alarms(n: int) -> tuple[float, float]:
    """Share of tables of equal, skewed methods with a p at most 5 %, after and before Holm."""
    rng, found = np.random.default_rng((SEED, n)), []
    for _ in range(ALARMS):
        values = rng.exponential(size=(n, 1)) + rng.exponential(size=(n, METHODS)) ** 2
        pairs = [values[:, i] - values[:, j] for i in range(METHODS) for j in range(i)]
        p = np.array([stats.signed_rank_p(pair) for pair in pairs])
        found.append([stats.holm(p).min() <= stats.LEVEL, p.min() <= stats.LEVEL])
    after, before = np.mean(found, axis=0)
    return float(after), float(before)


def report() -> str:
    """All tables as Markdown."""
    lines = ["| data | n | expanded BCa (igbench) | BCa | Student |", "|:--|--:|--:|--:|--:|"]
    for name, (draw, mean) in DATA.items():
        for n in TRIALS:
            shares = " | ".join(f"{100 * share:.1f} %" for share in coverage(draw, mean, n))
            lines.append(f"| {name} | {n:,} | {shares} |")
    by_cluster, alone = clustered_coverage()
    lines += [
        "",
        f"| {GROUPS} clusters of {SIZE} samples, which differ twice as much as samples within | |",
        "|:--|--:|",
        f"| interval of clusters | {100 * by_cluster:.1f} % |",
        f"| interval of samples | {100 * alone:.1f} % |",
        "",
        f"| tables of {METHODS} equal methods with p ≤ 5 % for a pair | with Holm | without |",
        "|:--|--:|--:|",
    ]
    for n in (16, 82):
        after, before = false_alarms(n)
        lines.append(f"| n = {n} | {100 * after:.1f} % | {100 * before:.1f} % |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "table.md").write_text(report(), encoding="utf-8")
