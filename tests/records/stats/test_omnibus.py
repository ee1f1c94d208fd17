"""Friedman's test against SciPy, with ties and gaps."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from igbench.errors import InputError
from igbench.records import stats
from tests.records.stats.frames import UP, frame


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_friedman_equals_scipy_with_and_without_ties(decimals):
    values = np.round(np.random.default_rng(0).normal(size=(40, 5)) + np.arange(5) / 4, decimals)
    wanted = scipy_stats.friedmanchisquare(*values.T)
    got = stats.friedman(frame(dict(zip("abcde", values.T, strict=True))), {"m": UP}, "m").iloc[0]
    assert got["statistic"] == pytest.approx(wanted.statistic, rel=1e-12)
    assert got["p_value"] == pytest.approx(wanted.pvalue, rel=1e-9)
    assert got["kendall_w"] == pytest.approx(wanted.statistic / (40 * 4), rel=1e-12)
    assert got[["methods", "n", "df", "n_left_out"]].tolist() == [5, 40, 4, 0]


def test_what_is_left_out_is_counted_and_named():
    gone = [math.nan] * 4
    scores = frame({"a": [1, 2, 3, math.nan], "b": [2, 3, 4, 5], "c": [3, 4, 5, 6], "d": gone})
    got = stats.friedman(scores, {"m": UP}, "m").iloc[0]
    assert got[["methods", "n", "n_left_out", "left_out"]].tolist() == [3, 3, 1, "d"]
    assert got["kendall_w"] == 1.0


def test_concordance_of_equal_and_of_too_few_methods():
    level = stats.friedman(frame({"a": [1, 2], "b": [1, 2], "c": [1, 2]}), {"m": UP}, "m").iloc[0]
    assert level[["statistic", "p_value", "kendall_w"]].tolist() == [0, 1, 0]
    two = stats.friedman(frame({"a": [1.0, 2], "b": [1, 2]}), {"m": UP}, "m").iloc[0]
    assert two["methods"] == 2
    assert math.isnan(two["p_value"])
    none = stats.friedman(frame({"a": [math.nan], "b": [math.nan]}), {"m": UP}, "m").iloc[0]
    assert none[["methods", "n", "n_left_out", "left_out"]].tolist() == [0, 0, 1, "a, b"]


def test_a_line_for_each_model_and_an_error_for_an_unknown_metric():
    one = frame({"a": [1.0, 2], "b": [2, 3], "c": [0, 0]})
    got = stats.friedman(pd.concat([one, one.assign(model="other")]), {"m": UP}, "m")
    assert got["model"].tolist() == ["net", "other"]
    with pytest.raises(InputError, match="no rows of metric"):
        stats.friedman(one, {"x": UP}, "x")
