"""Are the standard errors on the record those over seeds, and is there none without draws?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from igbench.core.batch import Attribution, Batch, Measurement, Method, Metric
from igbench.core.features import resolve
from igbench.core.score import Score
from igbench.data.digits import digits
from igbench.integration.integrate import input_gradient
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.axiomatic.dummy import Dummy
from igbench.metrics.axiomatic.linearity import Linearity
from igbench.metrics.faithfulness.areas import Deletion, Insertion, SymmetricRelevanceGain
from igbench.metrics.faithfulness.correlation import FaithfulnessCorrelation, FaithfulnessEstimate
from igbench.metrics.faithfulness.erasure import Comprehensiveness, Sufficiency
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.faithfulness.information import Sic
from igbench.metrics.faithfulness.means import Aopc, PixelFlipping
from igbench.metrics.faithfulness.monotonicity import MonotonicityCorrelation
from igbench.metrics.faithfulness.road import Road
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN
from igbench.metrics.monte_carlo import averaged, maxima_without_each, maximum, mean_of, repeated
from igbench.metrics.quantus import Quantus
from igbench.metrics.randomisation.logit import RandomLogit
from igbench.metrics.randomisation.mprt import EfficientMprt, Mprt, SmoothMprt
from igbench.metrics.robustness.baselines import BaselineSensitivity
from igbench.metrics.robustness.budget import MaxSensitivityN
from igbench.metrics.robustness.sensitivity import AvgSensitivity, LocalLipschitz, MaxSensitivity
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf
from tests.helpers.scalars import EXACT, KINDS, Gradient, at, scored
from tests.helpers.toy import toy_model

SEEDS = 200


@dataclass(frozen=True)
class Size:
    """|x df/dx|: not linear in f."""

    spec: MethodSpec = KINDS["global"]

    def __call__(self, batch: Batch) -> Tensor:
        return (batch.x * input_gradient(batch.score, batch.x, batch.target)).abs()


@dataclass(frozen=True)
class Away:
    """(x - x') df/dx, which depends on the baseline."""

    spec: MethodSpec = KINDS["global"]

    def __call__(self, batch: Batch) -> Tensor:
        gradient = input_gradient(batch.score, batch.x, batch.target)
        return (batch.x - batch.baseline) * gradient


@dataclass(frozen=True)
class Noise:
    """Numbers that know nothing of f."""

    spec: MethodSpec = KINDS["global"]

    def __call__(self, batch: Batch) -> Tensor:
        return GUESS.expand_as(batch.x)


class Layers(nn.Module):
    """Two layers, six classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 7), nn.Linear(7, 6)
        g = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=g))
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def corner(x: Tensor) -> Tensor:
    """Large where neighbours in the middle differ, as they do in noise."""
    return 10 * (x[:, :, 4:12, 4:12].diff(dim=3).abs().flatten(1).mean(dim=1) - 0.22)


def sweep(
    metric: Metric, batch: Batch, given: Tensor | Method, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Values and reported standard errors over seeds, of the same map."""
    fixed = isinstance(given, Tensor)
    phi = given.to(batch.x) if isinstance(given, Tensor) else given(batch)
    found = [
        scored(metric, replace(batch, seed=i), phi, kind, None if fixed else given)
        for i in range(SEEDS)
    ]
    errors = [m.std_error for m in found if m.std_error is not None]
    assert len(errors) == SEEDS
    return np.array([float(m.value) for m in found]), np.array([float(e) for e in errors])


X8 = cf.row(0.7, -0.4, 1, 2, 0.1, -1, 0.5, 0.3)
CURVED = at(
    lambda x: (x * torch.tensor([1.0, 2, -3, 4, 0.5, 1, -1, 2]).to(x)).sum(1) + x.prod(1).exp(),
    X8,
    rows=4096,
)
GUESS = cf.row(1, -0.5, -2, 5, 0, 0.3, -1, 2)
X49 = cf.images(1).flatten(1)[:, :49]
WIDE = at(lambda x: torch.tanh(x @ torch.linspace(-1, 1.5, 49).to(x) / 4), X49, rows=4096)
NEAR = X49 * torch.linspace(-1, 1.5, 49) + 0.4 * cf.images(1, seed=4).flatten(1)[:, :49]
METHOD = Gradient(KINDS["global"])
# Six classes of a small network, on 6 inputs.
MANY = Batch(
    Score(Layers()),
    cf.row(1, -1, 0.5, 2, -0.3, 0.8),
    torch.zeros(1, 6, dtype=torch.float64),
    torch.tensor([2]),
    ("a",),
)
# The last input never matters, and the last but one where the first is large, as in some draws.
HIDDEN = at(lambda x: x[:, :6].sum(dim=1) + (x[:, 0] > 1.1).to(x) * x[:, 6], X8, rows=4096)
IMAGE = at(lambda x: x.flatten(1).sin().sum(dim=1), cf.images(1)[:, :, :4, :4], features="pixel")
PIXELS = torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4).expand(1, 3, 4, 4)
PICTURE = at(corner, torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(4)).double())
CORNER = torch.zeros(1, 3, 16, 16).double()
CORNER[..., 4:12, 4:12] = 1
LEVELS = replace(
    digits(toy_model(tuple("0123456789"), None), limit=1), black=(0.0,) * 3, white=(1.0,) * 3
)
QUANTUS = Quantus(
    "FaithfulnessCorrelation",
    "title",
    "reference",
    "higher",
    arguments={"nr_runs": 30, "subset_size": 3, "normalise": False, "perturb_baseline": "black"},
)
ERRORS = {
    "infidelity gaussian": (
        Infidelity("gaussian", draws=60, scale=0.3, normalize=False),
        CURVED,
        GUESS,
        "local",
    ),
    "infidelity subset": (Infidelity("subset", draws=60, normalize=False), CURVED, GUESS, "global"),
    "infidelity best scale": (
        Infidelity("subset", draws=60, normalize=True),
        CURVED,
        GUESS,
        "global",
    ),
    "sensitivity_n": (SensitivityN(n=3, subsets=60), CURVED, GUESS, "global"),
    "sensitivity_n, several n": (
        SensitivityN(n=(2, 3, 4), subsets=60),
        CURVED,
        GUESS,
        "global",
    ),
    "sensitivity_n, one feature": (SensitivityN(n=1, subsets=100), CURVED, X8, "global"),
    "faithfulness_correlation": (
        FaithfulnessCorrelation(n=4, subsets=60),
        CURVED,
        GUESS,
        "global",
    ),
    "faithfulness_correlation, many": (FaithfulnessCorrelation(), WIDE, NEAR, "global"),
    "avg_sensitivity": (AvgSensitivity(radius=0.3, draws=30), CURVED, METHOD, "global"),
    "monotonicity_correlation": (MonotonicityCorrelation(draws=8), WIDE, NEAR, "global"),
    "linearity": (Linearity(repeats=4), CURVED, Size(), "global"),
    "random_logit": (RandomLogit(classes=3), MANY, METHOD, "global"),
    "random_logit, all but one": (RandomLogit(classes=5), MANY, METHOD, "global"),
    "dummy, planted": (Dummy(repeats=3), CURVED, Noise(), "global"),
    "dummy, found": (Dummy("detect", draws=4), HIDDEN, X8, "global"),
    "mprt": (Mprt(stages=2, repeats=3), MANY, METHOD, "global"),
    "smooth_mprt": (SmoothMprt(stages=1, draws=3, repeats=2), MANY, METHOD, "global"),
    "efficient_mprt": (EfficientMprt(bins=4, repeats=3), MANY, METHOD, "global"),
    "baseline_sensitivity": (
        BaselineSensitivity("rank", ("zero", "gaussian_noise"), repeats=3),
        CURVED,
        Away(),
        "global",
    ),
    "road": (Road((4, 9), "morf", "score", noise=0.2, repeats=3), IMAGE, PIXELS, "global"),
    "road, ties": (Road((4, 9), "both", "score", noise=0), IMAGE, PIXELS > 8, "global"),
    "sic": (Sic(data=LEVELS, least=0, repeats=2), PICTURE, CORNER, "global"),
    "quantus": (QUANTUS, CURVED, GUESS, "global"),
    "deletion, ties": (
        Deletion(step=1, occluder="baseline", scalar="score"),
        CURVED,
        GUESS > 0.5,
        "global",
    ),
    "insertion, ties": (
        Insertion(tie_orders=4, step=1, occluder="baseline", scalar="score"),
        CURVED,
        GUESS > 0.5,
        "global",
    ),
    "srg, ties": (
        SymmetricRelevanceGain(step=3, occluder="baseline", scalar="score"),
        CURVED,
        GUESS > 0.5,
        "global",
    ),
    "aopc, ties": (
        Aopc(order="difference", until=0.5, step=1, occluder="baseline", scalar="score"),
        CURVED,
        GUESS > 0.5,
        "global",
    ),
    "pixel_flipping, ties": (
        PixelFlipping(step=1, occluder="baseline", scalar="score"),
        CURVED,
        GUESS > 0.5,
        "global",
    ),
    "comprehensiveness, ties": (
        Comprehensiveness((2, 5), occluder="baseline", scalar="score"),
        CURVED,
        GUESS > 0.5,
        "global",
    ),
    "sufficiency, ties": (
        Sufficiency((2, 5), occluder="baseline", scalar="score"),
        CURVED,
        GUESS > 0.5,
        "global",
    ),
}
"""Metric, samples, a map or the method that makes it, kind."""


LONG = {"sic", "quantus", "smooth_mprt", "mprt", "road", "road, ties", "baseline_sensitivity"}
"""Those that take many seconds, for slow runs."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in LONG else []) for n in ERRORS]
)
def test_standard_errors_are_those_over_seeds(name):
    # The spread of 200 numbers is known to 1 / sqrt(400) = 5 %, the root mean square of errors from
    # two repeats to as much again: 25 % are 3.5 of both together.
    values, errors = sweep(*ERRORS[name])
    spread = float(values.std(ddof=1))
    assert spread > 0, "nothing is drawn"
    assert math.sqrt(float((errors**2).mean())) == pytest.approx(spread, rel=0.25)


class TestMaxima:
    def test_formulas_for_two_kinds_of_tails(self):
        # The distance of the two largest of D exponential numbers is exponential: the jackknife has
        # the root mean square (1 - 1/D) sqrt(2), the maximum the variance sum of 1/k^2.  Of uniform
        # numbers the distance has the mean square 2 / ((D + 1) (D + 2)), and the maximum the
        # variance D / ((D + 1)^2 (D + 2)).
        d, n = 10, 20_000
        g = np.random.default_rng(3)
        draws = {
            "exponential": (g.exponential(size=(n, d)), 2.0, sum(k**-2 for k in range(1, 11))),
            "uniform": (g.random((n, d)), 2 / 132, 10 / (121 * 12)),
        }
        for name, (numbers, gap, variance) in draws.items():
            value, error = maximum(torch.from_numpy(numbers))
            assert error is not None
            # Both are known to about 1 % at 20,000 draws (kurtosis at most 24): 5 of these.
            rms = float(error.square().mean().sqrt())
            assert rms == pytest.approx(0.9 * math.sqrt(gap), rel=0.05), name
            assert float(value.std()) == pytest.approx(math.sqrt(variance), rel=0.05), name
        normal = torch.from_numpy(g.standard_normal((n, d)))
        value, error = maximum(normal)
        assert 1 < float(error.square().mean().sqrt() / value.std()) < 8 / 7

    def test_what_is_left_without_each(self):
        found = maxima_without_each(torch.tensor([[1.0, 5, 3], [2, 2, 1]]))
        assert found.tolist() == [[5, 3, 5], [2, 2, 2]]

    def test_one_draw_says_nothing(self):
        assert maximum(torch.tensor([[3.0]]))[1] is None

    def test_ties_and_lost_draws(self):
        values = torch.tensor([[1.0, 5, 5], [1, 2, 5], [1, math.nan, 5]], dtype=torch.float64)
        found, error = maximum(values)
        assert found[:2].tolist() == [5, 5]
        assert error[:2].tolist() == pytest.approx([0, 2 / 3 * 3])
        assert bool(found[2].isnan())
        assert bool(error[2].isnan())

    @pytest.mark.parametrize("metric", [MaxSensitivity, LocalLipschitz])
    def test_metrics_of_neighbours(self, metric):
        # f = x^2 / 2 has x df/dx = x^2, so at x = 1 the map moves by |(1 + d)^2 - 1|, from 1.
        b = at(lambda x: x.sum(dim=1) ** 2 / 2, cf.row(1))
        own = metric(radius=0.5, draws=6)
        moves = own.deltas(b, 0)[:, 0]
        relative = ((1 + moves) ** 2 - 1).abs()
        if metric is LocalLipschitz:
            relative = relative / moves.abs()
        second, first = relative.sort().values[-2:].tolist()
        found = scored(own, b, METHOD(b), method=METHOD)
        assert float(found.value) == pytest.approx(first, **EXACT)
        assert float(found.std_error) == pytest.approx(5 / 6 * (first - second), rel=1e-9)
        assert scored(metric(draws=1), b, METHOD(b), method=METHOD).std_error is None

    def test_budgets_of_features(self):
        # One jackknife over draws for all n: by hand, with a draw left out of every n at once.
        own = MaxSensitivityN(n=(1, 3, 8), radius=0.3, draws=5)
        phi = METHOD(CURVED)
        found = scored(own, CURVED, phi, method=METHOD)
        maps = {"m": Attribution(phi, KINDS["global"], METHOD)}
        every = own._moves(CURVED, 0, "m", maps["m"], [1, 3, 8], resolve("element", (8,)))
        parts = [
            np.maximum.accumulate(np.delete(every.numpy(), d, axis=1).max(axis=1)).mean()
            for d in range(5)
        ]
        expected = math.sqrt(4) * float(np.std(parts)) / float(phi.norm())
        assert float(found.std_error) == pytest.approx(expected, rel=1e-9)
        assert scored(replace(own, draws=1), CURVED, phi, method=METHOD).std_error is None

    def test_a_smaller_budget_counts_for_a_larger_one(self, monkeypatch):
        table = torch.tensor([[5.0, 1, 2], [1, 1, 3]], dtype=torch.float64)
        monkeypatch.setattr(MaxSensitivityN, "_moves", lambda *args: table)
        own, phi = MaxSensitivityN(n=(1, 2), draws=3), torch.eye(8, dtype=torch.float64)[:1]
        found = scored(own, CURVED, phi, method=METHOD)
        assert float(found.value) == 5
        # Without the first draw (2, 3), without another (5, 5).
        expected = math.sqrt(2) * float(np.std([2.5, 5, 5]))
        assert float(found.std_error) == pytest.approx(expected, rel=1e-9)


class TestRepeats:
    def test_the_first_is_the_measurement_itself(self):
        b = replace(CURVED, seed=7)
        first, second = repeated(b, 2)
        assert first.metric_seed == b.seed == 7
        assert second.metric_seed != 7
        assert second.seed == 7, "methods draw as before"

    def test_mean_error_and_curves(self):
        def one(v: float) -> Measurement:
            curve = torch.tensor([[v, 2 * v]] * 2)
            return Measurement(torch.tensor([v, math.nan]), None, "why", {"c": ([0, 1], curve)})

        found = [{"m": one(v)} for v in (1.0, 2.0, 6.0)]
        m = mean_of(found)["m"]
        assert float(m.value[0]) == 3
        assert float(m.std_error[0]) == pytest.approx(math.sqrt(7) / math.sqrt(3))
        assert bool(m.value[1].isnan())
        assert m.curves["c"][1].tolist() == [[3, 6]] * 2
        assert m.reason == "why"
        assert averaged(torch.ones(1, 2), "").std_error is None

    @pytest.mark.parametrize(
        "metric",
        [
            Linearity(),
            Dummy(),
            Mprt(stages=None),
            EfficientMprt(),
            BaselineSensitivity("rank", ("zero", "gaussian_noise")),
        ],
        ids=lambda m: type(m).__name__,
    )
    def test_two_are_the_mean_of_one_and_another(self, metric):
        phi = METHOD(MANY)
        both = scored(metric, MANY, phi, method=METHOD)
        alone = [
            float(scored(replace(metric, repeats=1), part, phi, method=METHOD).value)
            for part in repeated(MANY, 2)
        ]
        assert float(both.value) == pytest.approx(sum(alone) / 2, **EXACT)
        assert float(both.std_error) == pytest.approx(abs(alone[0] - alone[1]) / 2, **EXACT)
        assert scored(replace(metric, repeats=1), MANY, phi, method=METHOD).std_error is None

    def test_every_other_class_leaves_nothing_to_chance(self):
        phi = METHOD(MANY)
        every = [
            scored(RandomLogit(classes=k), replace(MANY, seed=s), phi, method=METHOD)
            for k in (5, 99)
            for s in (0, 1)
        ]
        assert all(float(m.std_error) == 0 for m in every)
        first, *others = [float(m.value) for m in every]
        assert others == pytest.approx([first] * 3, **EXACT)

    def test_maps_of_fixed_baselines_are_made_once(self):
        phi = Away()(CURVED)
        names = ("zero", "black", "gaussian_noise")
        costs = []
        for repeats in (1, 3):
            before = CURVED.score.cost.snapshot()
            scored(BaselineSensitivity("rank", names, repeats=repeats), CURVED, phi, method=Away())
            costs.append(CURVED.score.cost.since(before).backward)
        assert costs == [3, 5]


class TestTies:
    def test_a_map_without_ties_is_evaluated_once_and_has_no_error(self):
        for metric in (
            Deletion(step=1, occluder="baseline", scalar="score"),
            Comprehensiveness((2, 5), occluder="baseline", scalar="score"),
            Road((4, 9), noise=0),
        ):
            b, phi = (IMAGE, PIXELS) if isinstance(metric, Road) else (CURVED, GUESS)
            costs = []
            for orders in (1, 5):
                name = "repeats" if isinstance(metric, Road) else "tie_orders"
                own = replace(metric, **{name: orders})
                before = b.score.cost.snapshot()
                found = scored(own, b, phi)
                costs.append(b.score.cost.since(before).forward)
            assert costs[0] == costs[1]
            assert float(found.std_error) == 0

    def test_ties_between_cuts_do_not_matter(self):
        # 8 features in pairs of equal value, removed two at a time: no order is in doubt.
        pairs = cf.row(4, 4, 3, 3, 2, 2, 1, 1)
        assert (
            float(
                scored(
                    Deletion(step=2, occluder="baseline", scalar="score"), CURVED, pairs
                ).std_error
            )
            == 0
        )
        assert (
            float(
                scored(
                    Deletion(step=1, occluder="baseline", scalar="score"), CURVED, pairs
                ).std_error
            )
            > 0
        )
        assert (
            float(
                scored(
                    Comprehensiveness((2, 4), occluder="baseline", scalar="score"), CURVED, pairs
                ).std_error
            )
            == 0
        )
        assert (
            float(
                scored(
                    Sufficiency((2, 3), tie_orders=9, occluder="baseline", scalar="score"),
                    CURVED,
                    pairs,
                ).std_error
            )
            > 0
        )

    def test_value_is_the_mean_over_orders(self):
        tied, single = (
            (GUESS > 0.5).double(),
            Deletion(tie_orders=1, step=1, occluder="baseline", scalar="score"),
        )
        alone = [float(scored(single, part, tied).value) for part in repeated(CURVED, 3)]
        found = scored(
            Deletion(tie_orders=3, step=1, occluder="baseline", scalar="score"), CURVED, tied
        )
        assert float(found.value) == pytest.approx(np.mean(alone), **EXACT)
        error = np.std(alone, ddof=1) / math.sqrt(3)
        assert float(found.std_error) == pytest.approx(error, **EXACT)


def test_one_draw_that_has_all_the_variance_gives_a_large_error():
    # Of 20 single features one has all of the map and of the effect: r = 1 hangs on the draws that
    # have it.  With exactly one such draw nothing is known without it, so the jackknife has a part
    # of 0 and 19 parts of 1, and an error of sqrt(19/20 (19/20^2 + 19 (1/20)^2)) = .95.
    phi = torch.eye(20, dtype=torch.float64)[:1]
    b = at(lambda x: x[:, 0], torch.ones_like(phi))
    metric = SensitivityN(n=1, subsets=20)
    for seed in range(200):
        own = replace(b, seed=seed)
        if int((metric.observe(own)[0] != 0).sum()) == 1:
            found = scored(metric, own, phi)
            assert float(found.value) == pytest.approx(1, **EXACT)
            assert found.std_error is not None
            assert float(found.std_error) == pytest.approx(0.95, **EXACT)
            return
    raise AssertionError("no seed with one such draw")  # chance .62^200


def test_a_map_of_one_feature_leans_on_the_draws_that_have_it():
    # The same map, while every feature has an effect: without its only draw the sums are equal, and
    # that part counts as 0.
    phi = torch.eye(20, dtype=torch.float64)[:1]
    b = at(lambda x: x @ torch.linspace(-1, 2, 20).to(x), torch.ones_like(phi))
    metric = SensitivityN(n=1, subsets=20)
    seeds = 0
    for seed in range(40):
        own = replace(b, seed=seed)
        drops = metric.observe(own)[0][0].numpy()
        has = np.isclose(drops, -1)  # the contribution of the first feature, and of no other
        if has.sum() != 1:
            continue
        seeds += 1
        parts = [
            0.0 if has[d] else np.corrcoef(np.delete(has, d), np.delete(drops, d))[0, 1]
            for d in range(20)
        ]
        found = scored(metric, own, phi)
        assert found.std_error is not None
        expected = math.sqrt(19) * float(np.std(parts))
        assert float(found.std_error) == pytest.approx(expected, rel=1e-9)
    assert seeds > 3


@pytest.mark.parametrize("factor", [1e-7, 1e7])
def test_standard_errors_of_correlations_have_no_scale(factor):
    metric = SensitivityN(n=(1, 3), subsets=20)
    plain = scored(metric, CURVED, GUESS).std_error
    model = CURVED.score.model
    other = replace(CURVED, score=Score(lambda z: model(z) / factor))
    found = scored(metric, other, factor * GUESS).std_error
    assert plain is not None
    torch.testing.assert_close(found, plain, rtol=1e-7, atol=0)


def test_exact_metrics_have_no_standard_error():
    for metric in (
        Infidelity("subset", draws="all", normalize=False),
        SensitivityN(n=2, subsets="all"),
        FaithfulnessEstimate(),
        MonotonicityCorrelation(fill="baseline"),
        Deletion(tie_orders=1, step=1, occluder="baseline", scalar="score"),
        Completeness(),
    ):
        assert scored(metric, CURVED, GUESS).std_error is None
