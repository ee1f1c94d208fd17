"""Shapley values of games of n players: enumeration, regression and permutations.

Pure functions of a value function v, which maps coalitions (D, n) to their values (D,), for one
sample; what a coalition does to a sample, and where v comes from, is not known here.
"""

from igbench.shapley.auto import ESTIMATORS, estimator_for, shapley_values
from igbench.shapley.estimate import Estimate, Value
from igbench.shapley.exact import exact_values
from igbench.shapley.leverage import leverage_regression
from igbench.shapley.permutations import antithetic_permutations

__all__ = [
    "ESTIMATORS",
    "Estimate",
    "Value",
    "antithetic_permutations",
    "estimator_for",
    "exact_values",
    "leverage_regression",
    "shapley_values",
]
