"""Does a map change when the model, or the class, does?  As functions."""

from __future__ import annotations

from typing import Literal, Unpack

from torch import Tensor

from igbench.metrics.efficient_mprt import EfficientMprt
from igbench.metrics.functional.common import Common, Forward, Maps, Scores, measure
from igbench.metrics.mprt import Mprt
from igbench.metrics.random_logit import RandomLogit
from igbench.metrics.randomise import Init, Order
from igbench.metrics.smooth_mprt import SmoothMprt

Likeness = Literal["spearman", "ssim"]


def mprt(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    order: Order = "top_down",
    similarity: Likeness = "spearman",
    absolute: bool = True,
    stages: int | None = None,
    init: Init = "scale",
    repeats: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Similarity to maps of randomised networks; needs `method`; see `Mprt`."""
    return measure(
        Mprt(
            order=order,
            similarity=similarity,
            absolute=absolute,
            stages=stages,
            init=init,
            repeats=repeats,
        ),
        forward,
        inputs,
        attributions,
        **common,
    )


def smooth_mprt(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    order: Order = "bottom_up",
    similarity: Likeness = "spearman",
    absolute: bool = True,
    stages: int | None = None,
    draws: int = 50,
    noise: float = 0.1,
    repeats: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """`mprt` of maps averaged over noisy inputs; needs `method`; see `SmoothMprt`."""
    return measure(
        SmoothMprt(
            order=order,
            similarity=similarity,
            absolute=absolute,
            stages=stages,
            draws=draws,
            noise=noise,
            repeats=repeats,
        ),
        forward,
        inputs,
        attributions,
        **common,
    )


def efficient_mprt(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    bins: int = 100,
    init: Init = "scale",
    repeats: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Rise of entropy under random weights; needs `method`; see `EfficientMprt`."""
    return measure(
        EfficientMprt(bins=bins, init=init, repeats=repeats),
        forward,
        inputs,
        attributions,
        **common,
    )


def random_logit(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    similarity: Likeness = "spearman",
    absolute: bool = True,
    classes: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Similarity to the maps of other classes; needs `method` or `explain`; see the class."""
    return measure(
        RandomLogit(similarity=similarity, absolute=absolute, classes=classes),
        forward,
        inputs,
        attributions,
        **common,
    )
