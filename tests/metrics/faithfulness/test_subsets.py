"""NAOPC and the difference from exact Shapley values, on games that can be solved by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from igbench import evaluate, methods, metrics
from igbench.errors import NotDefinedError
from igbench.metrics.faithfulness.subsets import DifferenceFromExact, NormalisedAopc, mean_order
from tests.helpers import closed_form as cf
from tests.helpers import numbers, words

EXACT = {"rel": 1e-12, "abs": 1e-12}
X = cf.row(2, 3, 7)


def product(x):
    return x[:, 0] * x[:, 1]


def curved(x):
    return torch.tanh(x @ x.new_tensor([1.0, -2, 0.5, 0.7])) + x[:, 0] * x[:, 3]


def aopc(f, x, order) -> float:
    total = 0.0
    for k in range(1, x.shape[1] + 1):
        z = x.clone()
        z[0, list(order[:k])] = 0
        total += float(f(x) - f(z))
    return total


def test_naopc_is_the_share_between_all_orders():
    x, phi = cf.row(1, 0.3, -2, 0.7), cf.row(0.1, 2, -1, 0.5)
    every = [aopc(curved, x, order) for order in itertools.permutations(range(4))]
    own = aopc(curved, x, (1, 3, 0, 2))
    expected = (own - min(every)) / (max(every) - min(every))
    assert 0.1 < expected < 0.9
    assert float(metrics.naopc(curved, x, phi)) == pytest.approx(expected, **EXACT)


def test_naopc_of_ties_is_the_mean_over_their_orders():
    x, phi = cf.row(1, 0.3, -2, 0.7), cf.row(2, 1, 1, 1)
    every = [aopc(curved, x, order) for order in itertools.permutations(range(4))]
    tied = [aopc(curved, x, (0, *order)) for order in itertools.permutations((1, 2, 3))]
    expected = (sum(tied) / 6 - min(every)) / (max(every) - min(every))
    assert float(metrics.naopc(curved, x, phi)) == pytest.approx(expected, **EXACT)
    assert mean_order(cf.row(0, 0, 0)[0], torch.arange(8.0)) == pytest.approx(7 / 3 + 14 / 3 + 7)


def test_naopc_of_words_by_convention():
    data = numbers.data("3 1 2")
    loo = {"loo": methods.FeatureAblation(), "wrong": lambda x, target: -x}
    chosen = {o: NormalisedAopc(occluder=o) for o in ("delete", "hide", "mask")}
    found = evaluate(numbers.adder(), data, methods=loo, metrics=chosen, baseline="zero").frame
    value = found.set_index(["method", "metric"]).value
    # 3 2 1 is the best and 1 2 3 the worst order, also where a word becomes -1.
    for name in chosen:
        assert value["loo", name] == pytest.approx(1)
        assert value["wrong", name] == pytest.approx(0)


@pytest.mark.parametrize(
    ("phi", "l1", "spearman"),
    [((3, 3, 0), 0, 1), ((6, 6, 0), 1, 1), ((6, 0, 0), 1, 0.5)],
)
def test_difference_from_the_shapley_values_of_a_product(phi, l1, spearman):
    # The Shapley values of x1 x2 at (2, 3, 7) are (3, 3, 0).
    phi = cf.row(*phi)
    assert float(metrics.difference_from_exact(product, X, phi)) == pytest.approx(l1, **EXACT)
    found = float(metrics.difference_from_exact(product, X, phi, statistic="spearman"))
    assert found == pytest.approx(spearman, **EXACT)


def test_every_method_on_the_bag_of_words_is_exact():
    # IG = leave-one-out = Shapley where words add up, whatever the convention of removal.
    both = {"ig": methods.IntegratedGradients(n_steps=2), "loo": methods.FeatureAblation()}
    chosen = {
        "baseline": DifferenceFromExact(),
        "delete": DifferenceFromExact(occluder="delete"),
        "rank": DifferenceFromExact(statistic="spearman"),
    }
    found = evaluate(words.bag(), words.data("good movie bad"), methods=both, metrics=chosen,
                     baseline="mask").frame.set_index(["method", "metric"]).value  # fmt: skip
    for name in both:
        assert found[name, "baseline"] == pytest.approx(0, abs=1e-6)
        assert found[name, "rank"] == pytest.approx(1)
        # (4.5, 1.5, -4.5) against (4, 1, -5): 1.5 of 10.
        assert found[name, "delete"] == pytest.approx(0.15)


def test_all_methods_and_both_metrics_share_the_subsets():
    x = cf.row(1, 0.3, -2, 0.7)
    score = {"rows": 0}

    def counted(z):
        score["rows"] += len(z)
        return curved(z)

    first, second = NormalisedAopc(), DifferenceFromExact()
    assert first.sharing_key == second.sharing_key
    assert first.sharing_key != NormalisedAopc(occluder="zero").sharing_key
    found = evaluate(counted, x, methods={"a": x, "b": -x, "c": x**2},
                     metrics={"naopc": first, "exact": second})  # fmt: skip
    spent = found.frame[found.frame.metric.isin(["naopc", "exact"])]
    assert len(spent) == 6
    assert (spent.n_forward == 0).all()
    stage = found.results.stages
    assert sum(own["forward"] for name, own in stage.items() if "naopc" in name) == 16


def test_what_has_no_value():
    flat = metrics.naopc(curved, cf.row(1, 2, 3, 4), cf.row(1, 1, 1, 1))
    assert math.isnan(float(flat))
    assert "flat" in flat.reason
    alike = metrics.naopc(lambda x: x.sum(dim=1), cf.row(1, 1, 1), cf.row(1, 2, 3))
    assert math.isnan(float(alike)), "all orders are equal"
    nothing = metrics.difference_from_exact(lambda x: 0 * x.sum(dim=1), X, X)
    assert math.isnan(float(nothing))
    with pytest.raises(
        NotDefinedError, match=r"15 features have 2.15 subsets, and the metric stops"
    ):
        metrics.naopc(lambda x: x.sum(dim=1), torch.ones(1, 15), torch.ones(1, 15))


def test_long_texts_are_undefined_and_say_so():
    data = numbers.data("1 2 3", "1 2 3 4")
    found = evaluate(numbers.adder(), data, methods=["random"], baseline="zero",
                     metrics={"naopc": NormalisedAopc(most=3)}).frame  # fmt: skip
    own = found[found.metric == "naopc"]
    assert own.status.tolist() == ["ok", "undefined"]
    assert "stops at most=3 features" in own.reason.iloc[1]
