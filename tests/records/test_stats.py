"""Are the numbers right?  Against enumeration, scipy used directly, and simulation."""

import itertools
import math
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from igbench.errors import InputError
from igbench.records import stats
from igbench.schema import MethodSpec, MetricSpec, Row
from tests.helpers import synthetic

UP = MetricSpec("up", "higher", 0, 1, 1, "test")
DOWN = replace(UP, direction="lower")
NEUTRAL = replace(UP, direction="none")


def frame(
    cells: dict[str, list[float]], metric: str = "m", std_error: float = math.nan
) -> pd.DataFrame:
    """Scores of methods on one metric; NaN becomes an undefined row."""
    rows = [
        Row("r", "e", "net", method, metric, f"s{i}", value,
            "undefined" if math.isnan(value) else "ok", "why" if math.isnan(value) else "",
            std_error)
        for method, values in cells.items()
        for i, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(Row._fields))


def line(summary: pd.DataFrame, method: str, metric: str = "m") -> pd.Series:
    found = summary[(summary["method"] == method) & (summary["metric"] == metric)]
    assert len(found) == 1
    return found.iloc[0]


def flip_p(difference: np.ndarray) -> float:
    """Signed-rank p-value from all sign patterns, one by one."""
    ranks = scipy_stats.rankdata(np.abs(difference))[difference != 0]
    signs = np.sign(difference[difference != 0])
    seen = float((signs * ranks).sum())
    all_sums = [np.dot(p, ranks) for p in itertools.product((-1, 1), repeat=len(ranks))]
    return float(np.mean([abs(s) >= abs(seen) - 1e-12 for s in all_sums]))


# --- signed-rank test -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "difference",
    [
        [1.0, 2, 3, -4, 5],
        [0.0, 0, 1, 2, 3],
        [1.0, 1, 1, -1, 2, 2, 0, 0],
        [0.5],
        [-1.0, -2, -3, -4, -5, -6, -7, -8],
        [0.0, 3, -3, 3, -3],
    ],
)
def test_signed_rank_p_equals_enumeration(difference: list[float]) -> None:
    d = np.array(difference)
    assert stats.signed_rank_p(d) == pytest.approx(flip_p(d), rel=1e-12)
    assert stats.signed_rank_p(-d) == pytest.approx(flip_p(d), rel=1e-12)


def test_signed_rank_p_equals_scipy_where_scipy_is_exact() -> None:
    d = np.random.default_rng(3).normal(0.3, 1, 40)
    wanted = scipy_stats.wilcoxon(d, method="exact").pvalue
    assert stats.signed_rank_p(d) == pytest.approx(wanted, rel=1e-9)


def test_signed_rank_p_of_large_samples_is_the_normal_approximation() -> None:
    d = np.round(np.random.default_rng(3).normal(0.2, 1, 300), 1)
    wanted = scipy_stats.wilcoxon(d, zero_method="pratt", method="asymptotic").pvalue
    assert stats.signed_rank_p(d) == wanted
    near = stats.signed_rank_p(d[d != 0][:50])  # exact: the two meet at the border
    approximate = scipy_stats.wilcoxon(d[d != 0][:50], method="asymptotic").pvalue
    assert near == pytest.approx(approximate, rel=0.05)


def test_signed_rank_p_of_few_changes_among_many_zeros() -> None:
    d = np.r_[np.zeros(100), [1.0, 2.0, 3.0]]
    assert stats.signed_rank_p(d) == pytest.approx(0.25)  # 2 of 8 sign patterns


def test_signed_rank_p_of_nothing() -> None:
    assert stats.signed_rank_p(np.zeros(5)) == 1.0
    assert math.isnan(stats.signed_rank_p(np.array([])))


# --- interval -------------------------------------------------------------------------------------


def test_interval_equals_scipy_used_directly() -> None:
    values = np.random.default_rng(0).exponential(size=30)
    t = scipy_stats.t.ppf(0.975, 29)  # at Hesterberg's level
    level = 2 * scipy_stats.norm.cdf(t * math.sqrt(30 / 29)) - 1
    wanted = scipy_stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=9999,
        method="BCa",
        rng=np.random.default_rng(stats.SEED),
        confidence_level=level,
    ).confidence_interval
    assert stats.interval(values) == pytest.approx((wanted.low, wanted.high), rel=1e-12)


def test_interval_moves_and_scales_with_the_values() -> None:
    values = np.random.default_rng(0).exponential(size=30)
    low, high = stats.interval(values)
    for a, b in ((1e-9, 5.0), (1e12, -3.0), (1e-300, 0.0)):
        wanted = (a * low + b, a * high + b)
        assert stats.interval(a * values + b) == pytest.approx(wanted, rel=1e-6)


def test_interval_degenerate() -> None:
    assert stats.interval(np.full(7, 0.1)) == (0.1, 0.1)
    for values in ([], [1.0], [1.0, math.inf]):
        assert all(math.isnan(end) for end in stats.interval(np.array(values)))
    low, high = stats.interval(np.array([1.0, np.nextafter(1.0, 2), 1.0]))
    assert 1.0 <= low <= high <= np.nextafter(1.0, 2)


def test_interval_covers_the_mean_of_skewed_samples() -> None:
    rng = np.random.default_rng(1)
    covered = [
        low <= 1.0 <= high
        for low, high in (
            stats.interval(rng.exponential(size=40), resamples=499) for _ in range(300)
        )
    ]
    assert 0.89 <= np.mean(covered) <= 0.98  # nominal 0.95; BCa is slightly narrow at n = 40


def test_interval_of_large_samples_continues_that_of_small_ones() -> None:
    values = np.random.default_rng(2).exponential(size=stats.LARGE + 1)
    normal = stats.interval(values)
    bootstrap = stats.interval(values[:-1], resamples=2999)
    assert normal == pytest.approx(bootstrap, abs=0.1 * (bootstrap[1] - bootstrap[0]))


def test_samples_of_equal_size_share_their_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mean of 0, 1, 2, ... over resampled indices identifies the resample.
    values = np.random.default_rng(0).normal(size=25)
    other = np.random.default_rng(1).normal(size=25)
    seen: list[np.ndarray] = []
    module = sys.modules["igbench.records.stats.intervals"]
    real = module.bca

    def spy(found: np.ndarray, *args: object) -> object:
        seen.append(found)
        return real(found, *args)

    monkeypatch.setattr(module, "bca", spy)
    for v in (values, other, values + other):
        stats.interval(v, resamples=99)
    means = [
        v[0] + np.ptp(v) * d for v, d in zip((values, other, values + other), seen, strict=True)
    ]
    assert np.corrcoef(means[0], means[1])[0, 1] < 0.9
    assert means[0] + means[1] == pytest.approx(means[2], rel=1e-12)  # only with equal indices


# --- paired difference, Holm, detectable ----------------------------------------------------------


def test_paired_difference_by_hand() -> None:
    found = stats.paired_difference(np.array([1.0, 2, 3, 4]), np.array([2.0, 4, 2.5, 4]))
    # differences 1, 2, -0.5, 0; ranks with the zero: 3, 4, 2, 1; W+ = 7, W- = 2
    assert found.n == 4
    assert found.mean == pytest.approx(0.625)
    assert found.effect == pytest.approx(5 / 9)
    assert found.p_value == pytest.approx(flip_p(np.array([1.0, 2, -0.5, 0])))
    assert found.low < 0.625 < found.high


def test_paired_difference_degenerate() -> None:
    same = stats.paired_difference(np.ones(3), np.ones(3))
    assert (same.mean, same.low, same.high, same.p_value, same.effect) == (0, 0, 0, 1, 0)
    none = stats.paired_difference(np.array([]), np.array([]))
    assert none.n == 0
    assert all(math.isnan(v) for v in (none.mean, none.low, none.p_value, none.effect))
    infinite = stats.paired_difference(np.array([math.inf, 1]), np.array([math.inf, 2]))
    assert infinite.mean == 0.5
    with pytest.raises(InputError, match="equal length"):
        stats.paired_difference(np.ones(3), np.ones(4))


def test_holm_agrees_with_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        p = np.round(rng.beta(0.3, 2, size), 2)  # with ties
        expected = multipletests(p, method="holm")[1]
        np.testing.assert_allclose(stats.holm(p), expected, rtol=1e-14)
        holes = np.insert(p, size // 2, math.nan)
        np.testing.assert_allclose(
            stats.holm(holes), np.insert(expected, size // 2, math.nan), rtol=1e-14
        )


def test_holm_by_hand() -> None:
    # sorted .01 .02 .04 times 3 2 1, made monotone
    assert stats.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    with_gap = stats.holm([math.nan, 0.01, 0.9])
    assert math.isnan(with_gap[0])
    assert with_gap[1:] == pytest.approx([0.02, 0.9])
    assert len(stats.holm([])) == 0


def test_detectable_is_what_simulation_detects() -> None:
    n, sd = 64, 0.2
    shift = stats.detectable(n, sd)
    rng = np.random.default_rng(0)
    found = [stats.signed_rank_p(rng.normal(shift, sd, n)) <= 0.05 for _ in range(600)]
    assert 0.86 <= np.mean(found) <= 0.94


def test_detectable_numbers() -> None:
    # (1.959964 + 1.281552) * 0.05 / sqrt(275 * 3 / pi)
    assert stats.detectable(275, 0.05) == pytest.approx(0.010001, rel=1e-3)
    assert stats.detectable(5, 0.05) == math.inf  # 2 / 2**5 > 0.05
    assert math.isfinite(stats.detectable(6, 0.05))
    assert stats.detectable(0, 0.05) == math.inf
    assert stats.detectable(100, 1, alpha=0.05 / 40) > stats.detectable(100, 1)


# --- summary --------------------------------------------------------------------------------------


def test_summary_of_one_cell_by_hand() -> None:
    scores = frame({"ig": [1.0, 2.0, 6.0, math.nan]}, std_error=0.3)
    scores.loc[len(scores)] = Row("r", "e", "net", "ig", "m", "s9", math.nan, "failed", "boom")
    scores.loc[len(scores)] = Row("r", "e", "net", "ig", "m", "s10", math.nan, "failed", "boom")
    got = line(stats.summarise(scores, {"m": UP}), "ig")
    assert (got["n"], got["n_undefined"], got["n_failed"], got["reason"]) == (3, 1, 2, "boom")
    assert got["mean"] == 3.0
    assert got["median"] == 2.0
    assert got["std"] == pytest.approx(math.sqrt(7))
    assert got["mc_error"] == pytest.approx(0.3 / math.sqrt(3))
    assert (got["low"], got["high"]) == stats.interval(np.array([1.0, 2.0, 6.0]))


def test_monte_carlo_error_is_the_root_mean_square() -> None:
    scores = frame({"ig": [1.0, 2.0]})
    scores["std_error"] = [0.3, 0.4]
    # the variance of the mean is (0.3^2 + 0.4^2) / 2^2
    wanted = math.sqrt(0.25) / 2
    assert line(stats.summarise(scores, {"m": UP}), "ig")["mc_error"] == pytest.approx(wanted)


def test_errors_of_shared_draws_do_not_average_out() -> None:
    scores = frame({"ig": [1.0, 2.0]})
    scores["std_error"] = [0.3, 0.4]
    got = line(stats.summarise(scores, {"m": replace(UP, shared_draws=True)}), "ig")
    # Two errors of the same draws: at most their root mean square.
    assert got["mc_error"] == pytest.approx(math.sqrt((0.09 + 0.16) / 2))


def test_summary_of_one_and_of_no_value() -> None:
    got = stats.summarise(frame({"a": [0.5], "b": [math.nan]}), {"m": UP})
    one, none = line(got, "a"), line(got, "b")
    assert (one["n"], one["mean"], one["median"]) == (1, 0.5, 0.5)
    assert one[["low", "high", "std"]].isna().all()
    assert (none["n"], none["n_undefined"]) == (0, 1)
    assert none[["mean", "low", "high", "median", "std", "mc_error"]].isna().all()
    assert not none["best"]
    assert not none["tied"]


def test_a_nan_that_claims_to_be_ok_is_counted_as_failed() -> None:
    scores = frame({"ig": [1.0, 2.0]})
    scores.loc[1, "value"] = math.nan
    got = line(stats.summarise(scores, {"m": UP}), "ig")
    assert (got["n"], got["n_failed"], got["mean"]) == (1, 1, 1.0)


def test_infinite_values_have_a_mean_and_no_interval() -> None:
    got = line(stats.summarise(frame({"ig": [1.0, math.inf]}), {"m": UP}), "ig")
    assert got["mean"] == math.inf
    assert got[["low", "high", "std"]].isna().all()


@pytest.mark.parametrize(("spec", "best"), [(UP, "high"), (DOWN, "low"), (NEUTRAL, None)])
def test_best_follows_the_direction(spec: MetricSpec, best: str | None) -> None:
    ramp = np.linspace(0, 0.1, 12)
    got = stats.summarise(
        frame({"low": list(ramp), "high": list(ramp + 0.5), "mid": list(ramp + 0.2)}), {"m": spec}
    )
    assert got[got["best"]]["method"].tolist() == ([best] if best else [])
    assert not got["tied"].any()


def test_controls_and_oracles_are_never_best_or_tied() -> None:
    role = MethodSpec("title", "test", "global", True)
    methods = {"ig": role, "twin": replace(role, role="oracle"), "c": replace(role, role="control")}
    ramp = list(np.linspace(0, 1, 12))
    cells = {"c": [2 + v for v in ramp], "twin": ramp, "ig": ramp}
    got = stats.summarise(frame(cells), {"m": UP}, methods=methods)
    assert got[got["best"]]["method"].tolist() == ["ig"]
    assert not got["tied"].any()
    assert stats.summarise(frame(cells), {"m": UP})["best"].tolist() == [True, False, False]


def test_tied_means_not_told_apart_after_holm() -> None:
    rng = np.random.default_rng(0)
    top = rng.normal(size=30)
    near, far = top - rng.normal(0.001, 0.1, 30), top - rng.normal(0.5, 0.1, 30)
    got = stats.summarise(
        frame({"far": list(far), "near": list(near), "top": list(top)}), {"m": UP}
    )
    assert got.set_index("method")["best"].to_dict() == {"far": False, "near": False, "top": True}
    assert got.set_index("method")["tied"].to_dict() == {"far": False, "near": True, "top": False}


def test_tied_uses_the_correction() -> None:
    # p = 0.0313 against the best: significant alone, not among three pairs.
    top = [1.0, 1, 1, 1, 1, 1]
    cells = {"top": top, "b": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], "c": [0.1, 0.2, 0.9, 0.9, 0.9, 0.9]}
    assert stats.summarise(frame({k: cells[k] for k in ("top", "b")}), {"m": UP})["tied"].sum() == 0
    assert stats.summarise(frame(cells), {"m": UP})["tied"].sum() == 2


def test_equal_means_are_all_best() -> None:
    got = stats.summarise(frame({"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [2.0, 2.0]}), {"m": DOWN})
    assert got["best"].tolist() == [True, True, False]


def test_summary_of_a_whole_run() -> None:
    made = synthetic.make_records()
    got = stats.summarise(made.scores, made.run.metrics, methods=made.run.methods, resamples=99)
    assert len(got) == len(synthetic.CENTRES) * len(synthetic.ORDER)
    assert got[["n", "n_undefined", "n_failed"]].sum(axis=1).eq(24).all()
    assert line(got, "saliency", "completeness")["n_undefined"] == 24
    assert line(got, "occlusion", "sensitivity_n")[["n", "n_undefined", "n_failed"]].tolist() == [
        22, 1, 1,
    ]  # fmt: skip
    assert line(got, "ig", "completeness")["best"]
    # the occlusion that failed on one sample wins sensitivity-n, and the table shows its count
    assert line(got, "occlusion", "sensitivity_n")["best"]
    assert not got[got["metric"] == "difference_from_ig"]["best"].any()


def test_summary_errors() -> None:
    scores = frame({"ig": [1.0, 2.0]})
    with pytest.raises(InputError, match="metric 'm' has no definition"):
        stats.summarise(scores, {})
    with pytest.raises(InputError, match="sample 's0' occurs twice for ig/m"):
        stats.summarise(pd.concat([scores, scores]), {"m": UP})
    assert list(stats.summarise(scores[:0], {}).columns) == list(stats.SUMMARY_COLUMNS)


# --- pairs ----------------------------------------------------------------------------------------


def test_pairwise_by_hand() -> None:
    cells = {"a": [1.0, 2, 3, math.nan], "b": [0.0, 2, 5, 9], "c": [0.0, 1.0, 2.0, 3.0]}
    got = stats.pairwise(frame(cells), {"m": DOWN}, "m", resamples=99).set_index(["a", "b"])
    assert list(got.index) == [("a", "b"), ("a", "c"), ("b", "c")]
    first = got.loc[("a", "b")]
    assert first["n"] == 3  # the sample without a value of a is left out
    assert first["difference"] == pytest.approx((1 + 0 - 2) / 3)
    # ranks of |1|, |0|, |-2|: 2, 1, 3
    assert first["effect"] == pytest.approx((2 - 3) / 5)
    assert first["share_better"] == pytest.approx((0 + 0.5 + 1) / 3)  # lower is better
    assert got["p_holm"].to_numpy() == pytest.approx(stats.holm(got["p_value"].to_numpy()))
    assert got.loc[("b", "c"), "n"] == 4


def test_pairwise_share_follows_the_direction() -> None:
    cells = {"a": [1.0, 2, 3, 0], "b": [0.0, 1, 2, 4]}
    for spec, share in ((UP, 0.75), (DOWN, 0.25), (NEUTRAL, 0.75)):
        got = stats.pairwise(frame(cells), {"m": spec}, "m", resamples=99)
        assert got["share_better"].tolist() == [share]


def test_pairwise_keeps_models_apart() -> None:
    one = frame({"a": [1.0, 2], "b": [0.0, 1], "c": [0.0, 2]})
    two = one.assign(model="other")
    got = stats.pairwise(pd.concat([one, two]), {"m": UP}, "m", resamples=99)
    assert got["model"].tolist() == ["net"] * 3 + ["other"] * 3
    assert got["p_holm"].iloc[:3].tolist() == got["p_holm"].iloc[3:].tolist()


def test_pairwise_without_common_samples() -> None:
    got = stats.pairwise(frame({"a": [1.0, math.nan], "b": [math.nan, 1]}), {"m": UP}, "m")
    assert got["n"].tolist() == [0]
    assert got[["difference", "p_value", "p_holm", "share_better"]].isna().all(axis=None)
    with pytest.raises(InputError, match="these records hold: m"):
        stats.pairwise(frame({"a": [1.0]}), {"x": UP}, "x")


# --- share of the way from the floor to the ceiling -----------------------------------------------

RANKS = replace(UP, ranks=True)
ROLE = MethodSpec("title", "test", "global", True)
ROLES = {
    "ig": ROLE,
    "random": replace(ROLE, role="control"),
    "low": replace(ROLE, role="ceiling"),
    "high": replace(ROLE, role="ceiling"),
}


def between(n: int = 16, seed: int = 0) -> dict[str, np.ndarray]:
    """Scores with a floor near 0.1, a method near 0.3, and ceilings near 0.6 and 0.8."""
    rng = np.random.default_rng(seed)
    hard = 0.1 * rng.normal(size=n)
    means = {"ig": 0.3, "random": 0.1, "low": 0.6, "high": 0.8}
    return {k: m + hard + 0.05 * rng.normal(size=n) for k, m in means.items()}


def summary_of(cells: dict[str, np.ndarray], spec: MetricSpec = RANKS) -> pd.DataFrame:
    given = frame({k: list(v) for k, v in cells.items()})
    return stats.summarise(given, {"m": spec}, methods=ROLES, resamples=500)


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_share_is_a_ratio_of_means_to_the_best_ceiling(direction) -> None:
    sign = 1 if direction == "higher" else -1
    cells = {k: sign * v for k, v in between().items()}
    got = summary_of(cells, replace(RANKS, direction=direction)).set_index("method")
    mean = {k: v.mean() for k, v in cells.items()}
    wanted = (mean["ig"] - mean["random"]) / (mean["high"] - mean["random"])
    assert got.loc["ig", "share"] == pytest.approx(wanted, rel=1e-12)
    assert got.loc["ig", "share_low"] < wanted < got.loc["ig", "share_high"]
    assert got.loc["random", ["share", "share_low", "share_high"]].tolist() == [0, 0, 0]
    assert got.loc["high", ["share", "share_low", "share_high"]].tolist() == [1, 1, 1]
    assert got.loc["low", "share"] < 1
    assert got[got["best"]].index.tolist() == ["ig"], "ceilings do not compete"
    assert not got["tied"].any()


def test_share_of_a_method_above_the_ceiling_exceeds_one() -> None:
    cells = between()
    cells["ig"] = cells["ig"] + 1
    assert float(line(summary_of(cells), "ig")["share_low"]) > 1


def test_interval_of_the_share_covers_the_truth() -> None:
    """(0.3 - 0.1) / (0.8 - 0.1) lies in the 95 % interval in 85 to 100 % of 40 small samples."""
    truth, hits = 2 / 7, 0
    for seed in range(40):
        c = between(seed=seed)
        found = stats.share_of_way(c["ig"], c["random"], c["high"], "higher", resamples=300)
        hits += found.low <= truth <= found.high
    assert 34 <= hits <= 40


def test_the_normal_interval_of_many_samples_agrees_with_the_bootstrap(monkeypatch) -> None:
    c = between(n=400)
    columns = (c["ig"], c["random"], c["high"])
    boot = stats.share_of_way(*columns, "higher", resamples=2000)
    monkeypatch.setattr("igbench.records.stats.shares.LARGE", 300)
    normal = stats.share_of_way(*columns, "higher")
    assert normal.share == boot.share
    assert (normal.low, normal.high) == pytest.approx((boot.low, boot.high), abs=0.003)


def test_a_share_is_paired_over_the_samples_that_all_three_have() -> None:
    cells = between()
    cells["ig"][:8] = math.nan
    got = line(summary_of(cells), "ig")
    part = {k: v[8:].mean() for k, v in cells.items()}
    wanted = (part["ig"] - part["random"]) / (part["high"] - part["random"])
    assert got["share"] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("case", ["no floor", "no ceiling", "no rank", "not better", "one sample"])
def test_no_share_without_a_way(case) -> None:
    cells, spec = between(), RANKS
    if case == "no floor":
        del cells["random"]
    elif case == "no ceiling":
        del cells["high"], cells["low"]
    elif case == "no rank":
        spec = UP
    elif case == "not better":
        noise = np.random.default_rng(5).normal(size=16)
        cells["high"] = cells["random"] + noise - noise.mean() + 0.01
        del cells["low"]
    else:
        cells = {k: v[:1] for k, v in cells.items()}
    assert summary_of(cells, spec)[["share", "share_low", "share_high"]].isna().all(axis=None)
