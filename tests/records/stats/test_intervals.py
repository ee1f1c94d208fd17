"""Levels and coverage of intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from igbench.records import stats
from igbench.records.stats.intervals import nested_intervals


def test_the_expanded_level_gives_students_width_to_a_normal_bootstrap():
    for n in (5, 16, 82):
        z = scipy_stats.norm.ppf((1 + stats.expanded(0.95, n)) / 2)
        plain = math.sqrt((n - 1) / n)  # what the bootstrap takes for the standard deviation
        assert z * plain == pytest.approx(scipy_stats.t.ppf(0.975, n - 1), rel=1e-9)
    assert 0.999 < stats.expanded(0.95, 2) < 1


def test_levels_share_their_resamples_and_are_nested():
    values = np.random.default_rng(0).exponential(size=20)
    (wide, narrow), _ = nested_intervals([values, values[:9]], (0.95, 0.9), resamples=999)
    assert wide == stats.interval(values, resamples=999)
    assert narrow == stats.interval(values, confidence=0.9, resamples=999)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.slow
@pytest.mark.parametrize("n", [16, 82])
def test_intervals_of_normal_samples_cover_the_mean(n):
    """95 %, within three standard errors of 1,000 data sets."""
    values = np.random.default_rng((5, n)).normal(size=(1000, n))
    found = stats.intervals([*values], resamples=499)
    held = np.mean([low <= 0 <= high for low, high in found])
    assert held == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 1000))
