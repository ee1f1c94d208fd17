"""Guided Integrated Gradients against answers by hand and a plain re-telling of the algorithm."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.guided import advance, guided_integrated_gradients
from igbench.integration.integrate import input_gradient, integrated_gradients
from tests.helpers import closed_form as cf


def guided(f, x, b=None, target=None, rows=5, **options):
    b = torch.zeros_like(x) if b is None else b
    return guided_integrated_gradients(Score(f, batch_size=rows), x, b, target, **options)


@pytest.mark.parametrize("steps", [1, 3, 20])
@pytest.mark.parametrize("max_dist", [0.02, 0.3, 1.0])
def test_linear_is_exact(steps, max_dist):
    # Increments times a constant gradient: rounding alone.
    found = guided(cf.linear(1, -2, 3), cf.row(1, 1, 1), max_dist=max_dist, steps=steps)
    torch.testing.assert_close(found, cf.row(1, -2, 3), rtol=0, atol=1e-13)


def test_the_small_gradient_goes_first():
    # f = 10 a + a b: b's gradient is a = 0 until b has arrived, then a's is 11.  The path is a
    # corner, and every piece has a constant gradient.  The line gives (10.5, 0.5).
    found = guided(lambda z: 10 * z[:, 0] + z[:, 0] * z[:, 1], cf.row(1, 1), max_dist=1.0, steps=8)
    torch.testing.assert_close(found, cf.row(11, 0), rtol=0, atol=1e-13)


def test_without_leeway_it_is_a_sum_on_the_line():
    x, b, target = cf.images(3), cf.images(3, seed=4), torch.tensor([1, 2, 0])
    score = Score(cf.small_net())
    for rule, nodes in (("left", 9), ("trapezoid", 10)):
        found = guided(cf.small_net(), x, b, target, max_dist=0.0, steps=9, rule=rule)
        line = integrated_gradients(score, x, b, target, rule=rule, n_steps=nodes)
        torch.testing.assert_close(found, line, rtol=1e-9, atol=1e-13)


def test_completeness_improves_with_the_steps():
    x, target = cf.images(3), torch.tensor([1, 2, 0])
    score = Score(cf.small_net())
    change = score.evaluate(x, target) - score.evaluate(torch.zeros_like(x), target)
    gaps = {}
    for rule in ("left", "trapezoid"):
        for n in (50, 800):
            found = guided(cf.small_net(), x, target=target, steps=n, rule=rule)
            gaps[rule, n] = float((found.sum(dim=(1, 2, 3)) - change).abs().sum())
    # 16 times the steps.  At the pace of a fixed path the gaps would be 16 and 256 times smaller;
    # as the path itself changes with the steps, half of each exponent is asked for.
    assert gaps["left", 50] > 4 * gaps["left", 800]
    assert gaps["trapezoid", 50] > 16 * gaps["trapezoid", 800]
    assert gaps["trapezoid", 800] < 1e-5 * float(change.abs().sum())


def told(score, x, b, target, fraction, max_dist, steps):
    """One sample, one feature group after the other, in the space of the inputs."""
    start, end = b.flatten().numpy(), x.flatten().numpy()
    now, total = start.copy(), np.zeros_like(start)
    whole = np.abs(end - start).sum()
    for k in range(1, steps + 1):
        point = torch.from_numpy(now).view(x.shape)
        g = input_gradient(score, point, target).flatten().numpy()
        least = start + max(k / steps - max_dist, 0) * (end - start)
        most = start + min(k / steps + max_dist, 1) * (end - start)
        before = now.copy()
        behind = (now - least) * np.sign(end - start) < 0
        now[behind] = least[behind]
        size = np.abs(g)
        size[np.isclose(now, most, rtol=0, atol=1e-13)] = np.inf
        while True:
            excess = np.abs(end - now).sum() - whole * (1 - k / steps)
            if excess <= 1e-11 * whole or np.isinf(size).all():
                break
            chosen = size <= np.quantile(size, fraction, method="lower")
            chosen &= np.isfinite(size)
            reach = np.abs(most - now)[chosen].sum()
            part = min(1.0, excess / reach)
            now[chosen] += part * (most - now)[chosen]
            size[chosen] = np.inf
        total += g * (now - before)
    return torch.from_numpy(total).view(x.shape)


@pytest.mark.parametrize(("fraction", "max_dist"), [(0.25, 0.1), (0.05, 0.4), (1.0, 0.5)])
def test_same_as_the_plain_algorithm(fraction, max_dist):
    x, b, target = cf.images(3), cf.images(3, seed=4), torch.tensor([1, 2, 0])
    b[:, :, :2] = x[:, :, :2]  # some features have no way to go
    net = cf.small_net()
    options = {"fraction": fraction, "max_dist": max_dist, "steps": 12}
    found = guided(net, x, b, target, rows=2, rule="left", **options)
    for i in range(3):
        one = slice(i, i + 1)
        expected = told(Score(net), x[one], b[one], target[one], **options)
        torch.testing.assert_close(found[one], expected, rtol=1e-9, atol=1e-11)
    assert float(found[:, :, :2].abs().max()) == 0


def test_features_that_are_alike_move_together():
    # Without ties in common, one of two equal features would run ahead and take another share.
    found = guided(
        lambda z: (z[:, 0] + z[:, 1]) ** 2 * z[:, 2], cf.row(1, 1, 1), max_dist=1.0, fraction=0.3
    )
    assert float(found[0, 0]) == pytest.approx(float(found[0, 1]), abs=1e-12)


def test_each_step_reaches_its_goal_within_bounds():
    g = torch.Generator().manual_seed(0)
    t = torch.rand(4, 30, generator=g, dtype=torch.float64) * 0.2 + 0.2
    mass = torch.rand(4, 30, generator=g, dtype=torch.float64)
    mass /= mass.sum(dim=1, keepdim=True)
    moved = advance(t, mass, torch.rand(4, 30, generator=g), 0.42, 0.25, 0.6, 0.1)
    torch.testing.assert_close((mass * moved).sum(dim=1), torch.full((4,), 0.42).double())
    assert bool((moved >= t).all())
    assert float(moved.min()) >= 0.25
    assert float(moved.max()) <= 0.6


@pytest.mark.parametrize("options", [{"fraction": 0.0}, {"fraction": 1.5}, {"max_dist": -0.1}])
def test_bad_arguments(options):
    with pytest.raises(InputError, match="fraction must be in"):
        guided(cf.product, cf.row(1, 2), **options)
    with pytest.raises(InputError, match="unknown rule of guided_ig 'middle'"):
        guided(cf.product, cf.row(1, 2), rule="middle")
    with pytest.raises(InputError, match="steps is 0"):
        guided(cf.product, cf.row(1, 2), steps=0)
