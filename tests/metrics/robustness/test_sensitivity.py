"""Sensitivity of maps to small changes of the input: closed forms, nesting, and Captum."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max
from torch import Tensor

from igbench.api import evaluate
from igbench.core.batch import Attribution, Batch, Measurement, Method, Metric
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.integrate import input_gradient
from igbench.methods.controls import Random
from igbench.metrics.robustness.budget import MaxSensitivityN
from igbench.metrics.robustness.neighbourhood import Neighbourhood, copies
from igbench.metrics.robustness.sensitivity import AvgSensitivity, LocalLipschitz, MaxSensitivity
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf

LOCAL = MethodSpec("local", "", "local", signed=True)
A = (1.0, 2.0, 3.0)
SQRT14 = math.sqrt(14)
R = 0.02
# Differences of maps of size 1 by 1e-2: rounding of 1e-16 becomes 1e-14 relative.
EXACT = {"rel": 1e-12}


@dataclass(frozen=True)
class Matrix:
    """phi(x) = A x with A = diag(1, 2, 3), the gradient of x'Ax / 2; keeps what it was asked."""

    asked: list[Batch]
    scale: float = 1.0
    spec: MethodSpec = LOCAL

    def __call__(self, batch: Batch) -> Tensor:
        self.asked.append(batch)
        return self.scale * batch.x * torch.tensor(A, dtype=batch.x.dtype)


@dataclass(frozen=True)
class Gradient:
    """Gradient of the score."""

    spec: MethodSpec = LOCAL

    def __call__(self, batch: Batch) -> Tensor:
        return input_gradient(batch.score, batch.x, batch.target)


def one(seed: int = 0, sample_id: str = "a") -> Batch:
    x = cf.row(1, 1, 1)
    score = Score(cf.quadratic(torch.diag(torch.tensor(A))))
    return Batch(score, x, 0 * x, None, (sample_id,), "element", seed)


def photographs(n: int = 2) -> Batch:
    x = cf.images(n)
    return Batch(
        Score(cf.small_net()), x, 0 * x, torch.tensor([0, 2])[:n], ("a", "b")[:n], "pixel", 4
    )


def scored(metric: Metric, batch: Batch, method: Method, name: str = "m") -> Measurement:
    maps = {name: Attribution(method(batch), method.spec, explain=method)}
    return metric.measure(batch, maps, metric.observe(batch))[name]


def number(metric: Metric, method: Method | None = None, batch: Batch | None = None) -> float:
    return float(scored(metric, batch or one(), method or Matrix([])).value)


class TestLinearMap:
    """The map phi = A x, A = diag(1, 2, 3), at 1: suprema of |A delta| / |phi| over a ball."""

    def test_corners_reach_the_supremum_of_the_cube(self):
        # Every corner has the same |A delta| = r sqrt(14), and |phi| = sqrt(14).
        found = number(MaxSensitivity(radius=R, draws=3, noise="extremes"))
        assert found == pytest.approx(R, **EXACT)

    def test_uniform_draws_bound_the_supremum_from_below(self):
        # Within 10 % of the supremum if one draw has all |u_i| > .9, chance 1e-3: with 20,000
        # draws that fails with exp(-20).
        found = number(MaxSensitivity(radius=R, draws=20_000))
        assert 0.9 * R < found <= R * (1 + 1e-12)

    def test_euclidean_ball(self):
        # Supremum r * 3 / sqrt(14).  A ball's two caps of height .05 along the third axis have
        # 3.7e-3 of its volume, and there |A delta| > .95 of the supremum.
        supremum = R * 3 / SQRT14
        assert supremum == pytest.approx(0.016036, abs=5e-7)
        found = number(MaxSensitivity(radius=R, draws=20_000, ball="l2"))
        assert 0.95 * supremum < found <= supremum * (1 + 1e-12)
        # On the surface the caps have 5 % of the area: 200 draws fail with exp(-10).
        surface = number(MaxSensitivity(radius=R, draws=200, ball="l2", noise="extremes"))
        assert 0.95 * supremum < surface <= supremum * (1 + 1e-12)

    def test_average(self):
        found = scored(AvgSensitivity(radius=R, draws=4000), one(), Matrix([]))
        # Mean of sqrt(u1^2 + 4 u2^2 + 9 u3^2) over the cube, by the midpoint rule.
        grid = (np.arange(120) + 0.5) / 120
        u, v, w = np.meshgrid(grid, grid, grid)
        mean = R / SQRT14 * float(np.sqrt(u**2 + 4 * v**2 + 9 * w**2).mean())
        assert mean < R / math.sqrt(3)  # the root mean square, .011547
        assert found.std_error is not None
        error = float(found.std_error)
        assert 0 < error < 1e-4
        assert abs(float(found.value) - mean) < 5 * error + 1e-6  # 1 in 2 million; the grid's error

    def test_root_mean_square(self):
        b = one()
        near = Neighbourhood(radius=R, draws=20_000)
        change = near.observe(b).changes("m", Attribution(Matrix([])(b), LOCAL, Matrix([]))) ** 2
        # (r^2 / 3) * 14 / 14; the sd of the square by the draws themselves.
        error = float(change.std()) / 14 / math.sqrt(20_000)
        assert abs(float(change.mean()) / 14 - R**2 / 3) < 5 * error

    @pytest.mark.parametrize(("n", "expected"), [(1, 0.016036), (2, 0.019272), (3, 0.02)])
    def test_budgets(self, n, expected):
        # At corners the supremum over n features needs the n largest of A: a random set of 1 or 2
        # of 3 has them with chance 1/3, so 60 draws miss with (2/3)^60 = 3e-11.
        found = number(MaxSensitivityN(n=n, radius=R, draws=60, noise="extremes"))
        assert found == pytest.approx(R * math.sqrt(sum((9, 4, 1)[:n])) / SQRT14, **EXACT)
        assert found == pytest.approx(expected, abs=5e-7)
        uniform = number(MaxSensitivityN(n=n, radius=R, draws=60))
        assert 0.5 * expected < uniform < expected

    def test_ablation(self):
        # At the baseline 0 of the features: A x loses the entries of the set.
        for n, squares in [(1, 9), (2, 13), (3, 14)]:
            found = number(MaxSensitivityN(n=n, mode="ablate", draws=60))
            assert found == pytest.approx(math.sqrt(squares / 14), **EXACT)

    def test_local_lipschitz(self):
        # |A delta| / |delta| at corners is sqrt(14 / 3); at most the largest entry of A.
        corner = number(LocalLipschitz(draws=2, noise="extremes"))
        assert corner == pytest.approx(math.sqrt(14 / 3), **EXACT)
        found = number(LocalLipschitz(draws=2000, ball="l2"))
        assert 0.95 * 3 < found <= 3 * (1 + 1e-12)
        part = number(LocalLipschitz(draws=2, noise="extremes", relative=True))
        assert part == pytest.approx(1 / math.sqrt(3), **EXACT)


class TestNoise:
    @pytest.mark.parametrize("noise", ["uniform", "extremes"])
    @pytest.mark.parametrize("ball", ["linf", "l2"])
    def test_stays_in_the_ball(self, ball, noise):
        b = photographs()
        deltas = Neighbourhood(radius=0.3, draws=7, ball=ball, noise=noise).deltas(b, 1)
        assert deltas.shape == (7, 3, 8, 8)
        flat = deltas.flatten(1)
        size = flat.abs().amax(dim=1) if ball == "linf" else flat.norm(dim=1)
        assert float(size.max()) <= 0.3 * (1 + 1e-12)
        assert float(size.min()) > 0.28  # of 192 numbers the largest is near the radius
        if noise == "extremes":
            radii = flat.abs() if ball == "linf" else size
            torch.testing.assert_close(radii, torch.full_like(radii, 0.3))
        assert abs(float(flat.mean())) < 5 * 0.3 / math.sqrt(flat.numel())

    @pytest.mark.parametrize("d", [1, 3])
    def test_fills_the_euclidean_ball_evenly(self, d):
        # (|delta| / r)^d is uniform in [0, 1]: mean 1/2, variance 1/12; 5 standard errors.
        x = torch.ones(1, d, dtype=torch.float64)
        b = Batch(Score(cf.linear(*[1] * d)), x, 0 * x, None, ("a",), "element", 0)
        share = (Neighbourhood(0.3, 2000, "l2").deltas(b, 0).norm(dim=1) / 0.3) ** d
        for moment, mean, variance in ((1, 1 / 2, 1 / 12), (2, 1 / 3, 4 / 45)):
            off = float((share**moment).mean()) - mean
            assert abs(off) < 5 * math.sqrt(variance / 2000)

    def test_mean_and_largest_of_the_same_changes(self):
        b, method = photographs(), Gradient()
        near = Neighbourhood(radius=0.3, draws=7)
        maps = method(b)
        changes = near.observe(b).changes("m", Attribution(maps, LOCAL, method)).numpy()
        relative = changes / maps.flatten(1).norm(dim=1).numpy()[:, None]
        found = scored(AvgSensitivity(radius=0.3, draws=7), b, method)
        np.testing.assert_allclose(found.value, relative.mean(axis=1), rtol=1e-12)
        assert found.std_error is not None
        error = relative.std(axis=1, ddof=1) / math.sqrt(7)
        np.testing.assert_allclose(found.std_error, error, rtol=1e-10)
        largest = scored(MaxSensitivity(radius=0.3, draws=7), b, method).value
        np.testing.assert_allclose(largest, relative.max(axis=1), rtol=1e-12)
        steepest = scored(LocalLipschitz(radius=0.3, draws=7), b, method).value
        distances = np.stack([near.deltas(b, i).flatten(1).norm(dim=1) for i in range(2)])
        np.testing.assert_allclose(steepest, (changes / distances).max(axis=1), rtol=1e-10)

    def test_one_draw_has_no_standard_error(self):
        assert scored(AvgSensitivity(draws=1), one(), Matrix([])).std_error is None
        assert scored(AvgSensitivity(draws=2), one(), Matrix([])).std_error is not None

    def test_more_draws_begin_with_the_fewer(self):
        b = photographs()
        few, many = (Neighbourhood(draws=d).deltas(b, 0) for d in (3, 9))
        assert torch.equal(many[:3], few)
        values = [number(MaxSensitivity(draws=d), Gradient(), photographs(1)) for d in (1, 9, 60)]
        assert values == sorted(values)
        assert values[0] < values[-1]

    def test_is_keyed_by_sample_and_seed_and_not_by_place_or_method(self):
        b = photographs()
        near = Neighbourhood(draws=2)
        swapped = replace(b, x=b.x.flip(0), sample_ids=("b", "a"))
        assert torch.equal(near.deltas(b, 0), near.deltas(swapped, 1))
        assert not torch.equal(near.deltas(b, 0), near.deltas(b, 1))
        assert not torch.equal(near.deltas(b, 0), near.deltas(replace(b, seed=9), 0))


class TestExplaining:
    def test_copies_keep_target_baseline_and_identifier(self):
        b = photographs()
        inputs = b.x[1] + torch.zeros(4, 1, 1, 1, dtype=b.x.dtype)
        part = copies(b, 1, inputs)
        assert part.sample_ids == ("b",) * 4
        assert part.target is not None
        assert part.target.tolist() == [2] * 4
        assert torch.equal(part.baseline, b.baseline[1:2].expand(4, 3, 8, 8))
        assert part.seed == b.seed

    def test_draws_are_explained_together(self):
        asked: list[Batch] = []
        scored(MaxSensitivity(draws=6), one(), Matrix(asked))
        assert [len(b) for b in asked] == [1, 6]

    def test_one_set_of_maps_serves_three_metrics(self):
        b, asked = one(), []
        method = Matrix(asked)
        maps = {"m": Attribution(method(b), LOCAL, explain=method)}
        family = [MaxSensitivity(), AvgSensitivity(), LocalLipschitz()]
        assert len({m.sharing_key for m in family}) == 1
        observation = family[0].observe(b)
        shared = [m.measure(b, maps, observation)["m"].value for m in family]
        assert len(asked) == 2
        for metric, value in zip(family, shared, strict=True):
            assert torch.equal(scored(metric, b, Matrix([])).value, value)

    def test_an_evaluation_hands_the_method_on(self):
        x = cf.images(3)
        found = evaluate(
            cf.small_net(),
            x,
            methods={"gradient": Gradient()},
            metrics={"max_sensitivity": MaxSensitivity(draws=3), "budget": MaxSensitivityN(n=1)},
        ).frame
        scores = found[found["metric"].isin(["max_sensitivity", "budget"])]
        assert scores["status"].tolist() == ["ok"] * 6
        assert float(scores["value"].min()) > 0

    def test_a_map_that_ignores_the_input_is_perfectly_stable(self):
        # Random numbers keyed by the sample are the same for every copy.
        assert number(MaxSensitivity(), Random(), photographs(1)) == 0
        assert number(MaxSensitivityN(n=5), Random(), photographs(1)) == 0

    @pytest.mark.parametrize(
        "metric", [MaxSensitivity(), AvgSensitivity(), MaxSensitivityN(n=1), LocalLipschitz()]
    )
    def test_a_map_alone_is_refused(self, metric):
        with pytest.raises(InputError, match="needs the method itself"):
            metric(cf.linear(*A), cf.row(1, 1, 1), cf.row(1, 1, 1))

    @pytest.mark.parametrize(
        "metric", [MaxSensitivity(), AvgSensitivity(), MaxSensitivityN(n=1), LocalLipschitz()]
    )
    def test_a_map_of_zeros_has_no_value_and_costs_nothing(self, metric):
        asked: list[Batch] = []
        found = scored(metric, one(), Matrix(asked, scale=0.0))
        assert found.value.isnan().all()
        assert found.reason
        assert len(asked) == 1

    @pytest.mark.parametrize(
        "metric", [MaxSensitivity(), AvgSensitivity(), MaxSensitivityN(n=(1, 2))]
    )
    def test_the_scale_of_the_map_does_not_matter(self, metric):
        a, b = (number(metric, Matrix([], scale)) for scale in (1.0, -250.0))
        assert a == pytest.approx(b, **EXACT)


class TestBudgets:
    def test_never_falls_with_n(self):
        b = photographs()
        metric = MaxSensitivityN(n=(1, 2, 5, 0.3, 0.9, 64), draws=3, radius=0.3)
        found = scored(metric, b, Gradient())
        xs, curve = found.curves["max_sensitivity_n"]
        assert xs == [n / 64 for n in (1, 2, 5, 19, 58, 64)]
        assert bool((curve.diff(dim=1) >= 0).all())
        assert float(curve[:, 0].max()) < float(curve[:, -1].min())
        torch.testing.assert_close(found.value, curve.mean(dim=1), rtol=0, atol=1e-15)

    def test_sets_are_keyed_and_features_go_to_the_own_baseline(self):
        x = torch.ones(2, 12, dtype=torch.float64)
        base = torch.stack([torch.arange(12.0), -torch.arange(12.0)]).double() / 30
        b = Batch(Score(cf.linear(*[1] * 12)), x, base, None, ("a", "b"), "element", 0)
        asked: list[Tensor] = []

        @dataclass(frozen=True)
        class Spy:
            spec: MethodSpec = LOCAL

            def __call__(self, batch: Batch) -> Tensor:
                asked.append(batch.x)
                return batch.x

        metric = MaxSensitivityN(n=4, mode="ablate", draws=3)
        scored(metric, b, Spy())
        scored(metric, replace(b, seed=1), Spy())
        # The first map, then the changed inputs of either sample; all of this for two seeds.
        sets = [asked[k] != 1 for k in (1, 2, 4, 5)]
        for i, k in enumerate((1, 2)):
            own = base[i].expand(3, 12)
            assert torch.equal(asked[k], torch.where(asked[k] == 1, asked[k], own))
        # Of 495 sets of 4 of 12, three are the same by chance with 1e-8.
        assert not torch.equal(sets[0], sets[1])
        assert not torch.equal(sets[0], sets[2])

    def test_a_smaller_set_counts_for_a_larger_budget(self):
        @dataclass(frozen=True)
        class Cancels:
            spec: MethodSpec = LOCAL

            def __call__(self, batch: Batch) -> Tensor:
                return 2 + batch.x[:, :1] - batch.x[:, 1:] + 0 * batch.x

        x = cf.row(1, 1)
        b = Batch(Score(cf.linear(1, 1)), x, 0 * x, None, ("a",), "element", 0)
        # The map (2, 2) moves by (1, 1) when either goes, and not at all when both go.
        for n, expected in [((1, 2), [0.5, 0.5]), ((2,), [0.0])]:
            metric = MaxSensitivityN(n=n, mode="ablate", draws=4)
            _, curve = scored(metric, b, Cancels()).curves["max_sensitivity_n"]
            assert curve[0].tolist() == pytest.approx(expected, rel=1e-12)

    def test_all_features_are_max_sensitivity_on_the_same_noise(self):
        b = photographs()
        for noise in ("uniform", "extremes"):
            whole = scored(MaxSensitivity(draws=4, noise=noise), b, Gradient()).value
            budget = MaxSensitivityN(n=64, draws=4, noise=noise)
            torch.testing.assert_close(
                scored(budget, b, Gradient()).value, whole, rtol=1e-12, atol=0
            )

    def test_sets_hold_n_features_and_are_nested(self):
        b, asked = photographs(1), []

        @dataclass(frozen=True)
        class Spy:
            spec: MethodSpec = LOCAL

            def __call__(self, batch: Batch) -> Tensor:
                asked.append(batch.x)
                return batch.x

        scored(MaxSensitivityN(n=(3, 10), draws=5), b, Spy())
        small, large = ((x != b.x[0]).any(dim=1).flatten(1) for x in asked[1:])
        assert small.sum(dim=1).tolist() == [3] * 5
        assert large.sum(dim=1).tolist() == [10] * 5
        assert bool((large | ~small).all())


def test_agrees_with_captum_on_the_same_noise():
    b, metric = photographs(), MaxSensitivity(draws=5, radius=0.1)

    def noisy(x):
        x = x[0] if isinstance(x, tuple) else x
        # Captum repeats every sample five times, one sample after the other.
        return x + torch.cat([metric.deltas(b, i) for i in range(len(b))])

    def explain(x, target):
        x = x[0] if isinstance(x, tuple) else x
        with torch.enable_grad():
            return (input_gradient(Score(cf.small_net()), x, target),)

    oracle = sensitivity_max(explain, b.x, perturb_func=noisy, n_perturb_samples=5, target=b.target)
    found = scored(metric, b, Gradient()).value
    torch.testing.assert_close(found, oracle.double(), rtol=1e-9, atol=0)


def test_bad_arguments():
    with pytest.raises(InputError, match="radius"):
        MaxSensitivity(radius=0)
    with pytest.raises(InputError, match="draws"):
        AvgSensitivity(draws=0)
    with pytest.raises(InputError, match="unknown ball"):
        LocalLipschitz(ball="l1")
    with pytest.raises(InputError, match="unknown noise"):
        MaxSensitivityN(noise="corner")
    with pytest.raises(InputError, match="unknown mode"):
        MaxSensitivityN(mode="remove")
    with pytest.raises(InputError, match="does not fit"):
        MaxSensitivityN(n=0)
    with pytest.raises(InputError, match="n asks for 4 features, the samples have 3"):
        number(MaxSensitivityN(n=4))
