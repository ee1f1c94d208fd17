"""Averages of Integrated Gradients: over references and over noise."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.expected import (
    expected_gradients,
    noisy_copy,
    smooth_integrated_gradients,
    spread_positions,
)
from igbench.integration.integrate import input_gradient, integrated_gradients
from tests.helpers import closed_form as cf

DIAGONAL = torch.diag(torch.tensor([1.0, 2, 3], dtype=torch.float64))


def eg(f, x, pool, target=None, rows=32, ids=None, **options):
    ids = [f"s{i}" for i in range(len(x))] if ids is None else ids
    return expected_gradients(Score(f, batch_size=rows), x, pool, target, sample_ids=ids, **options)


def smooth(f, x, target=None, rows=32, baseline=0.0, **options):
    ids = [f"s{i}" for i in range(len(x))]
    b = torch.full_like(x, baseline)
    return smooth_integrated_gradients(
        Score(f, batch_size=rows), x, b, target, sample_ids=ids, **options
    )


def two_point_pool() -> Tensor:
    """All of mu +- s: mean mu and variance s^2 exactly."""
    mu = cf.row(0.5, 0, 1)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), dtype=torch.float64)
    return mu + 0.3 * signs


def test_references_of_a_diagonal_quadratic():
    """sum a_i x_i^2 / 2, references of mean m, variance s^2: a_i (x_i^2 - m_i^2 - s^2) / 2."""
    alphas = 400
    found = eg(cf.quadratic(DIAGONAL), cf.row(1, 1, 1), two_point_pool(), alphas=alphas)
    # A mean with one position in each of A equal parts misses the integral of h by at most
    # V / A, V the total variation of h; here h = D a_i (x' + a D) and V = a_i D^2, D <= 1.3.
    bound = torch.tensor([[1.0, 2, 3]]) * 1.3**2 / alphas
    assert bool(((found - cf.row(0.33, 0.91, -0.135)).abs() <= bound).all())
    # Integrated Gradients from the mean reference would be off by a_i s^2 / 2 = .045 a_i.
    assert float(bound.max()) < 0.045


def test_linear_models_need_one_position():
    pool = two_point_pool()
    found = eg(cf.linear(1, -2, 3), cf.row(1, 1, 1), pool, alphas=1)
    expected = (cf.row(1, 1, 1) - pool.mean(dim=0)) * cf.row(1, -2, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_one_reference_is_integrated_gradients():
    x, b, target = cf.images(2), cf.images(1, seed=5), torch.tensor([1, 3])
    found = eg(cf.small_net(), x, b, target, alphas=300)
    line = integrated_gradients(Score(cf.small_net()), x, b.expand_as(x), target, n_steps=50)
    # Jittered strata: unbiased, errors of order A^-1.5 of the variation; 1 % is loose.
    assert float((found - line).abs().sum()) < 0.01 * float(line.abs().sum())


def test_sum_is_the_change_from_the_mean_output_of_the_pool():
    x, pool, net = cf.images(1), cf.images(6, seed=5), cf.small_net()
    alphas, target = 200, torch.tensor([2])
    found = float(eg(net, x, pool, target, alphas=alphas).sum())
    score = Score(net)
    change = float(score.evaluate(x, target) - score.evaluate(pool, target.expand(6)).mean())
    # As for the quadratic, for each reference: the variation of h is taken on a fine grid.
    grid = torch.linspace(0, 1, 300, dtype=torch.float64).view(-1, 1, 1, 1)
    bounds = []
    for r in pool:
        points = r + grid * (x - r)
        slope = (input_gradient(score, points, target.expand(300)) * (x - r)).sum(dim=(1, 2, 3))
        bounds.append(float(slope.diff().abs().sum()) / alphas)
    assert abs(found - change) <= sum(bounds) / 6
    assert sum(bounds) / 6 < 0.1 * abs(change)


def test_positions_fill_every_cell_once():
    references, alphas = 5, 4
    a = spread_positions(references, alphas, rng.generator(0, "test", "a"))
    cells = (a * references * alphas).floor().long()
    assert sorted(cells.flatten().tolist()) == list(range(20))
    assert (a * alphas).floor().tolist() == [[0, 1, 2, 3]] * references


@pytest.mark.parametrize("references", [1, 3])
def test_position_of_a_reference_is_uniform(references):
    # Mean and variance of uniform numbers over 4,000 keys, within five standard errors.
    keys = [rng.generator(0, "u", str(i)) for i in range(4000)]
    draws = torch.stack([spread_positions(references, 1, k)[-1, 0] for k in keys])
    assert abs(float(draws.mean()) - 0.5) < 5 * (1 / 12 / 4000) ** 0.5
    assert abs(float(draws.var()) - 1 / 12) < 5 * (1 / 180 / 4000) ** 0.5


def test_draws_hang_on_seed_and_sample():
    x, pool, target = (
        cf.images(1).expand(2, -1, -1, -1),
        cf.images(9, seed=2),
        torch.zeros(2).long(),
    )
    net, options = cf.small_net(), {"references": 4, "alphas": 2}
    found = eg(net, x, pool, target, ids=["a", "b"], **options)
    assert not torch.equal(found[0], found[1])
    same = eg(net, x, pool, target, ids=["b", "b"], rows=3, **options)
    torch.testing.assert_close(same[0], found[1], rtol=1e-12, atol=1e-15)
    assert not torch.equal(eg(net, x, pool, target, ids=["a", "b"], seed=1, **options), found)


def test_a_part_of_the_pool_is_drawn_without_replacement():
    # f = z: with one-hot references the map shows which of them were used, 3 of 8 each time.
    found = eg(lambda z: z.sum(dim=1), torch.zeros(1, 8).double(), torch.eye(8), references=3)
    assert sorted(found[0].tolist()) == pytest.approx([-1 / 3] * 3 + [0] * 5)


def test_cost_of_expected_gradients():
    score, x = Score(cf.product), cf.row(1, 2)
    expected_gradients(score, x, torch.rand(5, 2).double(), sample_ids=["a"], references=9)
    assert (score.cost.forward, score.cost.backward) == (20, 20)


def test_bad_pools_are_refused():
    with pytest.raises(InputError, match=r"shape \(0, 2\)"):
        eg(cf.product, cf.row(1, 2), torch.zeros(0, 2))
    with pytest.raises(InputError, match=r"at least one sample of shape \(2,\)"):
        eg(cf.product, cf.row(1, 2), torch.zeros(4, 3))
    with pytest.raises(InputError, match="alphas is 0"):
        eg(cf.product, cf.row(1, 2), torch.zeros(4, 2), alphas=0)


# -- noise ----------------------------------------------------------------------------------


def test_noise_is_a_share_of_the_range():
    x = torch.linspace(-1, 3, 10_000, dtype=torch.float64)
    e = noisy_copy(x, 0.25, 0, "a", 0) - x
    # Standard deviation 0.25 * 4, from 10,000 draws, within five standard errors.
    assert abs(float(e.mean())) < 5 / 100
    assert abs(float(e.var()) - 1) < 5 * (2 / 10_000) ** 0.5
    assert not torch.equal(noisy_copy(x, 0.25, 0, "a", 1) - x, e)
    assert not torch.equal(noisy_copy(x, 0.25, 0, "b", 0) - x, e)
    assert not torch.equal(noisy_copy(x, 0.25, 1, "a", 0) - x, e)


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_smooth_ig_is_the_mean_over_its_noisy_copies(rows):
    x, target = cf.images(2), torch.tensor([1, 2])
    score = Score(cf.small_net())
    b = torch.full_like(x, 0.2)
    found = smooth(cf.small_net(), x, target, rows, 0.2, draws=4, noise=0.1, n_steps=9)
    copies = [
        torch.stack([noisy_copy(x[i], 0.1, 0, f"s{i}", d) for i in range(2)]) for d in range(4)
    ]
    maps = [integrated_gradients(score, c, b, target, n_steps=9) for c in copies]
    torch.testing.assert_close(found, torch.stack(maps).mean(dim=0), rtol=1e-9, atol=1e-14)


def test_smooth_ig_sums_to_the_mean_change():
    x, target = cf.images(1), torch.tensor([1])
    score = Score(cf.small_net())
    outputs = [
        float(score.evaluate(noisy_copy(x[0], 0.1, 0, "s0", d)[None], target)) for d in range(5)
    ]
    change = sum(outputs) / 5 - float(score.evaluate(torch.zeros_like(x), target))
    # Gauss-Legendre on a smooth network: 30 nodes are exact to rounding.
    found = smooth(cf.small_net(), x, target, draws=5, noise=0.1, n_steps=30)
    assert float(found.sum()) == pytest.approx(change, abs=1e-8)


def test_noise_adds_its_variance_to_a_quadratic():
    # IG of a_i z_i^2 / 2 at x + e is a_i (x_i + e_i)^2 / 2, with mean a_i (x_i^2 + s^2) / 2;
    # noise .2 of a range of 2: s = .4.
    x, s, draws = cf.row(0, 1, 2), 0.4, 3000
    found = smooth(cf.quadratic(DIAGONAL), x, rows=500, draws=draws, noise=0.2, n_steps=1)
    a = torch.tensor([1.0, 2, 3], dtype=torch.float64)
    # var((x + e)^2) = 4 x^2 s^2 + 2 s^4; five standard errors.
    bound = 5 * a / 2 * ((4 * x[0] ** 2 * s**2 + 2 * s**4) / draws) ** 0.5
    middle = smooth(cf.quadratic(DIAGONAL), x, draws=1, noise=0.2, n_steps=1, rule="middle")
    assert middle.shape == x.shape
    assert bool(((found - a / 2 * (x**2 + s**2)).abs() <= bound).all())


def test_bad_noise_is_refused():
    with pytest.raises(InputError, match="noise is 0"):
        smooth(cf.product, cf.row(1, 2), noise=0.0)
    with pytest.raises(InputError, match="draws is 0"):
        smooth(cf.product, cf.row(1, 2), draws=0)
