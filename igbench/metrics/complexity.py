"""Complexity: over how many features is the weight of the map spread, as an entropy?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.metrics.magnitudes import ZERO, Magnitudes
from igbench.rows import MetricSpec


@dataclass(frozen=True)
class Complexity(Magnitudes):
    """Entropy of |phi_i| / sum |phi| in nats (Bhatt, Weller and Moura 2020, definition 4).

    -sum_i p_i ln p_i: 0 for a single feature, ln G for equal magnitudes.  Undefined for a map of
    zeros.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return MetricSpec(
            "Complexity (entropy, nats)",
            "lower",
            0,
            math.inf,
            1,
            "Bhatt, Weller, Moura 2020, definition 4",
            unit=self.features or "as the data",
            undefined=ZERO,
            min_effect=0.01,
        )

    def of(self, sizes: Tensor) -> Tensor:
        """Entropy of every row, (N, G) to (N,)."""
        share = sizes / sizes.sum(dim=1, keepdim=True)
        return torch.special.xlogy(share, share).sum(dim=1).abs()
