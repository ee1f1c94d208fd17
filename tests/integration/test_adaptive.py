"""Integrated Gradients to a tolerance."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.adaptive import adaptive_integrated_gradients
from igbench.integration.exact import exact_integrated_gradients
from igbench.integration.integrate import integrated_gradients
from igbench.methods import AdaptiveIntegratedGradients
from tests.helpers import closed_form as cf


def adaptive(f, x, baseline=0.0, target=None, **options):
    b = torch.as_tensor(baseline, dtype=x.dtype).expand_as(x)
    return adaptive_integrated_gradients(Score(f, batch_size=16), x, b, target, **options)


def test_linear_stops_at_the_first_nodes():
    found = adaptive(cf.linear(1, -2, 3), cf.row(1, 1, 1), tolerance=1e-10)
    torch.testing.assert_close(found.attribution, cf.row(1, -2, 3), rtol=1e-12, atol=1e-12)
    assert found.gradients.tolist() == [17]
    assert found.converged.all()


@pytest.mark.parametrize("constrain", [True, False])
def test_smooth_networks(constrain):
    z = float(torch.sigmoid(torch.tensor(3.0, dtype=torch.float64)) - 0.5)
    found = adaptive(cf.ridge, cf.row(1, 1), tolerance=1e-4, constrain=constrain)
    torch.testing.assert_close(found.attribution, cf.row(z / 3, 2 * z / 3), rtol=1e-4, atol=0)
    # Simpson's rule is of the fourth order: few refinements of the 17 nodes are enough.
    assert int(found.gradients) in (17, 21, 25, 29)
    assert found.converged.all()
    if constrain:  # the gradient of a ridge keeps its direction: completeness makes it exact
        torch.testing.assert_close(found.attribution, cf.row(z / 3, 2 * z / 3), rtol=1e-12, atol=0)


def test_constraint_makes_complete_and_keeps_dummies_at_zero():
    def f(x):
        return torch.relu(3 * x[:, 0] - 1) * x[:, 1] + 0 * x[:, 2]

    x = cf.row(1, 2, 5)
    free = adaptive(f, x, tolerance=1e-9, max_steps=17, constrain=False)
    bound = adaptive(f, x, tolerance=1e-9, max_steps=17)
    assert float(free.gap) > 1e-4
    assert float(bound.gap) < 1e-12
    assert float(bound.raw_gap) == pytest.approx(float(free.gap))
    assert float(bound.attribution[0, 2]) == 0
    truth = exact_integrated_gradients(
        Score(lambda z: torch.relu(3 * z[:, 0] - 1) + z[:, 1]), x, torch.zeros_like(x)
    )
    assert truth.pieces.tolist() == [2]


def test_weights_stay_when_the_nodes_saw_too_little():
    # All of the rise is in 1e-4 of the path, between nodes: a constraint would multiply noise.
    def f(x):
        return torch.sigmoid((x[:, 0] - 0.503) * 1e5) + 0.01 * x[:, 1]

    found = adaptive(f, cf.row(1, 1), tolerance=1e-3, max_steps=33)
    assert not found.converged.any()
    assert float(found.gap) == pytest.approx(float(found.raw_gap))
    assert float(found.gap) > 0.9


def test_known_answers_within_the_tolerance():
    for f, x, expected in [
        (cf.saturating, cf.row(2), (1.0,)),
        (cf.hinge(2, 1), cf.row(1, 1), (4 / 3, 2 / 3)),
        (cf.square_times, cf.row(2, 3), (8.0, 4.0)),
    ]:
        found = adaptive(f, x, tolerance=0.02)
        truth = cf.row(*expected)
        assert found.converged.all()
        assert float((found.attribution - truth).abs().sum() / truth.abs().sum()) < 0.02


def test_a_small_gap_alone_is_not_convergence():
    # x1^2 - x2^2 at (1, 1): whatever a rule misses in one entry it misses in the other, too.
    def f(x):
        return x[:, 0] ** 4 - x[:, 1] ** 4

    x = cf.row(1.0, 1.0 + 1e-6)
    coarse = integrated_gradients(Score(f), x, torch.zeros_like(x), rule="left", n_steps=10)
    gap = float((coarse.sum() - f(x)).abs())
    assert gap < 1e-5
    assert float(coarse[0, 0]) == pytest.approx(0.81, abs=1e-5), "19 % off, and complete"
    found = adaptive(f, x, tolerance=0.01, constrain=False)
    assert found.converged.all()
    assert float(found.attribution[0, 0]) == pytest.approx(1, abs=0.01)
    assert float(found.error) <= 0.01


def test_reported_errors_are_the_errors():
    net = cf.mlp(3)
    g = torch.Generator().manual_seed(8)
    x = torch.randn(6, 20, generator=g, dtype=torch.float64)
    b = torch.zeros_like(x)
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    found = adaptive(net, x, 0.0, target, tolerance=0.02, max_steps=3000, constrain=False)
    change = (net(x) - net(b)).gather(1, target[:, None])[:, 0].detach()
    gap = (found.attribution.sum(dim=1) - change).abs() / change.abs()
    torch.testing.assert_close(found.gap, gap, rtol=1e-6, atol=1e-12)
    exact = exact_integrated_gradients(Score(net), x, b, target).attribution
    error = (found.attribution - exact).abs().sum(dim=1) / exact.abs().sum(dim=1)
    assert found.converged.all()
    assert bool((error <= found.error).all())
    assert bool((found.error <= 10 * error).all()), "nor is it far too cautious"


def test_examples_stop_by_themselves_and_do_not_depend_on_each_other():
    net = cf.mlp(4)
    g = torch.Generator().manual_seed(9)
    x = torch.randn(5, 20, generator=g, dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 0, 1])
    together = adaptive(net, x, 0.0, target, tolerance=0.03)
    assert len(together.gradients.unique()) > 1
    for i in range(5):
        alone = adaptive(net, x[i : i + 1], 0.0, target[i : i + 1], tolerance=0.03)
        torch.testing.assert_close(
            alone.attribution, together.attribution[i : i + 1], rtol=1e-9, atol=1e-12
        )
        assert int(alone.gradients) == int(together.gradients[i])


def test_stops_at_max_steps_and_says_so():
    net = cf.mlp(5)
    x = torch.ones(2, 20, dtype=torch.float64)
    score = Score(net, batch_size=16)
    found = adaptive_integrated_gradients(
        score, x, torch.zeros_like(x), torch.tensor([0, 1]), tolerance=1e-9, max_steps=40
    )
    assert not found.converged.any()
    assert int(found.gradients.max()) <= 40
    assert score.cost.backward == int(found.gradients.sum())
    assert bool(torch.isfinite(found.error).all())


def test_equal_outputs_at_both_ends():
    # f(x) = f(x') and a zero map: the gap 0/0 counts as nothing missed.
    found = adaptive(lambda x: 0 * x.sum(dim=1) + 1, cf.row(1, 2))
    assert found.converged.all()
    # f(x) = f(x') although the map is not zero: no relative gap exists, unless nothing is missed.
    curved = adaptive(lambda x: (x[:, 0] - 0.5) ** 2, cf.row(1.0), max_steps=40)
    assert float(curved.attribution) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0}, "tolerance"),
        ({"max_steps": 5}, "max_steps is 5"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(InputError, match=message):
        adaptive(cf.product, cf.row(1, 2), **options)


def relative(found, truth):
    return float((found - truth).abs().sum() / truth.abs().sum())


@pytest.mark.parametrize("tolerance", [0.05, 0.01, 1e-3])
@pytest.mark.parametrize("c", [0.2, 0.02])
def test_steep_at_the_baseline(c, tolerance):
    # f = s / (c + s) with s = x1 + 2 x2 at (1, 1): the ridge shares f out as 1 : 2.  Its slope
    # falls from 3 / c to 3 c / (c + 3)^2.
    f = lambda x: (x[:, 0] + 2 * x[:, 1]) / (c + x[:, 0] + 2 * x[:, 1])  # noqa: E731
    found = adaptive(f, cf.row(1, 1), tolerance=tolerance, constrain=False)
    whole = 3 / (c + 3)
    assert found.converged.all()
    assert relative(found.attribution, cf.row(whole / 3, 2 * whole / 3)) <= tolerance


@pytest.mark.parametrize("where", [0.03, 0.35, 0.8])
def test_a_kink_is_closed_in(where):
    # x2 relu(x1 - k) from 0 to (1, 1): x1 gets the integral of a over [k, 1], (1 - k^2) / 2, and x2
    # that of a - k, (1 - k)^2 / 2.
    found = adaptive(lambda x: torch.relu(x[:, 0] - where) * x[:, 1], cf.row(1, 1), tolerance=0.01)
    assert found.converged.all()
    truth = cf.row((1 - where**2) / 2, (1 - where) ** 2 / 2)
    assert relative(found.attribution, truth) <= 0.01
    even = integrated_gradients(
        Score(lambda x: torch.relu(x[:, 0] - where) * x[:, 1]),
        cf.row(1, 1),
        cf.row(0, 0),
        rule="middle",
        n_steps=2000,
    )
    assert relative(even, truth) <= 1e-3, "the closed form itself"


def bump(x):
    """Rises and falls again within a tenth of the path, far from the baseline."""
    return torch.exp(-(((x[:, 0] - 0.7) / 0.05) ** 2))


def test_a_map_can_be_wrong_although_its_gap_is_small():
    # g(a) (x1 - x2) with a bump g: along (1, 1) f is 0 everywhere, so no rule ever has a gap, and
    # x1 gets the area of the bump, 0.05 sqrt(pi), whatever is seen of it.
    f = lambda x: bump(x) * (x[:, 0] - x[:, 1]) + 0.01 * (x[:, 0] + x[:, 1])  # noqa: E731
    x, area = cf.row(1, 1), 0.05 * math.pi**0.5
    truth = cf.row(area + 0.01, 0.01 - area)
    coarse = adaptive(f, x, max_steps=17)
    assert float(coarse.gap) < 1e-9
    assert relative(coarse.attribution, truth) > 0.05
    assert not coarse.converged.any(), "a gap of 0 does not mean that the map is right"
    fine = adaptive(f, x, tolerance=0.01)
    assert fine.converged.all()
    assert relative(fine.attribution, truth) <= 0.01


def test_residuals_of_panels_that_cancel_count_apart():
    # Two steps between nodes, up in the third panel and down in the fourth: the gradient is 0 at
    # all nodes but for the last entry, and the sum over the path misses nothing.  The nodes beside
    # them are a(5/8) = 0.348 and a(11/16) = 0.420, a(7/8) = 0.715 and a(15/16) = 0.847.
    def f(x):
        up, down = torch.sigmoid((x[:, 0] - 0.38) * 1e4), torch.sigmoid((x[:, 0] - 0.78) * 1e4)
        return up - down + 0.1 * x[:, 1]

    found = adaptive(f, cf.row(1, 1), max_steps=17)
    assert abs(float(found.attribution[0, 0])) < 1e-9
    assert float(found.gap) < 1e-9
    assert float(found.error) == pytest.approx(20, rel=1e-6), "rises of 1 and -1, of a map of 0.1"
    assert not found.converged.any()


def test_refinement_goes_where_the_error_is():
    # All curvature is in the last panel, a > 0.504.
    asked = []

    def f(x):
        asked.extend(x[:, 0].tolist())
        return torch.relu(x[:, 0] - 0.71) * x[:, 1] * 10

    adaptive(f, cf.row(1, 1), tolerance=1e-3)
    nodes = [a for a in asked[2:] if a > 0.504]  # without the two end points
    assert len(nodes) > 0.7 * len(asked[2:])


def test_errors_are_those_of_the_sums_per_feature():
    # g(a) (x1 - x2) with g = a^8: features {1, 2} cancel to 0; the map of features is (0, 1).
    f = lambda x: 100 * x[:, 0] ** 8 * (x[:, 0] - x[:, 1]) + x[:, 2]  # noqa: E731
    x = cf.row(1, 1, 1)
    options = {"tolerance": 1e-3, "max_steps": 17}
    elements = adaptive(f, x, **options)
    sums = adaptive(f, x, features=torch.tensor([0, 0, 1]), **options)
    assert not elements.converged.any()
    assert sums.converged.all()
    # An element without a feature counts by itself; numbers may differ by sample.
    apart = adaptive(f, x, features=torch.tensor([[0, -1, 1]]), **options)
    torch.testing.assert_close(apart.error, elements.error)


def test_the_method_looks_at_the_features_of_the_data():
    f = lambda x: 100 * x[:, 0] ** 8 * (x[:, 0] - x[:, 1]) + x[:, 2]  # noqa: E731
    batch = cf.batch_of(f, cf.row(1, 1, 1))
    method = AdaptiveIntegratedGradients(tolerance=1e-3)
    for features, spent in (("element", False), (torch.tensor([0, 0, 1]), True)):
        before = batch.score.cost.snapshot()
        method(replace(batch, features=features))
        assert (batch.score.cost.since(before).backward == 17) == spent
