"""Verdicts on pairs, bands of equivalence, counts, and false alarms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from igbench.errors import InputError
from igbench.records import stats
from igbench.schema import COSTS
from tests.records.stats.frames import UP, frame

DOWN, NEUTRAL = replace(UP, direction="lower"), replace(UP, direction="none")
BOUNDED = replace(UP, min_effect=0.01)


def three(n: int = 60) -> pd.DataFrame:
    """A near twin within .01, a clear loser, and one whose difference is noise."""
    rng = np.random.default_rng(0)
    a = rng.normal(0.5, 0.2, n)
    return frame(
        {
            "a": a,
            "twin": a + rng.normal(0, 0.005, n),
            "low": a - rng.normal(0.2, 0.05, n),
            "noise": a + rng.normal(0, 0.2, n),
        }
    )


def verdicts(spec=BOUNDED, **named) -> dict[tuple[str, str], str]:
    got = stats.pairwise(three(), {"m": spec}, "m", resamples=199, **named)
    return {(x.a, x.b): x.verdict for x in got.itertuples()}


def test_verdicts_follow_interval_band_and_direction():
    got = verdicts()
    assert got["a", "twin"] == "equivalent"
    assert got["a", "low"] == "better"
    assert got["a", "noise"] == "undecided"
    assert verdicts(replace(DOWN, min_effect=0.01))["a", "low"] == "worse"
    assert verdicts(replace(NEUTRAL, min_effect=0.01))["a", "low"] == "different"


def test_a_wide_band_makes_equivalent_and_a_narrow_one_does_not():
    assert set(verdicts(band=0.5).values()) == {"equivalent"}
    assert verdicts(band=0.0)["a", "twin"] == "undecided"
    assert verdicts(band=0.25)["a", "low"] == "equivalent"
    for wrong in (-1, math.nan, math.inf):
        with pytest.raises(InputError, match="at least 0"):
            verdicts(band=wrong)


def test_equivalence_is_the_two_one_sided_tests():
    """On normal data and many samples, the verdict is that of two t tests at 5 %."""
    rng = np.random.default_rng(3)
    for shift in (0.0, 0.004, 0.008, 0.012):
        d = rng.normal(shift, 0.1, 2500)
        zero = np.zeros(len(d))
        got = stats.pairwise(frame({"a": d, "b": zero}), {"m": UP}, "m", band=0.01).iloc[0]
        below = scipy_stats.ttest_1samp(d, 0.01, alternative="less").pvalue
        above = scipy_stats.ttest_1samp(d, -0.01, alternative="greater").pvalue
        assert (got["verdict"] == "equivalent") == (max(below, above) < 0.05)


def test_a_significant_difference_below_the_band_is_no_win():
    d = np.linspace(0.0, 0.018, 40)  # mean .009, interval beyond .01, p tiny
    got = stats.pairwise(frame({"a": d + 1e-9, "b": 0 * d}), {"m": BOUNDED}, "m").iloc[0]
    assert got["p_holm"] < 1e-6
    assert got["difference"] < got["band"]
    assert got["verdict"] == "undecided"


def test_band_is_the_smallest_effect_or_a_tenth_of_a_standard_deviation():
    scores = frame({"a": [0.0, 1.0, 2.0], "b": [0.0, 2.0, 4.0], "c": [0.0, 6.0, 12.0]})
    band = {
        name: stats.pairwise(scores, {"m": spec}, "m", resamples=99)["band"].unique().tolist()
        for name, spec in {
            "bounded": BOUNDED,
            "open": replace(UP, high=math.inf),
            "cost": COSTS["forward_rows"],
        }.items()
    }
    assert band["bounded"] == [0.01]
    assert band["open"] == pytest.approx([0.2])  # standard deviations 1, 2, 6
    assert band["cost"] == pytest.approx([0.2])


def test_detectable_is_corrected_for_the_pairs_tested():
    got = stats.pairwise(three(), {"m": UP}, "m", resamples=99).set_index(["a", "b"])
    values = three().pivot(index="sample_id", columns="method", values="value")
    sd = (values["a"] - values["low"]).std()
    wanted = stats.detectable(60, sd, alpha=0.05 / 6)
    assert got.loc[("a", "low"), "detectable"] == pytest.approx(wanted, rel=1e-12)


def test_counts_add_up_to_the_other_methods():
    pairs = stats.pairwise(three(), {"m": BOUNDED}, "m", resamples=199)
    got = stats.verdict_counts(pairs).set_index("method")
    assert got.loc["a", ["wins", "ties", "losses", "undecided"]].tolist() == [1, 1, 0, 1]
    assert got.loc["low", ["wins", "ties", "losses", "undecided"]].tolist() == [0, 0, 3, 0]
    assert got[["wins", "ties", "losses", "different", "undecided"]].sum(axis=1).eq(3).all()
    assert stats.verdict_counts(pairs[:0]).empty


def test_no_pairs_and_no_values_are_undecided():
    got = stats.pairwise(frame({"a": [1.0, math.nan], "b": [math.nan, 1]}), {"m": UP}, "m")
    assert got["verdict"].tolist() == ["undecided"]
    assert got["detectable"].tolist() == [math.inf]


def test_p_values_agree_with_scikit_posthocs():
    posthocs = pytest.importorskip("scikit_posthocs", reason="needs scikit-posthocs")
    scores = three(80)
    got = stats.pairwise(scores, {"m": UP}, "m", resamples=99)
    wanted = posthocs.posthoc_wilcoxon(
        scores, val_col="value", group_col="method", p_adjust="holm", zero_method="pratt",
        correction=False, sort=True,
    )  # fmt: skip
    for line in got.itertuples():
        # The library takes SciPy's choice of the exact test for up to 50 samples alone.
        assert line.p_holm == pytest.approx(wanted.loc[line.a, line.b], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("n", [16, 82])
def test_false_alarms_of_a_table_under_the_null_are_at_most_5_per_cent(n):
    """400 tables of six exchangeable, skewed methods; 5 % and three standard errors."""
    rng, alarms = np.random.default_rng(n), 0
    for _ in range(400):
        values = rng.exponential(size=(n, 1)) + rng.exponential(size=(n, 6)) ** 2
        pairs = [values[:, i] - values[:, j] for i in range(6) for j in range(i)]
        alarms += stats.holm([stats.signed_rank_p(d) for d in pairs]).min() <= 0.05
    assert alarms / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
