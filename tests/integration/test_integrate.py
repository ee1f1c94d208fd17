"""Integrated Gradients on models with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from igbench.core.score import Score, frozen
from igbench.errors import InputError
from igbench.integration.convergence import on_grid
from igbench.integration.integrate import integrated_gradients, path_integrals
from igbench.integration.paths import Line
from igbench.integration.quadrature import RULES, nodes_and_weights
from tests.helpers import closed_form as cf

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def ig(
    f, x: Tensor, baseline: Tensor | float = 0.0, rule="gauss_legendre", n=20, rows=32
) -> Tensor:
    b = torch.as_tensor(baseline, dtype=x.dtype).expand_as(x)
    return integrated_gradients(Score(f, batch_size=rows), x, b, rule=rule, n_steps=n)


def close(found: Tensor, *expected: float, **tolerance) -> None:
    torch.testing.assert_close(found, cf.row(*expected), **(tolerance or TIGHT))


UNBIASED = [r for r in RULES if r != "captum_trapezoid"]


def count(rule: str, n: int) -> int:
    """The nearest number of nodes that a rule has."""
    return n + (n + 1) % 2 if rule == "simpson" else n


@pytest.mark.parametrize("rule", UNBIASED)
@pytest.mark.parametrize("n", [2, 3, 50, 400])
def test_linear_is_exact_for_every_rule(rule, n):
    """f = w . x at 1: IG is w = (1, -2, 3)."""
    close(ig(cf.linear(1, -2, 3), cf.row(1, 1, 1), rule=rule, n=count(rule, n)), 1, -2, 3)


def test_product_with_baseline():
    """f = x1 x2 from (1, -1) to (3, 2): IG is (1, 6), and f changes by 7."""
    close(ig(cf.product, cf.row(3, 2), cf.row(1, -1)), 1, 6)


def test_monomial_shares_by_powers():
    """f = x1^2 x2 at (2, 3): IG shares f = 12 by the powers, (8, 4)."""
    close(ig(cf.square_times, cf.row(2, 3)), 8, 4)


def test_product_of_three_shares_equally():
    """f = x1 x2 x3 at (1, 2, 3): IG shares f = 6 equally, (2, 2, 2)."""
    close(ig(cf.product, cf.row(1, 2, 3)), 2, 2, 2)


A = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)


def test_quadratic_and_the_error_of_its_sums():
    """f = x'Ax / 2: IG_i = D_i (A (x + x') / 2)_i with D = x - x'; n left nodes miss D'AD / 2n."""
    f, x, b = cf.quadratic(A), cf.row(1, 2), cf.row(0, 1)
    close(ig(f, x, b), 2.5, 5)
    close(ig(f, x, b, "middle", 1), 2.5, 5)
    d = x - b
    bend = float((d @ A * d).sum())
    for n in (1, 4, 10):
        assert float(ig(f, x, b, "left", n).sum()) == pytest.approx(7.5 - bend / (2 * n), rel=1e-12)
        assert float(ig(f, x, b, "right", n).sum()) == pytest.approx(
            7.5 + bend / (2 * n), rel=1e-12
        )


@pytest.mark.parametrize(
    ("rule", "n", "expected"),
    [
        ("left", 5, 1.2),
        ("right", 5, 0.8),
        ("middle", 5, 0.8),
        ("gauss_legendre", 5, 1 - 128 / 450),
        ("gauss_legendre", 10, 1.0),
    ],
)
def test_kink_at_the_middle(rule, n, expected):
    """f = 1 - relu(1 - x) at 2: IG is 1, and rules miss it by how many nodes they have before 1."""
    # relu'(0) = 0: a node on the kink counts as beyond it.
    close(ig(cf.saturating, cf.row(2), rule=rule, n=n), expected)


def test_hinges():
    """f = relu(w . x - 1) at 1: IG is w / |w|_1 f, (.5, .5) and (4/3, 2/3)."""
    # The kink falls on 1/2 and 1/3; the middle rule with 300 nodes has none on either.
    close(ig(cf.hinge(1, 1), cf.row(1, 1), rule="middle", n=300), 0.5, 0.5)
    close(ig(cf.hinge(2, 1), cf.row(1, 1), rule="middle", n=300), 4 / 3, 2 / 3)


def test_minimum_and_maximum():
    """min and max at (2, 1): IG gives all to the one that is chosen; ties follow torch."""
    close(ig(lambda x: torch.minimum(x[:, 0], x[:, 1]), cf.row(2, 1)), 0, 1)
    close(ig(lambda x: torch.maximum(x[:, 0], x[:, 1]), cf.row(2, 1)), 2, 0)
    close(ig(lambda x: torch.minimum(x[:, 0], x[:, 1]), cf.row(1, 1)), 0.5, 0.5)
    close(ig(lambda x: x.min(dim=1).values, cf.row(1, 1)), 1, 0)


def test_ridge():
    """f = g(w . x) from 0: IG_i is w_i x_i / (w . x) of g(w . x) - g(0)."""
    z = torch.sigmoid(torch.tensor(3.0, dtype=torch.float64)) - 0.5
    close(ig(cf.ridge, cf.row(1, 1), n=30), float(z) / 3, 2 * float(z) / 3)
    close(ig(cf.ridge, cf.row(1, 1), n=30), 0.150858, 0.301716, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", [2, 5, 50])
def test_cube_by_every_rule(n):
    """f = x^3 at 1: the sums of n terms, in closed form."""
    expected = {
        "left": (n - 1) * (2 * n - 1) / (2 * n**2),
        "right": (n + 1) * (2 * n + 1) / (2 * n**2),
        "middle": 1 - 1 / (4 * n**2),
        "trapezoid": 1 + 1 / (2 * (n - 1) ** 2),
        "captum_trapezoid": (1 + 1 / (2 * (n - 1) ** 2)) * (n - 1) / n,
        "gauss_legendre": 1.0,
    }
    for rule, value in expected.items():
        close(ig(cf.cube, cf.row(1), rule=rule, n=n), value)


def test_captums_trapezoid_of_50_nodes_loses_a_fiftieth():
    close(
        ig(cf.linear(1, -2, 3), cf.row(1, 1, 1), rule="captum_trapezoid", n=50), 0.98, -1.96, 2.94
    )


@pytest.mark.parametrize(
    ("rule", "n", "degree"),
    [
        ("left", 5, 0),
        ("right", 5, 0),
        ("middle", 5, 1),
        ("trapezoid", 5, 1),
        ("simpson", 7, 3),
        ("gauss_legendre", 6, 11),
        ("clenshaw_curtis", 9, 8),
        ("clenshaw_curtis", 8, 7),
        ("log_middle", 8, 0),
    ],
)
def test_degree_of_exactness(rule, n, degree):
    nodes, weights = nodes_and_weights(rule, n)
    errors = [abs(weights @ nodes**d - 1 / (d + 1)) for d in range(degree + 3)]
    assert max(errors[: degree + 1]) < 1e-14
    # By symmetry the next odd degree may come for free, the one after it never does.
    assert max(errors[degree + 1 :]) > 1e-13


@pytest.mark.parametrize("rule", UNBIASED)
@pytest.mark.parametrize("n", [2, 7, 64])
def test_weights_sum_to_one_and_nodes_rise_inside(rule, n):
    n = count(rule, n)
    nodes, weights = nodes_and_weights(rule, n)
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    assert nodes.min() >= 0
    assert nodes.max() <= 1
    assert (np.diff(nodes) > 0).all()
    assert len(nodes) == n


def test_nested_weights_are_the_rules():
    x, b = cf.images(2), torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    score, target = Score(cf.small_net()), torch.tensor([1, 2])
    grid = np.arange(17) / 16
    for rule, n, own in [("left", 8, 8), ("right", 8, 8), ("trapezoid", 8, 9), ("middle", 8, 4)]:
        found = path_integrals(score, Line(x, b), target, grid, on_grid(rule, n, 16)[None])[0]
        nodes, weights = nodes_and_weights(rule, own)
        expected = path_integrals(score, Line(x, b), target, nodes, weights[None])[0]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rows", [1, 3, 7, 1000])
def test_chunks_do_not_matter(rows):
    x, b = cf.images(5), cf.images(5, seed=4)
    target = torch.tensor([0, 1, 2, 3, 0])
    whole = integrated_gradients(Score(cf.small_net(), batch_size=64), x, b, target, n_steps=9)
    cut = integrated_gradients(Score(cf.small_net(), batch_size=rows), x, b, target, n_steps=9)
    torch.testing.assert_close(cut, whole, rtol=1e-9, atol=1e-14)


def test_same_as_captum_at_equal_nodes():
    from captum.attr import IntegratedGradients

    net, x, target = cf.small_net(), cf.images(3), torch.tensor([1, 0, 3])
    for ours, theirs in [
        ("left", "riemann_left"),
        ("right", "riemann_right"),
        ("middle", "riemann_middle"),
        ("gauss_legendre", "gausslegendre"),
    ]:
        expected = IntegratedGradients(net).attribute(x, target=target, n_steps=25, method=theirs)
        found = integrated_gradients(
            Score(net), x, torch.zeros_like(x), target, rule=ours, n_steps=25
        )
        # Captum keeps its weights, and the nodes of its Riemann sums, in float32.
        assert float((found - expected).abs().sum() / expected.abs().sum()) < 1e-6


def test_counts_and_leaves_no_trace():
    net, x = cf.small_net(), cf.images(2)
    score, before = Score(net), x.clone()
    state = torch.random.get_rng_state()
    with frozen(net):
        integrated_gradients(score, x, torch.zeros_like(x), torch.tensor([0, 1]), n_steps=11)
    assert (score.cost.forward, score.cost.backward) == (22, 22)
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("rule", "n", "message"),
    [
        ("simpsons", 3, "unknown quadrature rule"),
        ("trapezoid", 1, "at least 2"),
        ("left", 0, "at least 1"),
    ],
)
def test_bad_rules_are_refused(rule, n, message):
    with pytest.raises(InputError, match=message):
        nodes_and_weights(rule, n)


def test_output_without_gradient_is_refused():
    with pytest.raises(InputError, match="no gradient"):
        ig(lambda x: x.argmax(dim=1).double(), cf.row(1, 2))


def test_inputs_that_require_a_gradient_leave_no_graph():
    x = cf.row(3, 2).requires_grad_()
    found = ig(cf.product, x, cf.row(1, -1))
    assert not found.requires_grad
    close(found, 1, 6)
