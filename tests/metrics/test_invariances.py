"""What must leave a metric alone, and what must not: order, scale, place, ties, keys, flat maps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from igbench.core import perturb
from igbench.core.batch import Attribution, Batch, Measurement, Method, Metric
from igbench.core.score import Score
from igbench.data.digits import digits
from igbench.errors import InputError
from igbench.integration.integrate import input_gradient
from igbench.metrics.agreement import Difference
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.faithfulness.correlation import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    SensitivityN,
)
from igbench.metrics.faithfulness.erasure import Comprehensiveness, Sufficiency
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.faithfulness.information import Aic, Sic
from igbench.metrics.faithfulness.monotonicity import MonotonicityCorrelation
from igbench.metrics.faithfulness.removal import (
    Aopc,
    Deletion,
    Insertion,
    PixelFlipping,
    SymmetricRelevanceGain,
)
from igbench.metrics.faithfulness.road import Road
from igbench.metrics.localisation import PointingGame, RelevanceMass, RelevanceRank
from igbench.metrics.randomisation.logit import RandomLogit
from igbench.metrics.randomisation.mprt import EfficientMprt, Mprt, SmoothMprt
from igbench.metrics.robustness.budget import MaxSensitivityN
from igbench.metrics.robustness.sensitivity import AvgSensitivity, LocalLipschitz, MaxSensitivity
from igbench.metrics.sparsity import Complexity, EffectiveComplexity, Sparseness
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf
from tests.helpers.contract import METRICS, batch, class_of, metric
from tests.helpers.toy import toy_model

GLOBAL = MethodSpec("global", "", "global", signed=True)
LOCAL = MethodSpec("local", "", "local", signed=True)
# Another order of summing some hundred numbers of size 1.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
QUICK = settings(max_examples=12, deadline=None, derandomize=True, database=None)
MASK = torch.arange(64).view(8, 8) % 3 == 0
DATA = replace(
    digits(toy_model(tuple("0123456789"), None), limit=1), black=(-3.0,) * 3, white=(3.0,) * 3
)
SEEN = {"least": 0.0, "normalise": False, "thresholds": (0.1, 0.3, 0.6), "data": DATA}


def photographs(n: int = 2, seed: int = 4) -> Batch:
    x = cf.images(n)
    target = torch.tensor([0, 2, 1])[:n]
    return Batch(Score(cf.small_net()), x, 0 * x, target, ("a", "b", "c")[:n], "pixel", seed)


def scored(
    m: Metric, b: Batch, phi: Tensor, method: Method | None = None, spec: MethodSpec = GLOBAL
) -> Tensor:
    maps = {"m": Attribution(phi, spec, explain=method)}
    return m.measure(b, maps, m.observe(b))["m"].value


# ------------------------------------------------------------------------------- order alone

RANKING: dict[str, Metric] = {
    "deletion": Deletion(step=5, occluder="baseline", scalar="score"),
    "insertion": Insertion(step=5, occluder="blur", scalar="score"),
    "srg": SymmetricRelevanceGain(step=5, occluder="baseline", scalar="score"),
    "pixel_flipping": PixelFlipping(step=5, occluder="baseline", scalar="score"),
    "aopc": Aopc(step=5, occluder="baseline", scalar="score"),
    "abpc": Aopc(step=5, order="difference", until=0.5, occluder="baseline", scalar="score"),
    "road": Road(fractions=(0.2, 0.5)),
    "comprehensiveness": Comprehensiveness(
        fractions=(0.1, 0.3), occluder="baseline", scalar="score"
    ),
    "sufficiency": Sufficiency(fractions=(0.1, 0.3), occluder="baseline", scalar="score"),
}
RANKING_MAGNITUDES: dict[str, Metric] = {
    "aic": Aic(**SEEN),
    "sic": Sic(**SEEN),
    "monotonicity_correlation": MonotonicityCorrelation(draws=2),
    "pointing_game": PointingGame(masks=lambda s: MASK, tolerance=0),
    "pointing_game_absolute": PointingGame(masks=lambda s: MASK, tolerance=0, part="absolute"),
    "relevance_rank": RelevanceRank(masks=lambda s: MASK),
    "relevance_rank_absolute": RelevanceRank(masks=lambda s: MASK, part="absolute"),
}
"""Order of magnitudes, or of the positive part: sign and zero have a meaning."""
LEVELS = st.lists(st.floats(1e-3, 1e3), min_size=6, max_size=6)
WHOLE = arrays.arrays(np.int64, (1, 8, 8), elements=st.integers(-5, 5)).filter(
    lambda v: (v != v.flat[0]).any() and (v > 0).any()
)


def on_pixels(levels: Tensor) -> Tensor:
    """A map of one photograph with exactly these values summed over channels."""
    empty = torch.zeros(2, 8, 8, dtype=levels.dtype)
    return torch.cat([levels.view(1, 8, 8), empty])[None]


@pytest.mark.parametrize("name", RANKING)
@given(whole=WHOLE, gaps=LEVELS, further=LEVELS, low=st.floats(-1e3, 1e3))
@QUICK
def test_rising_transformations_do_not_matter(name, whole, gaps, further, low):
    # Value v of -5..5 becomes the v-th of eleven rising numbers.
    table = torch.tensor([low, *(gaps + further)[:10]], dtype=torch.float64).cumsum(0)
    ranks = torch.from_numpy(whole)
    b, m = photographs(1), RANKING[name]
    plain, bent = (scored(m, b, on_pixels(v)) for v in (ranks.double(), table[ranks + 5]))
    assert torch.isfinite(plain).all()
    assert torch.equal(plain, bent)


@pytest.mark.parametrize("name", RANKING_MAGNITUDES)
@given(whole=WHOLE, gaps=LEVELS)
@QUICK
def test_rising_odd_transformations_do_not_matter(name, whole, gaps):
    table = torch.tensor([0.0, *gaps[:5]], dtype=torch.float64).cumsum(0)
    ranks = torch.from_numpy(whole)
    b, m = photographs(1), RANKING_MAGNITUDES[name]
    bent = table[ranks.abs()] * ranks.sign()
    a, c = (scored(m, b, on_pixels(v)) for v in (ranks.double(), bent))
    torch.testing.assert_close(a, c, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", [*RANKING, "sic", "relevance_rank"])
def test_another_order_is_another_value(name):
    m, b, phi = {**RANKING, **RANKING_MAGNITUDES}[name], photographs(), cf.images(2, seed=9)
    assert bool((scored(m, b, phi) != scored(m, b, phi.flip(2))).all())


# ------------------------------------------------------------------------------------- scale


@dataclass(frozen=True)
class Times:
    """Some multiple of the input times the gradient."""

    factor: float
    spec: MethodSpec = GLOBAL

    def __call__(self, b: Batch) -> Tensor:
        return self.factor * b.x * input_gradient(b.score, b.x, b.target)


UP = st.floats(1e-6, 1e6)
ANY = st.tuples(UP, st.sampled_from([-1, 1])).map(math.prod)
ODD = {
    "sensitivity_n": SensitivityN(n=(2, 5), subsets=10),
    "faithfulness_correlation": FaithfulnessCorrelation(n=5, subsets=10),
    "faithfulness_estimate": FaithfulnessEstimate("patch:2"),
}
"""Correlations: they take over the sign of the factor."""
SCALED: dict[str, Metric] = {
    "sparseness": Sparseness(),
    "complexity": Complexity(),
    "effective_complexity": EffectiveComplexity(),
    "infidelity": Infidelity(draws=6, normalize=True),
    "infidelity of subsets": Infidelity("subset", draws=6, normalize=True),
    "monotonicity_correlation": MonotonicityCorrelation(draws=2),
    "relevance_mass": RelevanceMass(masks=lambda s: MASK, part="absolute"),
    "max_sensitivity": MaxSensitivity(draws=2),
    "avg_sensitivity": AvgSensitivity(draws=2),
    "max_sensitivity_n": MaxSensitivityN(n=9, draws=2),
    "local_lipschitz": LocalLipschitz(draws=2, relative=True),
    "mprt": Mprt(stages=1),
    "mprt ssim": Mprt(stages=1, similarity="ssim"),
    "smooth_mprt": SmoothMprt(stages=1, draws=2),
    "random_logit": RandomLogit(),
    "random_logit, signed": RandomLogit(absolute=False),
}


@pytest.mark.parametrize("name", [*ODD, *SCALED])
@given(factor=ANY)
@QUICK
def test_scale_does_not_matter(name, factor):
    b, m = photographs(), {**ODD, **SCALED}[name]
    one, many = (scored(m, b, Times(k)(b), Times(k)) for k in (1.0, factor))
    assert torch.isfinite(one).all()
    sign = math.copysign(1, factor) if name in ODD else 1
    torch.testing.assert_close(many, sign * one, **CLOSE)


@given(factor=UP)
@QUICK
def test_positive_scale_does_not_matter(factor):
    b = photographs()
    for m in (RelevanceMass(masks=lambda s: MASK), EfficientMprt(bins=10)):
        one, many = (scored(m, b, Times(k)(b), Times(k)) for k in (1.0, factor))
        torch.testing.assert_close(many, one, **CLOSE)


@pytest.mark.parametrize("perturbation", ["square", "subset", "gaussian"])
@given(factor=st.floats(-20, 20))
@QUICK
def test_infidelity_without_scale_is_quadratic(perturbation, factor):
    # E (c a - d)^2 = c^2 E a^2 - 2 c E a d + E d^2, whose three means follow from c = -1, 0, 1.
    b, phi = photographs(), cf.images(2, seed=9)
    m = Infidelity(perturbation, draws=8, normalize=False)
    spec = LOCAL if perturbation == "gaussian" else GLOBAL
    minus, zero, plus, found = (scored(m, b, c * phi, spec=spec) for c in (-1, 0, 1, factor))
    square, cross = (minus + plus) / 2 - zero, (plus - minus) / 2
    expected = factor**2 * square + factor * cross + zero
    # Some of the three terms may cancel: of the largest of them.
    largest = float(factor**2 * square.max() + zero.max() + abs(factor * cross).max())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * (1 + largest))


@given(factor=ANY)
@QUICK
def test_completeness_is_a_straight_line(factor):
    b, phi = photographs(), cf.images(2, seed=9)
    total = phi.flatten(1).sum(dim=1)
    change = b.score.evaluate(b.x, b.target) - b.score.evaluate(b.baseline, b.target)
    gap = (factor * total - change).abs()
    size = 1e-12 * (1 + abs(factor)) * float(phi.abs().flatten(1).sum(dim=1).max())
    found = scored(Completeness(relative=False), b, factor * phi)
    torch.testing.assert_close(found, gap, rtol=1e-12, atol=size)
    found = scored(Completeness(), b, factor * phi)
    least = float(change.abs().min())
    torch.testing.assert_close(found, gap / change.abs(), rtol=1e-12, atol=size / least)


@given(factor=ANY)
@QUICK
def test_the_plain_lipschitz_estimate_has_the_unit_of_the_map(factor):
    b, m = photographs(), LocalLipschitz(draws=2)
    one, many = (scored(m, b, Times(k)(b), Times(k)) for k in (1.0, factor))
    torch.testing.assert_close(many / abs(factor), one, **CLOSE)


def test_maps_are_compared_at_the_scale_they_have():
    b, phi = photographs(), cf.images(2, seed=9)
    for factor in (0.5, 3.0):
        maps = {"ig": Attribution(phi, GLOBAL), "m": Attribution(factor * phi, GLOBAL)}
        found = Difference("ig").measure(b, maps, None)["m"].value
        torch.testing.assert_close(found, torch.full_like(found, abs(factor - 1)), **CLOSE)


# ---------------------------------------------------------------------- names of the features

EVERY_SET: dict[str, Metric] = {
    **{k: replace(m, step=1) for k, m in RANKING.items() if hasattr(m, "step")},
    "insertion": Insertion(step=1, occluder="baseline", scalar="score"),
    "comprehensiveness": RANKING["comprehensiveness"],
    "sufficiency": RANKING["sufficiency"],
    "completeness": Completeness(),
    "infidelity": Infidelity("subset", draws="all", normalize=False),
    "infidelity, best scale": Infidelity("subset", draws="all", normalize=True),
    "sensitivity_n": SensitivityN(n=(1, 3), subsets="all"),
    "faithfulness_correlation": FaithfulnessCorrelation(n=2, subsets="all"),
    "faithfulness_estimate": FaithfulnessEstimate(),
    "monotonicity_correlation": MonotonicityCorrelation(fill="baseline"),
    "sparseness": Sparseness(),
    "complexity": Complexity(),
    "effective_complexity": EffectiveComplexity(),
}


@pytest.mark.parametrize("name", EVERY_SET)
@pytest.mark.parametrize("kind", [GLOBAL, LOCAL])
@given(order=st.permutations(range(6)))
@QUICK
def test_names_of_features_do_not_matter(name, kind, order):
    w = torch.tensor([1.0, -2, 0.5, 3, -1, 0.2], dtype=torch.float64)
    x, base = cf.row(1, 0.3, -2, 0.7, 1.5, 2), cf.row(0.1, 0, -0.2, 1, 0.4, -1)
    phi = cf.row(0.9, -0.5, -1.3, 0.1, -1.2, 2.2)

    def f(z):
        return torch.tanh(z @ w) + z[:, 0] * z[:, 3]

    back = torch.argsort(torch.tensor(order))
    m, order = EVERY_SET[name], list(order)
    plain = Batch(Score(f), x, base, None, ("a",))
    turned = Batch(Score(lambda z: f(z[:, back])), x[:, order], base[:, order], None, ("a",))
    a, c = scored(m, plain, phi, spec=kind), scored(m, turned, phi[:, order], spec=kind)
    assert torch.isfinite(a).all()
    torch.testing.assert_close(a, c, **CLOSE)


FLIPPED: dict[str, Callable[[Tensor], Metric]] = {
    "road": lambda mask: Road(fractions=(0.2, 0.5), noise=0),
    "deletion": lambda mask: Deletion(step=5, occluder="blur", scalar="score"),
    "pointing_game": lambda mask: PointingGame(masks=lambda s: mask, tolerance=2),
    "relevance_rank": lambda mask: RelevanceRank(masks=lambda s: mask),
    "relevance_mass": lambda mask: RelevanceMass(masks=lambda s: mask),
}


@pytest.mark.parametrize("name", FLIPPED)
@pytest.mark.parametrize("axes", [(2,), (3,), (2, 3)])
def test_mirrors_do_not_matter(name, axes):
    b, phi = photographs(), cf.images(2, seed=9)
    net = cf.small_net()
    mirror = replace(b, score=Score(lambda z: net(z.flip(axes))), x=b.x.flip(axes))
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[1:4, 2:7] = True
    other = mask.flip([a - 2 for a in axes])
    a = scored(FLIPPED[name](mask), b, phi)
    c = scored(FLIPPED[name](other), mirror, phi.flip(axes))
    torch.testing.assert_close(a, c, **CLOSE)


# -------------------------------------------------------------------------------------- ties

W = torch.tensor([5.0, -1, 3, 0.5, 2], dtype=torch.float64)
TIED = cf.row(1, 0, 1, 0, 0)
TIE_BREAKERS: dict[str, Metric] = {
    **{k: replace(m, step=1) for k, m in RANKING.items() if hasattr(m, "step")},
    "insertion": Insertion(step=1, occluder="baseline", scalar="score"),
    "abpc": Aopc(order="difference", step=1, occluder="baseline", scalar="score"),
    "comprehensiveness": Comprehensiveness(fractions=(1, 3), occluder="baseline", scalar="score"),
    "sufficiency": Sufficiency(fractions=(1, 3), occluder="baseline", scalar="score"),
}


def rows_of(n: int, seed: int = 0, f: cf.Function = lambda z: z @ W) -> Batch:
    x = torch.ones(n, 5, dtype=torch.float64)
    ids = tuple(f"s{i}" for i in range(n))
    return Batch(Score(f), x, 0 * x, None, ids, "element", seed)


@pytest.mark.parametrize("name", TIE_BREAKERS)
def test_ties_hang_on_seed_and_sample_alone(name):
    # Not a linear model: there a difference of both orders does not depend on how ties fall.
    m, b = TIE_BREAKERS[name], rows_of(12, f=lambda z: (z @ W) ** 2)
    phi = TIED.expand(12, 5)
    found = scored(m, b, phi)
    assert len(found.unique()) > 1, "samples have orders of their own"
    assert torch.equal(scored(m, b, 3 * phi - 1), found)
    maps = {k: Attribution(phi.clone(), GLOBAL) for k in ("one", "two")}
    both = m.measure(b, maps, m.observe(b))
    assert torch.equal(both["one"].value, both["two"].value)
    backwards = replace(b, sample_ids=b.sample_ids[::-1])
    assert torch.equal(scored(m, backwards, phi).flip(0), found)
    assert not torch.equal(scored(m, replace(b, seed=1), phi), found)


@pytest.mark.parametrize("name", TIE_BREAKERS)
def test_ties_are_right_on_average(name):
    # All 3! 2! orders of a map with a group of three and a group of two, as maps without ties.
    m, values = TIE_BREAKERS[name], []
    for three in itertools.permutations(range(3)):
        for two in itertools.permutations(range(2)):
            phi = TIED.clone()
            phi[0, [1, 3, 4]] += 0.1 * torch.tensor(three, dtype=torch.float64)
            phi[0, [0, 2]] += 0.1 * torch.tensor(two, dtype=torch.float64)
            values.append(float(scored(m, rows_of(1), phi)))
    expected, spread = float(np.mean(values)), float(np.ptp(values))
    assert spread > 0
    # 300 samples under two seeds.  A number in a range has a standard deviation below half of it:
    # 5 standard errors, a false alarm in 2 million.
    found = torch.cat([scored(m, rows_of(300, seed), TIED.expand(300, 5)) for seed in (0, 1)])
    assert float(found.min()) >= min(values) - 1e-12
    assert float(found.max()) <= max(values) + 1e-12
    assert abs(float(found.mean()) - expected) < 5 * spread / 2 / math.sqrt(600)


def test_ties_have_no_fixed_order():
    values = torch.tensor([1.0, 1, 0, 0, 0])
    orders = {tuple(perturb.order(values, seed, "a").tolist()) for seed in range(200)}
    assert len(orders) == 2 * 6, "every order of the two groups occurs"
    assert all(set(o[:2]) == {0, 1} for o in orders)
    by_sample = {tuple(perturb.order(values, 0, f"s{i}").tolist()) for i in range(200)}
    assert by_sample == orders


@pytest.mark.parametrize("cls", [PointingGame, RelevanceRank])
def test_ties_of_places_count_alike(cls):
    # Of 16 equal pixels 3 are marked: whatever the seed, what drawing has as its expectation.
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, :3] = True
    m = cls(masks=lambda s: mask, **({"tolerance": 0} if cls is PointingGame else {}))
    x = torch.ones(2, 1, 4, 4, dtype=torch.float64)
    b = Batch(Score(lambda z: z.flatten(1).sum(1)), x, 0 * x, None, ("a", "b"), "pixel", 0)
    for seed in (0, 1):
        found = scored(m, replace(b, seed=seed), x)
        assert found.tolist() == pytest.approx([3 / 16] * 2, rel=1e-12)


def test_ties_at_the_edge_of_the_top_count_alike():
    # The top 3 are 5 and two of the four 4s, one of which is marked: (1 + 2 / 4 * 1) / 3.
    mask = torch.tensor([[True, True, False, False, False, False, True]])
    phi = torch.tensor([[[[5.0, 4, 4, 4, 4, 1, 2]]]], dtype=torch.float64)
    b = Batch(Score(lambda z: z.flatten(1).sum(1)), phi, 0 * phi, None, ("a",), "pixel", 0)
    found = scored(RelevanceRank(masks=lambda s: mask), b, phi)
    assert found.tolist() == pytest.approx([0.5], rel=1e-12)


# -------------------------------------------------------------------------------------- keys

DRAWN = {
    "avg_sensitivity", "max_sensitivity", "max_sensitivity_n", "local_lipschitz",
    "baseline_sensitivity", "dummy", "random_logit", "smooth_mprt", "infidelity", "sensitivity_n",
    "faithfulness_correlation", "monotonicity_correlation", "road", "aic", "sic",
    "quantus_faithfulness_correlation",
}  # fmt: skip
"""Metrics that draw for every sample; the certificates of `random_logit` have two classes."""
DRAWN_ONCE = {"linearity", "mprt", "efficient_mprt"}
"""Metrics that draw for all samples together: weights, or a function."""
SMALL = {
    "features": "patch:2",
    "n": (0.1, 0.4),
    "draws": 3,
    "start": 0.1,
    "fractions": (0.2, 0.6),
}


def with_small_units(cfg, name: str) -> Metric:
    """The metric of conf/ with features that an image of 8 x 8 pixels has many of."""
    own = metric(cfg, name)
    keep = {"road": ("fractions",), "aic": ("start",), "sic": ("start",)}
    keep |= {"comprehensiveness": ("features",), "sufficiency": ("features",)}
    keep |= {"faithfulness_correlation": ("features",), "sensitivity_n": ("features", "n")}
    keep |= dict.fromkeys(("dummy", "faithfulness_estimate"), ("features",))
    keep |= {"monotonicity_correlation": ("features", "draws")}
    return replace(own, **{k: SMALL[k] for k in keep.get(name, ())})


@dataclass(frozen=True)
class Curved:
    """Input times gradient, cubed and with a part of the input: not linear in f."""

    spec: MethodSpec = GLOBAL

    def __call__(self, b: Batch) -> Tensor:
        gradient = input_gradient(b.score, b.x, b.target)
        return ((b.x - b.baseline) * gradient) ** 3 + 0.01 * gradient + 1e-4 * b.x


def values_of(m: Metric, b: Batch, method: Method | None = None) -> Measurement:
    own = Curved() if method is None else method
    g = torch.Generator().manual_seed(3)
    other = torch.randn(b.x.shape[1:], generator=g, dtype=b.x.dtype).expand_as(b.x)
    maps = {"ig": Attribution(own(b), GLOBAL, own), "other": Attribution(other, GLOBAL, own)}
    found = m.measure(b, maps, m.observe(b))
    return found.get("ig", found["other"])


@pytest.mark.parametrize("name", METRICS)
def test_keys_are_seed_and_sample(config, name):
    m, b = with_small_units(config, name), batch()
    found = values_of(m, b).value
    assert torch.equal(values_of(m, b).value, found)
    reseeded = values_of(m, replace(b, seed=6)).value
    renamed = (
        values_of(m, replace(b, sample_ids=("v", "w", "x", "y", "z")))
        if (name not in MASKED)
        else values_of(m, b)
    )
    if name == "aic":
        return  # of five samples' hits and misses; it shares what it draws with sic
    drawn = name in DRAWN
    # Five samples: of four classes, three others to draw from, all five agree with chance 3^-5.
    assert torch.equal(reseeded, found) == (not drawn and name not in DRAWN_ONCE)
    assert torch.equal(renamed.value, found) == (not drawn)


MASKED = {n for n in METRICS if class_of(n).family == "localisation"}


@pytest.mark.parametrize("name", METRICS)
def test_two_equal_samples_differ_by_their_draws_alone(config, name):
    m, b = with_small_units(config, name), batch()
    two = replace(
        b,
        x=b.x[[0, 0]],
        baseline=b.baseline[[0, 0]],
        target=torch.tensor([0, 0]),
        sample_ids=("a", "b"),
    )
    if name in MASKED:
        m = replace(m, data=None, masks=lambda s: MASK)
    first, second = values_of(m, two, Times(1.0)).value.tolist()
    if name not in DRAWN:
        assert first == pytest.approx(second, rel=1e-12, abs=1e-14)


CURVES = {
    "abpc": {"abpc"},
    "aic": {"aic"},
    "aopc": {"aopc_morf"},
    "baseline_sensitivity": {"baseline_blind"},
    "comprehensiveness": {"comprehensiveness"},
    "deletion": {"deletion"},
    "insertion": {"insertion"},
    "max_sensitivity_n": {"max_sensitivity_n"},
    "mprt": {"mprt_top_down"},
    "pixel_flipping": {"pixel_flipping"},
    "road": {"road_morf", "road_lerf"},
    "sensitivity_n": {"sensitivity_n"},
    "sic": {"sic"},
    "smooth_mprt": {"smooth_mprt_bottom_up"},
    "srg": {"srg_mif", "srg_lif"},
    "sufficiency": {"sufficiency"},
}
PLAIN_MEANS = set(CURVES) - {"aic", "sic", "deletion", "insertion", "srg", "road"} - {
    "baseline_sensitivity"
}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_curves_are_over_fractions(config, name):
    m, b = with_small_units(config, name), batch()
    found = values_of(m, b)
    assert set(found.curves) == CURVES.get(name, set())
    for xs, ys in found.curves.values():
        assert all(math.isfinite(v) for v in xs)
        assert list(xs) == sorted(xs if name in ("comprehensiveness", "sufficiency") else set(xs))
        if name != "baseline_sensitivity":
            assert xs[0] >= 0
            assert xs[-1] <= 1
        assert torch.isfinite(ys).all()
        if name in PLAIN_MEANS:
            torch.testing.assert_close(ys.mean(dim=1), found.value, **CLOSE)


# ------------------------------------------------------------------------- maps of no content


@dataclass(frozen=True)
class Always:
    """The same number everywhere, whatever is asked."""

    number: float
    spec: MethodSpec = GLOBAL

    def __call__(self, b: Batch) -> Tensor:
        return torch.full_like(b.x, self.number)


FLAT_UNDEFINED = {
    *("abpc", "aopc", "comprehensiveness", "deletion", "insertion", "pixel_flipping", "road"),
    *("srg", "sufficiency", "aic", "sic"),
    *("faithfulness_correlation", "faithfulness_estimate", "monotonicity_correlation"),
    *("sensitivity_n", "quantus_faithfulness_correlation", "quantus_sparseness"),
    *("mprt", "smooth_mprt", "efficient_mprt", "random_logit", "baseline_sensitivity"),
}
"""Nothing can be ranked, correlated or compared."""
ZERO_UNDEFINED = FLAT_UNDEFINED | {
    *("sparseness", "complexity", "effective_complexity"),
    *("max_sensitivity", "avg_sensitivity", "max_sensitivity_n", "local_lipschitz"),
    *("dummy", "linearity", "implementation_invariance", "input_invariance"),
    *MASKED,
}
"""There is no size to divide by, no relevance to place, or nothing to add up."""
FLAT_VALUES = {
    "sparseness": 0.0,
    "complexity": math.log(64),
    "effective_complexity": 64.0,
    **dict.fromkeys(("max_sensitivity", "avg_sensitivity", "max_sensitivity_n"), 0.0),
    "local_lipschitz": 0.0,
    "dummy": 0.5,
    "linearity": 0.5,
    "implementation_invariance": 0.0,
    "input_invariance": 0.0,
}
ZERO_VALUES = {"completeness": 1.0, "convergence_error": 1.0, "difference_from_ig": 1.0}
NEGATIVE_UNDEFINED = {*MASKED, "quantus_faithfulness_correlation", "quantus_sparseness"}


def without_content(cfg, name: str, method: Method, b: Batch | None = None) -> Measurement:
    m, b = with_small_units(cfg, name), b or batch()
    own = {"other": Attribution(method(b), GLOBAL, method)}
    if name == "difference_from_ig":
        own["ig"] = Attribution(Curved()(b), GLOBAL)
    return m.measure(b, own, m.observe(b))["other"]


def check(found: Measurement, undefined: bool, value: float | None) -> None:
    assert found.value.isnan().tolist() == [undefined] * 5
    if undefined:
        assert found.reason
    if value is not None:
        assert found.value.tolist() == pytest.approx([value] * 5, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("name", METRICS)
def test_flat_maps(config, name):
    # 1/3 is no binary number: sums over features must still agree.
    for number in (1.0, 1 / 3, -1 / 3):
        found = without_content(config, name, Always(number))
        undefined = FLAT_UNDEFINED | (MASKED if number < 0 else set())
        check(found, name in undefined, FLAT_VALUES.get(name))
    if name in FLAT_UNDEFINED:
        assert metric(config, name).spec.undefined != "never"


@pytest.mark.parametrize("name", METRICS)
def test_maps_of_zeros(config, name):
    found = without_content(config, name, Always(0.0))
    check(found, name in ZERO_UNDEFINED, ZERO_VALUES.get(name))
    assert (metric(config, name).spec.undefined == "never") <= (name not in ZERO_UNDEFINED)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", METRICS)
def test_one_map_that_is_not_finite_takes_nobody_down(config, name, bad):
    m, b, method = with_small_units(config, name), batch(), Curved()
    clean = method(b)
    broken = clean.clone()
    broken[1, 0, 3, 5] = bad
    reference = {"ig": Attribution(2 * clean, GLOBAL)} if name == "difference_from_ig" else {}

    def of(values: Tensor) -> Tensor:
        maps = {**reference, "m": Attribution(values, GLOBAL, method)}
        return m.measure(b, maps, m.observe(b))["m"].value

    found, others = of(broken), [0, 2, 3, 4]
    assert not bool(torch.isfinite(found[1]))
    torch.testing.assert_close(found[others], of(clean)[others], **CLOSE)


@dataclass(frozen=True)
class Negative:
    """A method whose maps are below zero everywhere, and differ from place to place."""

    spec: MethodSpec = GLOBAL

    def __call__(self, b: Batch) -> Tensor:
        return -(Curved()(b).abs()) - 1e-3


@pytest.mark.parametrize("name", METRICS)
def test_maps_below_zero(config, name):
    found = without_content(config, name, Negative())
    check(found, name in NEGATIVE_UNDEFINED, None)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("number", [2.0, 0.0, -2.0])
def test_a_single_feature(config, name, number):
    # One pixel: a value, no value with a reason, or one line that says what is needed.
    b = batch()
    one = replace(b, x=b.x[:, :, :1, :1], baseline=b.baseline[:, :, :1, :1])
    if name in MASKED:
        m = replace(metric(config, name), data=None, masks=lambda s: MASK[:1, :1])
        found = scored(m, one, Always(number)(one))
        # A mask that covers the image leaves no unmarked pixel to rank the marked ones above.
        defined = number > 0 and name != "localisation_auc"
        torch.testing.assert_close(
            found, torch.full_like(found, 1.0 if defined else math.nan), equal_nan=True, **CLOSE
        )
        return
    if name in {"aic", "sic", "dummy", "road"}:
        with pytest.raises(InputError) as caught:
            without_content(config, name, Always(number or 1.0), one)
        assert "\n" not in str(caught.value)
        return
    found = without_content(config, name, Always(number), one)
    assert found.value.shape == (5,)
    if bool(found.value.isnan().any()):
        assert found.reason
        assert name in ZERO_UNDEFINED
