"""Faithfulness correlation and estimate, and monotonicity: closed forms and other formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from igbench.core.batch import Attribution, Batch, Measurement, Metric
from igbench.core.features import resolve
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.metrics.faithfulness.correlation import FaithfulnessCorrelation, FaithfulnessEstimate
from igbench.metrics.faithfulness.monotonicity import MonotonicityCorrelation
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf

EXACT = {"rel": 1e-9, "abs": 1e-12}
W = (1.0, -2.0, 3.0, 0.5)
X = cf.row(1, 2, -1, 4)
GLOBAL = MethodSpec("given", "", "global", signed=True)


def value(metric: Metric, f, x: Tensor, phi: Tensor, **common) -> float:
    found = metric(f, x, phi, **common)
    assert isinstance(found, Measurement)
    return float(found)


def monomial(x: Tensor) -> Tensor:
    """x1^2 x2 + 2 x3"""
    return x[:, 0] ** 2 * x[:, 1] + 2 * x[:, 2]


class TestFaithfulnessCorrelation:
    @pytest.mark.parametrize("factor", [1, 7, -1])
    def test_linear_and_exact(self, factor):
        metric = FaithfulnessCorrelation(n=2, subsets="all")
        phi = factor * cf.row(*W) * X
        assert value(metric, cf.linear(*W), X, phi) == pytest.approx(np.sign(factor), **EXACT)

    def test_c17(self):
        metric = FaithfulnessCorrelation(n=2, subsets="all")
        r = value(metric, monomial, cf.row(1, 1, 1), cf.row(2 / 3, 1 / 3, 2))
        assert r == pytest.approx(9 / math.sqrt(84), **EXACT)

    def test_is_sensitivity_n_at_one_n_and_shares_its_model_rows(self):
        net, x, phi = cf.small_net(), cf.images(2), cf.images(2, seed=8)
        one, other = FaithfulnessCorrelation(n=0.3, subsets=20), SensitivityN(n=0.3, subsets=20)
        assert one.sharing_key == other.sharing_key
        batch = Batch(Score(net), x, 0 * x, torch.tensor([0, 1]), ("a", "b"), "pixel", 3)
        maps = {"m": Attribution(phi, GLOBAL)}
        a = one.measure(batch, maps, other.observe(batch))["m"]
        b = other.measure(batch, maps, other.observe(batch))["m"]
        assert torch.equal(a.value, b.value)
        assert a.curves == {}

    def test_standard_error(self):
        net, x, phi = cf.small_net(), cf.images(1), cf.images(1, seed=8)
        batch = Batch(Score(net), x, 0 * x, torch.tensor([0]), ("a",), "pixel", 3)
        metric = FaithfulnessCorrelation(n=0.3, subsets=50)
        maps = {"m": Attribution(phi, GLOBAL)}
        observed = metric.observe(batch)
        found = metric.measure(batch, maps, observed)["m"]
        # Jackknife: leave one set of 19 pixels out.
        (sets,) = metric._sets()._masks(batch, 0, resolve("pixel", (3, 8, 8)))
        assert sets.sum(dim=1).tolist() == [19] * 50
        sums = (phi.sum(dim=1).flatten(1) @ sets.double().T)[0].numpy()
        drops = observed[0][0].numpy()
        parts = [
            np.corrcoef(np.delete(sums, d), np.delete(drops, d))[0, 1] for d in range(len(drops))
        ]
        assert found.std_error is not None
        expected = math.sqrt(49 / 50 * sum((p - np.mean(parts)) ** 2 for p in parts))
        assert float(found.std_error) == pytest.approx(expected, rel=1e-9)

    def test_bad_sizes_are_refused_when_it_is_made(self):
        with pytest.raises(InputError, match="above zero"):
            FaithfulnessCorrelation(n=0)
        with pytest.raises(InputError, match="3 subsets"):
            FaithfulnessCorrelation(subsets=2)


class TestFaithfulnessEstimate:
    def test_linear_and_exact(self):
        phi = cf.row(*W) * X
        assert value(FaithfulnessEstimate(), cf.linear(*W), X, phi) == pytest.approx(1, **EXACT)
        assert value(FaithfulnessEstimate(), cf.linear(*W), X, -phi) == pytest.approx(-1, **EXACT)

    def test_monomial_by_hand(self):
        # Removing x1, x2 or x3 at (1, 1, 1) loses 1, 1, 2.
        phi = (2 / 3, 1 / 3, 2)
        expected = np.corrcoef(phi, (1, 1, 2))[0, 1]
        r = value(FaithfulnessEstimate(), monomial, cf.row(1, 1, 1), cf.row(*phi))
        assert r == pytest.approx(expected, **EXACT)

    def test_patches_of_an_image(self):
        x, phi = cf.images(1), cf.images(1, seed=6)
        f = lambda z: cf.small_net()(z)[:, 2].detach()  # noqa: E731
        sums, drops = [], []
        for i in range(0, 8, 4):
            for j in range(0, 8, 4):
                gone = x.clone()
                gone[..., i : i + 4, j : j + 4] = 0.125
                drops.append(float(f(x) - f(gone)))
                sums.append(float(phi[..., i : i + 4, j : j + 4].sum()))
        r = value(FaithfulnessEstimate("patch:4"), f, x, phi, baselines=0.125)
        assert r == pytest.approx(np.corrcoef(sums, drops)[0, 1], **EXACT)

    def test_flat_maps_have_no_value(self):
        assert math.isnan(value(FaithfulnessEstimate(), cf.linear(*W), X, torch.ones_like(X)))

    def test_local_maps_are_refused(self):
        with pytest.raises(InputError, match="global"):
            FaithfulnessEstimate()(cf.linear(*W), X, X, kind="local")


class TestMonotonicityCorrelation:
    def test_removal_from_a_linear_model(self):
        # e_i = (w_i x_i)^2, so |w_i x_i| has the same ranks; the signs do not matter.
        metric = MonotonicityCorrelation(fill="baseline")
        phi = cf.row(*W) * X
        for same in (phi, -phi, phi.abs(), 100 * phi**3):
            assert value(metric, cf.linear(*W), X, same) == pytest.approx(1, **EXACT)
        reverse = 1 / phi
        assert value(metric, cf.linear(*W), X, reverse) == pytest.approx(-1, **EXACT)

    def test_ties_share_their_rank(self):
        # Effects 1, 1, 4, 0; magnitudes 2, 1, 1, 0: an independent Spearman of the same.
        f, x, phi = cf.linear(1, -1, 2, 0), cf.row(1, 1, 1, 1), cf.row(2, -1, 1, 0)
        expected = stats.spearmanr([1, 1, 4, 0], [2, 1, 1, 0]).statistic
        metric = MonotonicityCorrelation(fill="baseline")
        assert value(metric, f, x, phi) == pytest.approx(expected, **EXACT)

    def test_random_values_lie_in_the_span(self):
        # f = x1 with values u in [low, high]: (x1 - u)^2 has a mean that the draws estimate.
        x = cf.row(0.5, 2.0, -1.0)
        batch = Batch(Score(cf.linear(1, 0, 0)), x, 0 * x, None, ("a",), "element", 0)
        for span, low, high in [(None, -1.0, 2.0), ((0.0, 0.4), 0.0, 0.4)]:
            metric = MonotonicityCorrelation(draws=4000, span=span)
            squared = metric.observe(batch)[0, :, 0] ** 2
            mean = ((high - 0.5) ** 3 - (low - 0.5) ** 3) / (3 * (high - low))
            error = float(squared.std()) / math.sqrt(4000)
            assert abs(float(squared.mean()) - mean) < 5 * error  # 1 false alarm in 2 million
            assert float(squared.max()) <= max((high - 0.5) ** 2, (low - 0.5) ** 2) + 1e-12

    def test_channels_have_their_own_span(self):
        x = torch.sigmoid(cf.images(1))
        x[:, 1] += 10
        batch = Batch(Score(lambda z: z[:, 1].mean(dim=(1, 2))), x, 0 * x, None, ("a",), "pixel", 0)
        # Every replaced value of channel 1 stays near 10: f, a mean over 64, moves by < 1/64.
        found = MonotonicityCorrelation(draws=5).observe(batch)
        assert 0 < float(found.max()) < 1 / 64

    def test_the_span_is_that_of_a_channel_and_not_of_a_row(self):
        # Rows of zeros and of ones: a pixel of the first row still gets values up to 1.
        x = torch.tensor([[[[0.0, 0.0], [1.0, 1.0]]]], dtype=torch.float64)
        batch = Batch(Score(lambda z: z[:, 0, 0, 0]), x, 0 * x, None, ("a",), "pixel", 0)
        found = MonotonicityCorrelation(draws=20).observe(batch)[0, :, 0]
        assert float(found.min()) > 0
        assert 0.5 < float(found.max()) <= 1  # all 20 below a half: chance 2^-20

    def test_other_formula_on_a_network(self):
        net, x, phi = cf.small_net(), cf.images(2), cf.images(2, seed=5) - 0.5
        target = torch.tensor([1, 3])
        batch = Batch(Score(net, batch_size=9), x, 0 * x, target, ("a", "b"), "patch:2", 2)
        metric = MonotonicityCorrelation(draws=6, features="patch:2")
        observed = metric.observe(batch)
        found = metric.measure(batch, {"m": Attribution(phi, GLOBAL)}, observed)["m"]
        sums = torch.nn.functional.avg_pool2d(phi.sum(dim=1), 2).flatten(1).abs()
        for i in range(2):
            effects = (observed[i] ** 2).numpy()
            rho = stats.spearmanr(sums[i].numpy(), effects.mean(axis=0)).statistic
            assert float(found.value[i]) == pytest.approx(rho, **EXACT)
            # Jackknife: leave one draw out.
            parts = [
                stats.spearmanr(sums[i].numpy(), np.delete(effects, d, axis=0).mean(axis=0))[0]
                for d in range(6)
            ]
            error = math.sqrt(5 / 6 * sum((p - np.mean(parts)) ** 2 for p in parts))
            assert found.std_error is not None
            assert float(found.std_error[i]) == pytest.approx(error, **EXACT)

    def test_features_without_effect_are_ties_whatever_the_rounding(self):
        # Near 1000 the output is rounded to 1.1e-13: effects of this size must not be ranked.
        f = lambda z: z @ torch.tensor([1, 3, 5e-13, -5e-13, 2e-13, 0]).to(z) + 1e3  # noqa: E731
        x = cf.row(1, 1, 1, 1, 1, 1)
        batch = Batch(Score(f), x, 0 * x, None, ("a",), "element", 0)
        found = MonotonicityCorrelation(fill="baseline").observe(batch)
        assert found[0, 0, 2:].tolist() == [0] * 4
        assert found[0, 0, :2].tolist() == pytest.approx([1, 3], rel=1e-9)

    def test_two_draws_have_a_standard_error_and_one_has_none(self):
        batch = Batch(Score(cf.linear(*W)), X, 0 * X, None, ("a",), "element", 0)
        maps = {"m": Attribution(X, GLOBAL)}
        for metric, some in (
            (MonotonicityCorrelation(draws=2), True),
            (MonotonicityCorrelation(fill="baseline"), False),
        ):
            found = metric.measure(batch, maps, metric.observe(batch))["m"]
            assert (found.std_error is not None) == some

    def test_every_draw_and_feature_has_its_own_value(self):
        x = cf.row(0.1, 0.2, 0.3, 0.9)
        batch = Batch(Score(cf.linear(1, 1, 1, 1)), x, 0 * x, None, ("a",), "element", 0)
        found = MonotonicityCorrelation(draws=4).observe(batch)
        assert len(found.flatten().unique()) == 16

    def test_flat_map_and_flat_model_have_no_value(self):
        metric = MonotonicityCorrelation(fill="baseline")
        assert math.isnan(value(metric, cf.linear(*W), X, torch.ones_like(X)))
        assert math.isnan(value(metric, cf.linear(0, 0, 0, 0), X, X))

    def test_bad_arguments(self):
        with pytest.raises(InputError, match="at least 2"):
            MonotonicityCorrelation(draws=1)
        with pytest.raises(InputError, match="smaller"):
            MonotonicityCorrelation(span=(1, 1))
        with pytest.raises(InputError, match="unknown fill"):
            MonotonicityCorrelation(fill="blur")
