"""The estimator of Shapley values that fits a number of players and a budget."""

from __future__ import annotations

import torch

from igbench.errors import check_choice
from igbench.shapley.estimate import Estimate, Value
from igbench.shapley.exact import exact_values
from igbench.shapley.leverage import leverage_regression
from igbench.shapley.permutations import antithetic_permutations

ESTIMATORS = ("auto", "exact", "leverage", "permutations")
ENOUGH = 10
"""Evaluations for each player from which on the regression is better than permutations."""


def estimator_for(players: int, evaluations: int) -> str:
    """The estimator with the smallest error: "exact", "leverage" or "permutations".

    >>> [estimator_for(n, 640) for n in (9, 16, 100)]
    ['exact', 'leverage', 'permutations']
    """
    if players <= 3 or 2**players <= evaluations:
        return "exact"
    return "leverage" if evaluations >= ENOUGH * players else "permutations"


def shapley_values(
    value: Value,
    players: int,
    evaluations: int,
    generator: torch.Generator,
    estimator: str = "auto",
) -> Estimate:
    """Shapley values by the estimator of a name, with at most so many evaluations.

    Args:
        value: v.
        players: n.
        evaluations: Largest number of coalitions to evaluate; "exact" takes all there are.
        generator: Source of the draws.
        estimator: "exact", "leverage" (see `leverage_regression`), "permutations" (see
            `antithetic_permutations`), or "auto", see `estimator_for`.

    Raises:
        InputError: An unknown estimator, or too many players for "exact".
        NotDefinedError: A budget that is too small for the players.
    """
    check_choice("estimator", estimator, ESTIMATORS)
    name = estimator_for(players, evaluations) if estimator == "auto" else estimator
    if name == "exact":
        return exact_values(value, players)
    sample = leverage_regression if name == "leverage" else antithetic_permutations
    return sample(value, players, evaluations, generator)
