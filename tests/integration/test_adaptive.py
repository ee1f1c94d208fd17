"""Integrated Gradients to a tolerance."""

from __future__ import annotations

import pytest
import torch

from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.adaptive import adaptive_integrated_gradients
from igbench.integration.exact import exact_integrated_gradients
from igbench.integration.integrate import integrated_gradients
from tests.helpers import closed_form as cf


def adaptive(f, x, baseline=0.0, target=None, **options):
    b = torch.as_tensor(baseline, dtype=x.dtype).expand_as(x)
    return adaptive_integrated_gradients(Score(f, batch_size=16), x, b, target, **options)


def test_linear_stops_at_the_second_level():
    found = adaptive(cf.linear(1, -2, 3), cf.row(1, 1, 1), tolerance=1e-10)
    torch.testing.assert_close(found.attribution, cf.row(1, -2, 3), rtol=1e-12, atol=1e-12)
    assert found.gradients.tolist() == [17]
    assert found.converged.all()


@pytest.mark.parametrize("constrain", [True, False])
def test_smooth_networks(constrain):
    z = float(torch.sigmoid(torch.tensor(3.0, dtype=torch.float64)) - 0.5)
    found = adaptive(cf.ridge, cf.row(1, 1), tolerance=1e-4, constrain=constrain)
    torch.testing.assert_close(found.attribution, cf.row(z / 3, 2 * z / 3), rtol=1e-4, atol=0)
    # The trapezoid rule errs by about (ln 11)^2 / 12 n^2 here: 1e-4 wants about 70 intervals.  The
    # gradient of a ridge keeps its direction, so completeness alone makes it exact.
    assert int(found.gradients) in ((17,) if constrain else (65, 129, 257))
    assert found.converged.all()


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
    assert int(found.gradients) > 17, "the first level that could be complete was passed by"


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
    # Refinement at least halves the error on average, so the last change bounds what is left.
    assert bool((error <= 2 * found.change).all())


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
    assert bool(torch.isfinite(found.change).all())


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
