"""Complexity metrics: how concentrated a map is on few features."""

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
    """Base of the complexity metrics, functions of the magnitudes |phi_i| alone.

    phi_i is summed over the elements of feature i.  Scale, signs and order do not matter, and the
    value does not tell whether a map is right.  Cost: no model rows.

    Args:
        features: Unit whose attributions are summed, see `igbench.core.features.resolve`; None for
            the unit of the data (pixels of images, elements otherwise, by default).
    """

    family = "complexity"
    undefined = ZERO

    features: str | Tensor | None = None

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: None
    ) -> dict[str, Measurement]:
        """Score of every attribution; NaN for maps that are zero or not finite."""
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
    """Sparseness: Gini index of |phi|, sum_i (2 i - G - 1) a_(i) / (G sum_i a_i).

    a = |phi| in rising order, i = 1..G.  phi_i is summed over the elements of feature i.  Scale,
    signs and order do not matter, and the value does not tell whether a map is right.

    Higher is better, in [0, 1): 0 for equal magnitudes, 1 - 1/G for a single feature.  Undefined
    for a map that is zero or not finite.  Cost: no model rows.

    Source: Chalasani et al. 2020, Gini index.

    Args:
        features: Unit whose attributions are summed, see `igbench.core.features.resolve`; None for
            the unit of the data (pixels of images, elements otherwise, by default).

    Example:
        (-3 * 1 - 1 * 2 + 1 * 3 + 3 * 4) / (4 * 10).

        >>> import torch
        >>> from igbench.metrics import sparseness
        >>> x = torch.tensor([[1.0, -2.0, 3.0, 4.0]], dtype=torch.float64)
        >>> sparseness(lambda x: x.sum(dim=1), x, x).round(decimals=6).tolist()
        [0.25]
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
    """Complexity: entropy -sum_i p_i ln p_i in nats, with p_i = |phi_i| / sum |phi|.

    phi_i is summed over the elements of feature i.  Scale, signs and order do not matter, and the
    value does not tell whether a map is right.

    Lower is better, in [0, ln G]: 0 for a single feature, ln G for equal magnitudes.  Undefined for
    a map that is zero or not finite.  Cost: no model rows.

    Source: Bhatt, Weller and Moura 2020, definition 4.

    Args:
        features: Unit whose attributions are summed, see `igbench.core.features.resolve`; None for
            the unit of the data (pixels of images, elements otherwise, by default).

    Example:
        Two equal magnitudes: ln 2.

        >>> import torch
        >>> from igbench.metrics import complexity
        >>> x = torch.tensor([[1.0, -1.0, 0.0, 0.0]], dtype=torch.float64)
        >>> complexity(lambda x: x.sum(dim=1), x, x).round(decimals=4).tolist()
        [0.6931]
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
    """Effective complexity: number of features with |phi_i| > threshold * max |phi|.

    The paper counts features above a tolerance.  Here the threshold is relative to the largest
    magnitude of the same map, since an absolute one would compare the scales of the methods.  phi_i
    is summed over the elements of feature i.  Scale, signs and order do not matter, and the value
    does not tell whether a map is right.

    Lower is better, from 1 to G.  Undefined for a map that is zero or not finite.  Cost: no model
    rows.

    Source: after Nguyen and Rodriguez Martinez 2020, effective complexity.

    Args:
        features: Unit whose attributions are summed, see `igbench.core.features.resolve`; None for
            the unit of the data (pixels of images, elements otherwise, by default).
        threshold: Relative to the largest magnitude, at least 0 and below 1.

    Raises:
        InputError: A threshold outside [0, 1).

    Example:
        10 and -5 are above a tenth of 10, 0.5 is not.

        >>> import torch
        >>> from igbench.metrics import effective_complexity
        >>> x = torch.tensor([[10.0, -5.0, 0.5, 0.0]])
        >>> effective_complexity(lambda x: x.sum(dim=1), x, x, threshold=0.1).tolist()
        [2.0]
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
        """Title, with the parameters that define the number."""
        return f"Effective complexity (features above {self.threshold:g} of the largest)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.threshold < 1:
            raise InputError(
                f"threshold is {self.threshold}; it is relative to the largest magnitude, so it "
                "must be at least 0 and below 1."
            )

    def of(self, sizes: Tensor) -> Tensor:
        """Count of every row, (N, G) to (N,)."""
        floor = self.threshold * sizes.amax(dim=1, keepdim=True)
        return (sizes > floor).sum(dim=1).to(sizes)
