"""Sparseness: does the map put its weight on few features?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.metrics.magnitudes import ZERO, Magnitudes
from igbench.rows import MetricSpec


@dataclass(frozen=True)
class Sparseness(Magnitudes):
    """Gini index of |phi| (Chalasani et al. 2020).

    sum_i (2 i - G - 1) a_(i) / (G sum_i a_i) with a = |phi| in rising order, i = 1..G: 0 for equal
    magnitudes, 1 - 1/G for a single feature.  Undefined for a map of zeros.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return MetricSpec(
            "Sparseness (Gini index)",
            "higher",
            0,
            1,
            1,
            "Chalasani et al. 2020, Gini index",
            unit=self.features or "as the data",
            undefined=ZERO,
            min_effect=0.01,
        )

    def of(self, sizes: Tensor) -> Tensor:
        """Gini index of every row, (N, G) to (N,)."""
        count = sizes.shape[1]
        share = (sizes / sizes.sum(dim=1, keepdim=True)).sort(dim=1).values
        weights = 2 * torch.arange(1, count + 1).to(share) - count - 1
        return ((share * weights).sum(dim=1) / count).clamp(0, 1)
