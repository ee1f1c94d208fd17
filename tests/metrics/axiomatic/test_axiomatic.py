"""Axioms as metrics: zero for methods that have them, worked out by hand for those that do not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import captum.attr
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from igbench import metrics
from igbench.core.batch import Attribution, Batch, Measurement, Method, Metric
from igbench.core.score import Score
from igbench.data.digits import digits
from igbench.errors import InputError
from igbench.integration.integrate import input_gradient, integrated_gradients
from igbench.methods.cam import GradCamSigned
from igbench.methods.captum import Captum
from igbench.methods.controls import Edges, Random
from igbench.methods.custom import CallableMethod
from igbench.methods.integrated_gradients import IntegratedGradients
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.axiomatic.convergence import ConvergenceError
from igbench.metrics.axiomatic.dummy import Dummy
from igbench.metrics.axiomatic.invariance import (
    ImplementationInvariance,
    InputInvariance,
    rewritten,
)
from igbench.metrics.axiomatic.linearity import Combined, Linearity
from igbench.metrics.robustness.baselines import BaselineSensitivity, bare
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf
from tests.helpers.toy import toy_model

GLOBAL = MethodSpec("global", "", "global", signed=True)
CLOSE = {"rel": 1e-10, "abs": 1e-12}
IG = IntegratedGradients("gauss_legendre", 8)
W = (1.0, -2.0, 3.0)


@dataclass(frozen=True)
class Power:
    """(x - x') times the gradient, to a power: linear in f for 1 alone."""

    power: int = 1
    spec: MethodSpec = GLOBAL

    def __call__(self, batch: Batch) -> Tensor:
        gradient = input_gradient(batch.score, batch.x, batch.target)
        return ((batch.x - batch.baseline) * gradient) ** self.power


@dataclass(frozen=True)
class Gradient:
    spec: MethodSpec = GLOBAL

    def __call__(self, batch: Batch) -> Tensor:
        return input_gradient(batch.score, batch.x, batch.target)


def linear(*x: float) -> Batch:
    at = cf.row(*x)
    return Batch(Score(cf.linear(*W)), at, 0 * at, None, ("a",), "element", 3)


def photographs(n: int = 2, smooth: bool = True) -> Batch:
    x = cf.images(n)
    target, ids = torch.tensor([0, 2, 1])[:n], ("a", "b", "c")[:n]
    model = cf.SmallNet(smooth=smooth).double()
    return Batch(Score(model), x, 0 * x + 0.1, target, ids, "pixel", 4)


def scored(metric: Metric, batch: Batch, method: Method) -> Measurement:
    maps = {"m": Attribution(method(batch), method.spec, explain=method)}
    return metric.measure(batch, maps, metric.observe(batch))["m"]


def number(metric: Metric, batch: Batch, method: Method) -> float:
    return float(scored(metric, batch, method).value)


class TestLinearity:
    @pytest.mark.parametrize("a", [1.0, -2.5])
    def test_methods_that_are_linear_in_f(self, a):
        for method in (Gradient(), Power(1), IG, GradCamSigned("features")):
            # The maps differ by the rounding of sums of 192 gradients.
            assert float(scored(Linearity(a), photographs(), method).value.max()) < 1e-12

    def test_squares_by_hand(self):
        batch = linear(1, 2, -1)
        (v,) = Linearity(repeats=1).observe(batch)
        w, x = torch.tensor(W, dtype=torch.float64), batch.x[0]
        for a in (1.0, 2.0):
            b = float((x * w).square().sum() / (x * v).square().sum())
            gap = (x * (a * w + b * v)).square() - a * (x * w).square() - b * (x * v).square()
            parts = (a + 1) * (x * w).square().sum()
            expected = float(gap.abs().sum() / parts)
            assert expected > 0.05
            assert number(Linearity(a, 1), batch, Power(2)) == pytest.approx(expected, **CLOSE)

    def test_a_map_that_ignores_the_model_has_one_half(self):
        for method in (Edges(), Random()):
            found = scored(Linearity(), photographs(), method).value
            assert found.tolist() == pytest.approx([0.5, 0.5], **CLOSE)

    def test_magnitudes_are_not_linear(self):
        magnitudes = Captum("Saliency", "", "", "local", signed=False)
        assert float(scored(Linearity(), photographs(), magnitudes).value.min()) > 0.05

    def test_one_function_for_all_samples_and_methods(self):
        whole = photographs()
        part = replace(whole, x=whole.x[1:], sample_ids=("b",))
        first, second = Linearity().observe(whole)
        assert not torch.equal(first, second)
        again = Linearity().observe(part)
        assert torch.equal(first, again[0])
        assert torch.equal(second, again[1])
        assert not torch.equal(first, Linearity().observe(replace(whole, seed=9))[0])

    def test_the_function_has_a_slope_for_every_element(self):
        v = Linearity().observe(photographs())[0]
        assert v.shape == (3, 8, 8)
        assert len(v.unique()) == v.numel()

    def test_another_readout_of_a_changed_function_is_refused(self):
        batch = photographs()
        changed = Combined(batch.score, 1.0, 1.0, Linearity().observe(batch)[0])
        assert changed.as_output("logit") is changed
        with pytest.raises(InputError, match="probability"):
            changed.as_output("probability")


class TestInputInvariance:
    def test_gradients_do_not_care(self):
        # x + 1 - 1 is x to an ulp of 1, and gradients of smooth networks move as little.
        for shift in (1.0, -3.0):
            found = scored(InputInvariance(shift), photographs(), Gradient()).value
            assert float(found.max()) < 1e-12

    @pytest.mark.parametrize("shift", [1.0, -0.5])
    def test_integrated_gradients_care_for_the_baseline(self, shift):
        assert float(scored(InputInvariance(shift, True), photographs(), IG).value.max()) < 1e-11
        batch = linear(1, 2, 4)
        # phi_2 = (x + m - 0) w: the gap is |m| sum |w| / sum |x w|.
        expected = abs(shift) * 6 / (1 + 4 + 12)
        for method in (IG, Power(1)):
            assert number(InputInvariance(shift), batch, method) == pytest.approx(expected, **CLOSE)

    def test_random_maps_are_the_same(self):
        assert scored(InputInvariance(), photographs(), Random()).value.tolist() == [0, 0]


def captums_guided_backprop(batch: Batch) -> Tensor:
    """The rule of modules of nn.ReLU alone."""
    explainer = captum.attr.GuidedBackprop(batch.score)
    found: Tensor = explainer.attribute(batch.x, additional_forward_args=(batch.target,))
    return found


class TestImplementationInvariance:
    @pytest.mark.parametrize("rewrite", ["split", "bend", "both"])
    def test_functions_of_the_function(self, rewrite):
        batch = photographs(smooth=False)
        for method in (Gradient(), IG, GradCamSigned("features"), GradCamSigned("features.0")):
            found = scored(ImplementationInvariance(rewrite), batch, method).value
            assert float(found.max()) < 1e-12

    # Captum says that it hooks ReLU modules, which is what this method is.
    @pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU:UserWarning")
    def test_rules_by_kind_of_layer_are_found_out(self):
        guided = CallableMethod(captums_guided_backprop, "local", per_batch=True)
        batch = photographs(smooth=False)
        # Without a ReLU module guided backpropagation is the gradient.
        bend = scored(ImplementationInvariance("bend"), batch, guided).value
        gradient = Gradient()(batch)
        own = guided(batch)
        for i in range(2):
            expected = float((gradient[i] - own[i]).abs().sum() / own[i].abs().sum())
            assert expected > 0.01
            assert float(bend[i]) == pytest.approx(expected, **CLOSE)
        assert float(scored(ImplementationInvariance("split"), batch, guided).value.max()) < 1e-12

    def test_the_second_network_is_the_same_function(self):
        model = nn.Sequential(nn.Linear(4, 9), nn.ReLU6(), nn.Linear(9, 9), nn.ReLU()).double()
        model.append(model[2]).eval()
        x = 8 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        for rewrite in ("split", "bend", "both"):
            twin = rewritten(model, rewrite)
            torch.testing.assert_close(twin(x), model(x), rtol=1e-14, atol=1e-14)
            kinds = {type(m).__name__ for m in twin.modules()}
            assert ("Halves" in kinds) == (rewrite != "bend")
            assert ("ReLU" in kinds) == ("ReLU6" in kinds) == (rewrite == "split")
            assert twin[2] is twin[4]
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())

    def test_derivatives_at_the_kinks(self):
        x = torch.tensor([-1.0, 0, 3, 6, 7], requires_grad=True)
        for layer in (nn.ReLU(), nn.ReLU6()):
            bend = rewritten(nn.Sequential(layer), "bend")
            own, other = (torch.autograd.grad(m(x).sum(), x)[0] for m in (layer, bend))
            assert torch.equal(own, other)
            assert torch.equal(layer(x), bend(x))

    def test_what_cannot_be_rewritten_is_refused(self):
        with pytest.raises(InputError, match="torch module"):
            ImplementationInvariance().observe(linear(1, 1, 1))
        with pytest.raises(InputError, match="no layer that rewrite=bend"):
            ImplementationInvariance("bend").observe(photographs())

        class Peeking(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(2, 2)

            def forward(self, x: Tensor) -> Tensor:
                kind = 1.0 if isinstance(self.layer, nn.Linear) else 2.0
                return kind * self.layer(x)

        x = torch.ones(1, 2)
        batch = Batch(Score(Peeking().eval()), x, 0 * x, torch.tensor([0]), ("a",), "element", 0)
        with pytest.raises(InputError, match="computes something else"):
            ImplementationInvariance().observe(batch)


class TestDummy:
    def test_planted_features_get_nothing_from_methods_with_the_axiom(self):
        for method in (Gradient(), Power(1), Power(2), IG):
            assert scored(Dummy(), photographs(), method).value.tolist() == [0, 0]

    def test_maps_without_it(self):
        batch = photographs()
        planted = Dummy(share=0.25).observe(batch)
        assert planted.sum(dim=2).tolist() == [[16, 16]] * 2
        assert not torch.equal(planted[0], planted[1])
        noise = Random()(batch).abs()
        inside = planted.view(2, 2, 1, 8, 8)
        expected = (noise * inside).flatten(2).sum(2) / noise.flatten(1).sum(1)
        found = scored(Dummy(share=0.25), batch, Random())
        torch.testing.assert_close(found.value, expected.mean(dim=0))
        # An enlarged map of a layer spreads over what is ignored.
        assert float(scored(Dummy(), batch, GradCamSigned("features")).value.min()) > 0.1

    def test_planting_is_keyed_by_sample_and_seed(self):
        batch = photographs()
        planted = Dummy().observe(batch)
        swapped = Dummy().observe(replace(batch, x=batch.x.flip(0), sample_ids=("b", "a")))
        assert torch.equal(planted, swapped.flip(1))
        assert not torch.equal(planted[0, 0], planted[0, 1])
        assert not torch.equal(planted, Dummy().observe(replace(batch, seed=5)))

    def test_ignored_features_are_found(self):
        x = cf.row(1, 2, 3, 4)
        batch = Batch(Score(cf.linear(1, 0, 2, 0)), x, 0 * x, None, ("a",), "element", 0)
        metric = Dummy(mode="detect")
        assert metric.observe(batch).all(dim=0)[0].tolist() == [False, True, False, True]
        maps = {"m": Attribution(cf.row(1, -1, 2, 0), GLOBAL)}
        assert float(metric.measure(batch, maps, metric.observe(batch))["m"].value) == 0.25

    def test_saturated_features_are_not_ignored(self):
        def f(z: Tensor) -> Tensor:
            return cf.saturating(z) + z[:, 1] * z[:, 2]

        # At x the gradient is (0, 0, 0), and no feature alone changes a product at zero.
        x = cf.row(2, 0, 0, 1)
        batch = Batch(Score(f), x, cf.row(0, 0, 0, 0), None, ("a",), "element", 0)
        # x_1 counts below 1, half of the noise: 16 draws all miss with chance 2^-16, and x_2 and
        # x_3 with less.
        found = Dummy(mode="detect", draws=16).observe(batch).all(dim=0)
        assert found[0].tolist() == [False, False, False, True]

    @pytest.mark.parametrize("sign", [1, -1])
    def test_effects_within_rounding_are_ignored_and_others_not(self, sign):
        # Outputs near 1,000: 64 roundings are 1.4e-11.
        def f(z: Tensor) -> Tensor:
            return sign * (1e3 + z @ torch.tensor([1.0, 1e-13, 1e-8, 0]).to(z))

        x = cf.row(1, 1, 1, 1)
        batch = Batch(Score(f), x, 0 * x, None, ("a",), "element", 0)
        found = Dummy(mode="detect").observe(batch).all(dim=0)
        assert found[0].tolist() == [False, True, False, True]

    def test_detecting_draws_by_seed_and_sample(self):
        # x1 counts below a tenth of the noise alone: whether a draw hits it hangs on the key.
        def f(z: Tensor) -> Tensor:
            return torch.relu(0.2 - z[:, 0]) + z[:, 1]

        x = cf.row(2, 1, 1).expand(40, 3)
        ids = tuple(f"s{i}" for i in range(40))
        batch = Batch(Score(f), x, 0 * x, None, ids, "element", 0)
        metric = Dummy(mode="detect")

        def first_is_ignored(own: Batch) -> Tensor:
            return metric.observe(own).all(dim=0)[:, 0]

        found = first_is_ignored(batch)
        assert 0 < int(found.sum()) < 40
        turned = first_is_ignored(replace(batch, sample_ids=ids[::-1]))
        assert torch.equal(turned.flip(0), found)
        assert not torch.equal(first_is_ignored(replace(batch, seed=1)), found)

    def test_detecting_costs_rows_and_needs_no_method(self):
        batch = photographs()
        before = batch.score.cost.snapshot()
        Dummy(mode="detect", draws=2).observe(batch)
        assert batch.score.cost.since(before).forward == 2 * 2 * 65
        metric = Dummy(mode="detect", draws=1)
        maps = {"m": Attribution(batch.x, GLOBAL)}
        found = metric.measure(batch, maps, metric.observe(batch))["m"]
        assert found.value.isnan().all()
        assert "ignores no feature" in found.reason

    def test_two_features_are_the_fewest(self):
        two = replace(linear(1, 2, 3), x=cf.row(1, 2))
        for share in (0.1, 0.9):
            assert Dummy(share=share).observe(two).sum(dim=2).tolist() == [[1], [1]]

    def test_one_feature_is_refused(self):
        with pytest.raises(InputError, match="two or more"):
            Dummy(features="patch:8").observe(photographs())


class TestConvergenceError:
    @pytest.mark.parametrize("n", [5, 50])
    def test_left_rule_of_a_cube(self, n):
        x = cf.row(1)
        batch = Batch(Score(cf.cube), x, 0 * x, None, ("a",), "element", 0)
        # The left sum of 3 a^2, less the reference's own error: middle cells of width h are off
        # by h^2 f'' / 24.
        expected = 1 - (n - 1) * (2 * n - 1) / (2 * n * n)
        found = number(ConvergenceError(n_reference=1000), batch, IntegratedGradients("left", n))
        assert found == pytest.approx(expected, abs=5e-6)

    def test_sees_what_completeness_does_not(self):
        def f(z: Tensor) -> Tensor:
            return z[:, 0] ** 2 - z[:, 1] ** 2

        x = cf.row(1, 1)
        batch = Batch(Score(f), x, 0 * x, None, ("a",), "element", 0)
        left = IntegratedGradients("left", 10)
        assert number(Completeness(relative=False), batch, left) < 1e-12
        assert number(ConvergenceError(n_reference=1000), batch, left) == pytest.approx(
            0.1, abs=1e-5
        )

    def test_reference_by_another_rule(self):
        batch = photographs()
        reference = integrated_gradients(
            batch.score, batch.x, batch.baseline, batch.target, n_steps=64
        )
        maps = {"m": Attribution(2 * reference, GLOBAL)}
        metric = ConvergenceError(2000)
        found = metric.measure(batch, maps, metric.observe(batch))["m"].value
        # For a smooth network 64 Gauss nodes are exact; 2000 middles are off by some 1e-6.
        assert found.tolist() == pytest.approx([1, 1], abs=1e-5)

    def test_undefined_without_an_integral(self):
        batch = replace(linear(1, 2, 3), baseline=cf.row(1, 2, 3))
        maps = {"m": Attribution(batch.x, GLOBAL)}
        metric = ConvergenceError(4)
        assert metric.measure(batch, maps, metric.observe(batch))["m"].value.isnan().all()


class TestBaselineSensitivity:
    def test_methods_without_baseline(self):
        for statistic in ("rank", "spread"):
            metric = BaselineSensitivity(statistic)
            found = scored(metric, photographs(), Gradient()).value
            assert found.tolist() == pytest.approx([0, 0], abs=1e-12)

    def test_rank_and_spread_by_hand(self):
        batch = photographs()
        names = ("zero", "channel_mean", "uniform_noise")
        (starts,) = BaselineSensitivity(among=names, repeats=1).observe(batch)
        maps = torch.stack([Power(1)(replace(batch, baseline=s)) for s in starts])
        sums = maps.sum(dim=2).flatten(2).numpy()  # (B, N, G)
        rank = scored(BaselineSensitivity("rank", names, repeats=1), batch, Power(1)).value
        spread = scored(BaselineSensitivity("spread", names, repeats=1), batch, Power(1)).value
        for i in range(2):
            pairs = [(0, 1), (0, 2), (1, 2)]
            r = [spearmanr(abs(sums[a, i]), abs(sums[b, i])).statistic for a, b in pairs]
            assert float(rank[i]) == pytest.approx(1 - sum(r) / 3, **CLOSE)
            sd = sums[:, i].std(axis=0).sum()
            assert float(spread[i]) == pytest.approx(
                sd / abs(sums[:, i].mean(axis=0)).sum(), **CLOSE
            )

    def test_two_baselines_of_a_linear_model(self):
        # phi = (x - 0) w and (x - mean) w; x = (1, 3): (1, 3) and (-1, 1) for w = 1.
        x = torch.tensor([[[[1.0, 3.0]]]], dtype=torch.float64)
        batch = Batch(Score(lambda z: z.flatten(1).sum(1)), x, 0 * x, None, ("a",), "pixel", 0)
        metric = BaselineSensitivity("spread", ("zero", "channel_mean"))
        # sd (1, 1), mean (0, 2).
        assert number(metric, batch, Power(1)) == pytest.approx(1, **CLOSE)

    def test_blind_where_the_input_is_the_baseline(self):
        batch = linear(0, 2, 0)
        data = digits(toy_model(tuple("0123456789"), None), limit=2)
        x = data.load(0)[None].double()
        share = float((x == 0).double().mean())
        own = replace(batch, score=Score(lambda z: z.flatten(1).sum(1)), x=x, features="pixel")
        metric = BaselineSensitivity("blind", ("zero", "white"), data=data)
        found = scored(metric, replace(own, baseline=0 * x), Power(1))
        white = float((x == 1).double().mean())
        assert 0.3 < share < 0.7
        assert float(found.value) == pytest.approx((share + white) / 2, **CLOSE)
        _, curve = found.curves["baseline_blind"]
        assert curve[0].tolist() == pytest.approx([share, white], **CLOSE)

    @pytest.mark.parametrize("statistic", ["rank", "spread", "blind"])
    def test_a_map_of_zeros_is_not_asked_again(self, statistic):
        batch = photographs()
        values = Power(1)(batch)
        values[0] = 0
        metric = BaselineSensitivity(statistic)
        maps = {"m": Attribution(values, GLOBAL, explain=Power(1))}
        found = metric.measure(batch, maps, metric.observe(batch))["m"]
        assert found.value.isnan().tolist() == [True, False]
        assert found.curves["baseline_blind"][1].isnan().tolist() == [[True] * 4, [False] * 4]

    def test_samples_without_a_source_are_black_at_zero(self):
        metric = BaselineSensitivity(among=("black", "zero"), repeats=1)
        ((black, zero),) = metric.observe(photographs())
        assert torch.equal(black, zero)
        assert bare(photographs()).kind == "image"
        assert bare(linear(1, 2, 3)).kind == "table"

    def test_bad_baselines(self):
        with pytest.raises(InputError, match="unknown baseline 'grey'"):
            BaselineSensitivity(among=("zero", "grey"))
        with pytest.raises(InputError, match="two or more"):
            BaselineSensitivity(among=("zero",))
        with pytest.raises(InputError, match="two or more"):
            BaselineSensitivity(among=("zero", "zero", "blur"))
        with pytest.raises(InputError, match="does not define white"):
            BaselineSensitivity(among=("zero", "white")).observe(photographs())


EVERY = [
    Linearity(),
    InputInvariance(),
    ImplementationInvariance(),
    Dummy(),
    BaselineSensitivity(),
]


@pytest.mark.parametrize("metric", EVERY)
def test_maps_without_a_method_that_sees_the_change_are_refused(metric):
    batch = photographs()
    given = CallableMethod(lambda x, t: x, kind="global")
    for method, message in [(given, "does not notice"), (None, "needs the method itself")]:
        maps = {"m": Attribution(batch.x, GLOBAL, explain=method)}
        with pytest.raises(InputError, match=message):
            metric.measure(batch, maps, metric.observe(batch))


@pytest.mark.parametrize("metric", EVERY)
def test_one_map_of_zeros_takes_nobody_down(metric):
    batch = photographs()
    values = Power(1)(batch)
    values[0] = 0
    maps = {"m": Attribution(values, GLOBAL, explain=Power(1))}
    found = metric.measure(batch, maps, metric.observe(batch))["m"]
    assert found.value.isnan().tolist() == [True, False]
    assert found.reason


def test_bad_arguments():
    with pytest.raises(InputError, match="a is 0"):
        Linearity(0)
    with pytest.raises(InputError, match="shift is 0"):
        InputInvariance(0)
    with pytest.raises(InputError, match="unknown rewrite"):
        ImplementationInvariance("merge")
    with pytest.raises(InputError, match="unknown mode"):
        Dummy(mode="find")
    with pytest.raises(InputError, match="share is 1"):
        Dummy(share=1)
    with pytest.raises(InputError, match="n_reference"):
        ConvergenceError(0)
    with pytest.raises(InputError, match="unknown statistic"):
        BaselineSensitivity("sd")


@pytest.mark.parametrize(
    "name",
    ["linearity", "input_invariance", "implementation_invariance", "dummy", "baseline_sensitivity"],
)
def test_functional_forms(name):
    batch = photographs()
    classes = {type(m).__name__.lower(): m for m in EVERY}
    metric = classes[name.replace("_", "")]
    common = {"target": batch.target, "seed": 4, "sample_ids": ("a", "b")}
    if hasattr(metric, "features"):
        common["features"] = "pixel"
        metric = replace(metric, features="pixel")
    found = getattr(metrics, name)(
        batch.score.model, batch.x, Power(1)(batch), baselines=0.1, method=Power(1), **common
    )
    torch.testing.assert_close(found.value, scored(metric, batch, Power(1)).value)


def test_functional_form_of_the_convergence_error():
    found = metrics.convergence_error(cf.cube, cf.row(1), cf.row(0.9), n_reference=500)
    assert float(found) == pytest.approx(0.1, abs=1e-4)
    assert not math.isnan(float(found))
