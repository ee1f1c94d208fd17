"""Does the gate see what changed, keep quiet otherwise, and never drop a sample silently?"""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from igbench.errors import InputError
from igbench.records import compare as gate
from igbench.schema import Change, Records, SampleChange
from tests.helpers import synthetic
from tests.helpers.two_runs import BASE, DOWN, UP, N, make, noisy


def one(metric: str, base: np.ndarray, new: np.ndarray) -> tuple[Change, int]:
    found = gate.compare(make({("ig", metric): base}), make({("ig", metric): new}), resamples=199)
    assert len(found.changes) == 1
    return found.changes[0], found.exit_code


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "shift", "verdict", "code"),
    [
        ("up", 0.05, "improved", 0),
        ("up", -0.05, "regressed", 1),
        ("down", 0.05, "regressed", 1),
        ("down", -0.05, "improved", 0),
        ("flat", 0.05, "changed", 0),
        ("flat", -0.05, "changed", 0),
        ("up", 0.0, "equivalent", 0),
    ],
)
def test_direction_decides(metric: str, shift: float, verdict: str, code: int) -> None:
    change, exit_code = one(metric, BASE, noisy(shift))
    assert (change.verdict, exit_code) == (verdict, code)
    assert change.n == N
    assert change.base == pytest.approx(BASE.mean())
    assert change.difference == pytest.approx((noisy(shift) - BASE).mean())
    assert change.low <= change.difference <= change.high


def test_identical_and_equal_to_rounding() -> None:
    change, code = one("up", BASE, BASE.copy())
    assert (change.verdict, code, change.difference) == ("identical", 0, 0.0)
    change, code = one("up", BASE, BASE * (1 + 5e-10))
    assert (change.verdict, code) == ("close", 0)
    assert math.isnan(change.p_value)  # agreement needs no test
    change, _ = one("up", BASE, BASE * (1 + 5e-9))
    assert change.p_value < 0.05
    assert change.verdict == "equivalent"


def test_rounding_is_that_of_the_precision() -> None:
    base, near = make({("ig", "up"): BASE}), make({("ig", "up"): BASE * (1 + 5e-7)})
    assert gate.compare(base, near, resamples=99).changes[0].verdict == "equivalent"
    single = [
        replace(r, run=replace(r.run, identity={**r.run.identity, "dtype": "float32"}))
        for r in (base, near, make({("ig", "up"): BASE * (1 + 5e-6)}))
    ]
    assert gate.compare(*single[:2], resamples=99).changes[0].verdict == "close"
    assert gate.compare(single[0], single[2], resamples=99).changes[0].verdict == "equivalent"


def test_significant_but_below_the_minimum_effect_is_equivalent() -> None:
    change, code = one("up", BASE, BASE - 0.004)
    assert change.p_value < 1e-6
    assert (change.verdict, code) == ("equivalent", 0)
    assert one("up", BASE, BASE - 0.006)[0].verdict == "regressed"


def test_equivalence_is_the_interval_of_90_percent_within_the_minimum_effect() -> None:
    spread = np.where(np.arange(N) % 2, 0.01, -0.01)  # 90 % within ±.0031, 95 % within ±.0037
    for effect, verdict in ((0.0034, "equivalent"), (0.0028, "undecided")):
        specs = {"up": replace(UP, min_effect=effect)}
        base, new = (make({("ig", "up"): v}, specs) for v in (BASE, BASE + spread))
        assert [c.verdict for c in gate.compare(base, new).changes] == [verdict]


@pytest.mark.parametrize(("metric", "verdict"), [("up", "regressed"), ("down", "improved")])
def test_few_samples_have_not_changed_by_chance_where_the_others_are_identical(metric, verdict):
    new = BASE.copy()
    new[:2] -= 0.1  # the mean drops by .00625
    change, code = one(metric, BASE, new)
    assert (change.verdict, code) == (verdict, int(verdict == "regressed"))
    assert change.note.startswith("2 of 32 samples differ, the others are identical")
    assert change.p_value == 0.5  # which no test of two samples can undercut
    new[:2] += 0.05  # by less than the minimum effect
    assert one(metric, BASE, new)[0].verdict in ("undecided", "equivalent")
    rank = np.arange(N)
    new = np.where(rank < N // 2 + 1, BASE - 0.1, BASE)  # too many to be told from noise
    assert one(metric, BASE, new)[0].note == ""
    hits = (rank % 2).astype(float)  # scores of few values agree by chance
    assert one(metric, hits, np.where(rank == 1, 0.0, hits))[0].verdict == "undecided"


def test_large_but_not_significant_is_undecided_and_said() -> None:
    new = BASE + np.where(np.arange(N) % 2, 1e-3, -1e-3)
    new[0] -= 5.0  # the mean drops by 0.16, on the word of one sample
    change, code = one("up", BASE, new)
    assert (change.verdict, code, change.note) == ("undecided", 0, "")
    assert change.p_value == 1.0
    found = gate.compare(make({("ig", "up"): BASE}), make({("ig", "up"): new}), resamples=99)
    assert "reaches the minimum effect in 1 cells, and may be chance: ig/up" in (
        gate.format_text(found)
    )


def test_too_few_samples_are_said_to_be_too_few() -> None:
    change, code = one("up", BASE[:5], BASE[:5] - 1)
    assert (change.verdict, code, change.note) == ("undecided", 0, "too few samples")
    change, code = one("up", BASE[:6], BASE[:6] - 1)
    assert (change.verdict, code, change.note) == ("regressed", 1, "")


def test_samples_are_paired_by_id_not_by_position() -> None:
    base, new = make({("ig", "up"): BASE}), make({("ig", "up"): BASE})
    shuffled = replace(new, scores=new.scores.sample(frac=1, random_state=0))
    assert gate.compare(base, shuffled).changes[0].verdict == "identical"


def test_holm_counts_every_tested_cell_and_no_other() -> None:
    # Six samples, all lower: p = 2 / 2**6 = 0.03125, significant only where it stands alone.
    base = {("ig", "up"): BASE[:6], ("twin", "up"): BASE[:6]}
    alone = gate.compare(make(base), make({**base, ("ig", "up"): BASE[:6] - 1}))
    assert [c.verdict for c in alone.changes] == ["regressed", "identical"]
    assert alone.changes[0].p_value == pytest.approx(0.03125)
    both = gate.compare(make(base), make({k: v - 1 for k, v in base.items()}))
    assert [c.verdict for c in both.changes] == ["undecided", "undecided"]
    assert both.changes[0].p_value == pytest.approx(0.0625)


# --- costs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "new", "verdict", "code"),
    [
        ("forward_rows", [50, 50], "identical", 0),
        ("forward_rows", [51, 51], "regressed", 1),
        ("backward_rows", [49, 49], "improved", 0),
        ("forward_rows", [50, 52], "regressed", 1),
        ("forward_rows", [49, 51], "equivalent", 0),
        ("forward_rows", [50, 50.9], "equivalent", 0),
        ("forward_rows", [50, 51], "regressed", 1),
        ("seconds", [500, 500], "unjudged", 0),
        ("peak_memory", [1, 1], "unjudged", 0),
    ],
)
def test_counts_gate_exactly_and_times_never(
    metric: str, new: list[float], verdict: str, code: int
) -> None:
    change, exit_code = one(metric, np.array([50.0, 50.0]), np.array(new, dtype=float))
    assert (change.verdict, exit_code) == (verdict, code)
    assert math.isnan(change.p_value)


@pytest.mark.parametrize(("factor", "said"), [(1.29, False), (1.31, True)])
def test_times_and_memory_are_remarked_above_a_ratio(factor: float, said: bool) -> None:
    base = make({("ig", "seconds"): np.array([1.0, 1.0, 9.0])})
    new = make({("ig", "seconds"): np.array([factor, factor, 1.0])})
    for fail_on in ("regression", "any-change"):
        found = gate.compare(base, new, fail_on=fail_on, resamples=99)  # type: ignore[arg-type]
        assert found.exit_code == 0
        assert found.warnings == (
            ["ig/seconds: median 1 -> 1.31, 1.3 times as much; a remark, which never fails"]
            if said
            else []
        )
    other = replace(new, run=replace(new.run, identity={**new.run.identity, "device": "cuda"}))
    assert gate.compare(base, other, across=["device"], resamples=99).warnings == []


# --- lost samples and cells -----------------------------------------------------------------------


def test_a_lost_value_is_a_failure_with_its_count_and_reason() -> None:
    new = BASE.copy()
    new[[3, 4]] = math.nan
    change, code = one("up", BASE, new)
    assert (change.verdict, code, change.n) == ("failed", 3, N - 2)
    assert change.note == f"lost 2 of {N} samples: 2 failed (s3, s4: boom)"
    assert change.lost == (
        SampleChange("s3", "ok", "failed", "boom"), SampleChange("s4", "ok", "failed", "boom"),
    )  # fmt: skip
    new[:10] = math.nan
    assert "10 failed (s0, s1, s2, s3, s4, and 5 more: boom)" in one("up", BASE, new)[0].note


def test_a_value_that_becomes_nan_is_a_failure() -> None:
    base, new = make({("ig", "up"): BASE}), make({("ig", "up"): BASE})
    scores = new.scores.copy()
    scores.loc[7, "value"] = math.nan
    change = gate.compare(base, replace(new, scores=scores)).changes[0]
    assert (change.verdict, change.note) == ("failed", f"lost 1 of {N} samples: 1 NaN (s7)")


def test_what_was_undefined_may_not_fail() -> None:
    base, new = make({("ig", "up"): BASE}), make({("ig", "up"): BASE})
    undefined, failed = base.scores.copy(), new.scores.copy()
    undefined.loc[2, ["value", "status", "reason"]] = [math.nan, "undefined", "constant"]
    failed.loc[2, ["value", "status", "reason"]] = [math.nan, "failed", "boom"]
    base, new = replace(base, scores=undefined), replace(new, scores=failed)
    change = gate.compare(base, new).changes[0]
    assert change.verdict == "failed"
    assert change.lost == (SampleChange("s2", "undefined", "failed", "boom"),)
    back = gate.compare(new, base).changes[0]
    assert (back.verdict, back.lost) == ("identical", ())
    assert back.recovered == (SampleChange("s2", "failed", "undefined", "boom"),)


def test_absent_rows_and_undefined_rows_are_losses_too() -> None:
    base, new = make({("ig", "up"): BASE}), make({("ig", "up"): BASE})
    scores = new.scores.drop(index=0)
    scores.loc[1, ["value", "status", "reason"]] = [math.nan, "undefined", "constant"]
    change = gate.compare(base, replace(new, scores=scores)).changes[0]
    assert change.verdict == "failed"
    assert change.note == f"lost 2 of {N} samples: 1 missing (s0), 1 undefined (s1: constant)"


def test_a_regression_outranks_a_loss_and_keeps_its_note() -> None:
    new = noisy(-0.05)
    new[0] = math.nan
    change, code = one("up", BASE, new)
    assert (change.verdict, code) == ("regressed", 1)
    assert "lost 1 of 32" in change.note


def test_losing_every_value() -> None:
    change, code = one("up", BASE, np.full(N, math.nan))
    assert (change.verdict, code, change.n) == ("failed", 3, 0)


def test_gained_values_are_noted_and_do_not_count() -> None:
    base = BASE.copy()
    base[0] = math.nan
    change, code = one("up", base, BASE)
    assert (change.verdict, code, change.n) == ("identical", 0, N - 1)
    assert change.note == f"recovered 1 of {N - 1} samples: 1 failed (s0: boom) before"
    assert change.recovered == (SampleChange("s0", "failed", "ok", "boom"),)
    found = gate.compare(make({("ig", "up"): base}), make({("ig", "up"): BASE}))
    assert "identical ig/up: " in gate.format_text(found)  # a sample that recovers is shown
    assert one("up", np.full(N, math.nan), BASE)[0].verdict == "new"
    change, code = one("up", np.full(N, math.nan), np.full(N, math.nan))
    assert (change.verdict, code, change.note) == ("identical", 0, "no value in either run")


def test_missing_and_new_cells() -> None:
    both = {("ig", "up"): BASE}
    more = {**both, ("occlusion", "up"): BASE}
    lost = gate.compare(make(more), make(both))
    assert [(c.method, c.verdict) for c in lost.changes] == [
        ("ig", "identical"), ("occlusion", "missing"),
    ]  # fmt: skip
    assert lost.exit_code == 3
    gained = gate.compare(make(both), make(more))
    assert gained.changes[1].verdict == "new"
    assert gained.exit_code == 0


def test_exit_code_one_outranks_three() -> None:
    base = {("ig", "up"): BASE, ("occlusion", "up"): BASE}
    found = gate.compare(make(base), make({("ig", "up"): noisy(-0.05)}))
    assert {c.verdict for c in found.changes} == {"regressed", "missing"}
    assert found.exit_code == 1


# --- comparability --------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["target", "seed"])
def test_a_comparability_field_that_differs_forbids_the_comparison(field: str) -> None:
    base, new = make({("ig", "up"): BASE}), make({("ig", "up"): noisy(-1)}, **{field: "other"})
    found = gate.compare(base, new)
    assert found.exit_code == 2
    assert found.outcome == "not comparable"
    assert found.changes == []
    assert len(found.incomparable) == 1
    text = found.incomparable[0]
    assert text == (
        f"{field}: {base.run.comparability[field]!r} -> 'other' (--across {field} allows it)"
    )
    assert text in gate.format_text(found)
    assert text in gate.format_markdown(found)


def with_samples(ids: list[str], **comparability: object) -> Records:
    records = make({("ig", "up"): BASE}, **comparability)
    run = replace(records.run, samples=[{"sample_id": i} for i in ids])
    return replace(records, run=run)


@pytest.mark.parametrize(
    ("old", "now", "text"),
    [
        ("abc", "ab", "3 against 2 samples; 1 is in the base run only, the first: 'c'"),
        ("ab", "abcd", "2 against 4 samples; 2 are in the new run only, the first: 'c'"),
        (
            "abc",
            "bde",
            "2 are in the base run only, the first: 'a'; 2 are in the new run only, the first: 'd'",
        ),
        ("abc", "cab", "the same samples in another order"),
    ],
)
def test_other_samples_are_named(old: str, now: str, text: str) -> None:
    base, new = with_samples(list(old), samples="0"), with_samples(list(now), samples="1")
    found = gate.compare(base, new)
    allows = "(--across samples allows it)"
    assert (found.incomparable, found.exit_code) == ([f"samples: {text} {allows}"], 2)
    unknown = gate.compare(with_samples([], samples="0"), with_samples([], samples="1"))
    assert unknown.incomparable == [f"samples: '0' -> '1' {allows}"]


def test_other_weights_are_told_with_their_sources() -> None:
    base, new = (make({("ig", "up"): BASE}, weights=letter * 64) for letter in "ab")
    new = replace(new, run=replace(new.run, environment={"model_source": "trained again"}))
    base = replace(base, run=replace(base.run, environment={}))
    assert gate.compare(base, new).incomparable == [
        "weights: the models have other weights, by hash aaaaaaaaaaaa -> bbbbbbbbbbbb "
        "(trained again) (--across model allows it)"
    ]


def test_other_settings_of_a_metric_are_named() -> None:
    def with_step(step: int, version: str) -> Records:
        made = make({("ig", "up"): BASE, ("ig", "down"): BASE}, metric_versions={"up": version})
        environment = {"parameters": {"metrics": {"up": {"step": step, "n": 1}}}}
        return replace(made, run=replace(made.run, environment=environment))

    found = gate.compare(with_step(8, "1-aa"), with_step(1, "1-bb"))
    assert found.changes[0].note == "other settings (step: 8 -> 1): not compared"
    found = gate.compare(with_step(8, "1-aa"), with_step(8, "1-bb"))
    assert found.changes[0].note == "other settings (1-aa -> 1-bb): not compared"
    found = gate.compare(with_step(8, "1-aa"), with_step(8, "2-bb"))
    assert found.changes[0].note == "version 1 -> 2: not compared"


def test_a_field_that_only_one_run_has_differs() -> None:
    base, new = make({("ig", "up"): BASE}), make({("ig", "up"): BASE}, output="logit")
    allows = "(--across scalar allows it)"
    assert gate.compare(base, new).incomparable == [f"output: (absent) -> 'logit' {allows}"]
    assert gate.compare(new, base).incomparable == [f"output: 'logit' -> (absent) {allows}"]


def test_a_changed_metric_version_concerns_that_metric_alone() -> None:
    values = {("ig", "up"): BASE, ("ig", "down"): BASE}
    worse = {("ig", "up"): noisy(-1), ("ig", "down"): noisy(0.05)}
    for new in (
        make(worse, {"up": replace(UP, version=2), "down": DOWN}),
        make(worse, metric_versions={"up": 2}),
    ):
        found = gate.compare(make(values), new, resamples=199)
        assert [c.verdict for c in found.changes] == ["incomparable", "regressed"]
        assert found.changes[0].note == "version 1 -> 2: not compared"
        assert found.exit_code == 1
        alone = gate.compare(make(values), new, accept={"ig/down": "known"}, resamples=199)
        assert (alone.exit_code, alone.outcome) == (2, "not comparable")
        judged = gate.compare(make(values), new, across=["metrics"], resamples=199)
        assert [c.verdict for c in judged.changes] == ["regressed", "regressed"]


def test_no_metric_in_common_forbids_the_comparison() -> None:
    base = make({("ig", "up"): BASE, ("ig", "forward_rows"): BASE})
    changed = gate.compare(base, make({("ig", "up"): BASE}, metric_versions={"up": 3}))
    assert changed.exit_code == 2
    assert changed.incomparable == ["metrics: every metric in common changed: up version 1 -> 3"]
    other = gate.compare(base, make({("ig", "down"): BASE, ("ig", "forward_rows"): BASE}))
    assert other.incomparable == ["metrics: ['up'] -> ['down'], none in common"]


def test_arguments_are_judged_and_libraries_must_be_named() -> None:
    base = make({("ig", "up"): BASE})
    identity = {
        "methods": {"ig": {"n_steps": 100, "rule": "middle"}, "occlusion": {"window": 16}},
        "versions": {**base.run.identity["versions"], "captum": "0.10.0"},
        "device": "cpu",
    }
    new = replace(base, run=replace(base.run, identity=identity))
    refused = gate.compare(base, new)
    assert refused.exit_code == 2
    assert refused.incomparable == [
        "versions.captum: '0.9.0' -> '0.10.0' (--across captum allows it)"
    ]
    assert refused.differences == ["methods.ig.n_steps: 50 -> 100"]
    for word in ("captum", "libraries", "all", "torch, captum"):
        found = gate.compare(base, new, across=[word])
        assert found.exit_code == 0
        assert found.differences == [
            "versions.captum: '0.9.0' -> '0.10.0'", "methods.ig.n_steps: 50 -> 100",
        ]  # fmt: skip
        assert "differs: versions.captum: '0.9.0' -> '0.10.0'" in gate.format_text(found)


def test_malformed_records_are_refused() -> None:
    base = make({("ig", "up"): BASE})
    doubled = replace(base, scores=pd.concat([base.scores, base.scores]))
    with pytest.raises(InputError, match="sample 's0' occurs twice in net/ig/up"):
        gate.compare(base, doubled)
    unknown = make({("ig", "mystery"): BASE})
    with pytest.raises(InputError, match="metric 'mystery' has no definition"):
        gate.compare(unknown, unknown)


# --- acknowledged changes -------------------------------------------------------------------------


def test_accepted_verdicts_do_not_decide() -> None:
    base = make({("ig", "up"): BASE, ("occlusion", "up"): BASE, ("random", "up"): BASE})
    new = make({("ig", "up"): noisy(-0.05), ("random", "up"): BASE})
    assert gate.compare(base, new, accept={"ig/up": "known"}).exit_code == 3
    found = gate.compare(base, new, accept={"ig/up": "known", "net/occ*/up": "dropped"})
    assert found.exit_code == 0
    assert found.accepted == {"net/ig/up": "known", "net/occlusion/up": "dropped"}
    assert found.changes[0].verdict == "regressed"  # the record still says so
    assert "ACCEPTED ig/up" in gate.format_text(found)
    assert "accepted: known" in gate.format_text(found)
    everything = gate.compare(base, new, accept={"up": "all of it"})
    assert set(everything.accepted) == {"net/ig/up", "net/occlusion/up"}  # not the identical one
    with pytest.raises(InputError, match="'ig/upp' matches no cell"):
        gate.compare(base, new, accept={"ig/upp": "typo"})


# --- how often is it wrong ------------------------------------------------------------------------


def release(seed: int, n: int, shift: float) -> Records:
    """Forty cells that move by 0.03 between releases; the first also by `shift`."""
    rng = np.random.default_rng(seed)
    level = np.random.default_rng(99).normal(0.5, 0.15, (40, n))
    values = level + rng.normal(0, 0.03, (40, n))
    values[0] += shift
    return make({(f"method{i // 8}", f"m{i % 8}"): values[i] for i in range(40)},
                {f"m{i}": UP for i in range(8)})  # fmt: skip


@pytest.mark.slow
def test_false_alarms_are_rare() -> None:
    codes = [
        gate.compare(release(2 * i, 32, 0), release(2 * i + 1, 32, 0), resamples=99).exit_code
        for i in range(30)
    ]
    # uncorrected tests at 5 % would cry wolf in 1 - .975**40 = 64 % of them
    assert set(codes) <= {0, 1}
    assert codes.count(1) <= 4


def test_a_real_shift_is_found() -> None:
    found = [
        gate.compare(release(2 * i, 128, 0), release(2 * i + 1, 128, -0.025), resamples=99)
        for i in range(12)
    ]
    hits = [f.changes[0].verdict == "regressed" for f in found]
    assert sum(hits) >= 11
    assert all(f.detectable["m0"] <= 0.025 for f in found)


def test_what_is_detectable_is_found_nine_times_in_ten() -> None:
    rng = np.random.default_rng(0)
    shift = (1.959964 + 1.281552) * 0.1 / math.sqrt(64 * 3 / math.pi)
    base = make({("ig", "up"): np.zeros(64)})
    found = [
        gate.compare(base, make({("ig", "up"): rng.normal(-shift, 0.1, 64)}), resamples=99)
        for _ in range(40)
    ]
    printed = [f.detectable["up"] for f in found]  # from the standard deviation of each sample
    assert np.mean(printed) == pytest.approx(shift, rel=0.05)
    assert 32 <= sum(f.exit_code for f in found) <= 39


# --- text -----------------------------------------------------------------------------------------


def whole() -> gate.Comparison:
    new = synthetic.make_records(
        noise=0.01, noise_seed=2, shift={("ig", "deletion"): 0.05, ("saliency", "srg"): 0.05},
        run=synthetic.make_run(run_id="20260203-000000-ffffffff", versions={"captum": "0.10.0"}),
    )  # fmt: skip
    keep = ~((new.scores["method"] == "edges") & (new.scores["metric"] == "srg"))
    return gate.compare(
        synthetic.make_records(noise=0.01, noise_seed=1),
        replace(new, scores=new.scores[keep]),
        across=["captum"],
    )


def test_text_of_a_whole_run() -> None:
    found = whole()
    lines = gate.format_text(found).splitlines()
    assert lines[0].startswith("regression: 1 regressed, 1 missing, 1 improved, ")
    assert lines[0].endswith("of 99 cells (20260102-030405-0a1b2c3d -> 20260203-000000-ffffffff)")
    worse = next(c for c in found.changes if c.verdict == "regressed")
    assert (worse.method, worse.metric, worse.n) == ("ig", "deletion", 24)
    assert lines[1] == (
        f"REGRESSION ig/deletion: {worse.base:.4g} -> {worse.new:.4g} "
        f"({worse.difference:+.3g} [{worse.low:.3g}, {worse.high:.3g}], worse; "
        f"p={worse.p_value:.2g} Holm; n=24; min effect 0.005)".replace("e-0", "e-")
    )
    assert lines[2] == "MISSING edges/srg: in the base run only"
    assert lines[3].startswith("IMPROVED saliency/srg: ")
    assert lines[4] == "differs: versions.captum: '0.9.0' -> '0.10.0'"
    assert lines[5].startswith("undecided: the difference reaches the minimum effect in 4 cells")
    assert lines[6].startswith("detectable (mean difference, 90 % power, after Holm): completeness")
    assert len(lines) == 7


def test_markdown_of_a_whole_run_is_one_table() -> None:
    lines = gate.format_markdown(whole()).splitlines()
    table = [text for text in lines if text.startswith("|")]
    assert len(table) == 2 + 3
    assert {text.count("|") for text in table} == {9}
    assert lines[0].startswith("### regression: 1 regressed")


def test_markdown_escapes_bars() -> None:
    found = gate.compare(
        make({("ig", "up"): BASE}), make({("ig", "up"): noisy(-1)}), accept={"ig/up": "a|b"}
    )
    assert "a\\|b" in gate.format_markdown(found)


def test_names_show_the_model_where_there_are_several() -> None:
    base, new = make({("ig", "up"): BASE}), make({("ig", "up"): noisy(-1)})
    assert "REGRESSION ig/up:" in gate.format_text(gate.compare(base, new))
    base, new = (
        replace(r, scores=pd.concat([r.scores, r.scores.assign(model="other")]))
        for r in (base, new)
    )
    assert "REGRESSION other/ig/up:" in gate.format_text(gate.compare(base, new))


def test_text_says_when_nothing_could_be_seen() -> None:
    few = gate.compare(make({("ig", "up"): BASE[:3]}), make({("ig", "up"): BASE[:3] + 1}))
    assert "up: too few samples" in gate.format_text(few)
    same = gate.compare(make({("ig", "up"): BASE}), make({("ig", "up"): BASE}))
    assert "nothing was tested" in gate.format_text(same)
