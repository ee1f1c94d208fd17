"""Equal sets of removed features are evaluated once, and step="auto" places points by the bends."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from igbench.core import perturb
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.evaluation.dry_run import StandIn
from igbench.metrics.faithfulness import placement
from igbench.metrics.faithfulness.areas import Deletion, Insertion, SymmetricRelevanceGain
from igbench.metrics.faithfulness.means import Aopc, PixelFlipping
from igbench.metrics.faithfulness.removal import Removal
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf

SPEC = MethodSpec("given", "", "global", signed=True)
LATTICE = np.arange(29.0)
SAME = {"rtol": 1e-9, "atol": 1e-12}
AUTO = {"step": "auto", "occluder": "zero", "scalar": "probability"}
METRICS = (
    Deletion(**AUTO),
    Insertion(**AUTO),
    SymmetricRelevanceGain(**AUTO),
    PixelFlipping(**AUTO),
    Aopc(**AUTO),
    Aopc(**AUTO, order="difference"),
    Aopc(**AUTO, order="lerf", until=0.5),
)


def photographs(n: int = 3, rows: int = 32) -> Batch:
    """Images of 8 x 8 pixels, of which 2 are a step."""
    x, ids = cf.images(n), tuple("abcd"[:n])
    target = torch.tensor([0, 1, 2, 3])[:n]
    return Batch(Score(cf.small_net(), batch_size=rows), x, 0 * x, target, ids, "pixel", 4)


def measured(metric: Removal, batch: Batch, **maps: Tensor) -> dict[str, Measurement]:
    given = {name: Attribution(phi, SPEC) for name, phi in maps.items()}
    return metric.measure(batch, given, metric.observe(batch))


def rows(metric: Removal, batch: Batch, **maps: Tensor) -> int:
    before = batch.score.cost.snapshot()
    measured(metric, batch, **maps)
    return batch.score.cost.since(before).forward


def followed(*curves: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Areas and estimated errors by step="auto", and the inner points evaluated."""
    seen: list[int] = []

    def evaluate(chosen: list[int]) -> list[float]:
        seen.extend(chosen)
        return [float(curves[k // 27][k % 27 + 1]) for k in chosen]

    sets = np.arange(27 * len(curves)).reshape(-1, 27)
    ends = (float(curves[0][0]), float(curves[0][-1]))
    y, errors = placement.follow(evaluate, sets, ends, LATTICE, 28 * placement.TOLERANCE)
    return np.trapezoid(y, axis=1) / 28, errors / 28, seen


class TestEqualSets:
    def test_against_all_pairs(self):
        g = torch.Generator().manual_seed(3)
        ranks = torch.stack([torch.randperm(6, generator=g) for _ in range(40)])
        cuts = [1, 2, 4, 5]
        first, places = perturb.distinct_sets(ranks, cuts)
        sets = [frozenset((r < c).nonzero()[:, 0].tolist()) for r in ranks for c in cuts]
        assert len(first) == len(set(sets)) < len(sets)
        assert first.tolist() == sorted(first.tolist())
        assert [sets[first[p]] for p in places.flatten()] == sets
        assert first.tolist() == [sets.index(sets[k]) for k in first]

    def test_methods_that_rank_alike_cost_one(self):
        b, phi = photographs(), cf.images(3, seed=9)
        metric = SymmetricRelevanceGain(step=4, occluder="zero", scalar="probability")
        one = rows(metric, b, a=phi)
        assert rows(metric, b, a=phi, b=phi * 2, c=phi.exp() * 0 + phi) == one
        both = measured(metric, b, a=phi, b=phi * 2)
        torch.testing.assert_close(both["a"].value, both["b"].value, rtol=0, atol=0)

    def test_orders_of_ties_share_what_is_above_and_below_the_ties(self):
        # Ranks 0..31 are apart, and half of the 64 pixels are tied: of 15 cuts at 4, 8, ..., 60,
        # those at 4 .. 32 are the same in both orders, and 7 are not.
        b = photographs(1)
        phi = torch.arange(64.0, dtype=torch.float64).sub(31).clamp(min=0).view(1, 1, 8, 8)
        metric = Deletion(step=4, occluder="zero", scalar="probability")
        assert rows(metric, b, a=phi.expand_as(b.x)) == 2 + 15 + 7
        # By steps of 32 the cut lies between the tied and the others: no order of these matters.
        assert rows(replace(metric, step=32), b, a=phi.expand_as(b.x)) == 2 + 1

    def test_values_are_those_of_each_map_alone(self):
        b = photographs()
        maps = {str(k): (cf.images(3, seed=9) * k).round() for k in (1, 2, 3, 40)}
        metric = SymmetricRelevanceGain(step=3, occluder="zero", scalar="probability")
        together = measured(metric, b, **maps)
        for name, phi in maps.items():
            alone = measured(metric, b, m=phi)["m"]
            torch.testing.assert_close(together[name].value, alone.value, **SAME)
            torch.testing.assert_close(together[name].std_error, alone.std_error, **SAME)

    def test_a_forecast_counts_every_set(self):
        b, phi = photographs(1), cf.images(1, seed=9)
        dry = replace(b, score=Score(StandIn(4, "").double()))
        metric = Deletion(step=4, occluder="zero", scalar="probability")
        assert rows(metric, dry, a=phi, b=phi) == 2 + 2 * 15 > rows(metric, b, a=phi, b=phi)
        # 31 inner points of 2 pixels each: the most that step="auto" may take.
        assert rows(replace(metric, step="auto"), dry, a=phi, b=phi) == 2 + 2 * 31
        assert rows(replace(metric, step="auto"), b, a=phi, b=phi) <= 2 + 31


class TestKnownCurves:
    def test_a_line_has_no_error_and_takes_every_fourth_point(self):
        found, errors, seen = followed(1 - LATTICE / 28)
        assert found == pytest.approx([0.5], abs=1e-15)
        assert errors[0] < 1e-15
        assert [k + 1 for k in seen] == [4, 8, 12, 16, 20, 24]

    def test_a_bend_on_a_first_point_is_exact(self):
        y = np.maximum(0, 1 - LATTICE / 8)
        found, errors, seen = followed(y)
        assert found == pytest.approx([np.trapezoid(y) / 28], abs=1e-15)
        assert errors[0] <= placement.TOLERANCE
        assert len(seen) <= 14

    @pytest.mark.parametrize("at", range(1, 29))
    def test_a_cliff_is_found(self, at):
        found, _, seen = followed((at > LATTICE).astype(float))
        assert found == pytest.approx([(at - 0.5) / 28], abs=1e-15)
        assert len(seen) <= 18

    def test_a_peak_between_points_on_a_line_is_not_seen(self):
        y = np.zeros(29)
        y[14] = 1
        found, errors, seen = followed(y)
        assert found == errors == 0
        assert len(seen) == 6

    def test_small_curves_are_evaluated_whole(self):
        assert placement.first_points(8).all()
        assert not placement.first_points(9).all()

    def test_noise_takes_every_point(self):
        y = np.random.default_rng(0).uniform(size=29)
        found, errors, seen = followed(y)
        assert found == pytest.approx([np.trapezoid(y) / 28], abs=1e-15)
        assert errors == 0
        assert len(seen) == 27

    def test_outputs_that_are_no_numbers_end_it(self):
        found, _, seen = followed(np.where(LATTICE == 8, math.nan, 1.0))
        assert math.isnan(found[0])
        assert len(seen) == 6


def smooth(g: np.random.Generator) -> np.ndarray:
    t, waves = LATTICE / 28, range(1, 5)
    y = 1 / (1 + np.exp(8 * (t - g.uniform())))
    y += sum(0.2 / k * g.standard_normal() * np.sin(np.pi * k * t + g.uniform()) for k in waves)
    return np.clip(y, 0, 1)


def stairs(g: np.random.Generator) -> np.ndarray:
    count = g.integers(1, 5)
    at = np.sort(g.integers(1, 29, count))
    return g.uniform(size=count + 1)[np.searchsorted(at, LATTICE, side="right")]


def walk(g: np.random.Generator) -> np.ndarray:
    return np.clip(0.5 + np.cumsum(g.standard_normal(29)) * g.choice([0.01, 0.03]), 0, 1)


@pytest.mark.parametrize(
    ("make", "largest", "share", "points"),
    # Largest error, share under the tolerance, and mean number of inner points, as observed.  The
    # largest of stairs are two steps between the same two first points, one up and one down.
    [(smooth, 0.0018, 1.0, 21), (stairs, 0.03, 0.98, 20), (walk, 0.004, 0.9, 19)],
)
def test_200_random_curves(make, largest, share, points):
    curves = [make(np.random.default_rng(seed)) for seed in range(200)]
    found = [followed(y) for y in curves]
    apart = np.abs([f[0][0] - np.trapezoid(y) / 28 for f, y in zip(found, curves, strict=True)])
    assert apart.max() < largest
    assert (apart < placement.TOLERANCE).mean() >= share
    assert np.mean([len(seen) for *_, seen in found]) < points
    assert max(errors[0] for _, errors, _ in found) <= placement.TOLERANCE


class TestMetrics:
    @pytest.mark.parametrize("metric", METRICS, ids=lambda m: f"{m.entry_name}-{m.title[:22]}")
    def test_near_the_full_curve(self, metric):
        b, phi = photographs(), cf.images(3, seed=9)
        auto = measured(metric, b, m=phi)["m"]
        exact = measured(replace(metric, step=1 / 28), b, m=phi)["m"]
        assert auto.std_error is not None
        assert exact.std_error is not None
        assert (auto.std_error > 0).any()
        # A value takes one or two curves, and the mean of half of the points weighs them double.
        curves = 2 if metric.entry_name in ("srg", "abpc") else 1
        most = placement.TOLERANCE * (curves if getattr(metric, "until", 1) == 1 else 2)
        assert ((auto.value - exact.value).abs() <= most).all()
        assert (auto.std_error <= most).all()
        for name, (x, y) in auto.curves.items():
            assert list(x) == list(exact.curves[name][0])
            assert y.shape == exact.curves[name][1].shape

    def test_the_value_is_that_of_the_curve(self):
        b, phi = photographs(), cf.images(3, seed=9)
        found = measured(Deletion(**AUTO), b, m=phi)["m"]
        x, y = found.curves["deletion"]
        area = torch.trapezoid(y, torch.tensor(x, dtype=y.dtype), dim=-1)
        torch.testing.assert_close(area, found.value, rtol=0, atol=1e-14)

    def test_costs_less_and_is_counted(self):
        b, phi = photographs(1), cf.images(1, seed=9)
        auto, exact = (rows(replace(Deletion(**AUTO), step=s), b, m=phi) for s in ("auto", 1 / 28))
        assert 2 + 7 <= auto < exact == 2 + 31

    @pytest.mark.parametrize("metric", METRICS[:3], ids=lambda m: m.name)
    def test_no_other_sample_method_or_size_of_a_call_matters(self, metric):
        maps = {str(k): cf.images(3, seed=k) for k in (9, 10)}
        maps["ties"] = (cf.images(3, seed=9) * 2).round()
        whole = measured(metric, photographs(), **maps)
        for name, phi in maps.items():
            alone = measured(metric, photographs(rows=1), m=phi)["m"]
            torch.testing.assert_close(alone.value, whole[name].value, **SAME)
            torch.testing.assert_close(alone.std_error, whole[name].std_error, **SAME)
            one = measured(metric, photographs().select(slice(1, 2)), m=phi[1:2])["m"]
            torch.testing.assert_close(one.value, whole[name].value[1:2], **SAME)

    def test_one_order_of_ties_has_the_error_of_the_placement(self):
        b, phi = photographs(), cf.images(3, seed=9)
        one = measured(replace(Deletion(**AUTO), tie_orders=1), b, m=phi)["m"]
        two = measured(Deletion(**AUTO), b, m=phi)["m"]
        torch.testing.assert_close(one.std_error, two.std_error, rtol=0, atol=0)

    def test_the_error_joins_that_of_the_orders_of_ties(self):
        b, phi = photographs(), (cf.images(3, seed=9) * 2).round()
        metric, maps = Deletion(**AUTO), {"m": Attribution(phi, SPEC)}
        curves = metric.observe(b)
        found = metric.measure(b, maps, curves)["m"]
        areas = torch.trapezoid(curves.known["mif", "m"], torch.tensor(curves.x).double(), dim=-1)
        placed = curves.errors["mif", "m"].mean(dim=0) / 32
        ties = (areas[0] - areas[1]).abs() / 2
        assert (placed > 0).any()
        assert (ties > 0).any()
        torch.testing.assert_close(found.std_error, torch.hypot(ties, placed), **SAME)

    def test_logits_count_in_units_of_the_whole_change(self):
        phi = torch.rand(1, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x = torch.linspace(0.1, 2, 60, dtype=torch.float64)[None]
        f = lambda z: z.square().sum(dim=1) + 5 * torch.tanh(z.sum(dim=1) - 20)  # noqa: E731
        found = [Deletion(step="auto")(lambda z, c=c: c * f(z), x, phi) for c in (1.0, 64.0)]
        assert isinstance(found[0], Measurement)
        torch.testing.assert_close(64 * found[0].value, found[1].value, **SAME)
        torch.testing.assert_close(64 * found[0].std_error, found[1].std_error, **SAME)
        exact = Deletion(step=1 / 28)(f, x, phi)
        size = abs(float(f(x) - f(0 * x)))
        assert abs(float(found[0]) - float(exact)) <= placement.TOLERANCE * size

    def test_flat_maps_are_undefined_and_cost_nothing(self):
        b = photographs()
        assert rows(Deletion(**AUTO), b, m=torch.ones_like(b.x)) == 6
        found = measured(Deletion(**AUTO), b, m=torch.ones_like(b.x))["m"]
        assert found.value.isnan().all()

    @pytest.mark.parametrize("metric", METRICS[:3], ids=lambda m: m.name)
    def test_a_looser_error_takes_fewer_points_within_it(self, metric):
        b, phi = photographs(), cf.images(3, seed=9)
        taken = []
        for error in (1e-9, 0.0005, placement.TOLERANCE, 1.0):
            own = replace(metric, error=error)
            taken.append(rows(own, photographs(), m=phi))
            stated = measured(own, b, m=phi)["m"].std_error
            assert stated is not None
            assert (stated <= error * (2 if metric.name == "srg" else 1)).all()
        assert taken[2] == rows(metric, photographs(), m=phi), "the default"
        assert taken == sorted(taken, reverse=True)
        every, *_, fewest = taken
        assert every == rows(replace(metric, step=1 / 28), photographs(), m=phi)
        assert fewest < every / 2

    def test_the_error_is_looked_at_with_auto_alone(self):
        loose = replace(Deletion(**AUTO), error=0.1)
        assert loose.sharing_key != Deletion(**AUTO).sharing_key
        assert loose.sharing_key == replace(SymmetricRelevanceGain(**AUTO), error=0.1).sharing_key
        assert Deletion(error=0.1).sharing_key == Deletion().sharing_key
        with pytest.raises(InputError, match="error"):
            Deletion(error=0.0)

    def test_the_definition_says_so(self):
        loose = replace(Deletion(**AUTO), error=0.1)
        assert loose.title == "Deletion AUC (zero occluder, step auto, error < 0.1)"
        assert Deletion(**AUTO).title == "Deletion AUC (zero occluder, step auto, error < 0.002)"
        assert "error < 0.002 of f(x) - f(empty)" in Insertion(step="auto", scalar="logit").title
        assert (
            Deletion(**AUTO).sharing_key != Deletion(step=1 / 28).for_shape((3, 8, 8)).sharing_key
        )
        assert Deletion(occluder="zero").title == "Deletion AUC (zero occluder)"
        with pytest.raises(InputError, match="step"):
            Deletion(step="few")
