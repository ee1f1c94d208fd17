"""Intervals of clustered samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from igbench.errors import InputError
from igbench.records import stats
from tests.records.stats.frames import UP, frame


def clustered_values(seed: int, groups: int = 12, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Values of mean 0 whose clusters differ twice as much as the values within."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), size)
    return rng.normal(0, 2, groups)[labels] + rng.normal(size=groups * size), labels


def test_clusters_that_differ_widen_the_interval():
    values, labels = clustered_values(0)
    alone, together = stats.interval(values), stats.interval(values, clusters=labels)
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_clusters_of_independent_samples_err_on_the_wide_side():
    values = np.random.default_rng(1).normal(size=120)
    alone = stats.interval(values)
    by_two = stats.interval(values, clusters=np.arange(120) // 2)
    # Drawing within pairs too adds half of the variance: a factor of sqrt(1.5), give or take.
    ratio = (by_two[1] - by_two[0]) / (alone[1] - alone[0])
    assert ratio == pytest.approx(np.sqrt(1.5), abs=0.15)


def test_many_samples_use_the_variance_of_cluster_sums():
    values, labels = clustered_values(2, groups=60, size=40)
    error = pd.Series(values).groupby(labels).mean().std() / np.sqrt(60)  # of equal sizes
    low, high = stats.interval(values, clusters=labels)
    assert (high - low) / 2 == pytest.approx(2.000995 * error, rel=1e-5)  # t(.975, 59)


def test_degenerate_clusters():
    assert np.isnan(stats.interval(np.arange(4.0), clusters=["a"] * 4)).all()
    assert stats.interval(np.ones(4), clusters=list("aabb")) == (1.0, 1.0)
    with pytest.raises(InputError, match="3 clusters are given for 4 values"):
        stats.interval(np.arange(4.0), clusters=list("abc"))


def test_both_intervals_of_means_and_differences():
    values, labels = clustered_values(3)
    scores = frame({"a": values, "b": values + np.linspace(0, 1, len(values))})
    by = dict(zip(scores["sample_id"][: len(values)], labels, strict=True))
    got = stats.clustered(scores, {"m": UP}, "m", by, resamples=499)
    assert got[["a", "b"]].to_numpy().tolist() == [["a", ""], ["b", ""], ["a", "b"]]
    assert got["clusters"].tolist() == [12] * 3
    assert (got["low"].iloc[0], got["high"].iloc[0]) == stats.interval(values, resamples=499)
    assert (got["cluster_low"] < got["low"]).all()
    with pytest.raises(InputError, match="1 samples have no cluster, the first: 's00000'"):
        stats.clustered(scores, {"m": UP}, "m", {k: v for k, v in by.items() if k != "s00000"})


def test_models_as_clusters_pool_their_samples():
    parts = [frame({"a": [i + 0.0, i + 0.1, i + 0.2]}, model=f"net{i}") for i in range(4)]
    (got,) = stats.clustered(pd.concat(parts), {"m": UP}, "m", "model", resamples=499).itertuples()
    assert (got.n, got.clusters, got.mean) == (12, 4, pytest.approx(1.6))
    assert got.cluster_low < got.low
    with pytest.raises(InputError, match="no column 'colour'"):
        stats.clustered(parts[0], {"m": UP}, "m", "colour")


@pytest.mark.slow
def test_coverage_of_clustered_samples():
    """95 % intervals of 20 clusters hold 0 in 92 to 98 % of 500 samples; others in far fewer."""
    hits = naive = 0
    for seed in range(500):
        values, labels = clustered_values(seed, groups=20)
        low, high = stats.interval(values, clusters=labels, resamples=499)
        hits += low <= 0 <= high
        low, high = stats.interval(values, resamples=499)
        naive += low <= 0 <= high
    assert 460 <= hits <= 490
    assert naive < 350
