"""How is the importance spread over the features?  What the metrics of complexity share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench import features as feature_units
from igbench.types import Attribution, Batch, Measurement

ZERO = "the map is zero everywhere or not finite"


@dataclass(frozen=True)
class Magnitudes:
    """Metrics of |phi_i| alone, where phi_i is summed over the elements of feature i.

    No model evaluation is needed.  Only the relative sizes count: the scale and the signs of a map
    do not matter, nor does the order of the features.  They say nothing about whether a map is
    right.

    Args:
        features: What one feature is; None for the default of the data.
    """

    features: str | None = None

    @property
    def observation_key(self) -> object:
        """There is nothing to observe."""
        return "nothing"

    def observe(self, batch: Batch) -> None:
        """Nothing."""

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: None
    ) -> dict[str, Measurement]:
        """Score of every attribution; NaN for maps of zeros, or not finite."""
        spec = batch.features if self.features is None else self.features
        features = feature_units.resolve(spec, tuple(batch.x.shape[1:]))
        result = {}
        for name, attribution in attributions.items():
            sizes = feature_units.total(attribution.values, features).abs()
            defined = (sizes.amax(dim=1) > 0) & sizes.isfinite().all(dim=1)
            result[name] = Measurement(torch.where(defined, self.of(sizes), math.nan), reason=ZERO)
        return result

    def of(self, sizes: Tensor) -> Tensor:
        """Score of magnitudes, (N, G) float64 to (N,)."""
        raise NotImplementedError
