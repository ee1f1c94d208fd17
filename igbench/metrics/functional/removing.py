"""Do the most important features matter most?  Metrics of removal as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from torch import Tensor

from igbench.metrics.aopc import Aopc
from igbench.metrics.comprehensiveness import Comprehensiveness
from igbench.metrics.deletion import Deletion
from igbench.metrics.functional.common import Common, Forward, Maps, Scores, measure
from igbench.metrics.insertion import Insertion
from igbench.metrics.pixel_flipping import PixelFlipping
from igbench.metrics.road import Road
from igbench.metrics.srg import SymmetricRelevanceGain
from igbench.metrics.sufficiency import Sufficiency

Scalar = Literal["score", "logit", "probability"]


def deletion(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    step: float = 1,
    occluder: str = "baseline",
    scalar: Scalar = "score",
    tie_orders: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Area under f as the most important features go first; see `Deletion`."""
    return measure(
        Deletion(step=step, occluder=occluder, scalar=scalar, tie_orders=tie_orders),
        forward,
        inputs,
        attributions,
        **common,
    )


def insertion(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    step: float = 1,
    occluder: str = "baseline",
    scalar: Scalar = "score",
    tie_orders: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Area under f as the most important features come first; see `Insertion`."""
    return measure(
        Insertion(step=step, occluder=occluder, scalar=scalar, tie_orders=tie_orders),
        forward,
        inputs,
        attributions,
        **common,
    )


def srg(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    step: float = 1,
    occluder: str = "baseline",
    scalar: Scalar = "score",
    tie_orders: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Area with least important first minus area with most important first."""
    return measure(
        SymmetricRelevanceGain(step=step, occluder=occluder, scalar=scalar, tie_orders=tie_orders),
        forward,
        inputs,
        attributions,
        **common,
    )


def aopc(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    step: float = 1,
    occluder: str = "baseline",
    scalar: Scalar = "score",
    order: Literal["morf", "lerf", "difference"] = "morf",
    tie_orders: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Mean drop of f along a removal curve (Samek et al. 2017); see `Aopc`."""
    return measure(
        Aopc(step=step, occluder=occluder, scalar=scalar, order=order, tie_orders=tie_orders),
        forward,
        inputs,
        attributions,
        **common,
    )


def pixel_flipping(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    step: float = 1,
    occluder: str = "baseline",
    scalar: Scalar = "score",
    tie_orders: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Mean of f along the removal of the most important features; see `PixelFlipping`."""
    return measure(
        PixelFlipping(step=step, occluder=occluder, scalar=scalar, tie_orders=tie_orders),
        forward,
        inputs,
        attributions,
        **common,
    )


def comprehensiveness(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    fractions: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 0.5),
    occluder: str = "baseline",
    scalar: Scalar = "score",
    tie_orders: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Mean drop of f when the top features go; see `Comprehensiveness`."""
    return measure(
        Comprehensiveness(
            fractions=fractions, occluder=occluder, scalar=scalar, tie_orders=tie_orders
        ),
        forward,
        inputs,
        attributions,
        **common,
    )


def sufficiency(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    fractions: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 0.5),
    occluder: str = "baseline",
    scalar: Scalar = "score",
    tie_orders: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Mean drop of f when only the top features stay; see `Sufficiency`."""
    return measure(
        Sufficiency(fractions=fractions, occluder=occluder, scalar=scalar, tie_orders=tie_orders),
        forward,
        inputs,
        attributions,
        **common,
    )


def road(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    order: Literal["both", "morf", "lerf"] = "both",
    scalar: Literal["accuracy", "probability", "logit", "score"] = "probability",
    noise: float = 0.01,
    repeats: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """Removal with noisy linear imputation (Rong et al. 2022); see `Road`."""
    return measure(
        Road(order=order, scalar=scalar, noise=noise, repeats=repeats),
        forward,
        inputs,
        attributions,
        **common,
    )
