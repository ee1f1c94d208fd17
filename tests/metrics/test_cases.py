"""More metrics on models with known answers: the other kind of map, the other explained scalar.

`test_closed_form.py` and the tests of the families have the same models for one kind of map or one
scalar alone.  s is the logistic function throughout: two classes with the logits (z, 0) have the
logit z and the probability s(z) of the first one.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from igbench.core.batch import Batch, Metric
from igbench.core.features import resolve
from igbench.core.score import Output, Score
from igbench.errors import InputError
from igbench.integration.integrate import integrated_gradients
from igbench.methods.cam import GradCamSigned
from igbench.methods.captum import Captum
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.faithfulness.areas import Deletion, Insertion, SymmetricRelevanceGain
from igbench.metrics.faithfulness.correlation import FaithfulnessCorrelation, FaithfulnessEstimate
from igbench.metrics.faithfulness.erasure import Comprehensiveness, Sufficiency
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.faithfulness.means import Aopc, PixelFlipping
from igbench.metrics.faithfulness.pearson import pearson
from igbench.metrics.faithfulness.road import Road
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN
from igbench.metrics.robustness.budget import MaxSensitivityN
from igbench.metrics.robustness.sensitivity import AvgSensitivity, LocalLipschitz, MaxSensitivity
from igbench.metrics.sparsity import Complexity, EffectiveComplexity, Sparseness
from tests.helpers import closed_form as cf
from tests.helpers.scalars import (
    EXACT,
    KINDS,
    ONES,
    SCALARS,
    Gradient,
    at,
    read,
    s,
    scored,
    value,
)


def moved(metric: Metric, batch: Batch, kind: str) -> float:
    method = Gradient(KINDS[kind])
    return float(scored(metric, batch, method(batch), kind, method).value)


class TestSensitivity:
    R = 0.02
    A = (1.0, 2.0, 3.0)

    def test_global_map_of_a_quadratic(self):
        # phi_i = a_i x_i^2 at 1: a corner +-r of the cube moves it by a_i (+-2 r + r^2), most where
        # all signs are +, so the supremum is (2 r + r^2) |a| / |a|.  One corner of 8 has it: 200
        # draws miss with (7/8)^200 = 3e-12.
        b = at(cf.quadratic(torch.diag(torch.tensor(self.A))), ONES)
        expected = 2 * self.R + self.R**2
        metric = MaxSensitivity(radius=self.R, draws=200, noise="extremes")
        assert moved(metric, b, "global") == pytest.approx(expected, rel=1e-11)
        for n, squares in ((1, 9), (2, 13), (3, 14)):
            metric = MaxSensitivityN(n=n, radius=self.R, draws=300, noise="extremes")
            found = moved(metric, b, "global")
            assert found == pytest.approx(expected * math.sqrt(squares / 14), rel=1e-11)

    @pytest.mark.parametrize("z", [0.6, -1.5])
    def test_gradient_of_a_probability(self, z):
        # z = w . x, w = (1, 2, 3): the map is t(z) w with t = s (1 - s), so the corner with the sum
        # z + d moves it by |t(z + d) / t(z) - 1|, and d is 6 r at most; t is monotone on either
        # side of 0.  A corner with all signs alike: one of 4; with the right sign one of 8.
        t = lambda u: s(u) * (1 - s(u))  # noqa: E731
        x = cf.row(z, z / 2, z / 3) / 3
        b = at(cf.linear(*self.A), x, "probability")
        expected = max(abs(t(z + d) / t(z) - 1) for d in (-6 * self.R, 6 * self.R))
        metric = MaxSensitivity(radius=self.R, draws=200, noise="extremes")
        assert moved(metric, b, "local") == pytest.approx(expected, rel=1e-11)
        lipschitz = LocalLipschitz(radius=self.R, draws=200, noise="extremes", relative=True)
        # The longest way is as long as any other corner's: r sqrt 3.
        found = moved(lipschitz, b, "local")
        assert found == pytest.approx(expected / (self.R * math.sqrt(3)), rel=1e-11)
        assert moved(metric, at(cf.linear(*self.A), x), "local") == 0

    def test_global_map_of_a_linear_model_moves_as_the_input(self):
        # phi = w x: the relative change is |w delta| / |w x|, r at every corner for x = 1.
        b = at(cf.linear(*self.A), ONES)
        for metric in (MaxSensitivity, AvgSensitivity):
            found = moved(metric(radius=self.R, draws=5, noise="extremes"), b, "global")
            assert found == pytest.approx(self.R, rel=1e-11)


class TestInfidelityOfLinearModels:
    W = (1.0, 2.0, 3.0)

    @pytest.mark.parametrize("normalize", [False, True])
    def test_contributions_of_a_linear_model_from_a_baseline(self, normalize):
        # (x - x') w explains every removal; a local map is multiplied by x - x'.
        x, base = cf.row(2, -1, 3), cf.row(0.5, 1, -1)
        w = cf.row(*self.W)
        metric = Infidelity("subset", draws="all", normalize=normalize)
        for kind, phi in (("global", w * (x - base)), ("local", w)):
            for factor in (1, 2) if normalize else (1,):
                b = at(cf.linear(*self.W), x, baseline=base)
                assert value(metric, b, factor * phi, kind) == pytest.approx(0, abs=1e-24)

    def test_twice_the_contributions(self):
        # Errors are sum_S v with v = (1, 2, 3) (global map v, local map w at x = 1): half of the
        # sets hold each feature, so the mean square is (sum v)^2 / 4 + sum v^2 / 4 = 9 + 3.5.
        b, phi = at(cf.linear(*self.W), ONES), 2 * cf.row(*self.W)
        for kind in KINDS:
            assert value(
                Infidelity("subset", draws="all", normalize=False), b, phi, kind
            ) == pytest.approx(12.5, **EXACT)

    def test_probability(self):
        # Contributions 1 and 2 to z: the probability falls by s3 - s2, s3 - s1, and s3 - s0 for
        # both.  IG of a ridge is c/3, 2c/3 with c = s3 - s0: complete, so only single removals err.
        x, w = cf.row(2, 0.5), (0.5, 4.0)
        c = s(3) - s(0)
        b = at(cf.linear(*w), x, "probability")
        phi = integrated_gradients(b.score, x, b.baseline, b.target, n_steps=40)
        assert phi.tolist()[0] == pytest.approx([c / 3, 2 * c / 3], abs=1e-12)
        sums, drops = (c / 3, 2 * c / 3, c), (s(3) - s(2), s(3) - s(1), c)
        raw = sum((a - d) ** 2 for a, d in zip(sums, drops, strict=True)) / 4
        beta = sum(a * d for a, d in zip(sums, drops, strict=True)) / sum(a * a for a in sums)
        best = sum((beta * a - d) ** 2 for a, d in zip(sums, drops, strict=True)) / 4
        assert best < raw
        for normalize, expected in ((False, raw), (True, best)):
            metric = Infidelity("subset", draws="all", normalize=normalize)
            for kind, own in (("global", phi), ("local", phi / x)):
                assert value(metric, b, own, kind) == pytest.approx(expected, rel=1e-10)

    def test_a_map_of_zeros_is_off_by_all_of_f(self):
        # No scale helps, and none is tried: the mean over sets of (sum_S v)^2, as above.
        b = at(cf.linear(*self.W), ONES)
        for normalize in (False, True):
            metric = Infidelity("subset", draws="all", normalize=normalize)
            assert value(metric, b, 0 * ONES) == pytest.approx(12.5, **EXACT)

    def test_squares_have_the_sides_that_were_asked_for(self):
        # Contributions 1 for each of 8 x 8 pixels, a map of zeros: the error is the squared area.
        x = torch.ones(1, 1, 8, 8, dtype=torch.float64)
        f = lambda z: z.flatten(1).sum(dim=1)  # noqa: E731
        for side in (2, 5):
            metric = Infidelity(draws=6, sides=(side / 8, side / 8), normalize=False)
            found = value(metric, at(f, x, features="pixel"), 0 * x)
            assert found == pytest.approx(side**4, **EXACT)


class TestInfidelityOfQuadratics:
    def test_global_map(self):
        # A diagonal quadratic adds up: contributions a_i x_i^2 / 2 explain every removal, and the
        # gradient times the input is twice that, off by sum_S (.5, 1, 1.5): 9/4 + 3.5/4.
        a = torch.diag(torch.tensor([1.0, 2.0, 3.0]))
        b, v = at(cf.quadratic(a), ONES), cf.row(0.5, 1, 1.5)
        metric = Infidelity("subset", draws="all", normalize=False)
        assert value(metric, b, v) == pytest.approx(0, abs=1e-24)
        for kind in KINDS:
            assert value(metric, b, 2 * v, kind) == pytest.approx(3.125, **EXACT)
        best = replace(metric, normalize=True)
        assert value(best, b, 2 * v, "local") == pytest.approx(0, abs=1e-24)

    def test_local_map_of_a_quadratic_with_cross_terms(self):
        # s^4 / 4 ((tr A)^2 + 2 tr A^2), A = [[2, 1], [1, 3]]: (25 + 2 * 15) / 4 = 13.75; within 5
        # of its own standard errors, a false alarm in 2 million.
        a = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
        x = cf.row(1, 2)
        found = scored(
            Infidelity("gaussian", draws=20_000, scale=0.3, normalize=False),
            at(cf.quadratic(a), x),
            x @ a,
            "local",
        )
        assert found.std_error is not None
        assert float(found.std_error) < 0.02 * 13.75 * 0.3**4
        assert abs(float(found.value) - 13.75 * 0.3**4) < 5 * float(found.std_error)


@pytest.mark.parametrize("scalar", SCALARS)
def test_infidelity_of_a_product(scalar):
    # Every removal of x1 x2 takes c = f(6) - f(0); half of c each is off by c/2 on single features,
    # two of four sets: c^2 / 8, which is 4.5 for the logit.
    c = read(scalar, 6) - read(scalar, 0)
    x, phi = cf.row(2, 3), cf.row(c / 2, c / 2)
    b = at(cf.product, x, scalar)
    metric = Infidelity("subset", draws="all", normalize=False)
    for kind, own in (("global", phi), ("local", phi / x)):
        assert value(metric, b, own, kind) == pytest.approx(c**2 / 8, **EXACT)


CORRELATIONS = {
    "sensitivity_n": lambda n: SensitivityN(n=n, subsets="all"),
    "faithfulness_correlation": lambda n: FaithfulnessCorrelation(n=n, subsets="all"),
}


class TestCorrelations:
    @pytest.mark.parametrize("name", CORRELATIONS)
    @pytest.mark.parametrize("n", [1, 2])
    def test_probability_of_a_linear_model(self, name, n):
        # z = 6 of contributions 1, 2, 3, to which the IG of the probability is proportional.
        sums = {1: (1, 2, 3), 2: (3, 4, 5)}[n]
        drops = [s(6) - s(6 - v) for v in sums]
        expected = np.corrcoef(sums, drops)[0, 1]
        assert expected < 0.99
        b, phi = at(cf.linear(1, 2, 3), ONES, "probability"), cf.row(1, 2, 3)
        metric = CORRELATIONS[name](n)
        assert value(metric, b, (s(6) - s(0)) / 6 * phi) == pytest.approx(expected, rel=1e-10)
        assert value(metric, b, -phi) == pytest.approx(-expected, rel=1e-10)
        assert value(metric, replace(b, score=b.score.as_output("logit")), phi) == pytest.approx(
            1, **EXACT
        )

    def test_both_sizes_are_averaged_and_on_the_curve(self):
        b, phi = at(cf.linear(1, 2, 3, 5), cf.row(1, 1, 1, 1), "probability"), cf.row(1, 2, 3, 5)
        found = scored(SensitivityN(n=(1, 3), subsets="all"), b, phi)
        single = [value(SensitivityN(n=n, subsets="all"), b, phi) for n in (1, 3)]
        xs, curve = found.curves["sensitivity_n"]
        assert xs == [0.25, 0.75]
        assert curve[0].tolist() == pytest.approx(single, **EXACT)
        assert single[0] != pytest.approx(single[1], abs=1e-3)
        assert float(found.value) == pytest.approx(sum(single) / 2, **EXACT)

    @pytest.mark.parametrize("scalar", SCALARS)
    def test_undefined(self, scalar):
        # One set of all features; and every single factor takes the whole product away.
        whole = at(cf.linear(1, 2, 3), ONES, scalar)
        for metric in (SensitivityN(n=3, subsets=20), FaithfulnessCorrelation(n=3)):
            found = scored(metric, whole, cf.row(1, 2, 3))
            assert found.value.isnan().all()
            assert "n = 3 of 3" in found.reason
        one = at(cf.product, cf.row(2, 3, 0.5), scalar)
        for metric in (SensitivityN(n=1, subsets="all"), FaithfulnessEstimate()):
            assert scored(metric, one, cf.row(1, 2, 3)).value.isnan().all()

    @pytest.mark.parametrize(
        "metric", [SensitivityN(n=1, subsets=100), FaithfulnessCorrelation(n=1)]
    )
    def test_local_maps_are_refused(self, metric):
        with pytest.raises(InputError, match="global"):
            metric(cf.linear(1, 2, 3), ONES, ONES, kind="local")

    @pytest.mark.parametrize("offset", [0.0, 1.0, -7.0, 1e6])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_what_differs_by_rounding_alone_does_not_correlate(self, offset, dtype):
        # Contributions of 0.1 each, as sums of two terms of up to 0.4 that round as they come: 12
        # roundings of at most half an epsilon of |offset| + 2 stay within 8 epsilons of 2 |f|.
        g = torch.Generator().manual_seed(0)
        for _ in range(20):
            x = torch.ones(1, 6, dtype=dtype) + torch.rand(1, 6, generator=g)
            w = 0.3 * (2 * torch.rand(6, generator=g) - 1).to(dtype)
            terms = lambda z, x=x, w=w: (z / x * w, z / x * (0.1 - w))  # noqa: E731
            f = lambda z, t=terms: sum(torch.cat(t(z), dim=1).unbind(1), offset)  # noqa: E731
            b = at(f, x)
            for n in (1, 2, 3):
                assert scored(SensitivityN(n=n, subsets="all"), b, x).value.isnan().all()
            assert scored(FaithfulnessEstimate(), b, x).value.isnan().all()
        # A real difference of 1e-3 still counts, whatever the offset of the output.
        if dtype is torch.float64:
            # One effect of 1e-3 x6 alone: r is that of the map with the indicator of 6.
            h = lambda z: f(z) + 1e-3 * z[:, 5]  # noqa: E731
            expected = np.corrcoef(x[0].numpy(), np.eye(6)[5])[0, 1]
            found = value(FaithfulnessEstimate(), at(h, x), x)
            assert found == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_sums_that_differ_by_rounding_alone_do_not_correlate(self, sign):
        steps = torch.tensor([0.0, 1, 2, 1], dtype=torch.float64)
        drops = torch.tensor([1.0, 2, 4, 3], dtype=torch.float64)
        for size, undefined in ((1e-15, True), (1e-12, False)):
            r = pearson((sign * (1 + size * steps))[None], drops, torch.float64)
            assert r.isnan().tolist() == [undefined]

    def test_three_sets_are_the_fewest(self):
        assert SensitivityN(subsets=3).subsets == 3
        with pytest.raises(InputError, match="at least 3"):
            SensitivityN(subsets=2)


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("n", [1, 2])
def test_sensitivity_n_of_a_monomial_plus_linear(scalar, n):
    # x1^2 x2 + 2 x3 at 1, IG (2/3, 1/3, 2).  n = 1: z falls from 3 to 2, 2, 1; n = 2: to 2, 0, 0.
    # The sums (2/3, 1/3, 2) and (1, 8/3, 7/3) meet drops of two values (a, a, b) and (a, b, b),
    # b > a, whatever is read out, and Pearson does not see which: 9 / sqrt 84 for both scalars.
    def f(x):
        return x[:, 0] ** 2 * x[:, 1] + 2 * x[:, 2]

    b = at(f, ONES, scalar)
    found = value(SensitivityN(n=n, subsets="all"), b, cf.row(2 / 3, 1 / 3, 2))
    assert found == pytest.approx(9 / math.sqrt(84), rel=1e-10)


class TestRemoval:
    """z = 3 x1 + 2 x2 + x3 at 1: most important first 6, 3, 1, 0; least first 6, 5, 3, 0."""

    PHI = cf.row(3, 2, 1)

    def expected(self, scalar: Output) -> dict[str, tuple[Metric, float]]:
        f6, f5, f3, f1, f0 = (read(scalar, z) for z in (6, 5, 3, 1, 0))
        most, least = (f6 / 2 + f3 + f1 + f0 / 2) / 3, (f6 / 2 + f5 + f3 + f0 / 2) / 3
        means = (f6 + f3 + f1 + f0) / 4, (f6 + f5 + f3 + f0) / 4
        own = {"scalar": scalar}
        return {
            "deletion": (Deletion(**own), most),
            "insertion": (Insertion(**own), least),
            "srg": (SymmetricRelevanceGain(**own), least - most),
            "pixel_flipping": (PixelFlipping(**own), means[0]),
            "aopc": (Aopc(**own), f6 - means[0]),
            "aopc_lerf": (Aopc(order="lerf", **own), f6 - means[1]),
            "abpc": (Aopc(order="difference", **own), means[1] - means[0]),
            "comprehensiveness": (
                Comprehensiveness(fractions=(1, 2), **own),
                f6 - (f3 + f1) / 2,
            ),
            "sufficiency": (Sufficiency(fractions=(1, 2), **own), f6 - (f3 + f5) / 2),
        }

    @pytest.mark.parametrize("scalar", SCALARS)
    def test_both_scalars_and_kinds(self, scalar):
        for name, (metric, expected) in self.expected(scalar).items():
            for explained in SCALARS:
                b = at(cf.linear(3, 2, 1), ONES, explained)
                for kind in KINDS:  # the order is the map's own, whatever its kind
                    found = value(metric, b, self.PHI, kind)
                    assert found == pytest.approx(expected, **EXACT), (name, explained, kind)

    @pytest.mark.parametrize("scalar", SCALARS)
    def test_the_explained_scalar_is_the_default(self, scalar):
        for name, (metric, expected) in self.expected(scalar).items():
            b = at(cf.linear(3, 2, 1), ONES, scalar)
            found = value(replace(metric, scalar="score"), b, self.PHI)
            assert found == pytest.approx(expected, **EXACT), name

    def test_a_step_that_does_not_divide(self):
        # Two at a time, the least first: 6, 3, 0 after 0, 2, 3 features; read backwards the short
        # step is the first.  Insertion: (0 + 3) / 2 * 1/3 + (3 + 6) / 2 * 2/3.
        b = at(cf.linear(3, 2, 1), ONES)
        found = scored(Insertion(step=2, occluder="baseline", scalar="score"), b, self.PHI)
        assert float(found.value) == pytest.approx(3.5, **EXACT)
        xs, ys = found.curves["insertion"]
        assert xs == pytest.approx([0, 1 / 3, 1])
        assert ys[0].tolist() == pytest.approx([0, 3, 6], **EXACT)
        # A fraction of the features: 0.5 of 3 rounds to 2, 0.1 to one; 7 is all of them at once.
        assert value(
            Insertion(step=0.5, occluder="baseline", scalar="score"), b, self.PHI
        ) == pytest.approx(3.5, **EXACT)
        assert value(
            Deletion(step=0.1, occluder="baseline", scalar="score"), b, self.PHI
        ) == pytest.approx(7 / 3, **EXACT)
        assert value(
            Deletion(step=7, occluder="baseline", scalar="score"), b, self.PHI
        ) == pytest.approx(3, **EXACT)
        for bad in (1.5, 2.25):
            with pytest.raises(InputError, match="step"):
                Deletion(step=bad, occluder="baseline", scalar="score")
            with pytest.raises(InputError, match="set sizes"):
                SensitivityN(n=bad, subsets=100)

    def test_what_replaces_is_the_baseline_or_zero(self):
        # From the baseline (1, 0, 3) feature 1 does not count, 3 has the contribution -2.
        b = at(cf.linear(3, 2, 1), ONES, baseline=cf.row(1, 0, 3))
        # 6, 6, 4, 6: area (3 + 6 + 4 + 3) / 3; with zeros the usual 7/3.
        assert value(
            Deletion(step=1, occluder="baseline", scalar="score"), b, self.PHI
        ) == pytest.approx(16 / 3, **EXACT)
        assert value(
            Deletion(occluder="zero", step=1, scalar="score"), b, self.PHI
        ) == pytest.approx(7 / 3, **EXACT)

    def test_several_samples_keep_their_own_curves(self):
        # Samples 2 and 3 of the same model with other inputs, in one batch and with one flat map.
        x = torch.cat([ONES, 2 * ONES, ONES, 3 * ONES])
        phi = torch.cat([self.PHI, self.PHI, 0 * self.PHI, -self.PHI])
        for rows in (1, 2, 32):
            b = at(cf.linear(3, 2, 1), x, rows=rows)
            found = scored(Deletion(step=1, occluder="baseline", scalar="score"), b, phi).value
            assert found[[0, 1, 3]].tolist() == pytest.approx([7 / 3, 14 / 3, 11], **EXACT)
            assert math.isnan(float(found[2]))


class GapNet(nn.Module):
    """Convolution, tanh, global average pooling, linear layer; no bias anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.Tanh())
        self.fc = nn.Linear(5, 4, bias=False)
        g = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=g))
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).mean(dim=(2, 3)))


@pytest.mark.parametrize("scalar", SCALARS)
def test_completeness_of_grad_cam(scalar):
    # The map sums to sum_k df/dz_k z_k, by the chain rule from the linear layer: z_t itself for the
    # logit, p_t (z_t - sum_k p_k z_k) for the probability.  f(0) is 0, and 1/4 of four classes.
    net, x, target = GapNet(), cf.images(3), torch.tensor([0, 1, 3])
    z = net(x).detach()
    p, own = z.softmax(dim=1), z[torch.arange(3), target]
    if scalar == "logit":
        total, change = own, own
    else:
        p_own = p[torch.arange(3), target]
        total, change = p_own * (own - (p * z).sum(dim=1)), p_own - 0.25
    b = Batch(Score(net, scalar), x, 0 * x, target, ("a", "b", "c"), "pixel")
    phi = GradCamSigned("conv", mode="nearest")(b)
    torch.testing.assert_close(phi.sum(dim=(1, 2, 3)), total, rtol=1e-10, atol=1e-13)
    for relative in (True, False):
        gap = (total - change).abs() / (change.abs() if relative else 1)
        found = scored(Completeness(relative=relative), b, phi).value
        torch.testing.assert_close(found, gap, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scalar", SCALARS)
def test_completeness_of_occlusion_of_overlapping_windows(scalar):
    # w = (1, 2, 3, 4) at 1, windows of two: z falls from 10 by 3, 5, 7, and inner features average
    # two windows.  The logit: (3, 4, 6, 7), whose sum 20 is twice f(x) - f(0).
    f10 = read(scalar, 10)
    a, b, c = (f10 - read(scalar, 10 - v) for v in (3, 5, 7))
    expected = [a, (a + b) / 2, (b + c) / 2, c]
    batch = at(cf.linear(1, 2, 3, 4), cf.row(1, 1, 1, 1), scalar)
    method = Captum(
        "Occlusion",
        "",
        "",
        "global",
        True,
        arguments={"sliding_window_shapes": [2], "strides": [1]},
    )
    phi = method(batch)
    # Captum adds and divides in float32 where the inputs are float64: 1e-7 of the largest.
    assert phi.tolist()[0] == pytest.approx(expected, rel=1e-6)
    change = f10 - read(scalar, 0)
    gap = abs(sum(expected) - change) / change
    assert value(Completeness(), batch, phi) == pytest.approx(gap, rel=1e-6)
    if scalar == "logit":
        assert gap == pytest.approx(1, **EXACT)


class TestSparsity:
    @pytest.mark.parametrize("d", [1, 2, 7, 100])
    def test_counting_maps(self, d):
        # Of 1..d: sum (2 i - d - 1) i / (d sum i) = (d - 1) / (3 d); entropy by its definition.
        phi = torch.arange(1, d + 1, dtype=torch.float64)[None]
        b = at(lambda x: x.sum(dim=1), phi)
        assert value(Sparseness(), b, phi) == pytest.approx((d - 1) / (3 * d), **EXACT)
        shares = [2 * i / (d * (d + 1)) for i in range(1, d + 1)]
        entropy = -sum(p * math.log(p) for p in shares)
        assert value(Complexity(), b, phi) == pytest.approx(entropy, **EXACT)
        # Above a tenth of d: all but the first d / 10.
        assert value(EffectiveComplexity(), b, phi) == d - d // 10

    @pytest.mark.parametrize("d", [1, 4])
    def test_one_feature_has_plain_zeros(self, d):
        phi = torch.eye(d, dtype=torch.float64)[:1] * -3
        found = value(Complexity(), at(lambda x: x.sum(dim=1), phi), phi)
        assert math.copysign(1, found) == 1, "not a negative zero"
        assert found == 0
        assert value(Sparseness(), at(lambda x: x.sum(dim=1), phi), phi) == pytest.approx(
            1 - 1 / d, **EXACT
        )


class TestRoad:
    @pytest.mark.parametrize("scalar", SCALARS)
    def test_constant_image(self, scalar):
        # Every removal of a constant image is imputed exactly, at the border too.
        x = torch.full((1, 3, 6, 6), 0.3, dtype=torch.float64)
        w = torch.linspace(-1, 2, 108, dtype=torch.float64)
        f = lambda z: z.flatten(1) @ w  # noqa: E731
        b, phi = at(f, x, features="pixel"), cf.images(1)[:, :, :6, :6]
        expected = read(scalar, float(f(x)))
        for order in ("morf", "lerf"):
            metric = Road(order=order, scalar=scalar, noise=0)
            # The condition number of 30 unknowns in a row is below 1e3.
            assert value(metric, b, phi) == pytest.approx(expected, abs=1e-11)
        assert value(Road(scalar=scalar, noise=0), b, phi) == pytest.approx(0, abs=1e-11)

    def test_noise_has_its_size(self):
        # The same image with noise: f = sum over removed pixels, so the output is off by a normal
        # number of variance n s^2, independent from share to share and sample to sample.
        n, size = 300, 0.2
        x = torch.ones(n, 1, 4, 4, dtype=torch.float64)
        phi = torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4).expand(n, 1, 4, 4)
        b = at(lambda z: z.flatten(1).sum(dim=1), x, features="pixel")
        metric = Road(fractions=(4, 9), order="morf", scalar="score", noise=size, repeats=1)
        _, ys = scored(metric, b, phi).curves["road_morf"]
        off = ys - 16
        for point, count in enumerate((4, 9)):
            own = off[:, point]
            sd = size * math.sqrt(count)
            # 5 standard errors of a mean, and of a standard deviation: 1 in 2 million.
            assert abs(float(own.mean())) < 5 * sd / math.sqrt(n)
            assert float(own.std()) == pytest.approx(sd, rel=5 / math.sqrt(2 * n))
        r = np.corrcoef(off.numpy().T)[0, 1]
        assert abs(r) < 5 / math.sqrt(n)


def test_the_smallest_patches_are_pixels():
    small, pixel = (resolve(spec, (3, 4, 5)) for spec in ("patch:1", "pixel"))
    assert torch.equal(small.index, pixel.index)
    assert small.count == pixel.count == 20
    with pytest.raises(InputError, match=r"0\.\.G-1"):
        resolve(torch.tensor([-1, 1]), (2,))
