"""Do contributions say what the output does?  Metrics of sums and correlations as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from torch import Tensor

from igbench.metrics.completeness import Completeness
from igbench.metrics.faithfulness_correlation import FaithfulnessCorrelation
from igbench.metrics.faithfulness_estimate import FaithfulnessEstimate
from igbench.metrics.functional.common import Common, Forward, Maps, Scores, measure
from igbench.metrics.infidelity import Infidelity
from igbench.metrics.monotonicity_correlation import MonotonicityCorrelation
from igbench.metrics.sensitivity_n import FRACTIONS, SensitivityN


def completeness(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    relative: bool = True,
    **common: Unpack[Common],
) -> Scores:
    """|sum phi - (f(x) - f(x'))|, relative to |f(x) - f(x')|; see `Completeness`."""
    return measure(Completeness(relative=relative), forward, inputs, attributions, **common)


def infidelity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    perturbation: Literal["square", "subset", "gaussian"] = "square",
    draws: int | Literal["all"] = 64,
    scale: float = 0.1,
    normalize: bool = False,
    **common: Unpack[Common],
) -> Scores:
    """Mean squared error of phi as a predictor of f(x) - f(x_p); see `Infidelity`."""
    return measure(
        Infidelity(perturbation=perturbation, draws=draws, scale=scale, normalize=normalize),
        forward,
        inputs,
        attributions,
        **common,
    )


def sensitivity_n(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    n: float | Sequence[float] = FRACTIONS,
    subsets: int | Literal["all"] = 100,
    **common: Unpack[Common],
) -> Scores:
    """Correlation of sums of phi over sets of n features with f's change; see `SensitivityN`."""
    return measure(SensitivityN(n=n, subsets=subsets), forward, inputs, attributions, **common)


def faithfulness_correlation(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    n: float = 0.2,
    subsets: int = 100,
    **common: Unpack[Common],
) -> Scores:
    """Correlation of sums of phi with the change of f at one set size; see the class."""
    return measure(
        FaithfulnessCorrelation(n=n, subsets=subsets), forward, inputs, attributions, **common
    )


def faithfulness_estimate(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    **common: Unpack[Common],
) -> Scores:
    """Correlation of phi with the drop for each feature; see `FaithfulnessEstimate`."""
    return measure(FaithfulnessEstimate(), forward, inputs, attributions, **common)


def monotonicity_correlation(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    draws: int = 8,
    **common: Unpack[Common],
) -> Scores:
    """Rank correlation of |phi| with the effect of each feature; see the class."""
    return measure(MonotonicityCorrelation(draws=draws), forward, inputs, attributions, **common)
