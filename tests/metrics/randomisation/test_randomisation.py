"""Random weights and other classes: exact copies, known similarities, independent oracles."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from igbench import metrics
from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Measurement, Method, Metric
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.integrate import input_gradient
from igbench.methods.cam import GradCamSigned
from igbench.methods.controls import Edges
from igbench.methods.custom import CallableMethod
from igbench.metrics.randomisation.logit import RandomLogit
from igbench.metrics.randomisation.mprt import EfficientMprt, Mprt, SmoothMprt, entropy
from igbench.metrics.randomisation.network import layers_in_order, network, stages
from igbench.metrics.similarity import Similarity
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf

GLOBAL = MethodSpec("global", "", "global", signed=True)
# Sums of some hundred numbers of size 1 in float64.
CLOSE = {"rel": 1e-10, "abs": 1e-12}


@dataclass(frozen=True)
class InputTimesGradient:
    spec: MethodSpec = GLOBAL

    def __call__(self, batch: Batch) -> Tensor:
        return batch.x * input_gradient(batch.score, batch.x, batch.target)


@dataclass(frozen=True)
class Gradient:
    spec: MethodSpec = GLOBAL

    def __call__(self, batch: Batch) -> Tensor:
        return input_gradient(batch.score, batch.x, batch.target)


class Normed(nn.Module):
    """Registers its layers in the wrong order, has batch norm, and a layer that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3)
        self.unused = nn.Linear(7, 7)
        self.second = nn.Linear(6, 5)
        self.norm = nn.BatchNorm1d(6)
        self.first = nn.Linear(6, 6)
        g = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for t in [*self.parameters(), self.norm.running_mean]:
                t.copy_(torch.randn(t.shape, generator=g))
            self.norm.running_var.copy_(torch.rand(6, generator=g) + 0.5)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.norm(self.first(x)))
        return self.head(torch.tanh(self.second(x)))


def vectors(model: nn.Module | None = None, n: int = 3, seed: int = 5) -> Batch:
    g = torch.Generator().manual_seed(8)
    x = torch.randn(n, 6, generator=g, dtype=torch.float64)
    ids = tuple("abcdef"[:n])
    target = torch.arange(n) % 3
    return Batch(Score(model or Normed()), x, 0 * x, target, ids, "element", seed)


def photographs(n: int = 2) -> Batch:
    x = cf.images(n)
    target, ids = torch.tensor([0, 2, 1])[:n], ("a", "b", "c")[:n]
    return Batch(Score(cf.small_net()), x, 0 * x, target, ids, "pixel", 4)


def scored(metric: Metric, batch: Batch, method: Method) -> Measurement:
    maps = {"m": Attribution(method(batch), method.spec, explain=method)}
    return metric.measure(batch, maps, metric.observe(batch))["m"]


def spearman(a: Tensor, b: Tensor) -> float:
    return float(spearmanr(a.abs().numpy(), b.abs().numpy()).statistic)


class TestLayers:
    def test_are_in_the_order_of_use(self):
        assert layers_in_order(Normed(), vectors().x[:1]) == ("first", "second", "head")
        names = ("features.0", "features.2", "head")
        assert layers_in_order(cf.small_net(), cf.images(1)) == names

    def test_leaves_no_hook_behind(self):
        model = Normed()
        layers_in_order(model, vectors().x[:1])
        assert not any(m._forward_pre_hooks for m in model.modules())

    @pytest.mark.parametrize(
        ("order", "count", "expected"),
        [
            ("top_down", None, [(1 / 3, "c"), (2 / 3, "cb"), (1, "cba")]),
            ("bottom_up", None, [(1 / 3, "a"), (2 / 3, "ab"), (1, "abc")]),
            ("independent", None, [(1 / 3, "c"), (2 / 3, "b"), (1, "a")]),
            ("top_down", 2, [(2 / 3, "cb"), (1, "cba")]),
            ("top_down", 9, [(1 / 3, "c"), (2 / 3, "cb"), (1, "cba")]),
            ("independent", 1, [(1, "a")]),
        ],
    )
    def test_stages(self, order, count, expected):
        assert [(x, "".join(s)) for x, s in stages("abc", order, count)] == expected


class TestWeights:
    def test_the_users_network_is_never_touched(self):
        batch = vectors()
        before = copy.deepcopy(batch.score.model.state_dict())
        for metric in (
            Mprt(stages=None),
            EfficientMprt(),
            SmoothMprt(draws=2, stages=None),
            Mprt(order="independent", stages=None),
        ):
            scored(metric, batch, InputTimesGradient())
        after = batch.score.model.state_dict()
        assert all(torch.equal(before[k], after[k]) for k in before)

    def test_hang_on_seed_and_name_alone(self):
        one, other = network(vectors(n=1), "scale"), network(vectors(n=3), "scale")
        for net in (one, other):
            net.randomise("first")
        assert torch.equal(one.copy.first.weight, other.copy.first.weight)
        assert not torch.equal(one.copy.first.weight, one.original.first.weight)
        assert torch.equal(one.copy.second.weight, one.original.second.weight)
        seeded = network(vectors(seed=6), "scale")
        seeded.randomise("first")
        assert not torch.equal(one.copy.first.weight, seeded.copy.first.weight)

    def test_differ_from_layer_to_layer(self):
        model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)).double().eval()
        net = network(vectors(model), "torch")
        for layer in net.layers:
            net.randomise(layer)
        assert not torch.equal(net.copy[0].weight, net.copy[1].weight)
        assert not torch.equal(net.copy[0].weight[0], net.copy[0].bias)

    def test_a_layer_with_layers_inside_keeps_to_its_own(self):
        class Outer(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.ones(500, 6))
                self.inner = nn.Linear(500, 3)

            def forward(self, x: Tensor) -> Tensor:
                return self.inner(x @ self.weight.T)

        net = network(vectors(nn.Sequential(Outer()).double().eval()), "torch")
        assert net.layers == ("0", "0.inner")
        net.randomise("0")
        assert torch.equal(net.copy[0].inner.weight, net.original[0].inner.weight)
        # Its own inputs are 6: 3,000 uniform numbers reach 99 % of 1 / sqrt 6 but for e^-30.
        assert float(net.copy[0].weight.detach().abs().max()) > 0.99 / math.sqrt(6)

    def test_scale_keeps_the_mean_square_and_torch_the_bound(self):
        model = nn.Sequential(nn.Linear(6, 4000)).double().eval()
        with torch.no_grad():
            model[0].weight.fill_(3.0)
            model[0].bias.zero_()
        net = network(vectors(model), "scale")
        net.randomise("0")
        # The mean square of 24,000 normal numbers is off by sqrt(2 / 24000) = .9 %; 5 of these.
        square = float(net.copy[0].weight.detach().square().mean())
        assert square == pytest.approx(9, rel=5 * math.sqrt(2 / 24_000))
        assert not bool(net.copy[0].bias.any())
        net = network(vectors(model), "torch")
        net.randomise("0")
        bound = 1 / math.sqrt(6)
        for p in net.copy.parameters():
            largest = float(p.detach().abs().max())
            assert 0.99 * bound < largest <= bound  # 4000 uniform numbers: misses with e^-40
            # The standard deviation of the mean of n such numbers is bound / sqrt(3 n).
            assert abs(float(p.detach().mean())) < 5 * bound / math.sqrt(3 * p.numel())

    def test_batch_norm_stays_and_restoring_is_complete(self):
        net = network(vectors(), "torch")
        for layer in net.layers:
            net.randomise(layer)
        mine, learnt = net.copy.state_dict(), net.original.state_dict()
        changed = {k for k in learnt if not torch.equal(mine[k], learnt[k])}
        assert changed == {f"{k}.{p}" for k in net.layers for p in ("weight", "bias")}
        net.restore()
        assert all(torch.equal(net.copy.state_dict()[k], learnt[k]) for k in learnt)
        assert not net.copy.training


class TestMprt:
    def test_of_a_linear_model_by_hand(self):
        model = nn.Linear(6, 3, bias=False).double().eval()
        batch = vectors(model)
        size = float(model.weight.detach().square().mean().sqrt())
        g = rng.generator(5, "mprt", ".weight")
        w = size * torch.randn(3, 6, generator=g, dtype=torch.float64)
        found = scored(Mprt(repeats=1, stages=None), batch, InputTimesGradient())
        for i in range(3):
            own = batch.x[i] * model.weight[i].detach()
            expected = spearman(own, batch.x[i] * w[i])
            assert float(found.value[i]) == pytest.approx(expected, **CLOSE)
        signed = scored(Mprt(absolute=False, repeats=1, stages=None), batch, InputTimesGradient())
        own, other = batch.x[0] * model.weight[0].detach(), batch.x[0] * w[0]
        expected = float(spearmanr(own.numpy(), other.numpy()).statistic)
        assert float(signed.value[0]) == pytest.approx(expected, **CLOSE)

    @pytest.mark.parametrize("order", ["top_down", "bottom_up", "independent"])
    def test_every_stage_by_hand(self, order):
        batch = vectors()
        found = scored(Mprt(order=order, repeats=1, stages=None), batch, InputTimesGradient())
        xs, curve = found.curves[f"mprt_{order}"]
        assert xs == pytest.approx([1 / 3, 2 / 3, 1])
        clean = InputTimesGradient()(batch)
        names = ["first", "second", "head"]
        ranked = names if order == "bottom_up" else names[::-1]
        for k in range(3):
            net = network(batch, "scale")
            for layer in [ranked[k]] if order == "independent" else ranked[: k + 1]:
                net.randomise(layer)
            again = InputTimesGradient()(replace(batch, score=Score(net.copy)))
            for i in range(3):
                assert float(curve[i, k]) == pytest.approx(spearman(clean[i], again[i]), **CLOSE)
        torch.testing.assert_close(found.value, curve.mean(dim=1))
        assert float(curve.min()) < 0.9

    def test_a_map_that_ignores_the_model_is_the_worst(self):
        batch = photographs()
        for similarity in ("spearman", "ssim"):
            found = scored(Mprt(similarity=similarity, stages=None), batch, Edges())
            assert found.value.tolist() == pytest.approx([1, 1], **CLOSE)
            own = scored(Mprt(similarity=similarity, stages=None), batch, InputTimesGradient())
            assert float(own.value.max()) < 0.95

    def test_methods_find_their_layers_in_the_copy(self):
        found = scored(Mprt(stages=None), photographs(), GradCamSigned("features"))
        assert bool(torch.isfinite(found.value).all())
        assert float(found.value.max()) < 1 - 1e-6

    def test_model_rows_are_counted(self):
        batch = vectors()
        metric = Mprt(stages=2, repeats=3)
        maps = {"m": Attribution(Gradient()(batch), GLOBAL, explain=Gradient())}
        seen = metric.observe(batch)
        before = batch.score.cost.snapshot()
        metric.measure(batch, maps, seen)
        assert batch.score.cost.since(before).backward == 3 * 2 * 3

    def test_scoring_twice_from_one_observation(self):
        batch, metric = vectors(), Mprt(stages=None)
        maps = {"m": Attribution(Gradient()(batch), GLOBAL, explain=Gradient())}
        seen = metric.observe(batch)
        first, again = (metric.measure(batch, maps, seen)["m"].value for _ in range(2))
        assert torch.equal(first, again)

    def test_a_flat_map_has_no_value_and_is_not_explained_again(self):
        batch = vectors()
        clean = Gradient()(batch)
        clean[1] = 0
        asked: list[int] = []

        @dataclass(frozen=True)
        class Counting(Gradient):
            def __call__(self, part: Batch) -> Tensor:
                asked.append(len(part))
                return super().__call__(part)

        maps = {"m": Attribution(clean, GLOBAL, explain=Counting())}
        metric = Mprt(repeats=1, stages=None)
        found = metric.measure(batch, maps, metric.observe(batch))["m"]
        assert found.value.isnan().tolist() == [False, True, False]
        assert found.reason
        assert asked == [2, 2, 2]


class TestSmooth:
    def test_noise_does_not_matter_to_a_gradient_of_a_linear_model(self):
        batch = vectors(nn.Linear(6, 3).double().eval())
        found = scored(SmoothMprt(draws=3, stages=None), batch, Gradient())
        plain = scored(Mprt(order="bottom_up", stages=None), batch, Gradient())
        torch.testing.assert_close(found.value, plain.value, rtol=1e-12, atol=1e-12)

    def test_is_the_similarity_of_mean_maps(self):
        batch = vectors()
        low, high = batch.x.aminmax(dim=1, keepdim=True)
        inputs = []
        for d in range(4):
            e = [
                torch.randn(6, generator=rng.generator(5, "smooth_mprt", s, d), dtype=torch.float64)
                for s in batch.sample_ids
            ]
            inputs.append(batch.x + 0.1 * (high - low) * torch.stack(e))
        net = network(batch, "scale")
        for layer in net.layers:
            net.randomise(layer)
        means = [
            torch.stack([Gradient()(replace(batch, x=x, score=Score(m))) for x in inputs]).mean(0)
            for m in (net.original, net.copy)
        ]
        found = scored(SmoothMprt(draws=4, stages=1, repeats=1), batch, Gradient())
        for i in range(3):
            assert float(found.value[i]) == pytest.approx(
                spearman(means[0][i], means[1][i]), **CLOSE
            )


class TestEfficient:
    def test_entropy_of_known_histograms(self):
        rows = torch.tensor([[0.0, 0, 1, 1], [0, 1, 2, 3], [0, 0, 0, 1], [5, 5, 5, 5]])
        found = entropy(rows.double(), 4)
        quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
        assert found[:3].tolist() == pytest.approx([math.log(2), math.log(4), quarter], **CLOSE)
        assert math.isnan(float(found[3]))

    def test_two_bins_are_the_fewest(self):
        assert entropy(torch.tensor([[0.0, 1, 1, 1, 4]]), 2).tolist() == pytest.approx(
            [-(0.8 * math.log(0.8) + 0.2 * math.log(0.2))]
        )
        assert entropy(torch.tensor([[0.0, 1, math.inf]]), 2).isnan().all()
        assert EfficientMprt(bins=2).bins == 2
        with pytest.raises(InputError, match="at least 2"):
            EfficientMprt(bins=1)

    def test_entropy_agrees_with_numpy_and_scipy(self):
        values = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 500)))
        for row, found in zip(values.numpy(), entropy(values, 37).tolist(), strict=True):
            counts, _ = np.histogram(row, bins=37)
            assert found == pytest.approx(float(scipy_entropy(counts)), **CLOSE)

    def test_a_map_that_ignores_the_model_has_zero(self):
        assert scored(EfficientMprt(), photographs(), Edges()).value.tolist() == [0, 0]

    def test_is_the_relative_rise(self):
        batch = photographs()
        net = network(batch, "torch")
        for layer in net.layers:
            net.randomise(layer)
        maps = [
            InputTimesGradient()(replace(batch, score=Score(m))) for m in (net.original, net.copy)
        ]
        before, after = (entropy(m.sum(dim=1).flatten(1), 20) for m in maps)
        found = scored(EfficientMprt(bins=20, init="torch", repeats=1), batch, InputTimesGradient())
        torch.testing.assert_close(found.value, (after - before) / before)


class TestRandomLogit:
    def test_opposite_classes(self):
        model = nn.Linear(6, 2, bias=False).double().eval()
        with torch.no_grad():
            model.weight[1] = -model.weight[0]
        batch = replace(vectors(model), target=torch.tensor([0, 1, 0]))
        assert scored(RandomLogit(), batch, Gradient()).value.tolist() == [1, 1, 1]
        signed = scored(RandomLogit(absolute=False), batch, Gradient())
        assert signed.value.tolist() == pytest.approx([-1] * 3, **CLOSE)
        assert scored(RandomLogit(absolute=False), photographs(), Edges()).value.tolist() == (
            pytest.approx([1, 1], **CLOSE)
        )

    def test_other_classes_are_drawn_evenly_from_all_others(self):
        ids = tuple(f"s{i}" for i in range(400))
        x = torch.zeros(400, 6, dtype=torch.float64)
        batch = Batch(Score(Normed()), x, x, torch.arange(400) % 3, ids, "element", 0)
        (other,) = RandomLogit(classes=1).observe(batch).classes
        step = (other - batch.target) % 3
        assert set(step.tolist()) == {1, 2}
        # 400 fair coins: 5 standard deviations are 50.
        assert abs(int((step == 1).sum()) - 200) < 50

    def test_by_hand_and_for_functions_of_input_and_class(self):
        batch = photographs()
        (other,) = RandomLogit(classes=1).observe(batch).classes
        clean, again = (Gradient()(replace(batch, target=t)) for t in (batch.target, other))
        given = CallableMethod(
            lambda x, t: input_gradient(Score(cf.small_net()), x.detach(), t), kind="global"
        )
        for method in (Gradient(), given):
            found = scored(RandomLogit(classes=1), batch, method)
            for i in range(2):
                expected = spearman(clean[i].sum(0).flatten(), again[i].sum(0).flatten())
                assert float(found.value[i]) == pytest.approx(expected, **CLOSE)

    def test_needs_classes(self):
        batch = replace(vectors(nn.Linear(6, 1).double().eval()), target=None)
        with pytest.raises(InputError, match="two classes"):
            RandomLogit().observe(batch)


class TestSimilarity:
    def test_spearman_with_ties_is_scipys(self):
        g = torch.Generator().manual_seed(0)
        a, b = (torch.randint(-5, 6, (4, 40), generator=g).double() for _ in range(2))
        batch = vectors()
        for absolute in (True, False):
            found = Similarity(absolute=absolute, features="element").between(a, b, batch)
            for i in range(4):
                own, other = (v[i].abs() if absolute else v[i] for v in (a, b))
                expected = float(spearmanr(own.numpy(), other.numpy()).statistic)
                assert float(found[i]) == pytest.approx(expected, **CLOSE)

    def test_differences_by_rounding_are_ties(self):
        a = torch.tensor([[1.0, 1, 1, 2, 3]], dtype=torch.float64)
        noisy = a * (1 + torch.tensor([3e-16, -3e-16, 0, 0, 0], dtype=a.dtype))
        compare = Similarity(features="element")
        assert float(compare.between(a, noisy, vectors())) == pytest.approx(1, **CLOSE)

    def test_ssim_is_scikit_images(self):
        a, b = cf.images(2, seed=1), cf.images(2, seed=2)
        for absolute in (True, False):
            found = Similarity("ssim", absolute, window=5).between(a, b, photographs())
            for i in range(2):
                own, other = (v[i].sum(0).numpy() for v in (a, b))
                if absolute:
                    own, other = np.abs(own), np.abs(other)
                own, other = own / np.abs(own).max(), other / np.abs(other).max()
                if not absolute:
                    own, other = 0.5 + own / 2, 0.5 + other / 2
                expected = structural_similarity(own, other, win_size=5, data_range=1)
                assert float(found[i]) == pytest.approx(expected, **CLOSE)

    def test_a_window_larger_than_one_side_is_refused(self):
        narrow = cf.images(2)[..., :5]
        for image in (narrow, narrow.mT):
            with pytest.raises(InputError, match="at least 7 x 7"):
                Similarity("ssim").between(image, image, photographs())
        assert torch.isfinite(Similarity("ssim", window=5).between(narrow, -narrow, photographs()))[
            0
        ]

    @pytest.mark.parametrize("kind", ["spearman", "ssim"])
    def test_scale_and_identity(self, kind):
        a, b = cf.images(2, seed=1), cf.images(2, seed=2)
        compare = Similarity(kind, absolute=False)
        assert compare.between(a, 7 * a, photographs()).tolist() == pytest.approx([1, 1], **CLOSE)
        torch.testing.assert_close(
            compare.between(a, b, photographs()), compare.between(3 * b, 2 * a, photographs())
        )
        assert float(compare.between(a, -a, photographs()).max()) < 0
        assert compare.between(a, 0 * a, photographs()).isnan().all()
        assert compare.between(a, a * math.nan, photographs()).isnan().all()


@pytest.mark.parametrize(
    "metric", [Mprt(stages=None), SmoothMprt(draws=1, stages=None), EfficientMprt()]
)
def test_what_cannot_be_randomised_is_refused(metric):
    batch = photographs()
    given = CallableMethod(lambda x, t: x, kind="global")
    for method, message in [(given, "does not notice"), (None, "needs the method itself")]:
        maps = {"m": Attribution(batch.x, GLOBAL, explain=method)}
        with pytest.raises(InputError, match=message):
            metric.measure(batch, maps, metric.observe(batch))
    with pytest.raises(InputError, match="torch module"):
        metric.observe(replace(batch, score=Score(lambda z: z.flatten(1).sum(1))))
    with pytest.raises(InputError, match="no layer with weights"):
        metric.observe(replace(batch, score=Score(nn.Flatten().eval())))


def test_bad_arguments():
    with pytest.raises(InputError, match="unknown order"):
        Mprt(order="upwards", stages=None)
    with pytest.raises(InputError, match="unknown similarity"):
        Mprt(similarity="pearson", stages=None)
    with pytest.raises(InputError, match="unknown init"):
        EfficientMprt(init="normal")
    with pytest.raises(InputError, match="stages"):
        Mprt(stages=0)
    with pytest.raises(InputError, match="window is 4"):
        RandomLogit(window=4)
    with pytest.raises(InputError, match="noise"):
        SmoothMprt(noise=0, stages=None)
    with pytest.raises(InputError, match="bins is 1"):
        EfficientMprt(bins=1)
    with pytest.raises(InputError, match="ssim needs images"):
        scored(Mprt(similarity="ssim", stages=None), vectors(), Gradient())


def test_functional_forms():
    batch = photographs()
    common = {
        "target": batch.target,
        "features": "pixel",
        "seed": 4,
        "sample_ids": ("a", "b"),
        "method": Gradient(),
    }
    phi = Gradient()(batch)
    for name, metric in [
        ("mprt", Mprt(stages=None)),
        ("smooth_mprt", SmoothMprt(draws=2, stages=None)),
        ("efficient_mprt", EfficientMprt()),
        ("random_logit", RandomLogit()),
    ]:
        own = {"draws": 2} if name == "smooth_mprt" else {}
        if name.endswith("mprt") and name != "efficient_mprt":
            own["stages"] = None
        found = getattr(metrics, name)(batch.score.model, batch.x, phi, **own, **common)
        torch.testing.assert_close(found.value, scored(metric, batch, Gradient()).value)
