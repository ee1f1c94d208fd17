"""How is the importance spread over the features?  What the metrics of complexity share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.errors import InputError
from igbench.metrics.base import BaseMetric

ZERO = "the map is zero everywhere or not finite"


@dataclass(frozen=True)
class Magnitudes(BaseMetric):
    """Metrics of |phi_i| alone, where phi_i is summed over the elements of feature i.

    No model evaluation is needed.  Only the relative sizes count: the scale and the signs of a map
    do not matter, nor does the order of the features.  They say nothing about whether a map is
    right.

    Args:
        features: What one feature is; None for the default of the data.
    """

    family = "complexity"
    undefined = ZERO

    features: str | None = None

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: None
    ) -> dict[str, Measurement]:
        """Score of every attribution; NaN for maps of zeros, or not finite."""
        features = self.features_of(batch)
        result = {}
        for name, attribution in attributions.items():
            sizes = feature_units.total(attribution.values, features).abs()
            defined = (sizes.amax(dim=1) > 0) & sizes.isfinite().all(dim=1)
            result[name] = Measurement(torch.where(defined, self.of(sizes), math.nan), reason=ZERO)
        return result

    def of(self, sizes: Tensor) -> Tensor:
        """Score of magnitudes, (N, G) float64 to (N,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Sparseness(Magnitudes):
    """Gini index of |phi| (Chalasani et al. 2020).

    sum_i (2 i - G - 1) a_(i) / (G sum_i a_i) with a = |phi| in rising order, i = 1..G: 0 for equal
    magnitudes, 1 - 1/G for a single feature.  Undefined for a map of zeros.
    """

    name = "sparseness"
    explains = "Does the map put its weight on few features?"
    title = "Sparseness (Gini index)"
    direction = "higher"
    reference = "Chalasani et al. 2020, Gini index"
    range = (0, 1)

    def of(self, sizes: Tensor) -> Tensor:
        """Gini index of every row, (N, G) to (N,)."""
        count = sizes.shape[1]
        share = (sizes / sizes.sum(dim=1, keepdim=True)).sort(dim=1).values
        weights = 2 * torch.arange(1, count + 1).to(share) - count - 1
        return ((share * weights).sum(dim=1) / count).clamp(0, 1)


@dataclass(frozen=True)
class Complexity(Magnitudes):
    """Entropy of |phi_i| / sum |phi| in nats (Bhatt, Weller and Moura 2020, definition 4).

    -sum_i p_i ln p_i: 0 for a single feature, ln G for equal magnitudes.  Undefined for a map of
    zeros.
    """

    name = "complexity"
    explains = "Over how many features is the weight of the map spread, as an entropy?"
    title = "Complexity (entropy, nats)"
    direction = "lower"
    reference = "Bhatt, Weller, Moura 2020, definition 4"
    range = (0, math.inf)

    def of(self, sizes: Tensor) -> Tensor:
        """Entropy of every row, (N, G) to (N,)."""
        share = sizes / sizes.sum(dim=1, keepdim=True)
        return torch.special.xlogy(share, share).sum(dim=1).abs()


@dataclass(frozen=True)
class EffectiveComplexity(Magnitudes):
    """Number of features with |phi_i| > threshold * max |phi|, from 1 to G.

    After Nguyen and Rodriguez Martinez 2020, who count features above a tolerance.  The threshold
    is relative to the largest magnitude of the same map, since an absolute one would compare the
    scales of the methods.  Undefined for a map of zeros.

    Args:
        threshold: Relative to the largest magnitude, at least 0 and below 1.

    Raises:
        InputError: A threshold outside [0, 1).
    """

    name = "effective_complexity"
    explains = "How many features does the map say matter at all?"
    direction = "lower"
    reference = "after Nguyen, Rodriguez Martinez 2020, effective complexity"
    range = (1, math.inf)
    min_effect = 0.5

    threshold: float = 0.1

    @property
    def title(self) -> str:
        """Name, with what the parameters decide."""
        return f"Effective complexity (features above {self.threshold:g} of the largest)"

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise InputError(
                f"threshold is {self.threshold}; it is relative to the largest magnitude, so it "
                "must be at least 0 and below 1."
            )

    def of(self, sizes: Tensor) -> Tensor:
        """Count of every row, (N, G) to (N,)."""
        floor = self.threshold * sizes.amax(dim=1, keepdim=True)
        return (sizes > floor).sum(dim=1).to(sizes)
