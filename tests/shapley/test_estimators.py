"""Estimators of Shapley values: known games, axioms, exactness, standard errors, budgets."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from igbench.errors import InputError, NotDefinedError
from igbench.shapley import (
    antithetic_permutations,
    estimator_for,
    exact_values,
    leverage_regression,
    shapley_values,
)
from igbench.shapley.leverage import allocate, draw, solve, systematic

SAMPLED = (leverage_regression, antithetic_permutations)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairwise(n: int):
    """A random sum of single players and products of two, and its Shapley values."""
    g = seeded(4)
    w = torch.randn(n, generator=g, dtype=torch.float64)
    a = torch.randn(n, n, generator=g, dtype=torch.float64).triu(1)

    def value(masks):
        z = masks.double()
        return z @ w + ((z @ a) * z).sum(dim=1)

    return value, w + (a + a.T).sum(dim=0) / 2


def unanimity(n: int, terms: int = 40, seed: int = 2):
    """A random sum of games that need all of a random set, and its Shapley values."""
    g = seeded(seed)
    sets = torch.rand(terms, n, generator=g) < 0.35
    sets[:, 0] |= ~sets.any(dim=1)
    weights = torch.randn(terms, generator=g, dtype=torch.float64)
    exact = (weights[:, None] * sets / sets.sum(dim=1, keepdim=True)).sum(dim=0)
    return lambda m: (m[:, None] | ~sets).all(dim=2).double() @ weights, exact


def counted(value):
    """The game, and the coalitions that were evaluated."""
    seen = []

    def spy(masks):
        seen.extend(map(tuple, masks.int().tolist()))
        return value(masks)

    return spy, seen


def by_definition(value, n):
    """The mean of what each player adds, over all orders."""
    found = torch.zeros(n, dtype=torch.float64)
    for order in itertools.permutations(range(n)):
        masks = torch.zeros(n + 1, n, dtype=torch.bool)
        for k, player in enumerate(order):
            masks[k + 1 :, player] = True
        found[list(order)] += value(masks).diff()
    return found / math.factorial(n)


def test_enumeration_is_the_mean_over_all_orders():
    value, exact = unanimity(5)
    found = exact_values(value, 5)
    torch.testing.assert_close(found.values, by_definition(value, 5), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.values, exact, rtol=0, atol=1e-12)
    assert found.evaluations == 32
    assert found.std_error.tolist() == [0.0] * 5


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("sample", SAMPLED)
def test_up_to_three_players_are_enumerated(sample, n):
    value, seen = counted(unanimity(n, terms=5)[0])
    found = sample(value, n, 2, seeded())
    assert torch.equal(found.values, exact_values(value, n).values)
    assert len(seen) == 2 * 2**n
    assert float(found.std_error.sum()) == 0


@pytest.mark.parametrize("seed", range(5))
def test_one_order_and_its_reverse_are_exact_for_interactions_of_pairs(seed):
    value, exact = pairwise(10)
    found = antithetic_permutations(value, 10, 20, seeded(seed))
    torch.testing.assert_close(found.values, exact, rtol=0, atol=1e-13)
    assert found.evaluations == 20
    assert bool(found.std_error.isnan().all()), "one pair says nothing of its error"


@pytest.mark.parametrize("seed", range(5))
def test_the_regression_is_exact_for_interactions_of_pairs(seed):
    value, exact = pairwise(10)
    found = leverage_regression(value, 10, 60, seeded(seed))
    torch.testing.assert_close(found.values, exact, rtol=0, atol=1e-12)
    assert float(found.std_error.max()) < 1e-12


def test_neither_is_exact_for_interactions_of_three():
    def value(masks):
        return masks[:, :3].all(dim=1).double()

    exact = torch.tensor([1 / 3] * 3 + [0.0] * 7, dtype=torch.float64)
    for sample in SAMPLED:
        found = sample(value, 10, 100, seeded())
        assert float((found.values - exact).abs().max()) > 1e-3


@pytest.mark.parametrize("sample", SAMPLED)
def test_values_sum_to_the_whole_in_every_draw(sample):
    value, _ = unanimity(9)
    ends = value(torch.tensor([[False], [True]]).expand(2, 9))
    for seed in range(5):
        found = sample(value, 9, 60, seeded(seed))
        assert float(found.values.sum()) == pytest.approx(float(ends[1] - ends[0]), abs=1e-12)


@pytest.mark.parametrize("sample", SAMPLED)
def test_linear_in_the_game_with_equal_coalitions(sample):
    f, g = unanimity(9, seed=5)[0], unanimity(9, seed=6)[0]
    one, two, both = (
        sample(v, 9, 60, seeded(1)).values for v in (f, g, lambda m: 2 * f(m) - 3 * g(m))
    )
    torch.testing.assert_close(both, 2 * one - 3 * two, rtol=0, atol=1e-12)


def test_dummies_get_nothing_along_orders():
    value, _ = unanimity(6)
    found = antithetic_permutations(lambda m: value(m[:, :6]), 9, 100, seeded())
    assert float(found.values[6:].abs().max()) < 1e-12


def test_equal_roles_get_equal_values():
    """v depends on the number of players alone: the value of each is v(all) / n."""
    for sample in SAMPLED:
        found = sample(lambda m: m.sum(dim=1).double().square(), 8, 80, seeded())
        torch.testing.assert_close(found.values, torch.full((8,), 8.0).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sample", SAMPLED)
def test_within_four_standard_errors(sample):
    """At fixed seeds, with at least 20 pairs: beyond 4 of them once in 15,000 comparisons."""
    value, exact = unanimity(11)
    for seed in range(4):
        found = sample(value, 11, 40 * 11, seeded(seed))
        assert float(found.std_error.min()) > 0
        assert bool(((found.values - exact).abs() <= 4 * found.std_error).all())


def test_standard_errors_are_those_of_the_spread_over_seeds():
    value, _ = unanimity(9)
    for sample in SAMPLED:
        runs = [sample(value, 9, 180, seeded(s)) for s in range(150)]
        spread = torch.stack([r.values for r in runs]).std(dim=0)
        told = torch.stack([r.std_error.square() for r in runs]).mean(dim=0).sqrt()
        # The sd of 150 runs is good to 6 %, of nine players the worst to 15 %; the errors of a
        # regression are asymptotic.
        assert bool(((told / spread - 1).abs() < 0.25).all()), told / spread


def test_all_coalitions_in_the_budget_give_the_exact_values():
    value, exact = unanimity(7)
    for sample in SAMPLED:
        found = sample(value, 7, 128, seeded())
        torch.testing.assert_close(found.values, exact, rtol=0, atol=1e-12)
    almost = leverage_regression(value, 7, 126, seeded())
    assert float((almost.values - exact).abs().max()) < 0.02
    assert float(almost.std_error.max()) < 0.02
    value, exact = unanimity(8)  # where a half and its complement are of one size
    almost = leverage_regression(value, 8, 254, seeded())
    assert float((almost.values - exact).abs().max()) < 0.02


@pytest.mark.parametrize("budget", [26, 27, 60, 500, 2000])
def test_the_regression_takes_its_budget_of_different_coalitions(budget):
    value, seen = counted(unanimity(12)[0])
    found = leverage_regression(value, 12, budget, seeded(3))
    assert len(seen) == len(set(seen)) == found.evaluations == budget - budget % 2
    assert all(tuple(1 - m for m in mask) in set(seen) for mask in seen)


def test_orders_share_what_they_have_in_common():
    value, seen = counted(unanimity(6)[0])
    found = antithetic_permutations(value, 6, 62, seeded())
    assert len(seen) == len(set(seen)) == found.evaluations < 62
    assert found.evaluations > 30


def test_sizes_get_equal_numbers_until_there_are_no_more():
    sizes = allocate(12, 200)
    assert sizes.possible == (12, 66, 220, 495, 792, 462)
    assert sizes.expected[:1] == (12.0,)
    left = (200 - 12) / 4.5
    assert sizes.expected[1:] == pytest.approx((left, left, left, left, left / 2))
    counts = torch.tensor([systematic(sizes, seeded(s)) for s in range(400)]).double()
    assert bool((counts.sum(dim=1) == 200).all())
    # A count is one of two neighbours: its sd is at most a half, that of the mean 1/40.
    gap = counts.mean(dim=0) - torch.tensor(sizes.expected, dtype=torch.float64)
    assert float(gap.abs().max()) < 4 / 40


@pytest.mark.parametrize(("n", "size", "count"), [(6, 3, 10), (6, 3, 4), (8, 2, 20), (40, 20, 9)])
def test_draws_of_a_size_are_different_pairs(n, size, count):
    masks = draw(n, size, count, seeded())
    assert masks.sum(dim=1).tolist() == [size] * count
    own = {tuple(m) for m in masks.int().tolist()}
    other = {tuple(m) for m in (~masks).int().tolist()}
    assert len(own) == count
    assert not own & other


@pytest.mark.parametrize("n", [2, 61, 100, 1100])
def test_numbers_of_coalitions_do_not_overflow(n):
    sizes = allocate(n, 5 * n)
    assert all(0 < q <= 1 for q in sizes.inclusion)
    assert sum(sizes.expected) == pytest.approx(min(5 * n, 1 if n == 2 else 5 * n))


def test_too_few_evaluations_are_refused():
    value, _ = unanimity(10)
    with pytest.raises(NotDefinedError, match="19 evaluations are too few for the regression of"):
        leverage_regression(value, 10, 19, seeded())
    with pytest.raises(NotDefinedError, match="one order and its reverse cost 20"):
        antithetic_permutations(value, 10, 19, seeded())


def test_coalitions_that_do_not_determine_the_values_are_refused():
    """Five pairs of four players that never tell the first two apart."""
    half = torch.tensor(
        [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 0], [1, 1, 0, 1]], dtype=torch.bool
    )
    ones, total = torch.ones(5, dtype=torch.float64), torch.tensor(1.0).double()
    with pytest.raises(NotDefinedError, match="rank 2 of 3") as caught:
        solve(half, ones, total, ones, ones / 2)
    assert "5 pairs of coalitions do not determine the values of 4 players" in str(caught.value)
    half[0, 0] = False
    assert bool(solve(half, ones, total, ones, ones / 2)[0].isfinite().all())


def test_the_estimator_that_fits():
    assert [estimator_for(n, 40 * n) for n in (3, 8, 9, 50)] == ["exact"] * 2 + ["leverage"] * 2
    assert estimator_for(50, 499) == "permutations"
    value, _ = unanimity(8)
    assert torch.equal(
        shapley_values(value, 8, 320, seeded()).values, exact_values(value, 8).values
    )
    with pytest.raises(InputError, match="unknown estimator 'kernel'"):
        shapley_values(value, 8, 320, seeded(), "kernel")
    with pytest.raises(InputError, match="too many to enumerate"):
        exact_values(value, 25)
