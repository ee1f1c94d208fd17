"""How little of a picture is enough?  Metrics of information as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from torch import Tensor

from igbench.metrics.aic import Aic
from igbench.metrics.functional.common import Common, Forward, Maps, Scores, measure
from igbench.metrics.information import THRESHOLDS
from igbench.metrics.sic import Sic
from igbench.sources import Data

Scalar = Literal["score", "logit", "probability"]


def sic(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    data: Data,
    thresholds: Sequence[float] = THRESHOLDS,
    least: float = 0.8,
    normalise: bool = True,
    absolute: bool = True,
    repeats: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Area under the probability information curve; needs black and white of `data`."""
    return measure(
        Sic(
            data=data,
            thresholds=thresholds,
            least=least,
            normalise=normalise,
            absolute=absolute,
            repeats=repeats,
        ),
        forward,
        inputs,
        attributions,
        **common,
    )


def aic(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    data: Data,
    thresholds: Sequence[float] = THRESHOLDS,
    least: float = 0.8,
    normalise: bool = True,
    absolute: bool = True,
    repeats: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Area under the accuracy information curve; needs black and white of `data`."""
    return measure(
        Aic(
            data=data,
            thresholds=thresholds,
            least=least,
            normalise=normalise,
            absolute=absolute,
            repeats=repeats,
        ),
        forward,
        inputs,
        attributions,
        **common,
    )
