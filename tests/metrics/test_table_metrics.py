"""Metrics of tables: noise on whole columns, known coefficients, relative stability."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from torch import nn

from igbench import evaluate, methods, metrics
from igbench.core.features import resolve
from igbench.core.model import ArrayFunction
from igbench.data.tables import TableEncoder, table_data
from igbench.errors import InputError, NotDefinedError
from igbench.metrics.column_noise import categories, noisy
from tests.helpers.closed_form import linear, product, row

UNIT = resolve(torch.tensor([0, 1, 1, 1, 2]), (5,))
X = torch.tensor([0.5, 0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
GAP = math.sqrt(2 / math.pi)


def drawn(scale: float, draws: int, x: torch.Tensor = X, seed: int = 0) -> torch.Tensor:
    return noisy(x, UNIT, scale, draws, torch.Generator().manual_seed(seed))


class TestNoise:
    def test_a_category_becomes_another_one_as_a_whole(self):
        draws, scale = 20_000, 0.3
        found = drawn(scale, draws)[:, 1:4]
        assert bool(((found == 0) | (found == 1)).all())
        assert bool((found.sum(dim=1) == 1).all())
        p = scale * GAP
        # Shares of draws, within 5 standard errors.
        for share, expected in zip(found.mean(dim=0).tolist(), [p / 2, 1 - p, p / 2], strict=True):
            assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / draws)

    def test_numbers_move_by_the_scale(self):
        moved = drawn(0.3, 20_000)[:, [0, 4]] - X[[0, 4]]
        assert float(moved.mean()) == pytest.approx(0, abs=5 * 0.3 / math.sqrt(40_000))
        assert float(moved.std()) == pytest.approx(0.3, abs=5 * 0.3 / math.sqrt(80_000))

    def test_numbers_do_not_depend_on_the_categories_beside_them(self):
        other = X.clone()
        other[1:4] = torch.tensor([1.0, 0.0, 0.0])
        assert torch.equal(drawn(0.3, 5)[:, [0, 4]], drawn(0.3, 5, other)[:, [0, 4]])

    def test_marks_stay_as_they_are(self):
        still = torch.tensor([False, False, False, False, True])
        found = noisy(X, UNIT, 0.3, 50, torch.Generator().manual_seed(0), still)
        assert bool((found[:, 4] == X[4]).all())
        assert bool((found[:, 0] != X[0]).all())

    def test_what_is_no_category(self):
        half = torch.tensor([0.5, 0.5, 0.5, 0.0, 1.0])
        assert categories(half, UNIT) == []
        assert categories(X, resolve("element", (5,))) == []
        assert [g for g, _ in categories(X, UNIT)] == [1]


class TestPredictionGap:
    def test_the_noise_belongs_to_the_sample_and_not_to_its_row(self):
        x = torch.cat([row(1, 1, 1), row(2, 0, 1), row(1, 1, 1)])
        phi = torch.cat([row(3, 2, 1)] * 3)
        found = metrics.pgi(linear(3, 2, 1), x, phi, sample_ids=["a", "b", "c"]).value
        again = metrics.pgi(linear(3, 2, 1), x[1:], phi[1:], sample_ids=["b", "a"]).value
        assert float(again[1]) == float(found[0]) != float(found[2])

    def test_important_and_unimportant_make_up_the_whole_of_a_linear_model(self):
        f, x, w = linear(3, -2, 1), row(1, 1, 1), row(3, -2, 1)
        every = metrics.pgi(f, x, w, fractions=(3,), draws=4000)
        assert abs(float(every) - 0.1 * GAP * math.sqrt(14)) < 5 * float(every.std_error)
        assert metrics.pgu(f, x, w, fractions=(3,)).tolist() == [0]
        both = metrics.pgi(f, x, w, fractions=(1, 3), draws=4000)
        xs, ys = both.curves["pgi"]
        assert xs == [1 / 3, 1]
        assert float(ys[0, 1]) == pytest.approx(float(every))
        assert float(both) == pytest.approx(float(ys.mean()))

    def test_the_share_is_rounded_up(self):
        f, x, w = linear(4, 3, 2, 1, 0), row(*[1] * 5), row(4, 3, 2, 1, 0)
        two, quarter = metrics.pgi(f, x, w, fractions=(2,)), metrics.pgi(f, x, w)
        assert float(two) == float(quarter)

    def test_the_smallest_magnitude_is_the_least_important_and_flat_maps_are_undefined(self):
        f, x = linear(0, 0, 5), row(1, 1, 1)
        assert metrics.pgu(f, x, row(1, 0.5, -2), fractions=(1,)).tolist() == [0]
        found = metrics.pgi(f, x, row(1, -1, 1))
        assert bool(found.isnan())
        assert found.reason == "the map is flat, so it ranks nothing"

    def test_tied_features_are_averaged(self):
        f, x = linear(5, 0), row(1, 1)
        found = metrics.pgi(f, x, row(1, 1 + 1e-9), fractions=(1,))
        assert found.tolist() == [0]
        tied = metrics.pgi(linear(5, 0, 0), row(1, 1, 1), row(1, 1, 0), fractions=(1,),
                           tie_orders=400, draws=400)  # fmt: skip
        assert abs(float(tied) - 0.25 * GAP) < 5 * float(tied.std_error)

    def test_a_table_moves_whole_columns(self):
        frame = pd.DataFrame({"z": [1.0, 2.0], "c": ["a", "b"]})
        encoder = TableEncoder.fit(frame, scale="none")

        class Whole(nn.Module):
            """1 where the category is a or b, and nothing in between: f only sees whole rows."""

            def forward(self, x):
                return torch.where((x[:, 1:].sum(dim=1) == 1), x[:, 1], math.nan)

        found = evaluate(
            Whole().eval(), table_data(encoder, frame, background=frame),
            methods={"given": methods.CallableMethod(lambda x, t: x * 0 + 1, "global")},
            metrics={"pgi": metrics.PredictionGapImportant(fractions=(1,), draws=4000)},
            baseline="feature_mode",
        )  # fmt: skip
        value = found.frame[found.frame.metric == "pgi"].value.iloc[1]
        # The column c counts 2 and z counts 1; it flips with probability 0.1 sqrt(2/pi).
        p = 0.1 * GAP
        assert abs(value - p) < 5 * math.sqrt(p * (1 - p) / 4000)


AGREEMENT = {
    "feature_agreement": 1.0,
    "rank_agreement": 0.0,
    "sign_agreement": 0.5,
    "signed_rank_agreement": 0.0,
}
W, PHI, ONES = (3.0, -2.0, 1.0, 0.5), row(2, 2.5, -1, 0.1), row(1, 1, 1, 1)


class TestCoefficients:
    @pytest.mark.parametrize("name", AGREEMENT)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_coefficients_are_found_or_given(self, name, dtype):
        metric = getattr(metrics, name)
        x, phi = ONES.to(dtype), PHI.to(dtype)
        assert metric(linear(*W), x, phi, fractions=(2,)).tolist() == [AGREEMENT[name]]
        given = metric(product, x, phi, fractions=(2,), coefficients=list(W))
        assert given.tolist() == [AGREEMENT[name]]

    def test_classes_have_coefficients_of_their_own(self):
        model = nn.Linear(4, 2).eval()
        with torch.no_grad():
            model.weight.copy_(torch.tensor([W, [0.5, 1.0, 2.0, 3.0]]))
        x, phi = torch.ones(2, 4), torch.tensor([W, W])
        target, chosen = torch.tensor([0, 1]), {"fractions": (1, 2)}
        own = metrics.rank_agreement(model, x, phi, target=target, **chosen)
        assert own.tolist() == [1, 0]
        given = metrics.rank_agreement(
            model, x, phi, target=target, coefficients=model.weight, **chosen
        )
        assert given.tolist() == [1, 0]

    def test_a_bent_model_has_no_coefficients(self):
        found = metrics.feature_agreement(product, row(1, 2, 3), row(1, 2, 3))
        assert bool(found.isnan())
        assert found.reason.startswith("the model is not linear between the baseline and")
        with pytest.raises(NotDefinedError, match="has no gradients, so its coefficients"):
            metrics.feature_agreement(ArrayFunction(lambda rows: rows.sum(axis=1)), ONES, PHI)
        flat = metrics.rank_correlation(linear(1, 1), row(1, 1), row(1, 2))
        assert bool(flat.isnan())
        assert flat.reason.endswith("or so are the coefficients")

    @pytest.mark.parametrize("bad", [[1.0], [[1.0, 2.0, 3.0, 4.0]] * 2, [math.nan] * 4, "w"])
    def test_coefficients_that_do_not_fit_are_refused(self, bad):
        with pytest.raises(InputError, match="coefficients"):
            metrics.feature_agreement(linear(*W), ONES, PHI, coefficients=bad)

    def test_equal_values_have_one_rank_and_pairs_agree_in_ties(self):
        f, x = linear(3, 3, 1), row(1, 1, 1)
        assert metrics.pairwise_rank_agreement(f, x, row(5, 5, 1)).tolist() == [1]
        assert metrics.pairwise_rank_agreement(f, x, row(5, 4, 1)).tolist() == [2 / 3]
        assert metrics.pairwise_rank_agreement(f, x, row(4, 5, 1)).tolist() == [2 / 3]
        # Dense ranks (3, 2, 1) and (2, 2, 1): covariance .5, variances 1 and 1/3.
        found = metrics.rank_correlation(f, x, row(5, 4, 1))
        assert float(found) == pytest.approx(0.5 / math.sqrt(1 / 3))

    def test_ties_are_averaged_over_all_orders(self):
        f, x = linear(3, 2, 2, 1), row(1, 1, 1, 1)
        # The map puts 2 first, then 1 and 3 tied; of the truth 2 and 3 are tied behind 1.
        phi = row(2, 3, 2, 0)
        # Top 2: chances (1/2, 1, 1/2) and (1, 1/2, 1/2); three places of which two are shared.
        assert metrics.feature_agreement(f, x, phi, fractions=(2,)).tolist() == [
            (1 / 2 + 1 / 2 + 1 / 4) / 2
        ]
        # Feature 3 has the place 1 or 2 in both: 1/4 for place 1; top 3 has both places.
        assert metrics.rank_agreement(f, x, phi, fractions=(2,)).tolist() == [1 / 4 / 2]
        assert metrics.rank_agreement(f, x, phi, fractions=(3,)).tolist() == [1 / 2 / 3]

    def test_pairs_are_counted_as_they_are(self):
        g = torch.Generator().manual_seed(0)
        for _ in range(20):
            w, phi = torch.randint(0, 4, (2, 9), generator=g).double()
            own = [
                (phi[i] - phi[j]).sign() == (w[i] - w[j]).sign() for i in range(9) for j in range(i)
            ]
            found = metrics.pairwise_rank_agreement(linear(*w), row(*[1] * 9), phi[None])
            assert found.tolist() == [sum(map(float, own)) / 36]

    def test_one_column_is_one_coefficient(self):
        frame = pd.DataFrame({"z": [1.0, 2.0], "c": ["a", "b"], "y": [0.0, 1.0]})
        encoder = TableEncoder.fit(frame, scale="none")
        model = nn.Linear(4, 1).eval()
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[2.0, -2.0, 2.0, 3.0]]))
        found = evaluate(
            model, table_data(encoder, frame, background=frame),
            methods={"ig": methods.IntegratedGradients(n_steps=2)},
            metrics={"agreement": metrics.RankAgreement(fractions=(3,))}, baseline="feature_mode",
        )  # fmt: skip
        # From z = 1, c = a, y = 0: contributions 2, 4 (of -(-2) + 2) and 3; IG has them.
        assert found.table().loc["ig", "agreement"] == 1


def explained(factor: float):
    return lambda x, target: factor * x


class TestRelativeStability:
    def test_the_norm_form_is_bounded_as_derived(self):
        # |w delta| / |w| over |delta| / sqrt 3 is at most 3 sqrt 3 / sqrt 14.
        w, x = row(3, -2, 1), row(1, 1, 1)
        found = metrics.ris(linear(3, -2, 1), x, w, explain=lambda x, t: w * x, draws=300)
        bound = 3 * math.sqrt(3) / math.sqrt(14)
        assert 0.95 * bound < float(found) <= bound
        assert float(metrics.ris(linear(3, -2, 1), x, w, explain=lambda x, t: w + 0 * x)) == 0

    def test_zeros_are_undefined_and_not_dropped(self):
        x, f = row(1, 0), linear(1, 1)
        found = metrics.ris(f, x, x, explain=explained(1), form="elementwise")
        assert bool(found.isnan())
        assert "what is divided by is zero" in found.reason
        assert bool(metrics.ris(f, x, 0 * x, explain=explained(0)).isnan())
        assert bool(metrics.ros(linear(0, 0), x, x, explain=explained(1)).isnan())

    def test_only_inputs_of_the_same_class_count(self):
        def model(x):
            return torch.stack([x[:, 0], 0.1 - x[:, 0]], dim=1)

        x = row(0.0500001)
        step = lambda x, t: torch.where(x > 0.05, x, 9)  # noqa: E731
        target = torch.tensor([0])
        found = metrics.ris(model, x, x, target=target, explain=step, draws=30)
        assert float(found) == pytest.approx(1)

        def turned(x):
            return torch.stack([(x[:, 0] == 0.5).double(), (x[:, 0] != 0.5).double()], dim=1)

        never = metrics.ris(turned, row(0.5), row(0.5), target=target, explain=explained(1))
        assert bool(never.isnan())

    def test_hidden_layers(self):
        net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)).double().eval()
        x = row(1, 2)
        auto = metrics.rrs(net, x, x, explain=explained(1))
        assert float(auto) == float(metrics.rrs(net, x, x, explain=explained(1), layer="1"))
        assert float(auto) != float(metrics.rrs(net, x, x, explain=explained(1), layer="0"))
        assert not net[1]._forward_hooks
        with pytest.raises(InputError, match="the model has no layer 'x'"):
            metrics.rrs(net, x, x, explain=explained(1), layer="x")
        with pytest.raises(NotDefinedError, match="this model is a function"):
            metrics.rrs(linear(1, 1), x, x, explain=explained(1))
        with pytest.raises(NotDefinedError, match="no activation"):
            metrics.rrs(net[0], x, x, explain=explained(1))
