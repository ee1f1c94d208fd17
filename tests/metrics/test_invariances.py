"""What must leave a metric alone, and what must not: order, scale, place and ties."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from igbench.core import perturb
from igbench.core.batch import Attribution, Batch, Metric
from igbench.core.score import Score
from igbench.data.digits import digits
from igbench.metrics.agreement import Difference
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.faithfulness.areas import Deletion, Insertion, SymmetricRelevanceGain
from igbench.metrics.faithfulness.correlation import FaithfulnessCorrelation, FaithfulnessEstimate
from igbench.metrics.faithfulness.erasure import Comprehensiveness, Sufficiency
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.faithfulness.information import Aic, Sic
from igbench.metrics.faithfulness.means import Aopc, PixelFlipping
from igbench.metrics.faithfulness.monotonicity import MonotonicityCorrelation
from igbench.metrics.faithfulness.road import Road
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN
from igbench.metrics.localisation import PointingGame, RelevanceMass, RelevanceRank
from igbench.metrics.randomisation.logit import RandomLogit
from igbench.metrics.randomisation.mprt import EfficientMprt, Mprt, SmoothMprt
from igbench.metrics.robustness.budget import MaxSensitivityN
from igbench.metrics.robustness.sensitivity import AvgSensitivity, LocalLipschitz, MaxSensitivity
from igbench.metrics.sparsity import Complexity, EffectiveComplexity, Sparseness
from tests.helpers import closed_form as cf
from tests.helpers.maps import CLOSE, GLOBAL, LOCAL, MASK, Times, photographs, scored
from tests.helpers.toy import toy_model

QUICK = settings(max_examples=12, deadline=None, derandomize=True, database=None)
DATA = replace(
    digits(toy_model(tuple("0123456789"), None), limit=1), black=(-3.0,) * 3, white=(3.0,) * 3
)
SEEN = {"least": 0.0, "normalise": False, "thresholds": (0.1, 0.3, 0.6), "data": DATA}


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
