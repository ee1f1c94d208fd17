"""Kendall's tau of metrics, and its interval."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from igbench.records import stats
from tests.records.stats.frames import UP, frame

SPECS = {"m": UP, "down": replace(UP, direction="lower"), "free": replace(UP, direction="none")}


def scores(n: int = 30, noise: float = 1.0, decimals: int = 9) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for metric, sign in (("m", 1), ("down", -1), ("free", 1)):
        values = rng.normal(size=(n, 6)) * noise + sign * np.arange(6) / 2
        parts.append(frame(dict(zip("abcdef", np.round(values, decimals).T, strict=True)), metric))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("decimals", [0, 9])
def test_tau_equals_scipy_over_oriented_means(decimals):
    given = scores(6, decimals=decimals)
    (line,) = stats.agreement(given, SPECS, resamples=99).itertuples()
    means = given.groupby(["metric", "method"])["value"].mean()
    wanted = scipy_stats.kendalltau(means["m"], -means["down"]).statistic
    assert (line.a, line.b, line.methods, line.n) == ("m", "down", 6, 6)
    assert line.tau == pytest.approx(wanted, rel=1e-12)
    assert line.low <= line.tau <= line.high


def test_interval_equals_resampling_by_hand():
    given = scores(12)
    (line,) = stats.agreement(given, SPECS, resamples=200).itertuples()
    up, down = (
        given[given["metric"] == m].pivot(index="sample_id", columns="method", values="value")
        for m in ("m", "down")
    )
    drawn = np.random.default_rng(stats.SEED).integers(0, 12, (200, 12))
    taus = [
        scipy_stats.kendalltau(up.iloc[i].mean(), -down.iloc[i].mean()).statistic for i in drawn
    ]
    assert (line.low, line.high) == pytest.approx(tuple(np.quantile(taus, [0.025, 0.975])))


def test_more_noise_gives_a_wider_interval_and_none_a_point():
    widths = []
    for noise in (0.0, 1.0, 4.0):
        (line,) = stats.agreement(scores(noise=noise), SPECS, resamples=199).itertuples()
        widths.append(line.high - line.low)
    assert widths[0] == 0
    assert widths[0] < widths[1] < widths[2]


def test_gaps_are_left_out_of_the_means_and_too_few_methods_have_no_tau():
    given = scores(8)
    given.loc[given["method"].isin(list("cdef")) & (given["metric"] == "m"), "value"] = math.nan
    (line,) = stats.agreement(given, SPECS, resamples=99).itertuples()
    assert line.methods == 2
    assert math.isnan(line.tau)
    (some,) = stats.agreement(scores(8), SPECS, methods=["a", "b", "c"], resamples=99).itertuples()
    assert some.methods == 3
    assert stats.agreement(scores(8), SPECS, metrics=["m", "free"]).empty
