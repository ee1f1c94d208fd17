"""Pixel flipping, AOPC, comprehensiveness, sufficiency and ROAD (by hand, and identities)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from igbench.core.batch import Attribution, Batch, Measurement, Metric
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.metrics.faithfulness import imputation
from igbench.metrics.faithfulness.areas import Deletion
from igbench.metrics.faithfulness.erasure import Comprehensiveness, Sufficiency
from igbench.metrics.faithfulness.means import Aopc, PixelFlipping
from igbench.metrics.faithfulness.road import Road
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf

EXACT = {"rel": 1e-9, "abs": 1e-12}
SPEC = MethodSpec("given", "", "global", signed=True)
F = cf.linear(3, 2, 1)
ONES, PHI = cf.row(1, 1, 1), cf.row(3, 2, 1)


def value(metric: Metric, f, x: Tensor, phi: Tensor, **common) -> Tensor:
    found = metric(f, x, phi, **common)
    assert isinstance(found, Measurement)
    return found


def whole(metric: Metric, batch: Batch, phi: Tensor) -> Measurement:
    return metric.measure(batch, {"m": Attribution(phi, SPEC)}, metric.observe(batch))["m"]


def photographs(n: int = 3, rows: int = 32) -> Batch:
    x = cf.images(n)
    target = torch.tensor([0, 1, 2, 3])[:n]
    ids = tuple("abcd"[:n])
    return Batch(Score(cf.small_net(), batch_size=rows), x, 0 * x, target, ids, "pixel", 4)


class TestByHand:
    """f = 3 x1 + 2 x2 + x3 at 1: most important first 6, 3, 1, 0; least first 6, 5, 3, 0."""

    def test_pixel_flipping(self):
        # 6, 3, 1, 0 and 6, 5, 3, 0
        assert float(
            value(PixelFlipping(step=1, occluder="baseline", scalar="score"), F, ONES, PHI)
        ) == pytest.approx(2.5, **EXACT)
        assert float(
            value(PixelFlipping(step=1, occluder="baseline", scalar="score"), F, ONES, -PHI)
        ) == pytest.approx(3.5, **EXACT)

    def test_aopc(self):
        # drops 0, 3, 5, 6 and 0, 1, 3, 6
        for order, expected in [("morf", 3.5), ("lerf", 2.5), ("difference", 1.0)]:
            found = value(
                Aopc(order=order, step=1, occluder="baseline", scalar="score"), F, ONES, PHI
            )
            assert float(found) == pytest.approx(expected, **EXACT)
            found = value(
                Aopc(order=order, step=1, occluder="baseline", scalar="score"), F, ONES, -PHI
            )
            wrong = {"morf": 2.5, "lerf": 3.5, "difference": -1.0}[order]
            assert float(found) == pytest.approx(wrong, **EXACT)

    def test_coarse_steps(self):
        # Two at a time 6, 1, 0 and 6, 3, 0; four at a time 6, 0.
        for step, flipping, first, last in ((2, 7 / 3, 11 / 3, 3), (4, 3, 3, 3)):
            own = {"step": step}
            assert float(value(PixelFlipping(**own), F, ONES, PHI)) == pytest.approx(
                flipping, **EXACT
            )
            for order, expected in (("morf", first), ("lerf", last), ("difference", first - last)):
                found = value(Aopc(order=order, **own), F, ONES, PHI)
                assert float(found) == pytest.approx(expected, **EXACT)

    def test_the_mean_of_each_channel_replaces(self):
        # One pixel at a time of two channels: 3, the mean of either channel, takes its place.
        x = torch.tensor([[[[1.0, 3], [2, 6]], [[0, 8], [4, 0]]]], dtype=torch.float64)
        f = lambda z: (z * torch.tensor([1.0, 2.0]).view(2, 1, 1)).flatten(1).sum(1)  # noqa: E731
        metric = Comprehensiveness(fractions=(1,), occluder="mean", scalar="score")
        # The largest sum is that of (3, 8), which becomes (3, 3): 2 * 5.
        assert float(value(metric, f, x, x, features="pixel")) == pytest.approx(10, **EXACT)
        # The smallest is that of (1, 0): -2 - 2 * 3.
        assert float(value(metric, f, x, -x, features="pixel")) == pytest.approx(-8, **EXACT)

    def test_aopc_of_the_first_steps(self):
        # drops 0, 3, 5
        found = value(Aopc(until=2 / 3, step=1, occluder="baseline", scalar="score"), F, ONES, PHI)
        assert float(found) == pytest.approx(8 / 3, **EXACT)

    def test_comprehensiveness(self):
        for k, expected in [(1, 3), (2, 5), (3, 6)]:
            found = value(
                Comprehensiveness(fractions=(k,), occluder="baseline", scalar="score"), F, ONES, PHI
            )
            assert float(found) == pytest.approx(expected, **EXACT)
        both = value(
            Comprehensiveness(fractions=(1, 2), occluder="baseline", scalar="score"), F, ONES, PHI
        )
        assert float(both) == pytest.approx(4, **EXACT)

    def test_sufficiency(self):
        for k, expected in [(1, 3), (2, 1), (3, 0)]:
            found = value(
                Sufficiency(fractions=(k,), occluder="baseline", scalar="score"), F, ONES, PHI
            )
            assert float(found) == pytest.approx(expected, **EXACT)
        both = value(
            Sufficiency(fractions=(1, 2), occluder="baseline", scalar="score"), F, ONES, PHI
        )
        assert float(both) == pytest.approx(2, **EXACT)

    def test_the_wrong_way_round(self):
        comp = value(
            Comprehensiveness(fractions=(1, 2), occluder="baseline", scalar="score"), F, ONES, -PHI
        )
        suff = value(
            Sufficiency(fractions=(1, 2), occluder="baseline", scalar="score"), F, ONES, -PHI
        )
        assert float(comp) == pytest.approx((1 + 3) / 2, **EXACT)
        assert float(suff) == pytest.approx((5 + 3) / 2, **EXACT)

    def test_fractions_are_rounded_to_at_least_one_feature(self):
        # 1, 5, 10, 20 % of three features are one feature, 50 % are two.
        found = value(Comprehensiveness(occluder="baseline", scalar="score"), F, ONES, PHI)
        assert float(found) == pytest.approx((4 * 3 + 5) / 5, **EXACT)


class TestIdentities:
    @pytest.mark.parametrize("scalar", ["logit", "probability"])
    def test_aopc_is_the_output_minus_pixel_flipping(self, scalar):
        b, phi = photographs(), cf.images(3, seed=9)
        common = {"step": 5, "scalar": scalar}
        clean = b.score.as_output(scalar).evaluate(b.x, b.target)
        mean = whole(PixelFlipping(**common), b, phi).value
        area = whole(Aopc(**common), b, phi).value
        torch.testing.assert_close(area, clean - mean, rtol=0, atol=1e-14)

    def test_the_difference_is_that_of_the_two_orders(self):
        b, phi = photographs(), cf.images(3, seed=9)
        a, c, d = (
            whole(Aopc(order=o, step=1, occluder="baseline", scalar="score"), b, phi).value
            for o in ("morf", "lerf", "difference")
        )
        torch.testing.assert_close(d, a - c, rtol=0, atol=1e-14)

    def test_curves_are_shared_with_deletion(self):
        assert (
            PixelFlipping(step=3, occluder="baseline", scalar="score").sharing_key
            == Deletion(step=3, occluder="baseline", scalar="score").sharing_key
        )
        assert (
            Aopc(step=3, until=0.5, occluder="baseline", scalar="score").sharing_key
            == Deletion(step=3, occluder="baseline", scalar="score").sharing_key
        )
        b, phi = photographs(), cf.images(3, seed=9)
        maps = {"m": Attribution(phi, SPEC)}
        observation = Deletion(step=8, occluder="baseline", scalar="score").observe(b)
        Deletion(step=8, occluder="baseline", scalar="score").measure(b, maps, observation)
        before = b.score.cost.forward
        PixelFlipping(step=8, occluder="baseline", scalar="score").measure(b, maps, observation)
        Aopc(step=8, occluder="baseline", scalar="score").measure(b, maps, observation)
        assert b.score.cost.forward == before

    def test_keeping_and_removing_are_complements(self):
        # What comprehensiveness of k removes is what sufficiency of k keeps, ties included: for a
        # model that adds up, the two drops add up to f(x) - f(x').
        x, phi = cf.images(4), (cf.images(4, seed=2) * 3).round()
        f = lambda z: z.flatten(1) @ torch.linspace(-1, 2, 192, dtype=z.dtype)  # noqa: E731
        for k in (1, 7, 40):
            gone = value(
                Comprehensiveness(fractions=(k,), occluder="baseline", scalar="score"),
                f,
                x,
                phi,
                features="pixel",
            )
            kept = value(
                Sufficiency(fractions=(k,), occluder="baseline", scalar="score"),
                f,
                x,
                phi,
                features="pixel",
            )
            torch.testing.assert_close(gone + kept, f(x), rtol=0, atol=1e-12)

    @pytest.mark.parametrize(
        "metric",
        [
            PixelFlipping(step=4, occluder="baseline", scalar="score"),
            Aopc(step=4, order="difference", occluder="baseline", scalar="score"),
            Comprehensiveness(occluder="baseline", scalar="score"),
            Sufficiency(occluder="baseline", scalar="score"),
            Road(fractions=(0.2, 0.6)),
            Road(fractions=(0.2, 0.6), scalar="accuracy"),
        ],
    )
    def test_only_the_ranks_count(self, metric):
        b, phi = photographs(), cf.images(3, seed=9).mean(dim=1, keepdim=True)
        maps = [m.expand_as(b.x) for m in (phi, torch.exp(2 * phi), 1e-6 * phi - 3)]
        found = [whole(metric, b, m).value for m in maps]
        for other in found[1:]:
            torch.testing.assert_close(other, found[0], rtol=0, atol=0)
        assert whole(metric, b, torch.ones_like(b.x)).value.isnan().all()

    @pytest.mark.parametrize(
        "metric",
        [
            Comprehensiveness(occluder="baseline", scalar="score"),
            Sufficiency(occluder="baseline", scalar="score"),
            Road(),
        ],
    )
    def test_rows_of_a_call_do_not_matter(self, metric):
        phi = cf.images(3, seed=9)
        a, b = (whole(metric, photographs(rows=rows), phi).value for rows in (1, 32))
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)

    def test_a_random_order_has_no_abpc(self):
        g = torch.Generator().manual_seed(0)
        orders = torch.rand(400, 3, generator=g, dtype=torch.float64)
        found = value(
            Aopc(order="difference", step=1, occluder="baseline", scalar="score"),
            F,
            ONES.expand(400, 3),
            orders,
        )
        # Between -1 and 1; 5 standard errors, a false alarm in 2 million.
        assert abs(float(found.mean())) < 5 / math.sqrt(400)


class TestRoad:
    def test_linear_ramp_leaves_a_linear_model_alone(self):
        # Imputation returns a linear ramp where removed pixels are interior, so nothing changes.
        rows = torch.arange(8, dtype=torch.float64)
        x = (rows[:, None] * 2 + rows[None, :]).expand(1, 3, 8, 8) / 10
        centre = torch.zeros(8, 8, dtype=torch.float64)
        centre[1:-1, 1:-1] = torch.rand(6, 6, generator=torch.Generator().manual_seed(1)) + 1
        f = lambda z: (z.flatten(1) ** 2).sum(dim=1)  # noqa: E731
        metric = Road(fractions=(10, 30), order="morf", noise=0, scalar="score")
        phi = centre.expand_as(x)
        found = value(metric, f, x, phi, features="pixel")
        assert float(found) == pytest.approx(float(f(x)), **EXACT)
        # The least relevant ones are at the border, where a ramp does not come back.
        border = value(replace(metric, order="lerf"), f, x, phi, features="pixel")
        assert abs(float(border) - float(f(x))) > 0.01

    def test_by_hand(self):
        b, phi = photographs(2), cf.images(2, seed=9)
        found = whole(Road(fractions=(0.25, 0.5), noise=0), b, phi)
        probability = b.score.as_output("probability")
        for i in range(2):
            order = phi[i].sum(dim=0).flatten().argsort(descending=True)
            halves = []
            for chosen in (order, order.flip(0)):
                outs = []
                for k in (16, 32):
                    removed = torch.zeros(64, dtype=torch.bool)
                    removed[chosen[:k]] = True
                    z = imputation.linear(b.x[i], removed.view(8, 8))
                    outs.append(float(probability.evaluate(z[None], b.target_of(i))))
                halves.append(sum(outs) / 2)
            most, least = halves
            assert float(found.value[i]) == pytest.approx((least - most) / 2, **EXACT)
            assert float(found.curves["road_morf"][1][i].mean()) == pytest.approx(most, **EXACT)

    def test_both_orders_are_halved(self):
        b, phi = photographs(), cf.images(3, seed=9)
        most, least, both = (whole(Road(order=o), b, phi).value for o in ("morf", "lerf", "both"))
        torch.testing.assert_close(both, (least - most) / 2, rtol=0, atol=1e-14)
        reverse = whole(Road(), b, -phi).value
        torch.testing.assert_close(reverse, -both, rtol=0, atol=1e-12)

    def test_accuracy_counts_hits(self):
        # Class 1 wins while the mean of the image is above 1/2: a white image, a black border.
        def net(z):
            mean = z.mean(dim=(1, 2, 3))
            return torch.stack([1 - mean, mean], dim=1)

        x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
        x[:, :, :, :5] = 1
        phi = torch.arange(64, dtype=torch.float64).view(1, 1, 8, 8)
        phi = torch.where(x > 0, phi + 100, -phi)
        metric = Road(fractions=(0.1, 0.6), scalar="accuracy", noise=0)
        batch = Batch(Score(net), x, 0 * x, torch.tensor([1]), ("a",), "pixel", 0)
        found = whole(metric, batch, phi)
        most, least = (found.curves[c][1][0].tolist() for c in ("road_morf", "road_lerf"))
        # 38 of 40 white pixels gone leave nearly nothing; without the black ones all is white.
        assert most == [1, 0]
        assert least == [1, 1]
        assert float(found.value) == pytest.approx((1 - 0.5) / 2, **EXACT)
        assert batch.score.cost.forward == 1 + 4

    def test_noise_is_shared_and_keyed(self):
        b, phi = photographs(), cf.images(3, seed=9)
        quiet, loud = (whole(Road(noise=s), b, phi).value for s in (0.0, 0.3))
        assert bool((quiet != loud).all())
        assert torch.equal(whole(Road(noise=0.3), b, phi).value, loud)
        other = whole(Road(noise=0.3), replace(b, seed=5), phi).value
        assert bool((other != loud).any())
        # With all maps equal in rank, noise is all there is: the same for both methods.
        metric = Road(noise=0.3)
        maps = {"a": Attribution(phi, SPEC), "b": Attribution(3 * phi, SPEC)}
        found = metric.measure(b, maps, metric.observe(b))
        torch.testing.assert_close(found["a"].value, found["b"].value, rtol=0, atol=1e-12)

    def test_what_it_cannot_do_is_refused(self):
        b, phi = photographs(), cf.images(3, seed=9)
        with pytest.raises(InputError, match="split"):
            whole(Road(features="element"), b, phi)
        with pytest.raises(InputError, match="every pixel removed"):
            whole(Road(fractions=(64,)), b, phi)
        with pytest.raises(InputError, match="needs images"):
            value(Road(), F, ONES, PHI)
        with pytest.raises(InputError, match="scalar=accuracy"):
            value(
                Road(scalar="accuracy"),
                lambda z: z.flatten(1).sum(dim=1),
                b.x,
                phi,
                features="pixel",
            )


def test_bad_arguments():
    for bad in ((), (0,), (-0.1,), (1.5,)):
        with pytest.raises(InputError, match="fractions"):
            Comprehensiveness(fractions=bad, occluder="baseline", scalar="score")
    with pytest.raises(InputError, match="have 3"):
        value(Sufficiency(fractions=(4,), occluder="baseline", scalar="score"), F, ONES, PHI)
    with pytest.raises(InputError, match="asks for 4 features, the samples have 3"):
        value(Sufficiency(fractions=(1, 4), occluder="baseline", scalar="score"), F, ONES, PHI)
    for occluder in ("mean", "blur"):
        with pytest.raises(InputError, match="need images"):
            value(Deletion(occluder=occluder, step=1, scalar="score"), F, ONES, PHI)
    with pytest.raises(InputError, match="unknown order"):
        Aopc(order="first", step=1, occluder="baseline", scalar="score")
    with pytest.raises(InputError, match="until"):
        Aopc(until=1.5, step=1, occluder="baseline", scalar="score")
    with pytest.raises(InputError, match="until"):
        Aopc(until=0, step=1, occluder="baseline", scalar="score")
    with pytest.raises(InputError, match="ends before the first step"):
        value(Aopc(until=0.1, step=1, occluder="baseline", scalar="score"), F, ONES, PHI)
    with pytest.raises(InputError, match="scalar='loss' must be one of"):
        Road(scalar="loss")
    with pytest.raises(InputError, match="negative"):
        Road(noise=-1)
