"""How simple is a map, and is it where people look?  As functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from torch import Tensor

from igbench import checks
from igbench.metrics.complexity import Complexity
from igbench.metrics.effective_complexity import EffectiveComplexity
from igbench.metrics.functional.common import Common, Forward, Maps, Scores, measure
from igbench.metrics.masked import MaskOf
from igbench.metrics.pointing_game import PointingGame
from igbench.metrics.relevance_mass import RelevanceMass
from igbench.metrics.relevance_rank import RelevanceRank
from igbench.metrics.sparseness import Sparseness

Part = Literal["positive", "absolute"]


def sparseness(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    **common: Unpack[Common],
) -> Scores:
    """Gini index of |phi|; see `Sparseness`."""
    return measure(Sparseness(), forward, inputs, attributions, **common)


def complexity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    **common: Unpack[Common],
) -> Scores:
    """Entropy of the shares of |phi|; see `Complexity`."""
    return measure(Complexity(), forward, inputs, attributions, **common)


def effective_complexity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    threshold: float = 0.1,
    **common: Unpack[Common],
) -> Scores:
    """Number of features with a large |phi|; see `EffectiveComplexity`."""
    return measure(
        EffectiveComplexity(threshold=threshold), forward, inputs, attributions, **common
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
