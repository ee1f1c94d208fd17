"""Metrics on models with known answers."""

from __future__ import annotations

import math

import pytest
import torch

from igbench import metrics
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.integrate import integrated_gradients
from tests.helpers import closed_form as cf

EXACT = {"rel": 1e-9, "abs": 1e-12}
W = (1.0, 2.0, 3.0)
ONES = cf.row(1, 1, 1)


def within(value: float, expected: float, sd: float, draws: int) -> None:
    """Within 5 standard errors: a false alarm in 2 million."""
    assert abs(value - expected) < 5 * sd / math.sqrt(draws)


class TestInfidelity:
    def gaussian(self, f, x, phi, **options):
        return float(
            metrics.infidelity(
                f,
                x,
                phi,
                perturbation="gaussian",
                scale=0.1,
                kind="local",
                **{"normalize": False, **options},
            )
        )

    def test_gradient_of_a_linear_model_has_none(self):
        f, phi = cf.linear(*W), cf.row(*W)
        assert self.gaussian(f, ONES, phi) == pytest.approx(0, abs=1e-24)
        # I . w is N(0, .14): its square has mean .14 and sd .14 sqrt 2.
        doubled = self.gaussian(f, ONES, 2 * phi, draws=20_000)
        within(doubled, 0.14, 0.14 * math.sqrt(2), 20_000)
        assert self.gaussian(f, ONES, 2 * phi, normalize=True) == pytest.approx(0, abs=1e-24)
        assert self.gaussian(f, ONES, -2 * phi, normalize=True) == pytest.approx(0, abs=1e-24)

    def test_contributions_of_a_linear_model_have_none(self):
        f = cf.linear(*W)
        x = cf.row(2, -1, 3)
        for kind, phi in [("global", cf.row(*W) * x), ("local", cf.row(*W))]:
            value = metrics.infidelity(
                f, x, phi, perturbation="subset", draws="all", kind=kind, normalize=False
            )
            assert float(value) == pytest.approx(0, abs=1e-24)

    def test_the_wrong_kind_is_scored_differently(self):
        f, x = cf.linear(*W), cf.row(2, -1, 3)
        wrong = metrics.infidelity(
            f, x, cf.row(*W), perturbation="subset", draws="all", kind="global", normalize=False
        )
        # error (w_i (1 - x_i)) = (-1, 4, -6) over all subsets: variance + mean^2
        expected = sum(v * v for v in (-1, 4, -6)) / 4 + (sum((-1, 4, -6)) / 2) ** 2
        assert float(wrong) == pytest.approx(expected, **EXACT)

    def test_gradient_of_a_quadratic_misses_its_curvature(self):
        a = torch.diag(torch.tensor(W, dtype=torch.float64))
        x = cf.row(1, -1, 0.5)
        phi = x @ a
        found = self.gaussian(cf.quadratic(a), x, phi, draws=40_000)
        # The error is I'AI/2: mean of its square s^4/4 ((tr A)^2 + 2 tr A^2) = 1.6e-3.
        s, tr, tr2 = 0.1, 6.0, 14.0
        expected = s**4 / 4 * (tr**2 + 2 * tr2)
        assert expected == pytest.approx(1.6e-3)
        # (I'AI/2)^4 by Monte Carlo bounds its sd: below 4e-3 for these numbers.
        within(found, expected, 4e-3, 40_000)

    def test_product_of_two(self):
        """f = x1 x2 at (2, 3), map (3, 3): two of four sets are off by 3, so 9 / 2."""
        x, phi = cf.row(2, 3), cf.row(3, 3)
        exact = metrics.infidelity(
            cf.product, x, phi, perturbation="subset", draws="all", normalize=False
        )
        assert float(exact) == pytest.approx(4.5, **EXACT)
        drawn = metrics.infidelity(
            cf.product, x, phi, perturbation="subset", draws=4000, normalize=False
        )
        within(float(drawn), 4.5, 4.5, 4000)

    def test_best_scale_never_hurts(self):
        x, phi = cf.row(2, 3), cf.row(1, 5)
        raw, best = (
            metrics.infidelity(
                cf.product, x, phi, perturbation="subset", draws="all", normalize=normalize
            )
            for normalize in (False, True)
        )
        scaled = [
            float(
                metrics.infidelity(
                    cf.product, x, c * phi, perturbation="subset", draws="all", normalize=False
                )
            )
            for c in (0.5, 0.9, 1.1, 2.0)
        ]
        assert float(best) < float(raw)
        assert all(float(best) <= s + 1e-12 for s in scaled)

    def test_squares_on_an_image(self):
        x = cf.images(2)
        w = torch.linspace(-1, 1, 192, dtype=torch.float64)
        f = lambda z: z.flatten(1) @ w  # noqa: E731
        exact = metrics.infidelity(f, x, x * w.view(1, 3, 8, 8), draws=50, normalize=False)
        assert exact.tolist() == pytest.approx([0, 0], abs=1e-20)
        # A map of zeros is off by all of f(x) - f(x_p), which the same draws give.
        nothing = metrics.infidelity(f, x, torch.zeros_like(x), draws=50, normalize=False)
        negative = metrics.infidelity(f, x, -x * w.view(1, 3, 8, 8), draws=50, normalize=False)
        assert (negative / nothing).tolist() == pytest.approx([4, 4], **EXACT)

    def test_gaussian_needs_a_local_map(self):
        with pytest.raises(InputError, match="remove nothing"):
            metrics.infidelity(
                cf.product, cf.row(1, 2), cf.row(1, 2), perturbation="gaussian", normalize=False
            )


class TestSensitivityN:
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_contributions_of_a_linear_model_correlate_perfectly(self, n):
        f, x = cf.linear(1, -2, 3, 0.5), cf.row(1, 2, -1, 4)
        phi = cf.row(1, -2, 3, 0.5) * x
        for factor in (1.0, 7.0):
            r = metrics.sensitivity_n(f, x, factor * phi, n=n, subsets="all")
            assert float(r) == pytest.approx(1, **EXACT)
        r = metrics.sensitivity_n(f, x, -phi, n=n, subsets="all")
        assert float(r) == pytest.approx(-1, **EXACT)

    def test_all_features_is_undefined(self):
        f, x = cf.linear(1, -2, 3), cf.row(1, 2, -1)
        assert metrics.sensitivity_n(f, x, x, n=3, subsets=20).isnan().all()

    def test_no_variance_is_undefined(self):
        # Removing any one factor takes the whole product away.
        x = cf.row(2, 3, 5)
        assert metrics.sensitivity_n(cf.product, x, x, n=1, subsets="all").isnan().all()

    @pytest.mark.parametrize("n", [1, 2])
    def test_monomial_plus_linear_is_9_over_root_84(self, n):
        """f = x1^2 x2 + 2 x3 at 1, IG (2/3, 1/3, 2)."""

        def f(x):
            return x[:, 0] ** 2 * x[:, 1] + 2 * x[:, 2]

        x = cf.row(1, 1, 1)
        phi = integrated_gradients(Score(f), x, torch.zeros_like(x))
        assert phi.tolist()[0] == pytest.approx([2 / 3, 1 / 3, 2], **EXACT)
        r = metrics.sensitivity_n(f, x, phi, n=n, subsets="all")
        assert float(r) == pytest.approx(9 / math.sqrt(84), **EXACT)

    def test_drawn_subsets_estimate_the_enumerated(self):
        x = cf.images(1)
        f, phi = (lambda z: cf.small_net()(z)[:, 0]), cf.images(1, seed=9)
        common = {"n": 0.5, "features": "patch:4"}  # 4 features, 6 subsets
        exact = float(metrics.sensitivity_n(f, x, phi, subsets="all", **common))
        drawn = float(metrics.sensitivity_n(f, x, phi, subsets=2000, **common))
        assert drawn == pytest.approx(exact, abs=5 / math.sqrt(2000))


class TestRemovalCurves:
    f = staticmethod(cf.linear(3, 2, 1))
    phi = cf.row(3, 2, 1)

    def test_contributions_3_2_1(self):
        assert float(
            metrics.deletion(self.f, ONES, self.phi, step=1, occluder="baseline", scalar="score")
        ) == pytest.approx(7 / 3, **EXACT)
        assert float(
            metrics.insertion(self.f, ONES, self.phi, step=1, occluder="baseline", scalar="score")
        ) == pytest.approx(11 / 3, **EXACT)
        assert float(
            metrics.srg(self.f, ONES, self.phi, step=1, occluder="baseline", scalar="score")
        ) == pytest.approx(4 / 3, **EXACT)

    def test_the_wrong_way_round(self):
        assert float(
            metrics.srg(self.f, ONES, -self.phi, step=1, occluder="baseline", scalar="score")
        ) == pytest.approx(-4 / 3, **EXACT)
        assert float(
            metrics.deletion(self.f, ONES, -self.phi, step=1, occluder="baseline", scalar="score")
        ) == pytest.approx(11 / 3, **EXACT)

    def test_random_order_of_contributions_3_2_1_has_mean_three(self):
        orders = torch.stack(
            [torch.randperm(3, generator=torch.Generator().manual_seed(i)) for i in range(600)]
        ).double()
        x = ONES.expand(600, 3)
        found = metrics.deletion(self.f, x, orders, step=1, occluder="baseline", scalar="score")
        # Deletion of a random order: between 7/3 and 11/3, so its sd is below 2/3.
        within(float(found.mean()), 3, 2 / 3, 600)
        gain = metrics.srg(self.f, x, orders, step=1, occluder="baseline", scalar="score")
        within(float(gain.mean()), 0, 4 / 3, 600)

    def test_coarse_steps(self):
        # Two features at a time: 6, 1, 0 at fractions 0, 2/3, 1.
        expected = (6 + 1) / 2 * 2 / 3 + (1 + 0) / 2 / 3
        found = metrics.deletion(
            self.f, ONES, self.phi, step=2, occluder="baseline", scalar="score"
        )
        assert float(found) == pytest.approx(expected, **EXACT)

    def test_flat_maps_are_undefined(self):
        flat = torch.zeros_like(ONES)
        for metric in (metrics.deletion, metrics.insertion, metrics.srg):
            assert metric(self.f, ONES, flat).isnan().all()

    def test_only_the_ranks_count(self):
        x, net = cf.images(3), cf.small_net()
        phi, target = cf.images(3, seed=5).abs(), torch.tensor([0, 1, 2])
        for metric in (metrics.deletion, metrics.insertion, metrics.srg):
            a, b = (
                metric(net, x, p, target=target, step=5, features="element")
                for p in (phi, torch.exp(phi))
            )
            assert torch.equal(a, b)

    def test_ties_do_not_favour_a_corner(self):
        # Two features are 1, the others 0, over 200 samples: the order among ties is random, so
        # each of the four zeros goes first about as often.
        n = 400
        x = torch.ones(n, 6, dtype=torch.float64)
        phi = torch.tensor([0, 1, 0, 0, 1, 0], dtype=torch.float64).expand(n, 6)
        f = cf.linear(1, 0, 0, 0, 0, 0)
        # feature 0 is a zero of the map: it leaves at a uniform place among the last four.
        found = metrics.deletion(
            f, x, phi, tie_orders=1, step=1, occluder="baseline", scalar="score"
        )
        assert set((found * 6).round(decimals=6).tolist()) == {2.5, 3.5, 4.5, 5.5}
        within(float(found.mean()) * 6, 4.0, 1.2, n)


class TestCompleteness:
    def test_gap_of_known_error(self):
        f = cf.linear(*W)
        x = cf.row(1, 1, 1)
        assert float(metrics.completeness(f, x, cf.row(*W))) == pytest.approx(0, abs=1e-15)
        off = cf.row(1.0, 2.0, 3.6)
        assert float(metrics.completeness(f, x, off)) == pytest.approx(0.1, **EXACT)
        assert float(metrics.completeness(f, x, -off)) == pytest.approx(2.1, **EXACT)
        assert float(metrics.completeness(f, x, off, relative=False)) == pytest.approx(0.6, **EXACT)

    def test_baseline_counts(self):
        x, b = cf.row(3, 2), cf.row(1, -1)
        gap = metrics.completeness(cf.product, x, cf.row(1, 6), baselines=b)
        assert float(gap) == pytest.approx(0, abs=1e-15)

    def test_equal_ends_are_undefined(self):
        assert metrics.completeness(cf.linear(1, -1), cf.row(1, 1), cf.row(1, 1)).isnan().all()

    @pytest.mark.parametrize("sign", [1, -1])
    def test_equal_to_rounding_is_undefined_and_more_is_not(self, sign):
        # Outputs near 1,000 are 1.1e-13 apart; a change of 1e-9 is 9,000 such steps.
        x = cf.row(1, 2, 4)
        for change, undefined in ((2e-13, True), (0.0, True), (1e-9, False)):
            f = lambda z, c=change: sign * (1e3 + c * z[:, 0])  # noqa: E731
            gap = metrics.completeness(f, x, 0 * x)
            assert gap.isnan().tolist() == [undefined]
            assert not metrics.completeness(f, x, 0 * x, relative=False).isnan().any()

    def test_local_maps_are_refused(self):
        with pytest.raises(InputError, match="global"):
            metrics.completeness(cf.product, cf.row(1, 2), cf.row(1, 2), kind="local")


def test_a_dict_of_maps_shares_one_observation():
    net, x, target = cf.small_net(), cf.images(2), torch.tensor([0, 1])
    maps = {str(k): cf.images(2, seed=k) for k in range(8)}
    calls = {"rows": 0}

    class Counting(torch.nn.Module):
        def forward(self, z):
            calls["rows"] += len(z)
            return net(z)

    counting = Counting().eval()
    metrics.sensitivity_n(counting, x, maps["0"], target=target, n=5, features="pixel", subsets=100)
    one, calls["rows"] = calls["rows"], 0
    together = metrics.sensitivity_n(
        counting, x, maps, target=target, n=5, features="pixel", subsets=100
    )
    look = 1 + 1 + 3 + 1  # whether rows are functions of themselves
    assert calls["rows"] == one == 2 * (100 + 1) + look
    alone = metrics.sensitivity_n(
        net, x, maps["3"], target=target, n=5, features="pixel", subsets=100
    )
    # A product of matrices adds in another order than one of vectors.
    torch.testing.assert_close(together["3"].value, alone.value, rtol=1e-12, atol=1e-14)


def test_wrong_shape_and_nan_are_refused():
    x = cf.images(2)
    with pytest.raises(InputError, match="must match"):
        metrics.srg(
            cf.small_net(), x, x[:, :1], target=0, step=1, occluder="baseline", scalar="score"
        )
    with pytest.raises(InputError, match="NaN"):
        metrics.srg(
            cf.small_net(), x, x * math.nan, target=0, step=1, occluder="baseline", scalar="score"
        )
    with pytest.raises(InputError, match="give target="):
        metrics.srg(cf.small_net(), x, x, step=1, occluder="baseline", scalar="score")


def test_difference_to_another_map():
    from igbench.core.batch import Attribution, Batch
    from igbench.core.score import Score
    from igbench.metrics.agreement import Difference
    from igbench.schema import MethodSpec

    x = cf.row(1, 1, 1)
    batch = Batch(Score(cf.linear(*W)), x, torch.zeros_like(x), None, ("a",))
    spec = MethodSpec("", "", "global", signed=True)
    maps = {"ig": cf.row(1, 2, 5), "near": cf.row(1, 2, 3), "zero": cf.row(0, 0, 0)}
    given = {name: Attribution(values, spec) for name, values in maps.items()}
    found = Difference("ig").measure(batch, given, None)
    assert float(found["near"].value) == pytest.approx(2 / 8)
    assert float(found["zero"].value) == pytest.approx(1)
    assert "ig" not in found
    assert Difference("zero").measure(batch, given, None)["ig"].value.isnan().all()
    assert Difference("none").measure(batch, given, None)["ig"].value.isnan().all()
