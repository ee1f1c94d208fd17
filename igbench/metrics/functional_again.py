"""Metrics that ask more than a map, as plain functions.

They have the arguments of `igbench.metrics.functional`.  Those that explain another model or from
another baseline take `method`, `random_logit` also `explain`, those that compare with people
`masks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from torch import Tensor

from igbench import checks
from igbench.metrics.aic import Aic
from igbench.metrics.baseline_sensitivity import NAMES, BaselineSensitivity
from igbench.metrics.convergence_error import ConvergenceError
from igbench.metrics.dummy import Dummy
from igbench.metrics.efficient_mprt import EfficientMprt
from igbench.metrics.functional import Common, Forward, Maps, Scores, measure
from igbench.metrics.implementation_invariance import ImplementationInvariance
from igbench.metrics.information import THRESHOLDS
from igbench.metrics.input_invariance import InputInvariance
from igbench.metrics.linearity import Linearity
from igbench.metrics.masked import MaskOf
from igbench.metrics.mprt import Mprt
from igbench.metrics.pointing_game import PointingGame
from igbench.metrics.random_logit import RandomLogit
from igbench.metrics.randomise import Init, Order
from igbench.metrics.relevance_mass import RelevanceMass
from igbench.metrics.relevance_rank import RelevanceRank
from igbench.metrics.sic import Sic
from igbench.metrics.smooth_mprt import SmoothMprt
from igbench.sources import Data

Part = Literal["positive", "absolute"]
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
    **common: Unpack[Common],
) -> Scores:
    """Similarity to maps of randomised networks; needs `method`; see `Mprt`."""
    return measure(
        Mprt(order=order, similarity=similarity, absolute=absolute, stages=stages, init=init),
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
    **common: Unpack[Common],
) -> Scores:
    """Rise of entropy under random weights; needs `method`; see `EfficientMprt`."""
    return measure(EfficientMprt(bins=bins, init=init), forward, inputs, attributions, **common)


def random_logit(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    similarity: Likeness = "spearman",
    absolute: bool = True,
    **common: Unpack[Common],
) -> Scores:
    """Similarity to the map of another class; needs `method` or `explain`; see the class."""
    return measure(
        RandomLogit(similarity=similarity, absolute=absolute),
        forward,
        inputs,
        attributions,
        **common,
    )


def dummy(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    mode: Literal["plant", "detect"] = "plant",
    share: float = 0.5,
    draws: int = 4,
    **common: Unpack[Common],
) -> Scores:
    """Share of |phi| on ignored features; needs `method` with mode=plant; see `Dummy`."""
    return measure(
        Dummy(mode=mode, share=share, draws=draws), forward, inputs, attributions, **common
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
    **common: Unpack[Common],
) -> Scores:
    """Gap between the map of a sum and the sum of maps; needs `method`; see `Linearity`."""
    return measure(Linearity(a=a), forward, inputs, attributions, **common)


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


def baseline_sensitivity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    statistic: Literal["rank", "spread", "blind"] = "rank",
    among: Sequence[str] = NAMES,
    data: Data | None = None,
    **common: Unpack[Common],
) -> Scores:
    """How much maps of the baselines `among` differ; needs `method`; see the class."""
    return measure(
        BaselineSensitivity(statistic=statistic, baselines=among, data=data),
        forward,
        inputs,
        attributions,
        **common,
    )


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
    **common: Unpack[Common],
) -> Scores:
    """Area under the probability information curve; needs black and white of `data`."""
    return measure(
        Sic(data=data, thresholds=thresholds, least=least, normalise=normalise, absolute=absolute),
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
    **common: Unpack[Common],
) -> Scores:
    """Area under the accuracy information curve; needs black and white of `data`."""
    return measure(
        Aic(data=data, thresholds=thresholds, least=least, normalise=normalise, absolute=absolute),
        forward,
        inputs,
        attributions,
        **common,
    )


def pointing_game(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    masks: Tensor | Sequence[Tensor | None],
    tolerance: float = 15,
    part: Part = "positive",
    **common: Unpack[Common],
) -> Scores:
    """1 where the maximum of the map is on or near the mask; `masks` (N, H, W); see the class."""
    own = by_id(masks, len(inputs), common.get("sample_ids"))
    return measure(
        PointingGame(masks=own, tolerance=tolerance, part=part),
        forward,
        inputs,
        attributions,
        **common,
    )


def relevance_rank(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    masks: Tensor | Sequence[Tensor | None],
    part: Part = "positive",
    **common: Unpack[Common],
) -> Scores:
    """Share of the top pixels that is on the mask; `masks` (N, H, W); see the class."""
    own = by_id(masks, len(inputs), common.get("sample_ids"))
    return measure(RelevanceRank(masks=own, part=part), forward, inputs, attributions, **common)


def relevance_mass(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    masks: Tensor | Sequence[Tensor | None],
    part: Part = "positive",
    **common: Unpack[Common],
) -> Scores:
    """Share of the relevance that is on the mask; `masks` (N, H, W); see the class."""
    own = by_id(masks, len(inputs), common.get("sample_ids"))
    return measure(RelevanceMass(masks=own, part=part), forward, inputs, attributions, **common)


def by_id(
    masks: Tensor | Sequence[Tensor | None], n: int, sample_ids: Sequence[str] | None
) -> MaskOf:
    """Masks of N samples as a function of their identifiers.

    Raises:
        InputError: There is not one mask for each sample.
    """
    if len(masks) != n:
        raise checks.InputError(
            f"there are {len(masks)} masks for {n} samples; give None where there is no mask."
        )
    ids = tuple(map(str, range(n))) if sample_ids is None else sample_ids
    return dict(zip(ids, masks, strict=True)).get
