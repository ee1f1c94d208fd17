"""What an estimator of Shapley values returns, and the value function that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Value = Callable[[Tensor], Tensor]
"""Maps coalitions (D, n), true where a player is in, to values (D,)."""


@dataclass(frozen=True)
class Estimate:
    """Shapley values with their Monte Carlo error.

    Attributes:
        values: (n,) float64; they sum to v(all) - v(none) up to rounding.
        std_error: (n,) float64 standard errors; 0 for exact values, NaN where the draws are too few
            to tell.
        evaluations: Number of different coalitions that were evaluated.
    """

    values: Tensor
    std_error: Tensor
    evaluations: int


def evaluate(value: Value, masks: Tensor) -> Tensor:
    """Values of coalitions (D, n) on the CPU in float64, (D,)."""
    return value(masks).detach().to("cpu").double()
