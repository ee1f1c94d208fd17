"""Axioms of Integrated Gradients as properties, on random networks, points and rules."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from igbench.core.score import Score
from igbench.integration.adaptive import adaptive_integrated_gradients
from igbench.integration.exact import exact_integrated_gradients
from igbench.integration.integrate import integrated_gradients
from igbench.integration.quadrature import RULES

UNBIASED = [r for r in RULES if r != "captum_trapezoid"]
seeds = st.integers(0, 10_000)
rules = st.sampled_from(UNBIASED)
few = settings(max_examples=25, deadline=None)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Net(nn.Module):
    """v . bend(W x + b) for a random network; `bend` is tanh or relu."""

    def __init__(self, seed: int, bend=torch.tanh, inputs: int = 5) -> None:
        super().__init__()
        self.w, self.b, self.v = draw(seed, 9, inputs), draw(seed + 1, 9), draw(seed + 2, 9)
        self.bend = bend
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.bend(x @ self.w.T / 2 + self.b) @ self.v


def ig(f, x: Tensor, b: Tensor, rule: str = "gauss_legendre", n: int = 41) -> Tensor:
    return integrated_gradients(Score(f), x, b, rule=rule, n_steps=n)


@few
@given(seeds)
def test_completeness(seed):
    net, x, b = Net(seed), draw(seed + 3, 3, 5), draw(seed + 4, 3, 5)
    # Gauss-Legendre with 81 nodes on tanh networks of this size is exact to rounding.
    gap = ig(net, x, b, n=81).sum(dim=1) - (net(x) - net(b))
    assert float(gap.abs().max()) < 1e-8


@few
@given(seeds)
def test_completeness_of_the_exact_integral(seed):
    net, x, b = Net(seed, torch.relu), draw(seed + 3, 3, 5), draw(seed + 4, 3, 5)
    found = exact_integrated_gradients(Score(net), x, b).attribution
    assert float((found.sum(dim=1) - (net(x) - net(b))).abs().max()) < 1e-12


@few
@given(seeds, st.integers(0, 4))
def test_sensitivity(seed, feature):
    # One feature differs and the output differs: the feature has all of the difference.
    net, b = Net(seed), draw(seed + 3, 1, 5)
    x = b.clone()
    x[0, feature] += 1.5
    found = ig(net, x, b, n=81)
    assert float((found[0, feature] - (net(x) - net(b))).abs()) < 1e-8
    others = [i for i in range(5) if i != feature]
    assert float(found[0, others].abs().max()) == 0


@few
@given(seeds, rules)
def test_dummy(seed, rule):
    net, x, b = Net(seed), draw(seed + 3, 2, 6), draw(seed + 4, 2, 6)
    found = ig(lambda z: net(z[:, :5]), x, b, rule)
    assert float(found[:, 5].abs().max()) == 0
    adaptive = adaptive_integrated_gradients(Score(lambda z: net(z[:, :5])), x, b)
    assert float(adaptive.attribution[:, 5].abs().max()) == 0


@few
@given(seeds, rules, st.floats(-3, 3), st.floats(-3, 3))
def test_linearity(seed, rule, p, q):
    f, g = Net(seed), Net(seed + 50)
    x, b = draw(seed + 3, 2, 5), draw(seed + 4, 2, 5)
    both = ig(lambda z: p * f(z) + q * g(z), x, b, rule)
    apart = p * ig(f, x, b, rule) + q * ig(g, x, b, rule)
    torch.testing.assert_close(both, apart, rtol=1e-9, atol=1e-11)


@few
@given(seeds, rules)
def test_symmetry(seed, rule):
    # f(x1 + x2, x3): equal values and baselines of x1 and x2 get equal attributions.
    net = Net(seed, inputs=2)
    x, b = draw(seed + 3, 2, 3), draw(seed + 4, 2, 3)
    x[:, 1], b[:, 1] = x[:, 0], b[:, 0]
    found = ig(lambda z: net(torch.stack([z[:, 0] + z[:, 1], z[:, 2]], dim=1)), x, b, rule)
    torch.testing.assert_close(found[:, 0], found[:, 1], rtol=1e-12, atol=1e-12)


@few
@given(seeds, rules)
def test_implementation_invariance(seed, rule):
    # relu(z) = (z + |z|) / 2, with every unit split in two halves: another network, same function.
    net = Net(seed, torch.relu)

    def other(x: Tensor) -> Tensor:
        w, b = net.w.repeat(2, 1), net.b.repeat(2)
        z = x @ w.T / 2 + b
        return ((z + z.abs()) / 2) @ (net.v.repeat(2) / 2)

    x, b = draw(seed + 3, 2, 5), draw(seed + 4, 2, 5)
    torch.testing.assert_close(net(x), other(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ig(net, x, b, rule), ig(other, x, b, rule), rtol=1e-9, atol=1e-11)


@few
@given(seeds, rules)
def test_translation(seed, rule):
    # f(x + c) at x - c from x' - c is f at x from x'.
    net, c = Net(seed), draw(seed + 5, 5)
    x, b = draw(seed + 3, 2, 5), draw(seed + 4, 2, 5)
    moved = ig(lambda z: net(z + c), x - c, b - c, rule)
    torch.testing.assert_close(moved, ig(net, x, b, rule), rtol=1e-9, atol=1e-11)


@few
@given(seeds, rules, st.permutations(range(5)))
def test_permutation(seed, rule, order):
    net = Net(seed)
    x, b = draw(seed + 3, 2, 5), draw(seed + 4, 2, 5)
    back = torch.argsort(torch.tensor(order))
    turned = ig(lambda z: net(z[:, back]), x[:, order], b[:, order], rule)
    torch.testing.assert_close(turned, ig(net, x, b, rule)[:, order], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rule", UNBIASED)
@pytest.mark.parametrize("n", [3, 9, 101, 1001])
def test_linear_models_to_twelve_digits(rule, n):
    w, x, b = draw(1, 50), draw(2, 4, 50), draw(3, 4, 50)
    found = ig(lambda z: z @ w, x, b, rule, n)
    torch.testing.assert_close(found, (x - b) * w, rtol=1e-12, atol=1e-12)
