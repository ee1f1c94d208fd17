"""Sentences of a report on data in which the truth is planted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from igbench.records import stats
from igbench.report import agreement, findings
from igbench.report.comparisons import Comparisons
from igbench.schema import COSTS, MethodSpec, Records, Row, Run
from tests.helpers import budgets, synthetic

SPEC = MethodSpec("title", "test", "global", True)
LEVELS = {"ig": 0.6, "occlusion": 0.5, "lime": 0.4, "random": 0.0}


def planted(
    levels: Mapping[str, float] = LEVELS,
    *,
    samples: int = 30,
    noise: float = 0.02,
    status: str = "ok",
    metrics: tuple[str, ...] = ("srg",),
    **roles: str,
) -> Records:
    """A run whose methods have known means: level plus what a sample adds for all, plus noise."""
    rng = np.random.default_rng(0)
    hard = 0.05 * rng.normal(size=samples)
    rows = [
        Row("r", "planted", "net", method, metric, f"s{i}",
            float(value) if status == "ok" else math.nan, status,  # type: ignore[arg-type]
            "" if status == "ok" else "does not exist here")
        for metric in metrics
        for method, level in levels.items()
        for i, value in enumerate(level + hard + noise * rng.normal(size=samples))
    ]  # fmt: skip
    kinds = {"random": "control", **roles}
    run = replace(
        synthetic.make_run(experiment="planted", samples=samples),
        metrics={**{m: synthetic.METRICS[m] for m in metrics}, **COSTS},
        methods={m: replace(SPEC, role=kinds.get(m, "method")) for m in levels},  # type: ignore[arg-type]
    )
    return Records(run, pd.DataFrame(rows, columns=list(Row._fields)), None)


def summary_of(records: Records) -> pd.DataFrame:
    run = records.run
    return stats.summarise(records.scores, run.metrics, methods=run.methods, resamples=100)


def said(records: Records) -> list[findings.Finding]:
    return findings.findings(records.run, summary_of(records), records.scores)


@cache
def example(make: Callable[[], Records]) -> tuple[Records, pd.DataFrame, list[findings.Finding]]:
    """A synthetic run, its summary and its findings."""
    records = make()
    lines = summary_of(records)
    return records, lines, findings.findings(records.run, lines, records.scores)


def pick(found: list[findings.Finding], part: str) -> findings.Finding:
    (chosen,) = [f for f in found if part in f.text]
    return chosen


def one(records: Records, part: str) -> findings.Finding:
    return pick(said(records), part)


def pair(records: Records, a: str, b: str, metric: str = "srg") -> pd.Series:
    table = stats.pairwise(records.scores, records.run.metrics, metric, resamples=100)
    (index,) = table.index[(table["a"] == a) & (table["b"] == b)]
    return table.loc[index]


class TestLeader:
    def test_planted_leader_is_significantly_better(self) -> None:
        records = planted()
        found = one(records, "has the best mean")
        assert found.text.startswith("IG has the best mean of SRG (higher is better): 0.599 [")
        assert (
            "] (n = 30). It is significantly better than each of the other 2 methods" in found.text
        )
        assert "the difference from the next, Occlusion, is 0.1" in found.text
        hardest = max(pair(records, "ig", m)["p_holm"] for m in ("occlusion", "lime"))
        assert found.test.p == hardest
        assert found.test.p == pytest.approx(6 * 2 / 2**30, rel=1e-9), "of 6 pairs, all one way"
        assert found.test.name == "paired Wilcoxon signed-rank test, Holm over 6 pairs"
        assert (found.anchor, found.model) == ("table-scores", "net")

    def test_lower_is_better_where_the_metric_says_so(self) -> None:
        records = planted(metrics=("deletion",))
        found = one(records, "has the best mean")
        assert found.text.startswith("LIME has the best mean of Deletion (lower is better): 0.394")
        assert "the next, Occlusion, is 0.1" in found.text, "a gain, which is positive"

    def test_planted_tie_is_called_a_tie(self) -> None:
        found = one(planted({"ig": 0.5, "lime": 0.5, "random": 0.0}, samples=60, noise=0.003),
                    "has the best mean")  # fmt: skip
        assert "It ties with" in found.text
        assert "the interval of the difference lies within ±0.005" in found.text
        assert "distinguishable" not in found.text

    def test_no_difference_without_equivalence_is_no_tie(self) -> None:
        records = planted({"ig": 0.5, "lime": 0.5, "random": 0.0}, noise=0.2)
        found = one(records, "has the best mean")
        assert "It is not distinguishable from" in found.text
        assert "n = 30, difference 0.0" in found.text
        assert not any("ties" in f.text for f in said(records))
        assert found.test.p == pair(records, "ig", "lime")["p_holm"] > 0.05

    def test_one_method(self) -> None:
        found = one(planted({"ig": 0.5}), "has the best mean")
        assert found.text.endswith("(n = 30). No other method has a value.")
        assert found.test.name == "95 % bootstrap interval"
        assert found.test.n == 30
        assert math.isnan(found.test.p)

    def test_all_undefined(self) -> None:
        records = planted(status="undefined")
        texts = [f.text for f in said(records)]
        assert texts == [
            "No method has a value of SRG on any sample, so none leads.",
            "Of 120 values, 120 are undefined and 0 failed.",
        ]

    def test_fewer_samples_than_the_run_are_said(self) -> None:
        found = pick(example(synthetic.make_records)[2], "has the best mean")
        assert "(n = 23 of 24)" in found.text

    def test_no_metric_with_a_direction(self) -> None:
        assert len(said(planted(metrics=("difference_from_ig",)))) == 1

    def test_no_rows(self) -> None:
        records = planted()
        empty = replace(records, scores=records.scores[:0])
        (found,) = said(empty)
        assert found.text == "Of 0 values, 0 are undefined and 0 failed."


class TestPlaceOfIg:
    def test_between_a_better_and_a_worse_one(self) -> None:
        levels = {"shap": 0.6, "ig": 0.5, "lime": 0.4, "rise": 0.5, "random": 0.0}
        records = planted(levels, noise=0.01)
        found = one(records, "IG has rank")
        assert "1 is significantly better, 1 is worse and 1 is not distinguishable" in found.text
        assert "Its difference from SHAP is -0.10" in found.text
        assert found.test.p == pair(records, "shap", "ig")["p_holm"]
        assert found.test.statistic == -1.0, "better on no sample"

    def test_not_said_where_ig_leads_or_is_missing(self) -> None:
        for records in (planted(), planted({"shap": 0.6, "lime": 0.5})):
            assert not any("has rank" in f.text for f in said(records))

    def test_best_budget_counts(self) -> None:
        assert pick(example(budgets.make_records)[2], "has rank").text.startswith(
            "IG 1024 has rank 3 of 7"
        )


class TestControl:
    def test_all_beat_it(self) -> None:
        found = one(planted(), "random control")
        assert found.text.startswith("All 3 methods are significantly better than the random")
        assert found.test.p <= 0.05

    def test_planted_chance_and_planted_harm(self) -> None:
        levels = {"ig": 0.5, "shap": 0.0, "lime": -0.4, "random": 0.0}
        records = planted(levels)
        found = one(records, "random control")
        assert found.text.startswith("Of 3 methods, 1 is significantly better than the random")
        assert "; not distinguishable from it: SHAP; significantly worse: LIME (" in found.text
        assert found.test.p == pair(records, "shap", "random")["p_holm"]

    def test_no_control_no_sentence(self) -> None:
        levels = {m: v for m, v in LEVELS.items() if m != "random"}
        assert not any("random control" in f.text for f in said(planted(levels)))


class TestSamples:
    def test_smallest_difference_that_can_be_found(self) -> None:
        records = planted()
        found = one(records, "probability of 90 %")
        table = stats.wide(records.scores)
        sd = float((table["ig"] - table["occlusion"]).std())
        least = stats.detectable(30, sd, alpha=0.05 / 6)
        assert found.test.statistic == pytest.approx(least, rel=1e-12)
        assert f"if it is at least {least:.3g};" in found.text

    def test_nothing_detectable(self) -> None:
        # The smallest p of 5 pairs is 2 / 2**5; times 6 pairs of methods it exceeds 0.05.
        records = planted(samples=5)
        found = one(records, "no difference of any size can be significant")
        assert "the smallest p-value is 0.38" in found.text
        assert 6 * 2 / 2**5 == 0.375
        texts = " ".join(f.text for f in said(records))
        assert "Of 3 methods, 0 are significantly better than the random control" in texts
        assert "It is not distinguishable from Occlusion and LIME" in texts
        assert not any("no difference of any size" in f.text for f in said(planted(samples=10)))


class TestAgreement:
    def test_planted_agreement_and_contradiction(self) -> None:
        levels = {"ig": 0.6, "occlusion": 0.5, "lime": 0.4, "rise": 0.3}
        agree = one(planted(levels, metrics=("srg", "insertion")), "Kendall's tau")
        assert agree.text.startswith("Of 1 pair of metrics, 1 agree on the order of the methods, 0")
        assert "SRG and Insertion 1.00 [1.00, 1.00]." in agree.text
        assert agree.test.statistic == 1.0
        oppose = one(planted(levels, metrics=("srg", "deletion")), "Kendall's tau")
        assert "0 agree on the order of the methods, 1 contradict each other" in oppose.text
        assert "-1.00 [-1.00, -1.00]." in oppose.text

    def test_nothing_planted(self) -> None:
        levels = dict.fromkeys(("ig", "occlusion", "lime", "rise", "shap"), 0.5)
        found = one(planted(levels, metrics=("srg", "insertion", "sensitivity_n"), noise=0.3),
                    "Kendall's tau")  # fmt: skip
        assert "Of 3 pairs of metrics, 0 agree" in found.text
        assert "3 are not distinguishable from unrelated ones" in found.text
        assert found.anchor == "figure-metric_agreement"

    def test_two_methods_have_no_order_to_agree_on(self) -> None:
        records = planted({"ig": 0.5, "lime": 0.4}, metrics=("srg", "insertion"))
        assert not any("Kendall" in f.text for f in said(records))

    def test_taus_are_those_of_the_figure(self) -> None:
        records, lines, found = example(synthetic.make_records)
        taus, _ = agreement.rank_correlations(records.run, lines)
        least = pick(found, "Kendall's tau").test.statistic
        assert least == pytest.approx(float(np.nanmin(taus.to_numpy())), rel=1e-12)


class TestCost:
    def test_dear_leader_that_a_cheap_method_equals(self) -> None:
        found = pick(example(synthetic.make_records)[2], "cheapest method")
        assert found.text.startswith("Grad-CAM (2 model evaluations for one attribution")
        assert "is not distinguishable from Occlusion (197) on SRG (difference 0.02" in found.text
        assert "IG (101) is not among them" in found.text
        assert found.anchor == "figure-cost_quality"

    def test_dear_leader_that_is_worth_it(self) -> None:
        found = pick(
            example(budgets.make_records)[2],
            "Every method that is cheaper than SHAP 1024 (1,020 model evaluations",
        )
        assert "is significantly worse on SRG" in found.text
        assert "reaches Saliency (2), SHAP 64 (63), IG 64 (64), SHAP 256 (255) and" in found.text
        assert found.test.p <= 0.05

    def test_no_costs_no_sentence(self) -> None:
        assert not any("model evaluations" in f.text for f in said(planted()))


def test_share_of_the_way_has_the_interval_of_the_table() -> None:
    _, lines, found_all = example(budgets.make_records)
    own = lines[(lines["method"] == "shap_1024") & (lines["metric"] == "srg")].iloc[0]
    found = pick(found_all, "Of the way from the random control")
    low, high = (round(100 * own[k]) for k in ("share_low", "share_high"))
    assert f"SHAP 1024 goes {round(100 * own['share'])} % [{low}, {high}] and IG 1024" in found.text
    assert found.test.statistic == own["share"]
    assert found.anchor == "table-shares"


def test_completeness_and_independent_implementations() -> None:
    found = pick(example(synthetic.make_records)[2], "completeness gap of IG")
    assert "The completeness gap of IG is 0.010" in found.text
    assert "differ from IG: IG (Captum) by 0.04" in found.text
    assert found.test.name == "95 % bootstrap interval"
    assert not any("completeness" in f.text for f in said(planted()))


def test_certificates_that_do_not_hold() -> None:
    records = planted()
    cases = [{"metric": "srg", "ok": False}, {"metric": "srg", "ok": True}]
    run = replace(records.run, environment={"certificates": {"cases": cases}})
    found = one(replace(records, run=run), "Do not trust srg")
    assert (found.test.statistic, found.test.n, found.model) == (1, 2, "")


def test_counts_limits_and_random_weights_come_last() -> None:
    records = planted()
    run = replace(
        records.run,
        config={"limit": 30},
        environment={"model_source": "random weights (seed 0)"},
    )
    last = said(replace(records, run=run))[-1]
    assert last.text.startswith("Of 120 values, 0 are undefined and 0 failed. This run was limited")
    assert "The model has random weights" in last.text
    assert (last.anchor, last.test.n) == ("problems", 120)


def test_missing_values_are_counted() -> None:
    found = example(synthetic.make_records)[2][-1]
    assert found.text == "Of 2,376 values, 294 are undefined and 11 failed."
    assert found.test.statistic == 305


def test_several_models_are_told_apart() -> None:
    records = planted()
    both = pd.concat([records.scores, records.scores.assign(model="other")])
    found = said(replace(records, scores=both))
    leaders = [f.model for f in found if "has the best mean" in f.text]
    assert leaders == ["net", "other"]
    assert [f.anchor for f in found if "random control" in f.text] == [
        "figure-metrics_1",
        "figure-metrics_2",
    ]
    assert found[-1].model == ""


@pytest.mark.parametrize(
    ("make", "many"),
    [(synthetic.make_records, 8), (budgets.make_records, 8), (planted, 4)],
)
def test_each_sentence_has_evidence(make, many) -> None:
    found = example(make)[2]
    assert len(found) == many
    for finding in found:
        assert finding.test.name
        assert finding.test.n > 0
        assert finding.text.endswith(".")
        assert "nan" not in finding.text
        assert "_" not in finding.text, "names as the field writes them"


def test_pairs_are_those_of_the_table_of_pairs() -> None:
    records = example(synthetic.make_records)[0]
    scores = records.scores[records.scores["metric"] == "deletion"]
    table = stats.pairwise(scores, records.run.metrics, "deletion", resamples=100)
    own = Comparisons(table, records.run.metrics["deletion"])
    assert own.size == len(table)
    for line in table.to_dict("records"):
        found = own.of(line["a"], line["b"])
        assert (found.p, found.n) == (line["p_holm"], line["n"])
        assert found.gain == pytest.approx(-line["difference"], rel=1e-12), "lower is better"
        assert found.effect == pytest.approx(-line["effect"], rel=1e-12)


def test_verdicts_are_turned_with_the_pair() -> None:
    records = planted(metrics=("deletion",))
    table = stats.pairwise(records.scores, records.run.metrics, "deletion")
    own = Comparisons(table, records.run.metrics["deletion"])
    line = pair(records, "ig", "lime", "deletion")
    there, back = own.of("ig", "lime"), own.of("lime", "ig")
    assert (there.verdict, back.verdict) == (line["verdict"], "better") == ("worse", "better")
    assert there.gain == -back.gain == pytest.approx(-line["difference"])
    assert (there.low, there.high) == (-back.high, -back.low)
    assert there.low < there.gain < there.high < 0


def test_small_differences_are_no_lead() -> None:
    levels = {"ig": 0.503, "lime": 0.5, "random": 0.0}
    found = one(planted(levels, samples=60, noise=0.004), "has the best mean")
    assert "significantly better" not in found.text


def test_run_without_spec_of_a_method() -> None:
    records = planted()
    run: Run = replace(records.run, methods={m: SPEC for m in ("ig", "occlusion")})
    assert "significantly better" in one(replace(records, run=run), "has the best mean").text
