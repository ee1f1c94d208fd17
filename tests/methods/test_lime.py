"""LIME: known limits, standard errors, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from igbench.core.batch import Batch
from igbench.core.perturb import all_subsets
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError
from igbench.methods import Lime, explain
from igbench.surrogates.linear import likeness, surrogate
from tests.helpers import closed_form as cf

F64 = torch.float64


def parity(x: torch.Tensor) -> torch.Tensor:
    return x.sum(dim=1) % 2


def majority(x: torch.Tensor) -> torch.Tensor:
    return (x.sum(dim=1) >= 2).to(x)


def exclusive(x: torch.Tensor) -> torch.Tensor:
    return x.sum(dim=1) - 2 * x.prod(dim=1)


LIMITS = {
    "linear": (cf.linear(1, -2, 3), (1, 1, 1), "cosine", (1, -2, 3)),
    "product": (cf.product, (2, 3), "cosine", (5.993999, 5.993999)),
    "product, equal weights": (cf.product, (2, 3), "none", (3, 3)),
    "exclusive or": (exclusive, (1, 1), "cosine", (-0.998, -0.998)),
    "exclusive or, equal weights": (exclusive, (1, 1), "none", (0, 0)),
    "parity, equal weights": (parity, (1, 1, 1), "none", (0, 0, 0)),
    "product of three": (cf.product, (1, 1, 1), "cosine", (0.546966,) * 3),
    "product of three, equal weights": (cf.product, (1, 1, 1), "none", (0.25,) * 3),
    "majority": (majority, (1, 1, 1), "cosine", (0.452626,) * 3),
    "majority, equal weights": (majority, (1, 1, 1), "none", (0.5,) * 3),
}


def batch_of(f, x, seed=0, ids=("a",)):
    return Batch(Score(f), x, torch.zeros_like(x), None, ids, seed=seed)


@pytest.mark.parametrize("name", LIMITS)
def test_all_masks_give_the_limit(name):
    f, x, kernel, expected = LIMITS[name]
    batch = batch_of(f, cf.row(*x))
    own, fit = Lime(kernel=kernel).fit(batch, 0)
    assert batch.score.cost.forward == 2 ** len(x)
    tolerance = 1e-10 if kernel == "none" or name == "linear" else 1e-6
    places = 5e-6 if name == "exclusive or" else tolerance
    assert fit.values.tolist() == pytest.approx(expected, abs=max(tolerance, places))
    assert not fit.std_error.any()
    assert torch.equal(own.spread(fit.values), Lime(kernel=kernel)(batch)[0])


@pytest.mark.parametrize("width", [0.1, 0.25, 1.0, 25.0])
def test_linear_functions_are_exact_at_every_width(width):
    """So they are from few drawn masks."""
    w, x = torch.linspace(-2, 3, 15, dtype=F64), torch.linspace(1, 2, 15, dtype=F64)[None]
    found = explain(Lime(samples=60, width=width), lambda z: z @ w + 7, x)
    torch.testing.assert_close(found, w * x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LIMITS)
def test_drawn_masks_agree_with_the_limit_within_four_standard_errors(name):
    """Beside ten elements on which f does not depend, so that masks are drawn."""
    f, x, kernel, _ = LIMITS[name]
    n = len(x)
    point = cf.row(*x, *[1.0] * 10)
    _, fit = Lime(samples=500, kernel=kernel).fit(batch_of(lambda z: f(z[:, :n]), point), 0)
    present = all_subsets(n + 10)
    limit = surrogate(
        present, f((present.double() * point)[:, :n]), likeness(present, kernel), drawn=False
    )
    assert bool(((fit.values - limit.values).abs() <= 4 * fit.std_error + 1e-9).all())
    if name != "linear":
        assert 0.001 < float(fit.std_error[0]) < 0.5


def test_standard_errors_are_the_spread_over_seeds():
    x, f = cf.row(*[1.0] * 11), lambda z: z[:, :2].prod(dim=1) + z[:, 2:5].prod(dim=1)
    fits = [Lime(samples=300).fit(batch_of(f, x, seed), 0)[1] for seed in range(60)]
    spread = torch.stack([fit.values for fit in fits]).std(dim=0)
    errors = torch.stack([fit.std_error for fit in fits]).mean(dim=0)
    # The spread of 60 has itself a relative error of 1 / sqrt(120) = 9 %; 4 of them.
    assert float((errors / spread - 1).abs().max()) < 0.37


def test_the_kernel_is_that_of_the_library():
    """sqrt(exp(-d^2 / width^2)) of the cosine distance to all ones."""
    from sklearn.metrics import pairwise_distances

    masks = all_subsets(6)
    d = pairwise_distances(masks.numpy().astype(float), np.ones((1, 6)), metric="cosine").ravel()
    expected = np.sqrt(np.exp(-(d**2) / 0.3**2))
    assert likeness(masks, width=0.3).numpy() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_penalty_shrinks_as_its_normal_equations_say():
    masks, y = all_subsets(4), torch.arange(16, dtype=F64).sin()
    w = likeness(masks)
    fit = surrogate(masks, y, w, ridge=0.5)
    a = torch.cat([torch.ones(16, 1, dtype=F64), masks.double()], dim=1)
    normal = a.T @ (w[:, None] * a) + torch.diag(torch.tensor([0, 0.5, 0.5, 0.5, 0.5], dtype=F64))
    expected = torch.linalg.solve(normal, a.T @ (w * y))
    torch.testing.assert_close(fit.values, expected[1:], rtol=1e-10, atol=1e-12)
    assert fit.intercept == pytest.approx(float(expected[0]), abs=1e-10)
    e = w * (y - a @ expected)
    middle = (a * e[:, None]).T @ (a * e[:, None])
    sandwich = torch.linalg.inv(normal) @ middle @ torch.linalg.inv(normal)
    torch.testing.assert_close(fit.std_error, sandwich.diagonal()[1:].sqrt(), rtol=1e-9, atol=0)


def test_players_without_a_change_are_no_players():
    x = cf.row(1, 0, 1, 0, 1)
    batch = batch_of(cf.linear(1, 2, 3, 4, 5), x)
    assert Lime()(batch).tolist()[0] == pytest.approx([1, 0, 3, 0, 5], abs=1e-12)
    assert batch.score.cost.forward == 8
    nothing = batch_of(cf.linear(1, 2), cf.row(0, 0))
    assert not Lime()(nothing).any()
    assert nothing.score.cost.forward == 0


def test_the_preset_hides_with_the_mean_colour_of_each_player():
    """Of two players of two pixels, f reads the first pixel alone: 1 -> (1 + 3) / 2."""
    x = torch.tensor([[[[1.0, 3.0, 5.0, 9.0]]]], dtype=F64)
    numbers = torch.tensor([[[0, 0, 1, 1]]])
    own = Lime(features=numbers, hidden="mean")
    found = explain(own, lambda z: z[:, 0, 0, 0] * 10, x)
    assert found.flatten().tolist() == pytest.approx([-5, -5, 0, 0], abs=1e-9)
    batch = batch_of(lambda z: z[:, 0, 0, 0] * 10, x)
    _, fit = Lime(features=numbers, preset="lime").fit(batch, 0)
    # All four masks, weights 1, .503 twice, .0003: ridge 1 shrinks much; by the normal equations.
    weights = likeness(all_subsets(2))
    direct = surrogate(all_subsets(2), torch.tensor([20.0, 20, 10, 10]), weights, ridge=1)
    torch.testing.assert_close(fit.values, direct.values, rtol=1e-9, atol=1e-12)
    assert (
        Lime(preset="lime").spec.title == "LIME (1000 samples, cosine, width 0.25, ridge 1, mean)"
    )


def test_settings_beside_a_preset_are_refused():
    with pytest.raises(InputError, match="preset=lime sets width itself"):
        Lime(preset="lime", width=0.5)
    for wrong in ({"preset": "limes"}, {"kernel": "cos"}, {"hidden": "grey"}, {"samples": 1}):
        with pytest.raises(InputError):
            Lime(**wrong)
    for wrong in ({"width": 0.0}, {"ridge": -1.0}, {"ridge": float("nan")}):
        with pytest.raises(InputError):
            Lime(**wrong)


def test_too_few_masks_are_undefined_and_not_a_guess():
    x = cf.row(*[1.0] * 20)
    with pytest.raises(NotDefinedError, match=r"15 weighted masks .* 20 players .*rank 15 of 21"):
        explain(Lime(samples=15), cf.product, x)
    with pytest.raises(NotDefinedError, match="means of segments need images"):
        explain(Lime(hidden="mean"), cf.product, x)
    narrow = Lime(samples=100, width=0.001)  # weighs nothing but the sample itself
    with pytest.raises(NotDefinedError, match="do not determine"):
        explain(narrow, cf.product, x)


def test_a_value_that_is_no_number_makes_no_map():
    found = explain(Lime(), lambda z: z.sum(dim=1).log(), cf.row(1, 1))  # log 0 for no players
    assert bool(found.isnan().all())


def test_features_may_be_numbers_of_other_shape_for_each_sample():
    numbers = torch.tensor([[0, 0, 1], [0, 1, 1]])
    x = cf.row(1, 1, 1).expand(2, 3).contiguous()
    batch = Batch(Score(cf.linear(1, 2, 3)), x, 0 * x, None, ("a", "b"), features=numbers)
    expected = torch.tensor([[1.5, 1.5, 3], [1, 2.5, 2.5]], dtype=F64)
    torch.testing.assert_close(Lime()(batch), expected, rtol=1e-10, atol=0)
