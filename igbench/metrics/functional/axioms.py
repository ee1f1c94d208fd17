"""Does a method keep its promises?  Axioms, and the error of the integral, as functions."""

from __future__ import annotations

from typing import Literal, Unpack

from torch import Tensor

from igbench.metrics.convergence_error import ConvergenceError
from igbench.metrics.dummy import Dummy
from igbench.metrics.functional.common import Common, Forward, Maps, Scores, measure
from igbench.metrics.implementation_invariance import ImplementationInvariance
from igbench.metrics.input_invariance import InputInvariance
from igbench.metrics.linearity import Linearity


def dummy(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    mode: Literal["plant", "detect"] = "plant",
    share: float = 0.5,
    draws: int = 4,
    repeats: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Share of |phi| on ignored features; needs `method` with mode=plant; see `Dummy`."""
    return measure(
        Dummy(mode=mode, share=share, draws=draws, repeats=repeats),
        forward,
        inputs,
        attributions,
        **common,
    )


def implementation_invariance(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    rewrite: Literal["split", "bend", "both"] = "both",
    **common: Unpack[Common],
) -> Scores:
    """Gap to the map of an equal network; needs `method`; see the class."""
    return measure(
        ImplementationInvariance(rewrite=rewrite), forward, inputs, attributions, **common
    )


def linearity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    a: float = 1.0,
    repeats: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Gap between the map of a sum and the sum of maps; needs `method`; see `Linearity`."""
    return measure(Linearity(a=a, repeats=repeats), forward, inputs, attributions, **common)


def input_invariance(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    shift: float = 1.0,
    shift_baseline: bool = False,
    **common: Unpack[Common],
) -> Scores:
    """Gap under a shift of the input that is undone; needs `method`; see the class."""
    return measure(
        InputInvariance(shift=shift, shift_baseline=shift_baseline),
        forward,
        inputs,
        attributions,
        **common,
    )


def convergence_error(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    n_reference: int = 1000,
    **common: Unpack[Common],
) -> Scores:
    """Relative L1 distance to a fine Integrated Gradients; see `ConvergenceError`."""
    return measure(
        ConvergenceError(n_reference=n_reference), forward, inputs, attributions, **common
    )
