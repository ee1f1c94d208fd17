"""Log-odds, leave-one-out ranks and the soft metrics, on words whose worth is known."""

from __future__ import annotations

import math

import pytest
import torch

from igbench import evaluate, methods, metrics
from igbench.errors import InputError
from igbench.metrics import LogOdds, SoftComprehensiveness, SoftSufficiency, TauLoo
from tests.helpers import closed_form as cf
from tests.helpers import numbers, words

LOO = {"loo": methods.FeatureAblation()}


def log_p(z: float) -> float:
    return -math.log1p(math.exp(-z))


def one(model, data, metric, chosen=LOO):
    found = evaluate(model, data, methods=chosen, metrics={"m": metric}, baseline="zero").frame
    (row,) = found[found.metric == "m"].itertuples()
    return row


@pytest.mark.parametrize(
    ("options", "left"),
    [
        # PAD is worth 0.5: the sum 15 of five words becomes 15 - 5 + .5, without two 6 + 1.
        ({}, 10.5),
        ({"share": 0.4}, 7.0),
        ({"share": 2}, 7.0),
        ({"occluder": "delete"}, 10.0),
        ({"share": 0.39, "rounding": "floor"}, 10.5),
    ],
)
def test_log_odds_is_a_difference_of_log_probabilities(options, left):
    model = numbers.adder(lambda total: numbers.two_classes(total / 5))
    found = one(model, numbers.data("1 5 2 4 3", model=model), LogOdds(**options))
    assert found.value == pytest.approx(log_p(left / 5) - log_p(3), rel=1e-5)


def test_log_odds_of_the_probability_as_such():
    # p from .9 to .6: -.41 and not -1.79, the difference of the odds' logarithms.
    z = [math.log(0.9 / 0.1), math.log(0.6 / 0.4)]
    x, phi = cf.row(1, 1), cf.row(z[0] - z[1], z[1])
    found = metrics.log_odds(lambda v: v @ phi[0], x, phi)
    assert float(found) == pytest.approx(math.log(0.6 / 0.9), rel=1e-12)
    assert LogOdds(occluder="pad").spec.title == (
        "Log-odds, a difference of log-probabilities (top 0.2 of the features, pad occluder)"
    )
    with pytest.raises(InputError, match="share"):
        LogOdds(share=1.5)


@pytest.mark.parametrize(
    ("phi", "tau"),
    [((3, 2, 1), 1), ((1, 2, 3), -1), ((3, 1, 2), 1 / 3), ((2, 1, 1), math.sqrt(2 / 3))],
)
def test_tau_of_leave_one_out(phi, tau):
    # tau-b of one tied pair of three: 2 pairs in order of sqrt(2 * 3).
    found = metrics.tau_loo(cf.linear(3, 2, 1), cf.row(1, 1, 1), cf.row(*phi))
    assert float(found) == pytest.approx(tau, rel=1e-12)


def test_tau_of_words_deletes_them_and_flat_maps_have_none():
    model = words.bag("mean")
    data = words.data("good movie bad", model=model)
    row = one(model, data, TauLoo())
    assert row.value == pytest.approx(1)
    flat = one(model, data, TauLoo(), {"flat": lambda x, target: torch.ones_like(x)})
    assert flat.status == "undefined"
    assert "flat" in flat.reason
    alike = metrics.tau_loo(cf.linear(1, 1, 1), cf.row(1, 1, 1), cf.row(1, 2, 3))
    assert math.isnan(float(alike)), "all changes are equal"


DRAWS = 4000


def test_soft_metrics_of_the_bag_of_words():
    # a = (1, .5, 0) of a map (4, -.5, -5).  Sufficiency: "good" stays, "bad" goes, and "movie" =
    # (1, 0) keeps its first number, worth 1, by a fair coin: E f = 5, variance 1/4.
    # Comprehensiveness: "good" goes, "bad" stays: E f = -4, the same variance.  f(x) = .5.
    phi = {"given": lambda x, target: torch.zeros_like(x).index_fill_(2, torch.tensor(0), 1.0)
           * torch.tensor([0.0, 4, -0.5, -5])[:, None]}  # fmt: skip
    tolerance = 5 * 0.5 / math.sqrt(DRAWS)  # a false alarm in 2 million
    for metric, expected in ((SoftSufficiency, 0.5 - 5.0), (SoftComprehensiveness, 0.5 + 4.0)):
        own = metric(draws=DRAWS, normalise=False)
        row = one(words.bag(), words.data("good movie bad"), own, phi)
        assert row.value == pytest.approx(expected, abs=tolerance)
        # sd of a fair coin from D draws: between .5 minus and plus a few 1 / D.
        assert row.std_error == pytest.approx(0.5 / math.sqrt(DRAWS), rel=1e-2)


def test_soft_metrics_are_shares_of_what_can_be_lost():
    # p(x) - p(nothing) is what can be lost; a = (1, 0): the first word stays or goes for certain.
    model = numbers.adder(numbers.two_classes)
    data = numbers.data("2 1", model=model)
    p = [1 / (1 + math.exp(-z)) for z in (3, 2, 1, 0)]
    comp = one(model, data, SoftComprehensiveness(draws=2))
    suff = one(model, data, SoftSufficiency(draws=2))
    assert comp.value == pytest.approx((p[0] - p[2]) / (p[0] - p[3]), rel=1e-5)
    assert suff.value == pytest.approx(1 - (p[0] - p[1]) / (p[0] - p[3]), rel=1e-5)
    assert (comp.std_error, suff.std_error) == (0, 0)
    assert SoftSufficiency().for_kind("text").title == (
        "Soft sufficiency (normalised, 64 draws, zero occluder)"
    )


def test_soft_metrics_without_anything_to_lose_are_undefined():
    row = one(numbers.adder(), numbers.data("2 -5"), SoftComprehensiveness())
    assert row.status == "undefined"
    assert "removing everything does not lower the output" in row.reason


def test_soft_draws_are_those_of_the_sample_alone():
    x, phi = torch.rand(3, 4, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64)
    f = cf.linear(1, 2, 3, 4)
    every = metrics.soft_sufficiency(f, x, phi, sample_ids=["a", "b", "c"], draws=4).value
    one = metrics.soft_sufficiency(f, x[1:2], phi[1:2], sample_ids=["b"], draws=4).value
    assert torch.equal(every[1:2], one)
    with pytest.raises(InputError, match="at least 2 draws"):
        SoftSufficiency(draws=1)
